"""A run from its trigger to its landing, in this process or through a service, with progress."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import typer

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

    from service.runs.execution import Work
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
    """A classification. Without a prefix here it is the service's, and a run of the whole volume surely holds that."""

    def same(active: dict[str, Any]) -> bool:
        scope = active["progress"]
        wide_enough = scope["full"] or not asked.full
        wanted = (_today().isoformat(), asked.prefix or "")
        return wide_enough and (active["ingestion_date"], scope["prefix"]) == wanted

    return Asked(
        lambda settings, today: resolve_classification(asked, settings, today, "cli"),
        "/v1/classifications",
        _said(asdict(asked)),
        ClassificationProgress(),
        same,
    )


async def here(settings: Settings, asked: Asked) -> Ended:
    """Carry out the run in this process; SIGINT and SIGTERM hand it back cleanly (130, 143).

    The same command then takes it up again: a classification goes on where it was.
    """
    from service import wiring  # heavy: `--server` needs nothing of it
    from service.runs.execution import Work

    clock = SystemClock()
    request = asked.resolve(settings, clock.now().date())
    async with wiring.opened(settings, clock) as service:
        run_id = await _created_or_left(service.store, request, alone=settings.sqlite_folder is not None)
        claim = await service.claims.claim(run_id)
        if claim is None:  # a replica of the service on the same store was quicker
            await _until_others_ended(service.store, run_id)
            ended = (await service.store.get(run_id)).as_dict()
            return Ended(ended, code_of(ended))
        work = Work(claim)
        task = work.begin(service.execution)
        with _signals_stop(work) as received:
            await shown(task, work.progress)
        ended = (await service.store.get(run_id)).as_dict()
    return Ended(ended, 128 + received[0] if received and ended["commit"] is None else code_of(ended))


async def _created_or_left(store: RunStore, request: Request, *, alone: bool) -> str:
    """A new run, or the equal one that is in the queue. Raises `AlreadyActiveError`.

    Where this process is alone on its store, a run of the dataset that asks for something else was left by a process
    that is gone: nobody would ever end it.
    """
    while True:
        try:
            return (await store.create(request)).id
        except AlreadyActiveError as error:
            left = await store.get(error.run_id)
            if replace(left.request, trigger=request.trigger) == request:
                return error.run_id
            if not alone:
                raise
            await store.abandon(error.run_id, _INTERRUPTED)


async def _until_others_ended(store: RunStore, run_id: str) -> None:
    while (await store.get(run_id)).active:  # noqa: ASYNC110 - another process ends it
        await asyncio.sleep(_POLL_S)


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
                same = asked.same(run)
                typer.echo(f"{'joined' if same else 'waiting for the end of'} active run {run['id']}", err=True)
                if not same:
                    await _until_ended(client, run["id"], None, deadline_s, error)
                    continue
            task = asyncio.create_task(_until_ended(client, run["id"], asked.progress, None, None))
            await shown(task, asked.progress)
            run = task.result()
            return Ended(run, code_of(run))


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


def code_of(run: dict[str, Any]) -> int:
    """The exit code of a run that has ended."""
    match run["state"]:
        case State.LANDED | State.INGESTED:
            return 0
        case State.PARTIAL:
            return 6
        case _:
            return exit_code(run["error"]["code"]) if run["error"] else 1


@contextlib.contextmanager
def _signals_stop(work: Work) -> Generator[list[int]]:
    """SIGINT and SIGTERM stop the work; yields the signals as they come."""
    received: list[int] = []
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        received.append(number)
        work.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        yield received
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
