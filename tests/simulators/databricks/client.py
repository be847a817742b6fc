"""A client that hides nothing: one request, and its answer as it came."""

import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from tests.simulators.databricks.exchange import DIRECTORIES, FILES
from tests.simulators.databricks.server import DatabricksSimulator


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `headers` finds names in any case."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as the JSON it is."""
        return json.loads(self.body)

    @property
    def error_code(self) -> str:
        """What an error body calls itself."""
        return self.json["error_code"]


class RawClient:
    """Asks a workspace with its personal access token, or another one; never follows a redirect, never retries."""

    def __init__(self, workspace: DatabricksSimulator, *, token: str | None = None) -> None:
        self.token = token or workspace.pat
        self._base = workspace.url
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        # By itself aiohttp repeats every GET, PUT and DELETE whose connection fails, once and without a word.
        self._session._retry_connection = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(self, method: str, target: str, *, headers: dict[str, str] | None = None, **options: Any) -> Answer:
        """Send one request to a path of the workspace, which is used as it is: escaped, with its query."""
        fields = {"Authorization": f"Bearer {self.token}"} | (headers or {})
        url = URL(self._base + target, encoded=True)
        async with self._session.request(method, url, headers=fields, allow_redirects=False, **options) as answer:
            return Answer(answer.status, CIMultiDict(answer.headers), await answer.read())

    async def file(self, method: str, path: str, query: str = "", **options: Any) -> Answer:
        """Ask for a file by its path, which is escaped here."""
        return await self.ask(method, f"{FILES}{quote(path)}{query}", **options)

    async def directory(self, method: str, path: str, query: str = "", **options: Any) -> Answer:
        """Ask for a directory by its path, which is escaped here."""
        return await self.ask(method, f"{DIRECTORIES}{quote(path)}{query}", **options)

    async def put(self, path: str, content: Any = b"", *, overwrite: bool = False) -> Answer:
        """Upload a file; what makes its content is not asked before the workspace wants it."""
        made = not isinstance(content, bytes)
        return await self.file("PUT", path, f"?overwrite={str(overwrite).lower()}", data=content, expect100=made)

    async def names(self, path: str) -> list[str]:
        """List a directory from page to page."""
        found, query = list[str](), ""
        while True:
            page = (await self.directory("GET", path, query)).json
            found += [entry["name"] for entry in page.get("contents", [])]
            if "next_page_token" not in page:
                return found
            query = f"?page_token={quote(page['next_page_token'])}"
