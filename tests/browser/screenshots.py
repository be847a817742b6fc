"""`make screenshots`: docs/screenshots/, from the real service over a simulated tenant with a month behind it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from service.settings import Settings, load
from tests.browser.world import Steps, World, chromium, tenant, world
from tests.conftest import TOKEN
from tests.integration.serving import FULL
from tests.simulators.dxr import BadLines, GeneratedFiles, faults

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

    from service.runs.model import Run

FOLDER: Final = Path(__file__).parents[2] / "docs" / "screenshots"
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 800}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 900}, "device_scale_factor": 1.5},
}
DAYS: Final = 29
ROWS: Final = 12_000
STEP: Final = 1500


async def month(there: World) -> Run:
    """Days of every kind; returns a run that failed."""
    failed = None
    for back in range(DAYS, 0, -1):
        there.dxr.source = files(ROWS + (DAYS - back) * 140 + back * 37 % 11 * 30)
        there.dxr.faults.clear()
        match back:
            case 12:
                continue
            case 17:
                there.dxr.faults.always(faults.CutAfterRows(9000))
                failed = await there.day(back)
            case 9:
                await there.receive(await there.day(back, record_cap=4000))
            case 5:
                there.dxr.source = BadLines(files(ROWS + 3300), every=300)
                await there.receive(await there.day(back))
            case _:
                await there.receive(await there.day(back))
        there.dxr.faults.clear()
        await there.receive(await there.day(back, dataset="large_files"))
    assert failed is not None
    return failed


def files(rows: int) -> GeneratedFiles:
    return GeneratedFiles(rows=rows, seed=7, mean_bytes=1000)


async def photographed(browser: Browser, there: World, failed: Run) -> None:
    steps = Steps()
    there.dxr.source = files(ROWS + DAYS * 140)
    there.dxr.faults.next(steps)
    live = (await there.api.post("/v1/snapshots", json={})).json()
    pages = {"overview": "", "runs": "runs", "run-live": f"runs/{live['id']}", "run-failed": f"runs/{failed.id}"}
    served = 0
    for look, context_options in LOOKS.items():
        context = await browser.new_context(locale="en-GB", timezone_id="Europe/Berlin", **context_options)
        await context.add_init_script(f"sessionStorage.setItem('dxr-ingest-token', '{FULL}')")
        for name, route in pages.items():
            page = await context.new_page()
            await page.goto(f"{there.url}/#/{route}")
            await page.locator("section, tbody tr").first.wait_for()
            if name == "run-live":
                for _ in range(2):
                    served += STEP
                    steps.serve(STEP)
                    await page.get_by_text(f"{served:,}", exact=True).wait_for()
            await shot(page, FOLDER / f"{name}-{look}.png")
            await page.close()
        await context.close()
    steps.finish()


async def shot(page: Page, file: Path) -> None:
    long = file.stem.startswith("runs") or file.stem == "overview-phone"
    await page.screenshot(path=file, full_page=not long, animations="disabled")
    sys.stdout.write(f"{file.relative_to(FOLDER.parents[1])} {file.stat().st_size // 1000} kB\n")


async def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="dxr-ingest-screenshots-"))
    os.chdir(scratch)  # no .env of the checkout
    try:
        async with tenant() as dxr, chromium() as browser:
            settings = load(
                Settings,
                {
                    "dxr_base_url": dxr.url,
                    "dxr_bearer_token": TOKEN,
                    "dxr_retry_attempts": 2,
                    "dxr_retry_max_wait_seconds": 0.1,
                    "landing_path": str(scratch / "landing"),
                    "state_dir": str(scratch / "state"),
                    "service_api_tokens": f"ops:{FULL}",
                    "landing_chunk_bytes": 2 * 2**20,
                    "datasets": {"large_files": {"query": "size > 100000000"}},
                },
            )
            async with world(settings, dxr) as there:
                await photographed(browser, there, await month(there))
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    asyncio.run(main())
