"""The command line: parse, call, render, exit code. Heavy imports wait until a command needs them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import sys
import traceback
from dataclasses import replace
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from service import __version__
from service.errors import DxrIngestError, ErrorReport, exit_code

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from service.api.client import ServiceClient
    from service.cli.trigger import Asked
    from service.runs.store import RunStore
    from service.settings import StoreSettings

_Loadable = TypeVar("_Loadable", bound="StoreSettings")

app = typer.Typer(
    name="dxr-ingest",
    help="Land Data X-Ray file metadata for Delta tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
runs_app = typer.Typer(no_args_is_help=True, help="Look at runs, or stop one.")
config_app = typer.Typer(no_args_is_help=True, help="Look at the settings.")
app.add_typer(runs_app, name="runs")
app.add_typer(config_app, name="config")

_NO_STORE = "There is no run store here yet: set STATE_DIR or DATABASE_URL, or ask a service with --server."
_debug = False
_config: Path | None = None


class Output(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text, or one JSON document on stdout")]
ServerOption = Annotated[
    str | None, typer.Option("--server", help="work through the service at this address (SERVICE_URL)")
]


def run() -> None:
    """Run the command line; every error becomes one clear message and its exit code."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the edge: the text of one that is not ours may hold a row or a token
        if _debug:
            _show_places(error)
        if isinstance(error, DxrIngestError):
            report = ErrorReport.of(error)
        else:
            hint = "Run it again with --debug, which shows where, and report that."
            report = replace(ErrorReport.unexpected(error), hint=hint)
        _complain(report)
        sys.exit(exit_code(report.code))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dxr-ingest {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    config: Annotated[Path | None, typer.Option(help="YAML file with settings (default: dxr-ingest.yaml)")] = None,
    debug: Annotated[bool, typer.Option(help="show tracebacks")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="show the version", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    global _debug, _config
    _debug, _config = debug, config
    _import_structlog_without_colours()


def _import_structlog_without_colours() -> None:
    """It would import rich for tracebacks that are never shown here: 7 MiB for as long as the process lives."""
    modules: dict[str, Any] = sys.modules
    modules.setdefault("rich", None)  # Python's sign for what cannot be imported
    importlib.import_module("structlog")
    if modules["rich"] is None:
        del modules["rich"]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on (SERVICE_HOST)")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on (SERVICE_PORT)")] = None,
    landing_path: Annotated[str | None, typer.Option(help="root of the landing (LANDING_PATH)")] = None,
    state_dir: Annotated[str | None, typer.Option(help="folder of the run store (STATE_DIR)")] = None,
    base_url: Annotated[str | None, typer.Option(help="Data X-Ray tenant (DXR_BASE_URL)")] = None,
) -> None:
    """Answer triggers over HTTP and carry out the runs."""
    from service.api.server import serve as serve_until_stopped
    from service.settings import Settings

    flags = {
        "service_host": host,
        "service_port": port,
        "landing_path": landing_path,
        "state_dir": state_dir,
        "dxr_base_url": base_url,
    }
    settings = _load(Settings, flags)
    _log_to_stderr(settings.log_level)
    asyncio.run(serve_until_stopped(settings))


@app.command()
def snapshot(
    dataset: Annotated[str | None, typer.Option(help="dataset (SNAPSHOT_DATASET)")] = None,
    ingestion_date: Annotated[str | None, typer.Option(help="date of the snapshot, YYYY-MM-DD")] = None,
    query: Annotated[str | None, typer.Option(help="KQL filter, for a dataset of its own")] = None,
    record_cap: Annotated[int | None, typer.Option(min=1, help="stop after so many rows")] = None,
    accept_shrunken: Annotated[bool, typer.Option(help="publish even far fewer rows than before")] = False,
    server: ServerOption = None,
    wait_active: Annotated[float, typer.Option(help="with --server: seconds to wait for another active run")] = 3600,
    base_url: Annotated[str | None, typer.Option(help="Data X-Ray tenant (DXR_BASE_URL)")] = None,
    bearer_token: Annotated[str | None, typer.Option(help="DXR token; visible to others: prefer the file")] = None,
    verify_ssl: Annotated[str | None, typer.Option(help="true or false (DXR_VERIFY_SSL)")] = None,
    http_timeout: Annotated[float | None, typer.Option(help="seconds without a row (DXR_HTTP_TIMEOUT)")] = None,
    user_agent: Annotated[str | None, typer.Option(help="User-Agent header (DXR_USER_AGENT)")] = None,
    landing_path: Annotated[str | None, typer.Option(help="root of the landing (LANDING_PATH)")] = None,
    state_dir: Annotated[str | None, typer.Option(help="folder of the run store (STATE_DIR)")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Take a snapshot and wait until it has landed, in this process or through a service."""
    from service.cli.trigger import asked_snapshot
    from service.runs.triggers import SnapshotRequest

    if bearer_token and not server:
        typer.echo("warning: --bearer-token is visible in the process list; prefer DXR_BEARER_TOKEN_FILE", err=True)
    flags = {
        "dxr_base_url": base_url,
        "dxr_bearer_token": bearer_token,
        "dxr_verify_ssl": verify_ssl,
        "dxr_http_timeout": http_timeout,
        "dxr_user_agent": user_agent,
        "landing_path": landing_path,
        "state_dir": state_dir,
    }
    asked = SnapshotRequest(dataset, ingestion_date, query, record_cap, accept_shrunken)
    _trigger(asked_snapshot(asked), server, wait_active, flags, output)


@app.command()
def classify(
    dataset: Annotated[str | None, typer.Option(help="dataset (CLASSIFICATION_DATASET)")] = None,
    prefix: Annotated[str | None, typer.Option(help="only files below this folder of the volume")] = None,
    full: Annotated[bool, typer.Option(help="classify unchanged files too")] = False,
    server: ServerOption = None,
    wait_active: Annotated[float, typer.Option(help="with --server: seconds to wait for another active run")] = 3600,
    base_url: Annotated[str | None, typer.Option(help="Data X-Ray tenant (DXR_BASE_URL)")] = None,
    verify_ssl: Annotated[str | None, typer.Option(help="true or false (DXR_VERIFY_SSL)")] = None,
    landing_path: Annotated[str | None, typer.Option(help="root of the landing (LANDING_PATH)")] = None,
    state_dir: Annotated[str | None, typer.Option(help="folder of the run store (STATE_DIR)")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Classify the files of the configured volume and wait until the labels have landed."""
    from service.cli.trigger import asked_classification
    from service.runs.triggers import ClassificationRequest

    flags = {
        "dxr_base_url": base_url,
        "dxr_verify_ssl": verify_ssl,
        "landing_path": landing_path,
        "state_dir": state_dir,
    }
    _trigger(asked_classification(ClassificationRequest(dataset, prefix, full)), server, wait_active, flags, output)


@runs_app.command("list")
def list_runs(
    kind: Annotated[str | None, typer.Option(help="snapshot or classification")] = None,
    dataset: Annotated[str | None, typer.Option(help="only of this dataset")] = None,
    state: Annotated[str | None, typer.Option(help="only in this state")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="how many")] = 50,
    server: ServerOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Runs, newest first."""
    from service.runs.store import RunFilter

    filters = {"kind": kind, "dataset": dataset, "state": state}

    async def fetch() -> list[dict[str, Any]]:
        if client := _client(server):
            async with client:
                return await client.runs(**filters, limit=limit)
        async with _opened_store() as store:
            return [run.as_dict() for run in await store.list(RunFilter(**filters), limit)] if store else []

    found = asyncio.run(fetch())
    if output is Output.JSON:
        typer.echo(json.dumps(found))
        return
    from service.cli.table import lines_of, width

    typer.echo("\n".join(lines_of(found, width())) if found else "no runs")


@runs_app.command("show")
def show_run(run_id: str, server: ServerOption = None, output: OutputOption = Output.TEXT) -> None:
    """One run."""
    from service.errors import NotFoundError

    async def fetch() -> dict[str, Any]:
        if client := _client(server):
            async with client:
                return await client.run(run_id)
        async with _opened_store() as store:
            if store is None:
                raise NotFoundError(f"There is no run {run_id}.", _NO_STORE)
            return (await store.get(run_id)).as_dict()

    _show_run(asyncio.run(fetch()), output)


@runs_app.command("watch")
def watch_run(run_id: str, server: ServerOption = None, output: OutputOption = Output.TEXT) -> None:
    """A run until nothing more will happen to it: landed and its receipt seen (for at most 15 minutes), or failed.

    Ends with the exit code of the run.
    """
    from service.cli import watch
    from service.cli.trigger import code_of
    from service.errors import NotFoundError

    async def follow() -> dict[str, Any]:
        if client := _client(server):
            async with client:
                return await watch.shown(client.events(run_id))
        async with _opened_store() as store:
            if store is None:
                raise NotFoundError(f"There is no run {run_id}.", _NO_STORE)
            return await watch.in_store(store, run_id)

    _log_to_stderr("error")
    run = asyncio.run(follow())
    _show_run(run, output)
    raise typer.Exit(code_of(run))


@runs_app.command("cancel")
def cancel_run(run_id: str, server: ServerOption = None, output: OutputOption = Output.TEXT) -> None:
    """Ask a run to stop; it ends within seconds, perhaps still landed."""
    from service.errors import NotFoundError, RefusedError
    from service.runs.supervisor import request_cancel

    async def ask() -> dict[str, Any]:
        if client := _client(server):
            async with client:
                return await client.cancel(run_id)
        async with _opened_store() as store:
            if store is None:
                raise NotFoundError(f"There is no run {run_id}.", _NO_STORE)
            run = await request_cancel(store, run_id)
            if run is None:
                raise RefusedError("ALREADY_ENDED", f"Run {run_id} has ended already.", "There is nothing to cancel.")
            return run.as_dict()

    run = asyncio.run(ask())
    _show_run(run, output)
    if run["state"] == "running":
        typer.echo("  It is asked to stop; `dxr-ingest runs watch` shows its end.", err=True)


@app.command()
def status(
    dataset: Annotated[str | None, typer.Option(help="only this one")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=365, help="show and judge so many days up to yesterday")
    ] = None,
    date: Annotated[str | None, typer.Option(help="judge this day, YYYY-MM-DD (default: yesterday)")] = None,
    server: ServerOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Was yesterday complete? Ends with 0, or with 6 when a day that is judged is missing or not complete.

    All datasets of the configuration are judged, all times are UTC. Without --days and --date, yesterday is.
    """
    from service.cli import status as days_of
    from service.cli.strip import dates_judged, judged, lacking, verdict
    from service.errors import NotFoundError, RefusedError
    from service.settings import Settings

    back = days_of.days_back(date) if date else 0
    if back not in range(366):
        raise RefusedError("UNPROCESSABLE", "--date is no day of the last year.", "Write it as YYYY-MM-DD.")
    shown = 1 + max(back, days or days_of.DAYS_SHOWN)

    async def fetch() -> list[dict[str, Any]]:
        if client := _client(server):
            async with client:
                return await client.datasets(shown)
        return await days_of.looked_up(_load(Settings), shown)

    _log_to_stderr("error")
    found = [one for one in asyncio.run(fetch()) if dataset in {None, one["dataset"]}]
    if dataset and not found:
        raise NotFoundError(f"There is no dataset {dataset}.", "`dxr-ingest status` shows all.")
    lacks = list(lacking(judged(found, dataset), dates_judged(found, days, date)))
    if output is Output.JSON:
        typer.echo(json.dumps(found))
    else:
        days_of.render(found, lacks)
    raise typer.Exit(verdict(lacks))


@app.command()
def doctor(output: OutputOption = Output.TEXT) -> None:
    """Check, in this order: configuration, DXR, Databricks, landing, run store, receipts. Changes nothing."""
    from service.cli import doctor as checks
    from service.settings import Settings

    findings = asyncio.run(checks.examined(lambda: _load(Settings)))
    if output is Output.JSON:
        typer.echo(json.dumps([finding.as_dict() for finding in findings]))
    else:
        for finding in findings:
            checks.render(finding)
    raise typer.Exit(checks.verdict(findings))


@app.command()
def cleanup(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="change nothing, say what would go")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Remove chunks from the landing whose time is over (LANDING_RETENTION_DAYS). Commits and receipts stay."""
    from service.cli import cleanup as cleaning
    from service.settings import Settings

    settings = _load(Settings)
    _log_to_stderr("warning" if sys.stderr.isatty() else settings.log_level)
    report = asyncio.run(cleaning.cleaned(settings, dry_run=dry_run))
    if output is Output.JSON:
        typer.echo(json.dumps(report.as_dict()))
    else:
        cleaning.render(report)
    raise typer.Exit(1 if report.failed else 0)


@config_app.command("show")
def show_config(output: OutputOption = Output.TEXT) -> None:
    """The settings in force; secrets are masked."""
    from service.settings import Settings, masked

    values = masked(_load(Settings))
    if output is Output.JSON:
        typer.echo(json.dumps(values))
        return
    for name, value in values.items():
        typer.echo(f"{name}={'' if value is None else value}")


@config_app.command("schema")
def show_schema() -> None:
    """Every setting with its type, default and meaning, as JSON Schema."""
    from service.settings import Settings

    typer.echo(json.dumps(Settings.model_json_schema(), indent=2))


def _trigger(asked: Asked, server: str | None, wait_active_s: float, flags: dict[str, Any], output: Output) -> None:
    from service.cli import trigger
    from service.settings import ClientSettings, Settings

    client = _load(ClientSettings, {"service_url": server})
    if client.service_url:
        ended = asyncio.run(trigger.through(client, asked, wait_active_s))
    else:
        settings = _load(Settings, flags)
        _log_to_stderr("warning" if sys.stderr.isatty() else settings.log_level)
        ended = asyncio.run(trigger.here(settings, asked))
    _show_run(ended.run, output)
    raise typer.Exit(ended.exit_code)


def _load(kind: type[_Loadable], flags: dict[str, Any] | None = None) -> _Loadable:
    from service import settings

    _log_to_stderr("warning")  # until more is known: without it, Python would print what libraries say as it is
    return settings.load(kind, flags, _config)


def _log_to_stderr(level: str) -> None:
    from service.observability import logs

    logs.configure(level)


def _client(server: str | None) -> ServiceClient | None:
    from service.settings import ClientSettings

    settings = _load(ClientSettings, {"service_url": server})
    if settings.service_url is None:
        return None
    from service.api.client import ServiceClient

    token = settings.service_token
    return ServiceClient(settings.service_url, token.get_secret_value() if token else None)


@contextlib.asynccontextmanager
async def _opened_store() -> AsyncGenerator[RunStore | None]:
    """The run store for reading, beside a service; None when there has been no run yet."""
    from service import wiring
    from service.settings import StoreSettings

    settings = _load(StoreSettings)
    if not settings.has_store:
        yield None
        return
    async with wiring.opened_store(settings) as store:
        yield store


def _show_run(run: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        typer.echo(json.dumps(run))
        return
    tried = f" after {run['attempt']} attempts" if run["error"] and run["attempt"] > 1 else ""
    typer.echo(f"run {run['id']}: {run['kind']} of {run['dataset']}, {run['ingestion_date']}: {run['state']}{tried}")
    for title in ("counts", "progress"):
        figures = [f"{name} {value:,}" for name, value in run[title].items() if type(value) is int]
        if figures:
            reasons = (f"{code} {count:,}" for code, count in run[title].get("reasons", {}).items())
            typer.echo(f"  {title}: " + ", ".join([*figures, *reasons]))
            break
    if run["commit"]:
        typer.echo(f"  commit: {run['commit']}")
    if run["error"]:
        typer.echo(f"  {run['error']['code']}: {run['error']['message']}\n  {run['error']['hint']}", err=True)


def _show_places(error: BaseException) -> None:
    """The traceback without the texts of errors that are not ours, and without values."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        _show_places(cause)
        typer.echo("\nThen:\n", err=True)
    text = error.message if isinstance(error, DxrIngestError) else "its text may hold data and is not shown"
    typer.echo("".join(traceback.format_tb(error.__traceback__)) + f"{type(error).__qualname__}: {text}", err=True)


def _complain(error: ErrorReport) -> None:
    typer.echo(f"error: {error.message}", err=True)
    if error.hint:
        typer.echo(f"  {error.hint}", err=True)
