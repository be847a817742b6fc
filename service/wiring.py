"""Builds the concrete parts from settings: the only module that knows them all."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import ssl
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import stamina.instrumentation
import structlog

from service.classification.flow import ClassificationFlow
from service.classification.lane import LaneTimes
from service.classification.mounted import MountedVolume
from service.classification.packing import Budget
from service.classification.records import Volume
from service.classification.remote import RemoteVolume
from service.clock import Clock, SystemClock, as_text
from service.databricks.files import Files
from service.databricks.identity import Credentials, Identity
from service.databricks.secrets import read_secret
from service.databricks.workspace import Workspace
from service.dxr.classifier import Classifier
from service.dxr.files import FilesStream
from service.dxr.session import DxrSession
from service.dxr.token import BearerToken, read_token_file
from service.errors import DxrIngestError, UpstreamError
from service.landing.cleanup import clean
from service.landing.folder import FolderLanding
from service.landing.ledger import Ledger
from service.landing.volume import VolumeLanding
from service.observability.metrics import Metrics
from service.retrying import Retrying
from service.runs.claims import Claims
from service.runs.database import Database
from service.runs.datasets import Datasets
from service.runs.execution import Execution
from service.runs.lock import held_state_dir
from service.runs.model import Kind
from service.runs.receipts import note_receipts, settle_unsure
from service.runs.store import RunStore
from service.runs.supervisor import Chore, Supervisor
from service.runs.watch import RunWatch
from service.settings import VOLUMES
from service.snapshot.flow import SnapshotFlow
from service.snapshot.lander import Limits
from service.snapshot.plan import SnapshotRules

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from concurrent.futures import Executor

    from pydantic import SecretStr

    from service.classification.volume import VolumeFiles
    from service.landing.port import Landing
    from service.settings import Settings, StoreSettings

_log = structlog.get_logger(__name__)
# They store the records of classifications.
_WORKERS = 2
# Tries of one request to Databricks: with one in ten failing, one request in a hundred million is given up.
_DATABRICKS_TRIES_MAX = 8
_HOUSEKEEPING_S = 24 * 3600.0
_HOUSEKEEPING_FIRST_S = 300.0
# For the metrics of freshness.
_DAYS_WATCHED = 30


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service."""

    settings: Settings
    clock: Clock
    store: RunStore
    claims: Claims
    landing: Landing
    execution: Execution
    supervisor: Supervisor
    metrics: Metrics
    datasets: Datasets
    watch: RunWatch


@contextlib.asynccontextmanager
async def opened_store(settings: StoreSettings, clock: Clock | None = None) -> AsyncGenerator[RunStore]:
    """The run store alone, as it is: reading commands change nothing beside a running service."""
    clock = clock or SystemClock()
    database = Database(settings.store_url, clock)
    try:
        yield RunStore(database, clock)
    finally:
        await database.close()


@dataclass(frozen=True, slots=True)
class Partners:
    """Everybody outside whom a run speaks to, but for the run store."""

    workspace: Workspace
    session: DxrSession
    landing: Landing


@contextlib.asynccontextmanager
async def opened_partners(settings: Settings, metrics: Metrics) -> AsyncGenerator[Partners]:
    """The connections, of which none is made yet."""
    stamina.instrumentation.set_on_retry_hooks([])  # attempts are counted and logged here, once
    async with _databricks(settings, metrics) as workspace, _dxr(settings, workspace) as session:
        yield Partners(workspace, session, _landing(settings, workspace))


@contextlib.asynccontextmanager
async def opened(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[Service]:
    """The service, ready to work; this process is then the one that carries out the runs of its store."""
    clock = clock or SystemClock()
    metrics = Metrics()
    with held(settings), ThreadPoolExecutor(_WORKERS, thread_name_prefix="landing") as workers:
        async with (
            opened_store(settings, clock) as store,
            opened_partners(settings, metrics) as partners,
        ):
            await store.database.migrate()
            claims = Claims(store.database, _this_process(), settings.service_lease_seconds)
            if settings.sqlite_folder:  # the lock is ours: whoever held a lease is gone
                await claims.release_all()
            await _sign_in(settings, partners.workspace)
            landing = partners.landing
            snapshots = SnapshotFlow(
                source=FilesStream(partners.session),
                landing=landing,
                limits=Limits(settings.dxr_max_row_bytes, settings.landing_chunk_bytes),
                rules=SnapshotRules(settings.snapshot_allow_empty, settings.snapshot_min_rows_ratio),
                stall_timeout_s=settings.dxr_http_timeout,
                accept_unproven=settings.dxr_accept_unproven_streams,
                retrying=Retrying(
                    settings.dxr_retry_attempts,
                    settings.dxr_retry_max_wait_seconds,
                    lambda error: _note(metrics, error),
                    lambda error: metrics.retried("dxr", error),
                ),
                clock=clock,
            )
            classifications = _classifications(settings, partners, snapshots, workers)
            execution = Execution(
                landing, snapshots, classifications, metrics, clock, takeovers_max=settings.run_takeovers_max
            )
            datasets = _datasets(settings, store, landing, clock)
            supervisor = Supervisor(store, claims, execution, _chores(settings, store, landing, datasets, clock))
            watch = RunWatch(store, clock)
            yield Service(settings, clock, store, claims, landing, execution, supervisor, metrics, datasets, watch)


@contextlib.asynccontextmanager
async def opened_datasets(settings: Settings) -> AsyncGenerator[Datasets]:
    """The days of all datasets, for reading beside a running service."""
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        partners = await stack.enter_async_context(opened_partners(settings, Metrics()))
        store = await stack.enter_async_context(opened_store(settings, clock)) if settings.has_store else None
        yield _datasets(settings, store, partners.landing, clock)


def _datasets(settings: Settings, store: RunStore | None, landing: Landing, clock: Clock) -> Datasets:
    """With every dataset that somebody expects to be there each day."""
    configured = dict.fromkeys([settings.snapshot_dataset, *settings.datasets], Kind.SNAPSHOT)
    if not settings.missing_for_classification:
        configured[settings.classification_dataset] = Kind.CLASSIFICATION
    return Datasets(store, Ledger(landing), configured, clock)


def held(settings: StoreSettings) -> contextlib.AbstractContextManager[None]:
    """The right to work on the run store: SQLite's file is one process's, PostgreSQL's claims need no lock."""
    return held_state_dir(settings.sqlite_folder) if settings.sqlite_folder else contextlib.nullcontext()


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def _chores(settings: Settings, store: RunStore, landing: Landing, datasets: Datasets, clock: Clock) -> list[Chore]:
    """What is looked after beside the runs, with the seconds between two looks."""

    async def ask_the_landing() -> None:
        await note_receipts(store, landing)
        await settle_unsure(store, landing)

    async def look_at_the_days() -> None:
        await datasets.of_days(_DAYS_WATCHED)

    async def keep_house() -> None:
        now = clock.now()
        await store.forget(as_text(now - dt.timedelta(days=settings.run_history_days)))
        await clean(landing, store.ended, settings.landing_retention_days, now, dry_run=False)

    return [
        Chore(ask_the_landing, settings.receipt_poll_seconds),
        Chore(look_at_the_days, settings.receipt_poll_seconds),
        Chore(keep_house, _HOUSEKEEPING_S, first_after_s=_HOUSEKEEPING_FIRST_S),
    ]


def _classifications(
    settings: Settings, partners: Partners, snapshots: SnapshotFlow, workers: Executor
) -> ClassificationFlow | None:
    """The classification flow, when its volume is configured."""
    catalog, schema, name = settings.volume_catalog, settings.volume_schema, settings.volume_name
    if catalog is None or schema is None or name is None:
        return None
    return ClassificationFlow(
        session=partners.session,
        classifier=Classifier(partners.session, settings.dxr_api_prefix),
        api_prefix=settings.dxr_api_prefix,
        datasource_ids=tuple(settings.datasource_ids),
        volume=Volume(catalog, schema, name),
        files=_volume_files(settings, partners.workspace, f"{catalog}/{schema}/{name}"),
        budget=Budget(settings.dxr_max_bytes_per_job, settings.dxr_max_files_per_job),
        times=LaneTimes(
            settings.dxr_poll_interval_seconds, settings.dxr_job_timeout_seconds, settings.dxr_settle_seconds
        ),
        landing=partners.landing,
        chunk_bytes_max=settings.landing_chunk_bytes,
        retrying=snapshots.retrying,
        workers=workers,
        clock=snapshots.clock,
    )


@contextlib.asynccontextmanager
async def _databricks(settings: Settings, metrics: Metrics) -> AsyncGenerator[Workspace]:
    """The workspace; it is spoken to only where the landing, a volume or a secret needs it."""

    def value(secret: SecretStr | None) -> str | None:
        return secret.get_secret_value() if secret else None

    credentials = Credentials(
        settings.databricks_host,
        value(settings.databricks_token),
        settings.databricks_client_id,
        value(settings.databricks_client_secret),
    )
    retrying = Retrying(
        _DATABRICKS_TRIES_MAX,
        settings.dxr_retry_max_wait_seconds,
        metrics.databricks_request_failed,
        lambda error: metrics.retried("databricks", error),
    )
    workspace = Workspace(Identity(credentials), settings.dxr_user_agent, retrying)
    try:
        yield workspace
    finally:
        await workspace.close()


async def _sign_in(settings: Settings, workspace: Workspace) -> None:
    """Where the landing is a volume, wrong credentials end the start."""
    if settings.landing_volume:
        try:
            _log.info("databricks_signed_in", host=await workspace.sign_in())
        except UpstreamError as error:  # it may come back; a run would say so
            _log.warning("databricks_away", code=error.code)


def _volume_files(settings: Settings, workspace: Workspace, name: str) -> VolumeFiles:
    """Through the mount, where there is one; else through the Files API of the workspace that is configured."""
    mount = settings.volume_base_path / name
    if settings.databricks_host and settings.volume_base_path == VOLUMES and not mount.is_dir():
        return RemoteVolume(f"{VOLUMES}/{name}", Files(workspace))
    return MountedVolume(mount)


def _landing(settings: Settings, workspace: Workspace) -> Landing:
    if settings.landing_volume:
        return VolumeLanding(settings.landing_volume, Files(workspace))
    return FolderLanding(settings.landing_path)


@contextlib.asynccontextmanager
async def _dxr(settings: Settings, workspace: Workspace) -> AsyncGenerator[DxrSession]:
    token = _dxr_token(settings, workspace)
    session = DxrSession(settings.dxr_base_url, token, settings.dxr_user_agent, tls=_tls(settings))
    try:
        yield session
    finally:
        await session.close()


def _dxr_token(settings: Settings, workspace: Workspace) -> BearerToken:
    file, value, secret = settings.dxr_bearer_token_file, settings.dxr_bearer_token, settings.dxr_secret
    if file:
        return BearerToken("DXR_BEARER_TOKEN_FILE", lambda: read_token_file(file))
    if value or not secret:
        return BearerToken("DXR_BEARER_TOKEN", lambda: _said(value))
    scope, key = secret
    return BearerToken(f"the Databricks secret {scope}/{key}", lambda: read_secret(workspace, scope, key))


async def _said(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


def _tls(settings: Settings) -> ssl.SSLContext | bool:
    if not settings.dxr_verify_ssl:
        _log.warning("tls_not_verified", setting="DXR_VERIFY_SSL")
        return False
    # Without a bundle of its own, aiohttp has that context already.
    return ssl.create_default_context(cafile=settings.dxr_ca_bundle_path) if settings.dxr_ca_bundle_path else True


def _note(metrics: Metrics, error: Exception) -> None:
    reason = error.code if isinstance(error, DxrIngestError) else "INTERNAL"
    metrics.attempt_failed(reason)
    _log.warning("attempt_failed", code=reason)
