"""A classification in the browser: jobs per datasource while it runs, and every file with labels or a reason after."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.judge import findings, fits
from tests.browser.world import World, world
from tests.conftest import TOKEN
from tests.integration.serving import FULL
from tests.simulators.dxr import Classifier, DxrSimulator
from tests.simulators.dxr import classifier_faults as odc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.browser.conftest import OpenTab
    from tests.conftest import MakeSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def there(make_settings: MakeSettings, tmp_path: Path) -> AsyncIterator[World]:
    """Six files, one of them too large, and two datasources that classify."""
    folder = tmp_path / "volumes" / "main" / "legal" / "contracts"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / f"report-{number}.txt").write_text(f"label: L{number}\n")
    (folder / "film.bin").write_bytes(b"x" * 2000)
    async with DxrSimulator(tokens=(TOKEN,), classifier=Classifier(datasources=("11", "12"))) as dxr:
        settings = make_settings(
            dxr_base_url=dxr.url,
            service_api_tokens=f"ops:{FULL}",
            volume_catalog="main",
            volume_schema="legal",
            volume_name="contracts",
            volume_base_path=str(tmp_path / "volumes"),
            dxr_datasource_id="11,12",
            dxr_poll_interval_seconds=0.005,
            dxr_settle_seconds=0.5,
            dxr_max_files_per_job=3,
            dxr_max_bytes_per_job=1000,
        )
        async with world(settings, dxr) as opened:
            yield opened


async def test_a_classification_shows_its_jobs_and_then_what_became_of_each_file(
    there: World, open_tab: OpenTab
) -> None:
    hold = odc.Hold("poll")
    there.dxr.classifier.faults.always(hold)
    page = await (await open_tab(viewport={"width": 360, "height": 740})).go()
    await page.get_by_role("button", name="Start classification").click()
    await page.get_by_role("dialog").get_by_role("button", name="Start").click()
    jobs = page.get_by_role("region", name="Its way to Delta")
    await expect(jobs).to_contain_text(re.compile("Datasource 11(sending|waiting)"))
    await expect(jobs).to_contain_text(re.compile("Datasource 12(sending|waiting)"))
    assert await findings(page) == []
    hold.open()
    await expect(page.locator(".chip").first).to_have_text("partial")
    await expect(page.locator(".verdict")).to_have_text("equalEvery file has labels or a reason")
    await expect(page.locator(".sides")).to_contain_text("6 files scanned=0 unchanged+5 labelled+1 without labels")
    await expect(page.get_by_role("table", name="Files without labels")).to_contain_text(
        "too large for a classifier job"
    )
    assert await findings(page) == []
    assert await fits(page)


async def test_a_run_again_asks_for_the_same(there: World, open_tab: OpenTab) -> None:
    asked = {"prefix": "reports/2026", "full": True}
    run = (await there.api.post("/v1/classifications", json=asked)).json()
    page = await (await open_tab()).go(f"runs/{run['id']}")
    await expect(page.get_by_text("reports/2026")).to_be_visible()
    await page.get_by_role("button", name="Copy as curl").click()
    await expect(page.get_by_role("region", name="Command")).to_contain_text(json.dumps(asked, separators=(",", ":")))
    await page.get_by_role("button", name="Close").click()
    await page.get_by_role("button", name="Run again").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Only below this folder")).to_have_value("reports/2026")
    await expect(dialog.get_by_label("Classify unchanged files too")).to_be_checked()
