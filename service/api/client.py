"""Calls a running service, for the command line's `--server`; errors come back as the codes they left with."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final, Self, cast

import aiohttp

from service.errors import AlreadyActiveError, DxrIngestError, UpstreamError, exit_code

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from types import TracebackType

# The exit code of what passes by itself.
_AWAY: Final = 5
_TIMEOUT_S: Final = 30.0
# The service says something at least every 15 seconds.
_SILENCE_S_MAX: Final = 50.0
_CONNECTS_MAX: Final = 30
_RECONNECT_AFTER_S: Final = 1.0


class ServiceClient:
    """One service; answers are the documents of docs/api.md."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url
        self._http = aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def start(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        """Trigger. Raises `AlreadyActiveError` with the active run's id."""
        return await self._call("POST", route, body)

    async def run(self, run_id: str) -> dict[str, Any]:
        """One run."""
        return await self._call("GET", f"/v1/runs/{run_id}")

    async def runs(self, **filters: Any) -> list[dict[str, Any]]:
        """Runs, newest first."""
        return await self._call(
            "GET", "/v1/runs", params={name: str(value) for name, value in filters.items() if value}
        )

    async def cancel(self, run_id: str) -> dict[str, Any]:
        """Ask a run to stop."""
        return await self._call("POST", f"/v1/runs/{run_id}/cancel")

    async def datasets(self, days: int) -> list[dict[str, Any]]:
        """The datasets with their last days."""
        return await self._call("GET", "/v1/datasets", params={"days": str(days)})

    async def events(self, run_id: str) -> AsyncGenerator[tuple[str, dict[str, Any]]]:
        """The events of a run to its end, name and data; a line that breaks is taken up where it broke.

        Raises what the service answers, and `UpstreamError` when it does not answer for too long.
        """
        last_id, failed = "", 0
        while True:
            try:
                async for name, event_id, data in self._stream(run_id, last_id):
                    last_id, failed = event_id, 0
                    if name == "end" and data["reason"] == "draining":
                        break
                    yield name, data
                    if name == "end":
                        return
            except UpstreamError:
                failed += 1
                if failed >= _CONNECTS_MAX:
                    raise
            await asyncio.sleep(_RECONNECT_AFTER_S)

    async def _stream(self, run_id: str, last_id: str) -> AsyncGenerator[tuple[str, str, dict[str, Any]]]:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        timeout = aiohttp.ClientTimeout(total=None, connect=_TIMEOUT_S, sock_read=_SILENCE_S_MAX)
        with self._mapped():
            async with self._http.get(
                f"{self._url}/v1/runs/{run_id}/events", headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise _error(await response.json(content_type=None))
                fields: dict[str, str] = {}
                async for line in response.content:
                    name, _, value = line.decode().rstrip("\n").partition(": ")
                    if name:
                        fields[name] = value
                    elif "event" in fields:
                        yield fields["event"], fields["id"], json.loads(fields["data"])
                        fields = {}

    @contextlib.contextmanager
    def _mapped(self) -> Generator[None]:
        try:
            yield
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            raise UpstreamError(
                "SERVICE_UNAVAILABLE",
                f"The service at {self._url} does not answer as dxr-ingest does ({type(error).__name__}).",
                "Check --server (SERVICE_URL) and whether it runs.",
            ) from error

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, params: dict[str, str] | None = None
    ) -> Any:
        with self._mapped():
            async with self._http.request(
                method, self._url + path, json=body, params=params, allow_redirects=False
            ) as response:
                answer = await response.json(content_type=None)
        if response.status < 300:
            return answer
        raise _error(answer)


def _error(answer: Any) -> DxrIngestError:
    problem = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
    code, detail = str(problem.get("code", "SERVICE_UNAVAILABLE")), str(problem.get("detail", "The service refused."))
    if code == "ALREADY_ACTIVE":
        return AlreadyActiveError("of this request", str(problem.get("run_id")))
    if exit_code(code) == _AWAY:
        return UpstreamError(code, detail, str(problem.get("hint", "")))
    return DxrIngestError(code, detail, str(problem.get("hint", "")))
