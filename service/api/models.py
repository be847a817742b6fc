"""What goes over the wire: the request and answer bodies of docs/api.md, with what each field may be."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from service.classification.volume import clean_prefix
from service.errors import RefusedError
from service.landing.layout import DATASET_PATTERN, RUN_ID_PATTERN
from service.runs.datasets import DAYS_MAX
from service.runs.model import Kind, State
from service.runs.triggers import QUERY_CHARS_MAX

PREFIX_CHARS_MAX: Final = 4096
# Beyond it readers of JSON begin to disagree about integers.
_RECORD_CAP_MAX: Final = 2**53 - 1
# No database stores a zero byte in a text.
_TEXT: Final = r"^[^\x00]*$"


def _real_date(value: str) -> str:
    dt.date.fromisoformat(value)
    return value


def _inside(value: str) -> str:
    try:
        clean_prefix(value)
    except RefusedError as error:
        raise ValueError(error.message) from None
    return value


def _digits(value: object) -> object:
    """A number in a query is written in digits: no sign, no blank, no underscore."""
    if isinstance(value, str) and not re.fullmatch("[0-9]{1,3}", value):
        raise ValueError("digits are expected")
    return value


def _integer(value: object) -> object:
    """JSON has one kind of number: 5.0 is the integer 5 there (JSON Schema, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


DatasetField = Annotated[str, Field(pattern=DATASET_PATTERN)]
RunIdField = Annotated[str, Field(pattern=RUN_ID_PATTERN)]
DateField = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", json_schema_extra={"format": "date"}),
    AfterValidator(_real_date),
]
CapField = Annotated[int, Field(ge=1, le=_RECORD_CAP_MAX), BeforeValidator(_integer)]
QueryField = Annotated[str, Field(min_length=1, max_length=QUERY_CHARS_MAX, pattern=_TEXT)]
PrefixField = Annotated[
    str,
    Field(max_length=PREFIX_CHARS_MAX, pattern=_TEXT),
    AfterValidator(_inside),
    WithJsonSchema(
        {"type": "string", "maxLength": PREFIX_CHARS_MAX, "pattern": r"^(?!([^\x00]*/)?\.\.(/|$))[^\x00]*$"}
    ),
]


class SnapshotBody(BaseModel):
    """Asks for a snapshot; whatever is left out is configuration."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dataset: DatasetField | None = Field(None, description="default: SNAPSHOT_DATASET", examples=["file_metadata"])
    ingestion_date: DateField | None = Field(None, description="default: today in UTC", examples=["2026-11-22"])
    query: QueryField | None = Field(
        None, description="KQL filter, for a dataset of its own; passed on as it is", examples=["size > 1000"]
    )
    record_cap: CapField | None = Field(None, description="stop after so many rows", examples=[9])
    accept_shrunken: bool = Field(default=False, description="publish even if there are far fewer rows than before")


class ClassificationBody(BaseModel):
    """Asks for a classification of the configured volume."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dataset: DatasetField | None = Field(
        None, description="CLASSIFICATION_DATASET, or left out", examples=["dxr_metadata"]
    )
    prefix: PrefixField | None = Field(None, description="only files below this folder", examples=["contracts/2026"])
    full: bool = Field(default=False, description="classify unchanged files too")


class RunsQuery(BaseModel):
    """Which runs a list shows."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind | None = None
    dataset: DatasetField | None = None
    state: State | None = None
    limit: Annotated[int, Field(ge=1, le=200, description="how many"), BeforeValidator(_digits)] = 50
    cursor: RunIdField | None = Field(None, description="the id of the run after which the list goes on")


class DatasetsQuery(BaseModel):
    """How far back `GET /v1/datasets` looks."""

    model_config = ConfigDict(extra="forbid")

    days: Annotated[
        int, Field(ge=1, le=DAYS_MAX, description="how many days up to today"), BeforeValidator(_digits)
    ] = 30


class RunError(BaseModel):
    """Why a run failed, and what to do."""

    code: str = Field(description="the stable name of the error")
    message: str = Field(description="what happened, and where")
    hint: str = Field(description="what to do")
    retryable: bool = Field(description="whether the same run may succeed when it is started again")


class RunBody(BaseModel):
    """A run. Times are ISO 8601 in UTC."""

    id: str = Field(description="UUIDv7")
    kind: Literal["snapshot", "classification"]
    dataset: str
    ingestion_date: str = Field(description="the day that its rows are of")
    query: str | None = Field(description="KQL filter; null: the whole tenant")
    record_cap: int | None = Field(description="the rows after which a snapshot stops; null: it takes all")
    state: Literal["queued", "running", "landed", "partial", "ingested", "failed", "cancelled"] = Field(
        description="landed: its commit is published; partial: likewise, with files that have no labels; ingested: the "
        "receipt says that its rows are in the table"
    )
    attempt: int = Field(description="how many have begun")
    trigger: str = Field(description="who asked: `api:` and the name of the token, or `cli`")
    created_at: str
    started_at: str | None
    ended_at: str | None = Field(description="when it landed, failed or was cancelled")
    progress: dict[str, Any] = Field(
        description="what the current attempt has done so far, by names as in `counts`; of a classification also the "
        "`prefix` that it stays below (empty: the whole volume), and whether it is `full`: unchanged files too"
    )
    counts: dict[str, Any] = Field(
        description="what has landed; of a snapshot `served_lines` = `rows` + `rejected_rows` + `blank_lines`, of a "
        "classification `scanned` = `unchanged` + `labelled` + all `reasons`; with a receipt also `table_rows` and "
        "`quarantined_rows`"
    )
    error: RunError | None
    commit: str | None = Field(description="path of the commit under the landing's root")
    receipt: dict[str, Any] | None = Field(description="what the Spark job says about the commit")


class Health(BaseModel):
    """How the process is: `ready` when the run store answers and the service is not shutting down."""

    status: Literal["alive", "ready"]


class Mistake(BaseModel):
    """One thing that is wrong with a request: its place and its kind, not what was sent."""

    where: str
    what: str


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    type: str
    title: str
    status: int
    code: str = Field(description="the stable name of the problem")
    detail: str
    hint: str = Field(description="what to do next")
    request_id: str = Field(description="as in X-Request-Id and in the service's log")
    run_id: str | None = Field(None, description="of the active run that is in the way")
    mistakes: list[Mistake] | None = None
