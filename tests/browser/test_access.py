"""Everybody can use the page: by keyboard, in light and dark, on a phone, with a screen reader, whatever moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.async_api import Page, expect

from tests.browser.judge import findings, fits
from tests.simulators.dxr import BadLines, GeneratedFiles, faults

if TYPE_CHECKING:
    from tests.browser.conftest import OpenTab
    from tests.browser.world import Steps, World

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}},
}
# By what a view is known to be there; of a run, its id.
SHOWN: Final = {"": "Yesterday is", "runs": "DXR_UNAVAILABLE"}


async def history(there: World) -> list[str]:
    """The addresses of runs of every kind, with days of every kind behind them."""
    await there.receive(await there.day(6))
    there.dxr.source = BadLines(GeneratedFiles(rows=300, seed=7), every=100)
    whole = await there.day(4)
    await there.receive(whole)
    await there.day(3, record_cap=5)
    there.dxr.faults.always(faults.Status(503))
    failed = await there.day(2)
    there.dxr.faults.clear()
    landed = await there.day(1)
    return [f"runs/{run.id}" for run in (whole, failed, landed)]


async def test_every_view_in_every_look_has_no_finding_and_fits(there: World, open_tab: OpenTab, steps: Steps) -> None:
    steps.finish()
    routes = [*SHOWN, *await history(there)]
    live = type(steps)()
    there.dxr.faults.next(live)
    live.serve(50)
    active = (await there.api.post("/v1/snapshots", json={})).json()["id"]
    for look, context in LOOKS.items():
        tab = await open_tab(**context)
        for route in [*routes, f"runs/{active}"]:
            page = await tab.go(route)
            await expect(page.get_by_text(SHOWN.get(route, route.removeprefix("runs/"))).first).to_be_visible()
            assert await findings(page) == [], (look, route)
            assert await fits(page), (look, route)
    live.finish()


@pytest.mark.parametrize("look", LOOKS)
async def test_every_dialog_and_the_token_form_have_no_finding_and_fit(
    there: World, open_tab: OpenTab, look: str
) -> None:
    page = await (await open_tab(**LOOKS[look])).go("runs")
    for name in ("Start snapshot", "Start classification"):
        await page.get_by_role("button", name=name).click()
        assert await findings(page) == [], name
        assert await fits(page), name
        await page.get_by_role("button", name="Copy as curl").click()
        await expect(page.get_by_text("It is in the clipboard.")).to_be_visible()
        assert await findings(page) == [], f"{name}, copied"
        await page.keyboard.press("Escape")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
    closed = await open_tab(None, **LOOKS[look])
    closed.provoked = {"401"}
    page = await closed.go()
    await expect(page.get_by_label("API token")).to_be_visible()
    assert await findings(page) == []
    assert await fits(page)


async def test_a_run_is_started_and_cancelled_by_keyboard_alone(there: World, open_tab: OpenTab, steps: Steps) -> None:
    tab = await open_tab()
    page = await tab.go()
    await expect(page.get_by_role("region", name="file_metadata")).to_be_visible()
    await walk_to(page, "Start snapshot")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await walk_to(page, "Start")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Its way to Delta")).to_be_visible()
    await expect(page.locator("#main")).to_be_focused()
    steps.serve(10)
    await walk_to(page, "Cancel run")
    await page.keyboard.press("Enter")
    await walk_to(page, "Cancel run")
    await page.keyboard.press("Enter")
    await expect(page.locator(".chip").first).to_have_text("cancelled")


async def walk_to(page: Page, name: str) -> None:
    """By the Tab key, seeing at each step where one is."""
    focused = "document.activeElement"
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await page.evaluate(f"{focused} === document.body"):
            continue  # between the end of the page and its beginning
        outline = await page.evaluate(f"getComputedStyle({focused}).outlineStyle")
        assert outline != "none", await page.evaluate(f"{focused}.outerHTML")
        if await page.evaluate(f"{focused}.textContent") == name:
            return
    raise AssertionError(f"{name} is not reached")


async def test_what_has_the_focus_keeps_it_while_the_page_changes(
    there: World, open_tab: OpenTab, steps: Steps
) -> None:
    run_id = (await there.api.post("/v1/snapshots", json={})).json()["id"]
    steps.serve(10)
    page = await (await open_tab()).go(f"runs/{run_id}")
    await page.get_by_role("button", name="Run again").focus()
    steps.finish()
    await expect(page.locator(".chip").first).to_have_text("landed")
    await expect(page.get_by_role("button", name="Run again")).to_be_focused()


async def test_who_wants_no_motion_sees_none(there: World, open_tab: OpenTab, steps: Steps) -> None:
    run_id = (await there.api.post("/v1/snapshots", json={})).json()["id"]
    steps.serve(10)
    for wish, name in (("reduce", "none"), ("no-preference", "breathe")):
        page = await (await open_tab(reduced_motion=wish)).go(f"runs/{run_id}")
        symbol = page.locator(".stage.running .symbol")
        await expect(symbol).to_have_css("animation-name", name)
    steps.finish()
