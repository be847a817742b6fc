"""The page in a real browser over the real service: start, watch, cancel, understand, run again."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Locator, Page, expect

from tests.integration.serving import FULL, READ_ONLY, until
from tests.simulators.dxr import BadLines, GeneratedFiles, faults

if TYPE_CHECKING:
    from tests.browser.conftest import OpenTab
    from tests.browser.world import Steps, World

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOSTILE = '<img src=x onerror="document.title=`taken`">\'; $(touch taken) `touch taken`'


async def started(there: World, **asked: object) -> str:
    return (await there.api.post("/v1/snapshots", json=asked)).json()["id"]


def stage(page: Page, name: str) -> Locator:
    return page.locator(".stage").filter(has=page.get_by_role("heading", name=name))


async def test_a_run_from_the_button_to_the_table(there: World, open_tab: OpenTab, steps: Steps) -> None:
    tab = await open_tab()
    page = await tab.go()
    await page.get_by_role("button", name="Start snapshot").click()
    await page.get_by_role("dialog").get_by_role("button", name="Start").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("file_metadata")
    await expect(page.locator(".chip").first).to_have_text("running")
    steps.serve(100)
    await expect(stage(page, "Streaming")).to_contain_text("rows100")
    steps.serve(200)
    await expect(stage(page, "Streaming")).to_contain_text("rows300")
    steps.finish()
    await expect(stage(page, "Landed")).to_contain_text("rows500")
    await expect(stage(page, "In Delta")).to_contain_text("awaiting the table job")
    run = (await there.api.get("/v1/runs")).json()[0]
    assert run["trigger"] == "api:ops"
    await expect(page).to_have_url(f"{there.url}/#/runs/{run['id']}")
    await there.receive(await there.service.store.get(run["id"]))
    await expect(page.locator(".chip").first).to_have_text("ingested")
    await expect(stage(page, "In Delta")).to_contain_text("done")
    await expect(page.locator(".verdict")).to_have_text(
        ["equalEvery line served is accounted for", "equalEverything landed is in Delta"]
    )
    await expect(page.locator(".sides").first).to_contain_text("500 lines served=500 rows+0 rejected+0 blank")


async def test_counts_that_differ_are_marked(there: World, open_tab: OpenTab) -> None:
    there.dxr.source = BadLines(GeneratedFiles(rows=300, seed=7), every=100)
    run = await there.day(0)
    await there.receive(run, table_rows=299)
    page = await (await open_tab()).go(f"runs/{run.id}")
    await expect(page.locator(".verdict")).to_have_text(
        ["equalEvery line served is accounted for", "differs by 1Everything landed is in Delta"]
    )
    await expect(page.locator(".sides").last).to_contain_text("≠")


async def test_a_second_snapshot_shows_an_estimate_and_says_so(there: World, open_tab: OpenTab, steps: Steps) -> None:
    steps.finish()
    await there.day(1)
    again = type(steps)()
    there.dxr.faults.next(again)
    page = await (await open_tab()).go(f"runs/{await started(there)}")
    again.serve(250)
    await expect(page.locator(".estimate")).to_contain_text("≈ 50 % of the 500 rows of the snapshot before")
    again.finish()
    await expect(page.locator(".estimate")).to_have_count(0)


async def test_a_run_is_cancelled(there: World, open_tab: OpenTab, steps: Steps) -> None:
    page = await (await open_tab()).go(f"runs/{await started(there)}")
    steps.serve(10)
    await expect(stage(page, "Streaming")).to_contain_text("rows10")
    await page.get_by_role("button", name="Cancel run").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel run").click()
    await expect(page.locator(".chip").first).to_have_text("cancelled")
    await expect(stage(page, "Streaming")).to_contain_text("cancelled here")
    await expect(page.get_by_role("button", name="Cancel run")).to_have_count(0)


async def test_a_failure_says_whose_it_is_and_what_helps(there: World, open_tab: OpenTab) -> None:
    there.dxr.faults.always(faults.Status(503))
    run = await there.day(0)
    page = await (await open_tab()).go(f"runs/{run.id}")
    told = page.get_by_role("region", name="Why it failed")
    assert run.error is not None
    error = run.error
    for words in (error.message, error.hint, error.code, "Data X-Ray, or the network", "helps: run it again"):
        await expect(told).to_contain_text(words)
    there.dxr.faults.clear()
    await page.get_by_role("button", name="Run again").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Dataset")).to_have_value("file_metadata")
    await expect(dialog.get_by_label("Day")).to_have_value(run.request.ingestion_date)
    await dialog.get_by_role("button", name="Start").click()
    await expect(page.locator(".chip").first).to_have_text("landed")
    assert run.id not in page.url


async def test_a_failure_that_a_retry_does_not_cure(there: World, open_tab: OpenTab) -> None:
    there.dxr.faults.always(faults.Status(403))
    run = await there.day(0)
    page = await (await open_tab()).go(f"runs/{run.id}")
    told = page.get_by_role("region", name="Why it failed")
    await expect(told).to_contain_text("the configuration")
    await expect(told).to_contain_text("does not help before this is changed")


async def test_the_token_is_asked_for_kept_in_the_tab_and_forgotten(there: World, open_tab: OpenTab) -> None:
    tab = await open_tab(None)
    tab.provoked = {"401"}
    page = await tab.go("runs")
    field = page.get_by_label("API token")
    await expect(field).to_be_focused()
    await field.fill("wrong-" + "w" * 32)
    await field.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("A valid API token is needed.")
    await field.fill(FULL)
    await field.press("Enter")
    await expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    await expect(page.get_by_text("No run yet.")).to_be_visible()
    assert await page.evaluate("Object.values(sessionStorage).concat(Object.values(localStorage))") == [FULL]
    assert await page.context.cookies() == []
    await page.reload()
    await expect(page.get_by_text("No run yet.")).to_be_visible()
    await page.get_by_role("button", name="Forget token").click()
    await expect(field).to_be_visible()
    assert await page.evaluate("sessionStorage.length") == 0
    assert not any(FULL in request.url for request in tab.requests)


async def test_a_token_that_may_only_read_is_told_so(there: World, open_tab: OpenTab) -> None:
    tab = await open_tab(READ_ONLY)
    tab.provoked = {"403"}
    page = await tab.go()
    await page.get_by_role("button", name="Start snapshot").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Start").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("FORBIDDEN")


async def test_an_active_run_is_in_the_way(there: World, open_tab: OpenTab, steps: Steps) -> None:
    active = await started(there)
    tab = await open_tab()
    tab.provoked = {"409"}
    page = await tab.go()
    await page.get_by_role("button", name="Start snapshot").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Start").click()
    await dialog.get_by_role("link", name="Show that run").click()
    await expect(page).to_have_url(f"{there.url}/#/runs/{active}")
    await expect(dialog).to_have_count(0)
    steps.finish()


async def test_a_classification_that_is_not_configured_says_what_is_missing(there: World, open_tab: OpenTab) -> None:
    tab = await open_tab()
    tab.provoked = {"422"}
    page = await tab.go("runs")
    await page.get_by_role("button", name="Start classification").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Start").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("VOLUME_CATALOG")


async def test_hostile_text_stays_text(there: World, open_tab: OpenTab) -> None:
    run = (await there.api.post("/v1/snapshots", json={"dataset": "hostile", "query": HOSTILE})).json()
    await until(there.api, run["id"], "landed", "failed")
    page = await (await open_tab()).go(f"runs/{run['id']}")
    await expect(page.get_by_text(HOSTILE)).to_be_visible()
    assert await page.locator("main img").count() == 0
    assert "taken" not in await page.title()


async def test_the_command_to_copy_asks_the_same_and_holds_no_token(there: World, open_tab: OpenTab) -> None:
    run = (await there.api.post("/v1/snapshots", json={"dataset": "hostile", "query": HOSTILE})).json()
    page = await (await open_tab()).go(f"runs/{run['id']}")
    await page.get_by_role("button", name="Copy as curl").click()
    await expect(page.get_by_text("It is in the clipboard.")).to_be_visible()
    command = await page.evaluate("navigator.clipboard.readText()")
    assert command == await page.get_by_role("region", name="Command").text_content()
    assert FULL not in command
    words = ["sh", "-c", f"curl() {{ printf '%s\\0' \"$@\"; }}; {command}"]
    shell = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE, env={"DXR_INGEST_TOKEN": "T"})
    arguments = (await shell.communicate())[0].decode().split("\0")
    assert "Authorization: Bearer T" in arguments
    assert f"{there.url}/v1/snapshots" in arguments
    sent = json.loads(arguments[arguments.index("--data") + 1])
    assert sent == {"dataset": "hostile", "query": HOSTILE, "ingestion_date": run["ingestion_date"]}


async def test_runs_are_filtered_and_paged(there: World, open_tab: OpenTab) -> None:
    await there.day(0)
    there.dxr.faults.always(faults.Status(503))
    for _ in range(51):
        await there.day(0)
    page = await (await open_tab()).go("runs")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(50)
    await page.get_by_role("button", name="Older runs").click()
    await expect(rows).to_have_count(52)
    await expect(page.get_by_role("button", name="Older runs")).to_have_count(0)
    await expect(rows.nth(50)).to_contain_text("DXR_UNAVAILABLE")
    await page.get_by_label("State").select_option("landed")
    await expect(rows).to_have_count(1)
    await expect(page).to_have_url(f"{there.url}/#/runs?state=landed")
    await page.get_by_label("Kind").select_option("classification")
    await expect(page.get_by_text("No run fits.")).to_be_visible()


async def test_the_days_of_a_dataset_lead_to_their_runs(there: World, open_tab: OpenTab) -> None:
    await there.receive(await there.day(4))
    capped = await there.day(2, record_cap=5)
    whole = await there.day(1)
    await there.receive(whole)
    page = await (await open_tab()).go()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Yesterday is complete")
    days = page.get_by_role("list", name="The last 30 days of file_metadata").get_by_role("listitem")
    await expect(days).to_have_count(30)
    await expect(days.nth(28)).to_contain_text("complete (whole, and in its table), 500 rows")
    await expect(days.nth(27)).to_contain_text("partial (a cap on the rows was asked for), 5 rows")
    await expect(days.nth(26)).to_contain_text("missing (the day is over and nobody tried)")
    await expect(days.nth(29)).to_contain_text("none (nothing expected)")
    await expect(page.get_by_role("img", name="Rows per day: from 5 to 500, last 500")).to_be_visible()
    assert (await days.nth(28).get_by_role("link").get_attribute("href")) == f"#/runs/{whole.id}"
    await days.nth(26).get_by_role("button").click()
    await expect(page.get_by_role("dialog").get_by_label("Day")).to_have_value(there.date(3))
    await page.keyboard.press("Escape")
    await days.nth(27).get_by_role("link").click()
    await expect(page).to_have_url(f"{there.url}/#/runs/{capped.id}")


async def test_times_are_local_and_utc_when_pointed_at(there: World, open_tab: OpenTab) -> None:
    run = await there.day(1)
    page = await (await open_tab(timezone_id="Asia/Tokyo")).go(f"runs/{run.id}")
    began = page.locator("time").first
    await expect(began).to_contain_text("11:00")
    await expect(began).to_have_attribute("title", f"{there.date(1)} 02:00:00 UTC")


async def test_a_line_that_ends_is_taken_up_again(there: World, open_tab: OpenTab, steps: Steps) -> None:
    tab = await open_tab()
    tab.provoked = {"503"}
    page = await tab.go(f"runs/{await started(there)}")
    steps.serve(10)
    await expect(stage(page, "Streaming")).to_contain_text("rows10")
    there.service.watch.close()  # as when the process shuts down
    await expect(page.get_by_text("The line is broken; trying again")).to_be_visible()
    there.service.watch._closed = False  # as when another one answers
    await expect(page.get_by_text("Live: what changes shows here")).to_be_visible()
    assert any("last-event-id" in request.headers for request in tab.requests)
    steps.finish()
    await expect(stage(page, "Landed")).to_contain_text("rows500")


async def test_a_service_that_is_away_is_told_beside_what_was_known(there: World, open_tab: OpenTab) -> None:
    await there.day(0)
    tab = await open_tab()
    tab.provoked = {"net::ERR_INTERNET_DISCONNECTED"}
    await tab.page.clock.install()
    page = await tab.go("runs")
    rows, told = page.locator("tbody tr"), page.get_by_role("alert")
    await expect(rows).to_have_count(1)
    await page.context.set_offline(True)
    await page.clock.run_for(11_000)
    await expect(told).to_contain_text("The service does not answer.")
    await expect(rows).to_have_count(1)
    await page.context.set_offline(False)
    await page.clock.run_for(11_000)
    await expect(told).to_have_count(0)
