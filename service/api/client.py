"""Calls a running service, for the command line's `--server`; errors come back as the codes they left with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

import aiohttp

from service.errors import AlreadyActiveError, DxrIngestError, UpstreamError

if TYPE_CHECKING:
    from types import TracebackType

_TIMEOUT_S = 30.0


class ServiceClient:
    """One service; answers are the run documents of the contract, section 3."""

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

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, params: dict[str, str] | None = None
    ) -> Any:
        try:
            async with self._http.request(
                method, self._url + path, json=body, params=params, allow_redirects=False
            ) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UpstreamError(
                "SERVICE_UNAVAILABLE",
                f"The service at {self._url} does not answer as dxr-ingest does ({type(error).__name__}).",
                "Check --server (SERVICE_URL) and whether it runs.",
            ) from error
        if response.status < 300:
            return answer
        raise _error(cast("dict[str, Any]", answer) if isinstance(answer, dict) else {})


def _error(problem: dict[str, Any]) -> DxrIngestError:
    code, detail = str(problem.get("code", "SERVICE_UNAVAILABLE")), str(problem.get("detail", "The service refused."))
    if code == "ALREADY_ACTIVE":
        return AlreadyActiveError("of this request", str(problem.get("run_id")))
    if code in {"SERVICE_UNAVAILABLE", "STORE_UNAVAILABLE", "STORE_BUSY"}:
        return UpstreamError(code, detail, str(problem.get("hint", "")))
    return DxrIngestError(code, detail, str(problem.get("hint", "")))
