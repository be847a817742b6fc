"""What every view is held to: nothing that axe finds, nothing wider than the screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import axe_playwright_python

if TYPE_CHECKING:
    from playwright.async_api import Page

AXE: Final = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


async def findings(page: Page) -> list[str]:
    """What axe finds, the best practices and the size of targets included."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)
    found = await page.evaluate("axe.run({rules: {'target-size': {enabled: true}}})")
    return [f"{one['id']}: {node['html']}" for one in found["violations"] for node in one["nodes"]]


async def fits(page: Page) -> bool:
    return await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
