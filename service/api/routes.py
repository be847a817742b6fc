"""The routes of docs/api.md: each parses, calls the service, and answers."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from service.api import docs
from service.api.access import Caller, ServiceDep, about, bearer
from service.api.description import RUN_EXAMPLE, Responses, answer, problems
from service.api.models import ClassificationBody, Health, RunBody, RunIdField, RunsQuery, SnapshotBody
from service.api.standing import standing
from service.errors import RefusedError, StoreError
from service.runs.model import Request as RunRequest
from service.runs.model import State
from service.runs.store import IdempotencyKey, RunFilter
from service.runs.triggers import ClassificationRequest, SnapshotRequest, resolve_classification, resolve_snapshot
from service.wiring import Service

# A new route says its own answers with an example each; what every route may answer is added by the description.
v1 = APIRouter(prefix="/v1", tags=["runs"], dependencies=[Depends(bearer)])
pages = APIRouter(tags=["pages"], dependencies=[Depends(bearer)])
health = APIRouter(tags=["health"])

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="the same key and body within 24 hours answer with the same run; another body is refused (422)",
    ),
]
RunId = Annotated[RunIdField, Path(description="the run's id")]
_STARTED: Final[Responses] = {
    202: answer(RUN_EXAMPLE, "Location", description="The run, which is in the queue or already at work."),
    **problems(409, 422, 429),
}


@v1.post("/snapshots", status_code=202, response_model=RunBody, responses=_STARTED)
async def start_snapshot(
    body: SnapshotBody,
    request: Request,
    service: ServiceDep,
    caller: Caller,
    response: Response,
    key: IdempotencyKeyHeader = None,
) -> dict[str, Any]:
    """Start a snapshot run of a dataset."""
    asked = SnapshotRequest(**body.model_dump())
    today = service.clock.now().date()
    wanted = resolve_snapshot(asked, service.settings, today, f"api:{caller.name}")
    known = IdempotencyKey.of(caller.name, "snapshots", key, body.model_dump()) if key else None
    return await _started(service, request, response, wanted, known)


@v1.post("/classifications", status_code=202, response_model=RunBody, responses=_STARTED)
async def start_classification(
    body: ClassificationBody,
    request: Request,
    service: ServiceDep,
    caller: Caller,
    response: Response,
    key: IdempotencyKeyHeader = None,
) -> dict[str, Any]:
    """Start a classification run of the configured volume."""
    asked = ClassificationRequest(**body.model_dump())
    today = service.clock.now().date()
    wanted = resolve_classification(asked, service.settings, today, f"api:{caller.name}")
    known = IdempotencyKey.of(caller.name, "classifications", key, body.model_dump()) if key else None
    return await _started(service, request, response, wanted, known)


async def _started(
    service: Service, request: Request, response: Response, wanted: RunRequest, key: IdempotencyKey | None
) -> dict[str, Any]:
    run = await service.store.create(wanted, key, service.settings.runs_active_max)
    about(request, run.id)
    if run.state is State.QUEUED:
        service.supervisor.wake()
    response.headers["Location"] = f"/v1/runs/{run.id}"
    return run.as_dict()


@v1.get(
    "/runs",
    response_model=list[RunBody],
    responses={200: answer([RUN_EXAMPLE], "Link", description="A page of runs, newest first.")},
)
async def list_runs(
    request: Request, response: Response, service: ServiceDep, wanted: Annotated[RunsQuery, Query()]
) -> list[dict[str, Any]]:
    """Runs, newest first; the `Link` header leads to the next page."""
    filters = RunFilter(wanted.kind, wanted.dataset, wanted.state, wanted.cursor)
    runs = await service.store.list(filters, wanted.limit + 1)
    if len(runs) > wanted.limit:
        following = {**request.query_params, "cursor": runs[wanted.limit - 1].id}
        response.headers["Link"] = f'</v1/runs?{urlencode(following)}>; rel="next"'
    return [run.as_dict() for run in runs[: wanted.limit]]


@v1.get(
    "/runs/{run_id}",
    response_model=RunBody,
    responses={200: answer(RUN_EXAMPLE, description="The run."), **problems(404)},
)
async def show_run(run_id: RunId, service: ServiceDep) -> dict[str, Any]:
    """One run."""
    return (await service.store.get(run_id)).as_dict()


@v1.post(
    "/runs/{run_id}/cancel",
    status_code=202,
    response_model=RunBody,
    responses={202: answer(RUN_EXAMPLE, description="The run, which is asked to stop."), **problems(404, 409)},
)
async def cancel_run(run_id: RunId, request: Request, service: ServiceDep) -> dict[str, Any]:
    """Ask a run to stop; it may still end landed, when its commit was on the way."""
    about(request, run_id)
    run = await service.supervisor.cancel(run_id)
    if run is None:
        raise RefusedError("ALREADY_ENDED", f"Run {run_id} has ended already.", "There is nothing to cancel.")
    return run.as_dict()


@health.get("/healthz", response_model=Health, responses={200: answer({"status": "alive"}, description="It is.")})
async def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@health.get("/readyz", response_model=Health, responses={200: answer({"status": "ready"}, description="It is.")})
async def ready(service: ServiceDep) -> dict[str, str]:
    """The run store answers, and the service is not draining."""
    if service.supervisor.draining:
        raise StoreError("SERVICE_UNAVAILABLE", "This service is shutting down.", "Ask another replica.")
    try:
        await service.store.ping()
    except StoreError as error:
        raise StoreError("SERVICE_UNAVAILABLE", error.message, error.hint) from error
    return {"status": "ready"}


@pages.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: answer('dxr_ingest_runs{state="landed"} 1.0', description="Metrics.", media_type="text/plain")},
)
async def metrics(service: ServiceDep) -> Response:
    """Prometheus' text format."""
    text = service.metrics.scrape(await standing(service))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@pages.get("/openapi.json", responses={200: answer({"openapi": "3.1.0"}, description="OpenAPI 3.1.")})
async def description(request: Request) -> dict[str, Any]:
    """The description of this API."""
    return request.app.openapi()


@pages.get(
    "/docs",
    response_class=HTMLResponse,
    responses={200: answer("<!doctype html>…", description="HTML.", media_type="text/html")},
)
async def docs_page(request: Request) -> str:
    """The same for people."""
    return docs.page(request.app.openapi())


@pages.get(
    "/docs.css",
    response_class=Response,
    responses={200: answer("body { margin: 2rem }", description="CSS.", media_type="text/css")},
)
async def docs_style() -> Response:
    """How that page looks."""
    return Response(docs.STYLE, media_type="text/css")
