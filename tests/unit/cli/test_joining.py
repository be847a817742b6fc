"""Which active run of a service is as good as an own one."""

import pytest

from service.cli.trigger import asked_classification, asked_snapshot
from service.clock import SystemClock
from service.runs.triggers import ClassificationRequest, SnapshotRequest

TODAY = SystemClock().now().date().isoformat()
OTHER = "2020-01-01"


@pytest.mark.parametrize(
    ("asked", "active", "same"),
    [
        (ClassificationRequest(), {}, True),
        (ClassificationRequest(), {"full": True}, True),
        (ClassificationRequest(full=True), {}, False),
        (ClassificationRequest(full=True), {"full": True}, True),
        (ClassificationRequest(), {"prefix": "a"}, False),
        (ClassificationRequest(prefix="a"), {"prefix": "a"}, True),
        (ClassificationRequest(prefix="a"), {"prefix": "b"}, False),
        (ClassificationRequest(), {"ingestion_date": OTHER}, False),
    ],
)
def test_a_classification_is_joined_when_it_takes_all_that_is_asked_for(asked, active, same):
    scope = {"prefix": "", "full": False} | active
    shown = {"ingestion_date": scope.pop("ingestion_date", TODAY), "progress": scope}
    assert asked_classification(asked).same(shown) is same


@pytest.mark.parametrize(
    ("asked", "active", "same"),
    [
        (SnapshotRequest(), {}, True),
        (SnapshotRequest(), {"query": "the dataset's own"}, True),
        (SnapshotRequest(query="a"), {"query": "b"}, False),
        (SnapshotRequest(record_cap=3), {}, False),
        (SnapshotRequest(ingestion_date=OTHER), {}, False),
        (SnapshotRequest(ingestion_date=OTHER), {"ingestion_date": OTHER}, True),
    ],
)
def test_a_snapshot_is_joined_when_date_query_and_cap_are_equal(asked, active, same):
    shown = {"ingestion_date": TODAY, "query": None, "record_cap": None} | active
    assert asked_snapshot(asked).same(shown) is same
