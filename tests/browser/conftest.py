"""A browser per file, a service per test, and a tab that fails its test for whatever it should not do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, expect

from service.runs import execution, watch
from tests.browser.world import World, chromium, tenant, world
from tests.integration.serving import FULL, READ_ONLY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from playwright.async_api import ConsoleMessage

    from tests.conftest import MakeSettings

# The machine may be busy; nothing waits that long for what is there.
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)
_NOT_LOADED = re.compile(r"Failed to load resource: (?:.*status of )?(\d+|net::\w+)")


@dataclass
class Tab:
    """A page of its own context and what went wrong in it; `provoked` are statuses and errors that the test wants."""

    page: Page
    url: str
    provoked: set[str] = field(default_factory=set[str])
    wrong: list[str] = field(default_factory=list[str])
    requests: list[Request] = field(default_factory=list[Request])

    async def go(self, route: str = "") -> Page:
        await self.page.goto(f"{self.url}/#/{route}")
        return self.page

    def hear(self, message: ConsoleMessage) -> None:
        told = _NOT_LOADED.match(message.text)
        if message.type in {"error", "warning"} and not (told and told[1] in self.provoked):
            self.wrong.append(message.text)

    def see(self, request: Request) -> None:
        self.requests.append(request)

    def check(self) -> None:
        assert self.wrong == []
        assert [request.url for request in self.requests if not request.url.startswith((f"{self.url}/", "data:"))] == []


class OpenTab(Protocol):
    def __call__(self, token: str | None = FULL, **context: Any) -> Awaitable[Tab]: ...


@pytest.fixture(autouse=True)
def _told_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is written and looked at more often than once a second."""
    monkeypatch.setattr(execution, "_TELL_EVERY_S", 0.05)
    monkeypatch.setattr(watch, "_LOOK_EVERY_S", 0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


@pytest_asyncio.fixture(loop_scope="module")
async def there(make_settings: MakeSettings) -> AsyncIterator[World]:
    async with tenant() as dxr:
        settings = make_settings(
            dxr_base_url=dxr.url,
            service_api_tokens=f"ops:{FULL};board:{READ_ONLY}:read",
            receipt_poll_seconds=0.05,
        )
        async with world(settings, dxr) as opened:
            yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def open_tab(browser: Browser, there: World) -> AsyncIterator[OpenTab]:
    """Opens tabs; after the test none of them has an error, a breach of the policy or a request to elsewhere."""
    tabs: list[Tab] = []

    async def opened(token: str | None = FULL, **context: Any) -> Tab:
        made = await browser.new_context(
            **{"locale": "en-GB", "timezone_id": "Europe/Berlin", "reduced_motion": "reduce"} | context
        )
        made.set_default_timeout(PATIENCE_MS)
        await made.grant_permissions(["clipboard-read", "clipboard-write"])
        page = await made.new_page()
        if token:
            await page.add_init_script(
                "sessionStorage.getItem('seeded') || (sessionStorage.setItem('seeded', '1'), "
                f"sessionStorage.setItem('dxr-ingest-token', '{token}'))"
            )
        tab = Tab(page, there.url)
        page.on("console", tab.hear)
        page.on("pageerror", lambda error: tab.wrong.append(str(error)))
        page.on("request", tab.see)
        tabs.append(tab)
        return tab

    yield opened
    for tab in tabs:
        await tab.page.context.close()
        tab.check()


@pytest.fixture
def steps(there: World) -> Any:
    """The next stream of the tenant, row by row."""
    from tests.browser.world import Steps

    made = Steps()
    there.dxr.faults.next(made)
    return made
