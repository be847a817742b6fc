"""The simulated workspace: who may ask, what they asked for, and what was answered. Each API is a part of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDict

from tests.simulators.databricks import oauth
from tests.simulators.databricks.errors import ApiError
from tests.simulators.databricks.exchange import EXCHANGE, FILES_API, TOKEN, Exchange, RecordedRequest, Twist
from tests.simulators.databricks.fault_plan import FaultPlan
from tests.simulators.databricks.faults import login_page
from tests.simulators.databricks.files import FilesApi
from tests.simulators.databricks.jobs import JobRun, Jobs
from tests.simulators.databricks.presigned import PresignedUrls
from tests.simulators.databricks.secrets import Secrets
from tests.simulators.databricks.switches import Switches
from tests.simulators.databricks.volumes import Volumes
from tests.simulators.dxr.wire import Answered

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DatabricksSimulator(Switches):
    """A workspace on 127.0.0.1 for the length of an `async with` block; `root` plays /Volumes.

    `requests` only grows, one entry each request in the order they began. `in_flight_max` is how many Files requests
    were ever being answered at once, those that were one too many included. `faults` strike what is below /api/ and
    carries a token that counts; `token_faults` what leads to a token, where nothing else is said the token endpoint.
    """

    def __init__(self, root: Path, *, port: int = 0) -> None:
        super().__init__()
        self.pat = oauth.PAT
        self.client_id = oauth.CLIENT_ID
        self.client_secret = oauth.CLIENT_SECRET
        self.workspace_id = oauth.WORKSPACE_ID
        self.faults = FaultPlan(lambda method, path: True)
        self.token_faults = FaultPlan(lambda method, path: path == TOKEN)
        self.requests: list[RecordedRequest] = []
        self.in_flight_max = 0
        self._in_flight = 0
        self._root = root
        self._volumes = Volumes(root)
        self._oauth = oauth.OAuth(self)
        self._jobs = Jobs(self)
        self._port = port
        self._runner: web.AppRunner | None = None
        self._answering: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def runs(self) -> list[JobRun]:
        """The runs that were started, the oldest first."""
        return self._jobs.runs

    @property
    def tokens_issued(self) -> int:
        """How many OAuth tokens were handed out."""
        return self._oauth.issued

    def volume(self, catalog: str, schema: str, name: str) -> Path:
        """Make a volume, if it does not exist, and return its folder."""
        folder = self._root / catalog / schema / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def expire_tokens(self) -> None:
        """Refuse with 401 every OAuth token issued so far."""
        self._oauth.expire()

    def revoke_pat(self) -> None:
        """Refuse the personal access token with 401."""
        self._oauth.pat_works = False

    async def idle(self) -> None:
        """Wait until nothing is being answered: after a client has gone, until the workspace has noticed."""
        while self._answering:
            await asyncio.wait(self._answering)

    async def __aenter__(self) -> Self:
        self._volumes.open()
        app = web.Application(middlewares=[self._record])
        app[oauth.OAUTH] = self._oauth
        files = FilesApi(self._volumes, self)
        for part in (files, PresignedUrls(files), self._oauth, Secrets(self), self._jobs):
            app.add_routes(part.routes())
        app.router.add_get("/login.html", self._login)
        # What stands still ends with its client: only handler_cancellation tells the handler so. A body that comes
        # compressed is stored as it came. Handlers are cancelled before the time-out begins to count.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, auto_decompress=False, access_log=None, shutdown_timeout=1
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for answer in self._answering:
            answer.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        self._volumes.close()

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        record = RecordedRequest(request.method, request.path, dict(request.query), CIMultiDict(request.headers))
        self.requests.append(record)
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            with self._counted(request.path) as leave:
                request[EXCHANGE] = Exchange(record, leave)
                answer = await self._answer(request, handler)
        except ApiError as error:
            answer = error.response(request.method)
        except web.HTTPException as error:
            message = f"No API found for '{request.method} {request.path}'"
            status = 404 if error.status == 405 else error.status
            answer = ApiError(status, message, error_code="ENDPOINT_NOT_FOUND").response(request.method)
        finally:
            self._answering.discard(task)
        if not isinstance(answer, Answered):
            record.status = answer.status
        return answer

    @contextmanager
    def _counted(self, path: str) -> Iterator[Callable[[], None]]:
        inside = path.startswith(FILES_API)

        def leave() -> None:
            nonlocal inside
            self._in_flight -= inside
            inside = False

        self._in_flight += inside
        self.in_flight_max = max(self.in_flight_max, self._in_flight)
        try:
            yield leave
        finally:
            leave()

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/api/"):
            self._oauth.check(request.headers)
            if request.path.startswith(FILES_API) and self._in_flight > self.concurrent_max:
                raise ApiError(429, "Too many requests at once.", headers={"Retry-After": str(self.retry_after_s)})
            plan = self.faults
        else:
            plan = self.token_faults
        fault = plan.take(request.method, request.path)
        if fault is None:
            return await handler(request)

        async def properly(twist: Twist = Twist()) -> web.StreamResponse:  # noqa: B008 - it is frozen
            request[EXCHANGE].twist = twist
            return await handler(request)

        request[EXCHANGE].record.fault = fault.name
        return await fault.answer(request, properly)

    async def _login(self, request: web.Request) -> web.StreamResponse:
        return login_page()
