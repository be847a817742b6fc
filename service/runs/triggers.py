"""From what a caller asks to what a run will do: defaults resolved, forbidden combinations refused. Pure."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.classification.volume import clean_prefix
from service.errors import ConfigurationError, RefusedError
from service.landing.layout import DATASET_PATTERN, RESERVED_DATASETS
from service.runs.model import Kind, Request

if TYPE_CHECKING:
    from service.settings import Settings

QUERY_CHARS_MAX: Final = 8192


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """What a caller may say about a snapshot; everything else is configuration."""

    dataset: str | None = None
    ingestion_date: str | None = None
    query: str | None = None
    record_cap: int | None = None
    accept_shrunken: bool = False


def resolve_snapshot(asked: SnapshotRequest, settings: Settings, today: dt.date, trigger: str) -> Request:
    """The run that `asked` means. Raises `RefusedError` (`UNPROCESSABLE`) saying what to change."""
    if not settings.has_dxr_token:
        raise ConfigurationError(
            "No DXR token is set: DXR_BEARER_TOKEN or DXR_BEARER_TOKEN_FILE is missing.",
            "Set one of them, then restart.",
        )
    dataset = asked.dataset or settings.snapshot_dataset
    if not re.fullmatch(DATASET_PATTERN, dataset):
        raise _unprocessable("The dataset's name is not allowed.", f"Use a name that matches {DATASET_PATTERN}.")
    if dataset in RESERVED_DATASETS or dataset == settings.classification_dataset:
        raise _unprocessable(f"{dataset} is the name of another table.", "Choose another dataset name.")
    own_query = settings.query_of(dataset)
    query = asked.query or own_query
    if settings.knows(dataset) and query != own_query:
        raise _unprocessable(
            f"The query is not that of dataset {dataset}: it would replace the day's full snapshot by a filtered one.",
            "Give this query a dataset name of its own.",
        )
    if not settings.knows(dataset) and query is None:
        raise _unprocessable(
            f"Dataset {dataset} is not configured.", "Say a query with it, or add it to datasets in dxr-ingest.yaml."
        )
    if query is not None and len(query) > QUERY_CHARS_MAX:
        raise _unprocessable("The query is too long.", f"At most {QUERY_CHARS_MAX} characters are allowed.")
    record_cap = settings.dxr_record_cap if asked.record_cap is None else asked.record_cap
    if record_cap is not None and record_cap < 1:
        raise _unprocessable("record_cap is not positive.", "Ask for at least one row, or leave it out.")
    return Request(
        kind=Kind.SNAPSHOT,
        dataset=dataset,
        ingestion_date=_date(asked.ingestion_date, settings, today),
        query=query,
        record_cap=record_cap,
        accept_shrunken=asked.accept_shrunken,
        trigger=trigger,
    )


@dataclass(frozen=True, slots=True)
class ClassificationRequest:
    """What a caller may say about a classification."""

    dataset: str | None = None
    prefix: str | None = None
    full: bool = False


def resolve_classification(asked: ClassificationRequest, settings: Settings, today: dt.date, trigger: str) -> Request:
    """The run that `asked` means. Raises `ConfigurationError` naming what is missing, or `RefusedError`."""
    if missing := settings.missing_for_classification:
        raise ConfigurationError(
            f"A classification needs settings that are missing: {', '.join(missing)}.", "Set them, then restart."
        )
    if asked.dataset not in {None, settings.classification_dataset}:
        raise _unprocessable(
            "The dataset is not that of the classifications.", f"Leave it out or say {settings.classification_dataset}."
        )
    return Request(
        kind=Kind.CLASSIFICATION,
        dataset=settings.classification_dataset,
        ingestion_date=today.isoformat(),
        query=None,
        record_cap=None,
        accept_shrunken=False,
        trigger=trigger,
        prefix=clean_prefix(settings.volume_prefix if asked.prefix is None else asked.prefix),
        full_scan=asked.full,
    )


def _date(asked: str | None, settings: Settings, today: dt.date) -> str:
    if asked is None:
        return (settings.dxr_ingestion_date or today).isoformat()
    try:
        date = dt.date.fromisoformat(asked)
    except ValueError:
        date = None
    if date is None or date.isoformat() != asked:
        raise _unprocessable("ingestion_date is no date.", "Write it as YYYY-MM-DD.")
    return asked


def _unprocessable(message: str, hint: str) -> RefusedError:
    return RefusedError("UNPROCESSABLE", message, hint)
