"""A run from its trigger to its landing, in this process or through a service, with progress."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from service.api.client import ServiceClient
from service.classification.progress import Progress as ClassificationProgress
from service.cli.bar import shown
from service.clock import SystemClock
from service.errors import AlreadyActiveError, ConfigurationError, ErrorReport, exit_code
from service.retrying import Retrying
from service.runs.model import ACTIVE, State
from service.runs.triggers import (
    ClassificationRequest,
    SnapshotRequest,
    resolve_classification,
    resolve_snapshot,
)
from service.snapshot.progress import Progress as SnapshotProgress

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Generator

    from service.runs.model import Request
    from service.runs.store import RunStore
    from service.settings import ClientSettings, Settings

Progress = SnapshotProgress | ClassificationProgress
_POLL_S: Final = 1.0
_POLL_ATTEMPTS: Final = 10
_POLL_WAIT_S_MAX: Final = 10.0
_INTERRUPTED: Final = ErrorReport(
    "INTERRUPTED",
    "The process of this run ended before it did.",
    "Nothing was committed; start it again.",
    retryable=True,
)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run document and the exit code that it means."""

    run: dict[str, Any]
    exit_code: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for: as a run of this process, or as a call of a service."""

    resolve: Callable[[Settings, dt.date], Request]
    route: str
    body: dict[str, Any]
    progress: Progress
    # Whether an active run of the dataset lands what is asked for here.
    same: Callable[[dict[str, Any]], bool]


def asked_snapshot(asked: SnapshotRequest) -> Asked:
    """A snapshot. What is not said of it is the dataset's own, which an active run has too."""

    def same(active: dict[str, Any]) -> bool:
        date = asked.ingestion_date or _today().isoformat()
        query = asked.query in {None, active["query"]}
        return query and (active["ingestion_date"], active["record_cap"]) == (date, asked.record_cap)

    return Asked(
        lambda settings, today: resolve_snapshot(asked, settings, today, "cli"),
        "/v1/snapshots",
        _said(asdict(asked)),
        SnapshotProgress(),
        same,
    )


def asked_classification(asked: ClassificationRequest) -> Asked:
    """A classification. A run does not show its prefix: one is joined only if none is asked for here."""
    return Asked(
        lambda settings, today: resolve_classification(asked, settings, today, "cli"),
        "/v1/classifications",
        _said(asdict(asked)),
        ClassificationProgress(),
        lambda active: not asked.full and asked.prefix is None and active["ingestion_date"] == _today().isoformat(),
    )


async def here(settings: Settings, asked: Asked) -> Ended:
    """Carry out the run in this process; SIGINT and SIGTERM cancel it cleanly (130, 143)."""
    from service import wiring  # heavy: `--server` needs nothing of it
    from service.runs.supervisor import request_cancel

    clock = SystemClock()
    request = asked.resolve(settings, clock.now().date())
    async with wiring.opened(settings, clock) as service:
        # The lock is ours, so whoever began these is gone; nobody else will end them.
        for left in await service.store.left_running():
            await service.execution.recover(left)
            if (await service.store.get(left.id)).active:
                await service.store.fail(left.id, _INTERRUPTED)
        run = await service.store.claim(await _created_or_left(service.store, request))
        if run is None:
            raise AssertionError  # nobody else works on this store
        task = asyncio.create_task(service.execution.carry_out(run, asked.progress))
        with _signals_cancel(task) as received:
            await shown(task, asked.progress)
        if received:  # handed back to a queue that nobody looks at
            await request_cancel(service.store, run.id)
        ended = (await service.store.get(run.id)).as_dict()
    return Ended(ended, 128 + received[0] if received and ended["commit"] is None else _code(ended))


async def _created_or_left(store: RunStore, request: Request) -> str:
    """A new run, or the equal one that a drained service left in the queue. Raises `AlreadyActiveError`."""
    try:
        return (await store.create(request)).id
    except AlreadyActiveError as error:
        left = (await store.get(error.run_id)).request
        if replace(left, trigger=request.trigger) == request:
            return error.run_id
        raise


async def through(settings: ClientSettings, asked: Asked, wait_active_s: float) -> Ended:
    """Trigger the run at a service and wait until it has landed or failed.

    An active run that lands the same is joined; another one is waited for, then the own is triggered. Raises
    `AlreadyActiveError` (exit 7) when `wait_active_s` ends first.
    """
    if settings.service_url is None:
        raise ConfigurationError("No service is named.", "Give --server or set SERVICE_URL.")
    token = settings.service_token
    async with ServiceClient(settings.service_url, token.get_secret_value() if token else None) as client:
        deadline_s = asyncio.get_running_loop().time() + wait_active_s
        while True:
            try:
                run = await client.start(asked.route, asked.body)
            except AlreadyActiveError as error:
                run = await client.run(error.run_id)
                if not asked.same(run):
                    await _until_ended(client, run["id"], None, deadline_s, error)
                    continue
            task = asyncio.create_task(_until_ended(client, run["id"], asked.progress, None, None))
            await shown(task, asked.progress)
            run = task.result()
            return Ended(run, _code(run))


async def _until_ended(
    client: ServiceClient, run_id: str, progress: Progress | None, deadline_s: float | None, late: Exception | None
) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    patience = Retrying(_POLL_ATTEMPTS, _POLL_WAIT_S_MAX, lambda _error: None)
    while True:
        run = await patience.call(lambda: client.run(run_id))
        for name, value in run["progress"].items():
            if progress is not None and hasattr(progress, name):
                setattr(progress, name, value)
        if run["state"] not in ACTIVE:
            return run
        if deadline_s is not None and late is not None and loop.time() >= deadline_s:
            raise late
        await asyncio.sleep(_POLL_S)


def _today() -> dt.date:
    return SystemClock().now().date()


def _said(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value not in {None, False}}


def _code(run: dict[str, Any]) -> int:
    match run["state"]:
        case State.LANDED | State.INGESTED:
            return 0
        case State.PARTIAL:
            return 6
        case _:
            return exit_code(run["error"]["code"]) if run["error"] else 1


@contextlib.contextmanager
def _signals_cancel(task: asyncio.Task[Any]) -> Generator[list[int]]:
    """SIGINT and SIGTERM cancel the task; yields the signals as they come."""
    received: list[int] = []
    loop = asyncio.get_running_loop()

    def cancel(number: int) -> None:
        received.append(number)
        if len(received) == 1:  # a second cancel would break the clean end
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, cancel, number)
    try:
        yield received
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
