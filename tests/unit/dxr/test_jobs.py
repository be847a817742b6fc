"""Every shape of a job's state that public clients have met."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dxr.jobs import Job, Phase, parse_job
from service.errors import UpstreamError

F = Phase.FINISHED


@pytest.mark.parametrize(
    ("document", "job"),
    [
        ({"id": "7", "state": "FINISHED", "datasourceScanId": 42}, Job("7", F, 42)),
        ({"id": 7, "state": {"value": "finished", "datasourceScanId": 42}}, Job("7", F, 42)),
        ({"id": "7", "job": {"state": "Done", "datasourceScanId": "42"}}, Job("7", F, 42)),
        ({"job": {"id": 7, "state": {"value": "COMPLETED"}}, "datasourceScanId": 42}, Job("7", F, 42)),
        ({"id": "7", "status": "SUCCESSFUL", "state.datasourceScanId": 42}, Job("7", F, 42)),
        ({"id": "7", "jobState": "failed", "message": "x"}, Job("7", Phase.FAILED, None)),
        ({"id": "7", "state": {"value": "FAILED", "errorMessage": "x"}}, Job("7", Phase.FAILED, None)),
        ({"id": "7", "state": "CANCELLED", "error": ""}, Job("7", Phase.CANCELLED, None)),
        ({"id": "7", "state": "AWAITING_RECRAWL_TO_COMPLETE"}, Job("7", Phase.WAITING, None)),
        ({"id": "7", "state": "SOMETHING_NEW"}, Job("7", Phase.WAITING, None)),
        ({"id": "7", "state": 5}, Job("7", Phase.WAITING, None)),
        ({"id": "7", "state": {"value": "FINISHED", "errorMessage": "one file was odd"}}, Job("7", F, None)),
        ({"id": "7", "job": {"id": None, "state": " done "}}, Job("7", F, None)),
        ({"id": 0, "state": "RUNNING"}, Job("0", Phase.WAITING, None)),
        ({"id": True, "state": None, "datasourceScanId": True}, Job(None, Phase.WAITING, None)),
        ({}, Job(None, Phase.WAITING, None)),
    ],
)
def test_shapes(document: dict[str, Any], job: Job) -> None:
    assert parse_job(document) == job


@pytest.mark.parametrize("document", [None, [], "FINISHED", 5])
def test_what_is_no_object_is_no_answer(document: object) -> None:
    with pytest.raises(UpstreamError):
        parse_job(document)


KEYS = st.sampled_from(
    ["id", "job", "state", "status", "jobState", "value", "datasourceScanId", "state.datasourceScanId", "error"]
)
ONE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["FINISHED", "failed", "42", 42])
)
INNER = st.dictionaries(KEYS, ONE, max_size=4)


@given(st.dictionaries(KEYS, ONE | INNER | st.dictionaries(KEYS, ONE | INNER, max_size=4), max_size=5))
def test_any_object_is_a_job_that_can_be_asked_for_and_written_down(document: dict[str, Any]) -> None:
    job = parse_job(document)
    assert job.job_id is None or (job.job_id.isprintable() and job.job_id.encode())
    assert job.scan_id is None or 0 <= job.scan_id < 2**63
