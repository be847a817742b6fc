"""Each request has an id by which it is found in the log; each trigger and cancel leaves a line about who did it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import structlog

from service import wiring
from service.runs.schema import runs
from tests.integration.runs import snapshot
from tests.integration.serving import FULL, READ_ONLY, is_problem, served, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx2
    from structlog.typing import EventDict

    from service.wiring import Service
    from tests.conftest import MakeSettings
    from tests.simulators.dxr import DxrSimulator

QUERY = 'path:"/finance/alice@example.com"'


@pytest_asyncio.fixture
async def api(opened: Service) -> AsyncIterator[httpx2.AsyncClient]:
    async with served(opened) as client:
        yield client


@pytest.fixture
def log() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        yield lines


def audit(log: list[EventDict]) -> list[EventDict]:
    return [line for line in log if line["event"] == "audit"]


async def test_a_request_id_is_kept_when_it_is_harmless(api: httpx2.AsyncClient) -> None:
    given = (await api.get("/v1/runs", headers={"X-Request-Id": "trace-1.A_b"})).headers["x-request-id"]
    assert given == "trace-1.A_b"
    made = set()
    for bad in ("", "a b", "x" * 65, "<script>", "a\tb", "é"):
        answer = await api.get("/v1/runs/01a202e6-4fb4-77e4-a088-2c935f55c4b6", headers={"X-Request-Id": bad.encode()})
        made.add(answer.headers["x-request-id"])
        assert is_problem(answer, 404, "NOT_FOUND")["request_id"] == answer.headers["x-request-id"] != bad
    assert len(made) == 6


async def test_triggers_and_cancels_are_audited(api: httpx2.AsyncClient, log: list[EventDict]) -> None:
    body = {"dataset": "finance", "query": QUERY}
    run = (await api.post("/v1/snapshots", json=body, headers={"X-Request-Id": "first"})).json()
    await until(api, run["id"], "landed", "failed")
    cancelled = await api.post(f"/v1/runs/{run['id']}/cancel")
    assert cancelled.status_code == 409
    await api.get("/v1/runs")
    asked, stopped = audit(log)
    assert asked == {
        "event": "audit",
        "log_level": "info",
        "request_id": "first",
        "token": "ops",
        "client": "127.0.0.1",
        "method": "POST",
        "route": "/v1/snapshots",
        "run_id": run["id"],
        "status": 202,
        "outcome": "ACCEPTED",
    }
    assert (stopped["route"], stopped["run_id"]) == ("/v1/runs/{run_id}/cancel", run["id"])
    assert (stopped["token"], stopped["status"], stopped["outcome"]) == ("ops", 409, "ALREADY_ENDED")
    assert "alice" not in json.dumps(log)


@pytest.mark.parametrize(
    ("token", "path", "body", "expected"),
    [
        ("wrong", "/v1/snapshots", {}, (None, None, 401, "UNAUTHORIZED")),
        (READ_ONLY, "/v1/snapshots", {}, (None, None, 403, "FORBIDDEN")),
        (FULL, "/v1/snapshots", {QUERY: 1}, ("ops", "/v1/snapshots", 422, "UNPROCESSABLE")),
        (FULL, "/v1/snapshots", {"query": QUERY}, ("ops", "/v1/snapshots", 422, "UNPROCESSABLE")),
        (FULL, "/v1/runs/alice/cancel", {}, ("ops", "/v1/runs/{run_id}/cancel", 422, "UNPROCESSABLE")),
        (FULL, "/alice", {}, ("ops", None, 404, "NOT_FOUND")),
    ],
)
async def test_refusals_are_audited_without_what_was_sent(
    api: httpx2.AsyncClient, log: list[EventDict], token: str, path: str, body: dict[str, Any], expected: object
) -> None:
    answer = await api.post(path, json=body, headers={"Authorization": f"Bearer {token}"})
    [line] = audit(log)
    assert (line["token"], line["route"], line["status"], line["outcome"]) == expected
    assert (line["run_id"], line["request_id"]) == (None, answer.headers["x-request-id"])
    assert "alice" not in json.dumps(log) + answer.text


async def test_a_second_trigger_is_audited_with_the_active_run(
    api: httpx2.AsyncClient, opened: Service, log: list[EventDict]
) -> None:
    await opened.supervisor.drain(0, 1)  # the first one stays in the queue
    run = (await api.post("/v1/snapshots", json={})).json()
    is_problem(await api.post("/v1/snapshots", json={}), 409, "ALREADY_ACTIVE")
    assert [(line["run_id"], line["outcome"]) for line in audit(log)] == [
        (run["id"], "ACCEPTED"),
        (run["id"], "ALREADY_ACTIVE"),
    ]


async def test_a_crash_tells_an_id_and_nothing_of_itself(
    api: httpx2.AsyncClient, opened: Service, log: list[EventDict]
) -> None:
    run = await snapshot(opened)
    async with opened.store.database.begin() as connection:
        await connection.execute(runs.update().values(state="a-state-that-nobody-knows"))
    answer = await api.get(f"/v1/runs/{run.id}")
    problem = is_problem(answer, 500, "INTERNAL")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "state" not in problem["detail"]
    assert "nobody-knows" not in answer.text
    [crash] = [line for line in log if line["event"] == "request_crashed"]
    assert crash["request_id"] == problem["request_id"]
    assert (await api.get("/healthz")).status_code == 200


async def test_a_token_file_that_broke_shows_in_the_metrics(
    dxr: DxrSimulator, make_settings: MakeSettings, tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"ops:{FULL}")
    settings = make_settings(dxr_base_url=dxr.url, service_api_tokens_file=str(file))
    async with wiring.opened(settings) as service, served(service) as api:
        assert "dxr_ingest_api_tokens_stale 0.0" in (await api.get("/metrics")).text
        file.write_text("ops:short")
        assert "dxr_ingest_api_tokens_stale 1.0" in (await api.get("/metrics")).text
        file.write_text(f"ops:{READ_ONLY}")
        is_problem(await api.get("/metrics"), 401, "UNAUTHORIZED")
        text = (await api.get("/metrics", headers={"Authorization": f"Bearer {READ_ONLY}"})).text
        assert "dxr_ingest_api_tokens_stale 0.0" in text
