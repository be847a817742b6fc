"""Every shape of a job's state that public clients have met."""

from __future__ import annotations

from typing import Any

import pytest

from service.dxr.jobs import Job, Phase, parse_job
from service.errors import UpstreamError

F = Phase.FINISHED


@pytest.mark.parametrize(
    ("document", "job"),
    [
        ({"id": "7", "state": "FINISHED", "datasourceScanId": 42}, Job("7", F, 42, False)),
        ({"id": 7, "state": {"value": "finished", "datasourceScanId": 42}}, Job("7", F, 42, False)),
        ({"id": "7", "job": {"state": "Done", "datasourceScanId": "42"}}, Job("7", F, 42, False)),
        ({"job": {"id": 7, "state": {"value": "COMPLETED"}}, "datasourceScanId": 42}, Job("7", F, 42, False)),
        ({"id": "7", "status": "SUCCESSFUL", "state.datasourceScanId": 42}, Job("7", F, 42, False)),
        ({"id": "7", "jobState": "failed", "message": "x"}, Job("7", Phase.FAILED, None, True)),
        ({"id": "7", "state": {"value": "FAILED", "errorMessage": "x"}}, Job("7", Phase.FAILED, None, True)),
        ({"id": "7", "state": "CANCELLED", "error": ""}, Job("7", Phase.CANCELLED, None, False)),
        ({"id": "7", "state": "AWAITING_RECRAWL_TO_COMPLETE"}, Job("7", Phase.WAITING, None, False)),
        ({"id": "7", "state": "SOMETHING_NEW"}, Job("7", Phase.WAITING, None, False)),
        ({"id": "7", "state": 5}, Job("7", Phase.WAITING, None, False)),
        ({"id": True, "state": None, "datasourceScanId": True}, Job(None, Phase.WAITING, None, False)),
        ({}, Job(None, Phase.WAITING, None, False)),
    ],
)
def test_shapes(document: dict[str, Any], job: Job) -> None:
    assert parse_job(document) == job


@pytest.mark.parametrize("document", [None, [], "FINISHED", 5])
def test_what_is_no_object_is_no_answer(document: object) -> None:
    with pytest.raises(UpstreamError):
        parse_job(document)
