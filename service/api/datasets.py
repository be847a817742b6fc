"""`GET /v1/datasets`: was yesterday complete?"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from service.api.access import ServiceDep, bearer
from service.api.description import answer, problems
from service.api.models import DatasetsQuery
from service.errors import DxrIngestError, StoreError

router = APIRouter(prefix="/v1", tags=["datasets"], dependencies=[Depends(bearer)])

_DAY: Final[dict[str, Any]] = {
    "date": "2026-11-21",
    "state": "complete",
    "reason": None,
    "run_id": "01a202f8-192e-72ad-935a-56a1fba81e3a",
    "served_lines": 63265,
    "rows": 63147,
    "rejected_rows": 59,
    "table_rows": 63147,
    "quarantined_rows": 59,
    "landed_at": "2026-11-21T02:04:11.000000Z",
    "ingested_at": "2026-11-21T02:10:43.000000Z",
}


_DATASET: Final = {
    "dataset": "file_metadata",
    "kind": "snapshot",
    "configured": True,
    "first_day": "2026-10-01",
    "data_as_of": "2026-11-21T02:00:00.000000Z",
    "freshness_seconds": 43200,
    "last_complete": _DAY,
    "landing_seen_at": "2026-11-22T14:00:00.000000Z",
    "missing_days": [],
    "days": [_DAY],
}


class DayBody(BaseModel):
    """One day of one dataset, in UTC, with the figures of the run behind it."""

    date: str
    state: Literal["complete", "partial", "failed", "missing", "running", "none"] = Field(
        description="complete: landed whole and in its table; partial: not all of it, `reason` says why; failed: "
        "`reason` is the error's code; missing: nobody tried; running: on its way; none: nothing is expected"
    )
    reason: str | None = Field(
        description="AWAITING_RECEIPT, RECEIPT_OVERDUE, CAPPED, FILES_WITHOUT_LABELS, SUPERSEDED, UNBALANCED, "
        "or the code of an error"
    )
    run_id: str | None
    served_lines: int | None = Field(description="lines of DXR's answer; of a classification, files scanned")
    rows: int | None = Field(description="rows landed")
    rejected_rows: int | None
    table_rows: int | None = Field(description="rows in the table, from the receipt")
    quarantined_rows: int | None
    landed_at: str | None
    ingested_at: str | None


class DatasetBody(BaseModel):
    """A dataset and its last days, the oldest first; the last one is today."""

    dataset: str
    kind: Literal["snapshot", "classification"]
    configured: bool = Field(description="whether it is expected every day")
    first_day: str | None = Field(description="the day of its first run")
    data_as_of: str | None = Field(description="when the run of the newest complete day began")
    freshness_seconds: int | None = Field(description="how long ago that was")
    last_complete: DayBody | None
    landing_seen_at: str | None = Field(description="when the landing was looked at last; long ago: it is away")
    missing_days: list[str]
    days: list[DayBody]


@router.get(
    "/datasets",
    response_model=list[DatasetBody],
    responses={200: answer([_DATASET], description="Every dataset by its name."), **problems(422)},
)
async def list_datasets(
    service: ServiceDep,
    wanted: Annotated[DatasetsQuery, Query()],
) -> list[dict[str, Any]]:
    """Per dataset and day: served, landed, ingested, quarantined, missing."""
    datasets = service.datasets
    try:
        found = await datasets.of_days(wanted.days)
    except StoreError:
        raise
    except DxrIngestError as error:
        raise StoreError("SERVICE_UNAVAILABLE", f"The landing cannot be read: {error.message}", error.hint) from error
    now = service.clock.now()
    return [dataset.as_dict(now, datasets.landing_seen_at) for dataset in found]
