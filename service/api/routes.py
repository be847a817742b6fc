"""The routes of the contract, section 3: each parses, calls the service, and answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from service.api.access import PROBLEMS, Caller, ServiceDep, about, bearer
from service.api.models import ClassificationBody, ProblemBody, RunBody, SnapshotBody
from service.api.standing import standing
from service.errors import RefusedError, StoreError
from service.landing.layout import DATASET_PATTERN, RUN_ID_PATTERN
from service.runs.model import Request as RunRequest
from service.runs.model import State
from service.runs.store import IdempotencyKey, RunFilter
from service.runs.triggers import ClassificationRequest, SnapshotRequest, resolve_classification, resolve_snapshot
from service.wiring import Service

v1 = APIRouter(prefix="/v1", dependencies=[Depends(bearer)], responses=PROBLEMS)
pages = APIRouter(dependencies=[Depends(bearer)])
health = APIRouter()

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        description="the same key and body within 24 hours answer with the same run",
    ),
]
RunId = Annotated[str, Path(pattern=RUN_ID_PATTERN)]
_CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": ProblemBody, "description": "an active run is in the way"}}
_MISSING: dict[int | str, dict[str, Any]] = {404: {"model": ProblemBody, "description": "there is no such run"}}


@v1.post("/snapshots", status_code=202, response_model=RunBody, responses=_CONFLICT)
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


@v1.post("/classifications", status_code=202, response_model=RunBody, responses=_CONFLICT)
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
    run = await service.store.create(wanted, key)
    about(request, run.id)
    service.supervisor.wake()
    response.headers["Location"] = f"/v1/runs/{run.id}"
    return run.as_dict()


@v1.get("/runs", response_model=list[RunBody])
async def list_runs(
    request: Request,
    response: Response,
    service: ServiceDep,
    kind: Literal["snapshot", "classification"] | None = None,
    dataset: Annotated[str | None, Query(pattern=DATASET_PATTERN)] = None,
    state: State | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(pattern=RUN_ID_PATTERN)] = None,
) -> list[dict[str, Any]]:
    """Runs, newest first; the `Link` header leads to the next page."""
    runs = await service.store.list(RunFilter(kind, dataset, state, cursor), limit + 1)
    if len(runs) > limit:
        wanted = {**request.query_params, "cursor": runs[limit - 1].id}
        response.headers["Link"] = f'</v1/runs?{urlencode(wanted)}>; rel="next"'
    return [run.as_dict() for run in runs[:limit]]


@v1.get("/runs/{run_id}", response_model=RunBody, responses=_MISSING)
async def show_run(run_id: RunId, service: ServiceDep) -> dict[str, Any]:
    """One run."""
    return (await service.store.get(run_id)).as_dict()


@v1.post("/runs/{run_id}/cancel", status_code=202, response_model=RunBody, responses={**_CONFLICT, **_MISSING})
async def cancel_run(run_id: RunId, request: Request, service: ServiceDep) -> dict[str, Any]:
    """Ask a run to stop; it may still end landed, when its commit was on the way."""
    about(request, run_id)
    run = await service.supervisor.cancel(run_id)
    if run is None:
        raise RefusedError("ALREADY_ENDED", f"Run {run_id} has ended already.", "There is nothing to cancel.")
    return run.as_dict()


@health.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@health.get("/readyz", responses={503: {"model": ProblemBody, "description": "not ready"}})
async def ready(service: ServiceDep) -> dict[str, str]:
    """The run store answers, and the service is not draining."""
    if service.supervisor.draining:
        raise StoreError("SERVICE_UNAVAILABLE", "This service is shutting down.", "Ask another replica.")
    try:
        await service.store.ping()
    except StoreError as error:
        raise StoreError("SERVICE_UNAVAILABLE", error.message, error.hint) from error
    return {"status": "ready"}


@pages.get("/metrics", response_class=Response)
async def metrics(service: ServiceDep) -> Response:
    """Prometheus' text format."""
    text = service.metrics.scrape(await standing(service))
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@pages.get("/openapi.json", include_in_schema=False)
async def description(request: Request) -> dict[str, Any]:
    """The description of this API."""
    return request.app.openapi()
