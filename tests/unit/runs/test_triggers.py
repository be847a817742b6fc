"""From what is asked to what a run does."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from service.errors import ConfigurationError, RefusedError
from service.runs.triggers import SnapshotRequest, resolve_snapshot

if TYPE_CHECKING:
    from tests.conftest import MakeSettings

TODAY = dt.date(2026, 11, 22)


def resolve(make_settings: MakeSettings, asked: dict[str, Any], **flags: Any) -> Any:
    return resolve_snapshot(SnapshotRequest(**asked), make_settings(**flags), TODAY, "test")


def test_defaults(make_settings: MakeSettings) -> None:
    request = resolve(make_settings, {}, dxr_query="size > 1", dxr_record_cap=7)
    assert (request.dataset, request.query, request.record_cap) == ("file_metadata", "size > 1", 7)
    assert request.ingestion_date == "2026-11-22"
    assert resolve(make_settings, {}, dxr_ingestion_date="2026-01-02").ingestion_date == "2026-01-02"


def test_a_configured_dataset_brings_its_query(make_settings: MakeSettings) -> None:
    datasets = {"pii": {"query": "labels.id:1"}}
    assert resolve(make_settings, {"dataset": "pii"}, datasets=datasets).query == "labels.id:1"
    assert resolve(make_settings, {"dataset": "pii", "query": "labels.id:1"}, datasets=datasets).query == "labels.id:1"
    assert resolve(make_settings, {"dataset": "other", "query": "x"}, datasets=datasets).query == "x"


@pytest.mark.parametrize(
    ("asked", "reads"),
    [
        ({"query": "x"}, "it would replace the day's full snapshot"),
        ({"dataset": "pii", "query": "x"}, "it would replace the day's full snapshot"),
        ({"dataset": "unknown"}, "is not configured"),
        ({"dataset": "dxr_quarantine", "query": "x"}, "name of another table"),
        ({"dataset": "dxr_metadata", "query": "x"}, "name of another table"),
        ({"dataset": "Bad-Name", "query": "x"}, "not allowed"),
        ({"dataset": "../etc", "query": "x"}, "not allowed"),
        ({"dataset": "other", "query": "x" * 9000}, "too long"),
        ({"ingestion_date": "20260101"}, "no date"),
        ({"ingestion_date": "2026-02-30"}, "no date"),
        ({"ingestion_date": "2026-W01-1"}, "no date"),
        ({"record_cap": -1}, "not positive"),
    ],
)
def test_what_is_refused(make_settings: MakeSettings, asked: dict[str, Any], reads: str) -> None:
    with pytest.raises(RefusedError, match=reads) as caught:
        resolve(make_settings, asked, datasets={"pii": {"query": "labels.id:1"}})
    assert caught.value.code == "UNPROCESSABLE"
    assert caught.value.hint


def test_without_a_token_the_variables_are_named(make_settings: MakeSettings) -> None:
    settings = make_settings().model_copy(update={"dxr_bearer_token": None})
    with pytest.raises(ConfigurationError, match="DXR_BEARER_TOKEN or DXR_BEARER_TOKEN_FILE"):
        resolve_snapshot(SnapshotRequest(), settings, TODAY, "test")
