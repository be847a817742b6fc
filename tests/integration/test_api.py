"""The HTTP side over a real server with a real tenant behind it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from service import wiring
from service.runs.model import State
from tests.integration.runs import commits, root, snapshot
from tests.integration.serving import FULL, READ_ONLY, is_problem, served, streaming, until
from tests.simulators.dxr import faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

    from service.wiring import Service
    from tests.conftest import MakeSettings
    from tests.simulators.dxr import DxrSimulator

RUN_KEYS = {
    *("id", "kind", "dataset", "ingestion_date", "query", "record_cap", "state", "attempt", "trigger"),
    *("created_at", "started_at", "ended_at", "progress", "counts", "error", "commit", "receipt"),
}


@pytest_asyncio.fixture
async def opened(dxr: DxrSimulator, make_settings: MakeSettings) -> AsyncIterator[Service]:
    settings = make_settings(
        dxr_base_url=dxr.url,
        service_api_tokens=f"ops:{FULL};board:{READ_ONLY}:read",
        receipt_poll_seconds=0.05,
        datasets={"pii": {"query": 'annotators.domain.name:"PII"'}},
    )
    async with wiring.opened(settings) as service:
        yield service


@pytest_asyncio.fixture
async def api(opened: Service) -> AsyncIterator[httpx2.AsyncClient]:
    async with served(opened) as client:
        yield client


async def test_a_snapshot_from_trigger_to_receipt(api: httpx2.AsyncClient, opened: Service) -> None:
    response = await api.post("/v1/snapshots", json={"ingestion_date": "2026-11-20"})
    run = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/runs/{run['id']}"
    assert set(run) == RUN_KEYS
    assert (run["state"], run["trigger"], run["kind"]) == ("queued", "api:ops", "snapshot")
    landed = await until(api, run["id"], "landed")
    assert landed["counts"]["rows"] == 500
    assert landed["progress"]["rows"] == 500
    assert commits(opened)[0]["run_id"] == run["id"]
    receipt = {
        "format": 1,
        "run_id": run["id"],
        "state": "ingested",
        "table": "t",
        "table_version": 3,
        "table_rows": 500,
        "quarantined_rows": 0,
        "reason": None,
        "ingested_at": "2026-11-22T00:00:00Z",
    }
    (root(opened) / "receipts").mkdir()
    (root(opened) / "receipts" / f"{run['id']}.json").write_text(json.dumps(receipt))
    ingested = await until(api, run["id"], "ingested")
    assert ingested["receipt"] == receipt
    assert ingested["counts"]["table_rows"] == 500


@pytest.mark.parametrize(("verdict", "state"), [("superseded", "landed"), ("refused", "failed")])
async def test_other_receipts(api: httpx2.AsyncClient, opened: Service, verdict: str, state: str) -> None:
    run = (await api.post("/v1/snapshots", json={})).json()
    await until(api, run["id"], "landed")
    receipt = {"format": 1, "run_id": run["id"], "state": verdict, "reason": "chunk part-00000 is cut"}
    (root(opened) / "receipts").mkdir()
    (root(opened) / "receipts" / f"{run['id']}.json").write_text(json.dumps(receipt))
    async with asyncio.timeout(20):
        while not (seen := (await api.get(f"/v1/runs/{run['id']}")).json())["receipt"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert seen["state"] == state
    if verdict == "refused":
        assert (seen["error"]["code"], seen["error"]["retryable"]) == ("INGEST_REFUSED", True)
        assert "part-00000" in seen["error"]["message"]


async def test_a_second_trigger_is_told_of_the_active_run(
    api: httpx2.AsyncClient, dxr: DxrSimulator, opened: Service
) -> None:
    gate, run_id = await streaming(api, dxr)
    response = await api.post("/v1/snapshots", json={})
    body = is_problem(response, 409, "ALREADY_ACTIVE")
    assert body["run_id"] == run_id
    assert response.headers["location"] == f"/v1/runs/{run_id}"
    other = await api.post("/v1/snapshots", json={"dataset": "pii"})
    assert other.status_code == 202
    await until(api, other.json()["id"], "landed")
    gate.open()
    await until(api, run_id, "landed")


async def test_a_cancel_ends_a_running_run_and_frees_its_dataset(
    api: httpx2.AsyncClient, dxr: DxrSimulator, opened: Service
) -> None:
    _, run_id = await streaming(api, dxr)
    assert (await api.post(f"/v1/runs/{run_id}/cancel")).status_code == 202
    cancelled = await until(api, run_id, "cancelled")
    assert cancelled["ended_at"]
    assert commits(opened) == []
    is_problem(await api.post(f"/v1/runs/{run_id}/cancel"), 409, "ALREADY_ENDED")
    again = (await api.post("/v1/snapshots", json={})).json()
    await until(api, again["id"], "landed")


async def test_a_drain_hands_the_run_back_and_the_next_process_lands_it(dxr: DxrSimulator, opened: Service) -> None:
    async with served(opened) as api:
        _, run_id = await streaming(api, dxr)
    assert (await opened.store.get(run_id)).state is State.QUEUED
    async with served(opened) as api:
        landed = await until(api, run_id, "landed")
    assert landed["attempt"] == 2
    assert len(commits(opened)) == 1


async def test_a_run_left_behind_is_recovered(opened: Service) -> None:
    """What a killed process leaves: one run without a commit, one whose commit is there."""
    published = await snapshot(opened)
    async with opened.store.database.begin() as connection:
        from service.runs.schema import runs

        await connection.execute(runs.update().values(state="running", commit_path=None, counts={}))
    asked = await opened.store.create(
        published.request.__class__(
            **{
                **{name: getattr(published.request, name) for name in published.request.__slots__},
                "dataset": "pii",
                "query": 'annotators.domain.name:"PII"',
            }
        )
    )
    await opened.claims.claim(asked.id)
    await opened.claims.release_all()  # its process is gone
    async with served(opened) as api:
        assert (await until(api, published.id, "landed"))["counts"]["rows"] == 500
        assert (await until(api, asked.id, "landed"))["state"] == "landed"


async def test_failures_say_what_to_do(api: httpx2.AsyncClient, dxr: DxrSimulator) -> None:
    dxr.faults.always(faults.Status(503))
    run = (await api.post("/v1/snapshots", json={})).json()
    failed = await until(api, run["id"], "failed")
    assert failed["error"]["code"] == "DXR_UNAVAILABLE"
    assert failed["error"]["retryable"] is True
    assert failed["error"]["hint"]


@pytest.mark.parametrize(
    "body",
    [
        '{"unknown": 1}',
        '{"record_cap": true}',
        '{"record_cap": 1.5}',
        '{"record_cap": "1"}',
        '{"record_cap": 9007199254740992}',
        '{"query": ""}',
        '{"query": "a\\u0000b", "dataset": "pii_2"}',
        '{"dataset": "pii_2", "query": "' + "x" * 8193 + '"}',
        '{"accept_shrunken": 1}',
        '{"accept_shrunken": "true"}',
        '{"ingestion_date": "2026-02-30"}',
        '{"ingestion_date": "2026-2-3"}',
        '{"ingestion_date": "20260203"}',
        '{"dataset": "A"}',
        '{"dataset": "../x", "query": "x"}',
        '{"dxr_base_url": "http://evil.example"}',
        '{"landing_path": "/etc"}',
        '{"record_cap": 0}',
        '{"ingestion_date": 5}',
        "[]",
    ],
)
async def test_a_wrong_body_is_told_without_an_echo(api: httpx2.AsyncClient, body: str) -> None:
    response = await api.post("/v1/snapshots", content=body, headers={"Content-Type": "application/json"})
    is_problem(response, 422, "UNPROCESSABLE")
    assert "unknown" not in response.text


@pytest.mark.parametrize(
    "body", [{"query": "size > 1"}, {"dataset": "unknown"}, {"dataset": "../x", "query": "x"}, {"ingestion_date": "x"}]
)
async def test_a_forbidden_combination_is_told(api: httpx2.AsyncClient, body: dict[str, Any]) -> None:
    assert is_problem(await api.post("/v1/snapshots", json=body), 422, "UNPROCESSABLE")["hint"]


async def test_tokens_and_scopes(api: httpx2.AsyncClient) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {FULL}"}):
        for path in ("/v1/runs", "/metrics", "/openapi.json"):
            response = await api.get(path, headers=headers)
            is_problem(response, 401, "UNAUTHORIZED")
            assert response.headers["www-authenticate"] == "Bearer"
    reader = {"Authorization": f"Bearer {READ_ONLY}"}
    assert (await api.get("/v1/runs", headers=reader)).status_code == 200
    is_problem(await api.post("/v1/snapshots", json={}, headers=reader), 403, "FORBIDDEN")
    is_problem(await api.get(f"/v1/runs?token={FULL}", headers={"Authorization": ""}), 401, "UNAUTHORIZED")


async def test_a_classification_needs_its_settings(api: httpx2.AsyncClient) -> None:
    body = is_problem(await api.post("/v1/classifications", json={}), 422, "CONFIGURATION")
    for name in ("VOLUME_CATALOG", "VOLUME_SCHEMA", "VOLUME_NAME", "DXR_DATASOURCE_ID"):
        assert name in body["detail"]
    is_problem(await api.post("/v1/classifications", json={"unknown": 1}), 422, "UNPROCESSABLE")


async def test_a_classification_over_http(dxr: DxrSimulator, make_settings: MakeSettings, tmp_path: Path) -> None:
    folder = tmp_path / "volumes" / "main" / "legal" / "contracts"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("label: A\n")
    dxr.classifier.datasources = ("11",)
    settings = make_settings(
        dxr_base_url=dxr.url,
        volume_catalog="main",
        volume_schema="legal",
        volume_name="contracts",
        volume_base_path=str(tmp_path / "volumes"),
        dxr_datasource_id="11",
        dxr_poll_interval_seconds=0.01,
    )
    async with wiring.opened(settings) as service, served(service) as client:
        response = await client.post("/v1/classifications", json={"full": True})
        run = response.json()
        assert (response.status_code, run["kind"], run["dataset"]) == (202, "classification", "dxr_metadata")
        landed = await until(client, run["id"], "landed", "partial", "failed")
        assert (landed["state"], landed["counts"]["labelled"]) == ("landed", 1)
        is_problem(await client.post("/v1/classifications", json={"prefix": "../x"}), 422, "UNPROCESSABLE")
        is_problem(await client.post("/v1/classifications", json={"dataset": "other"}), 422, "UNPROCESSABLE")


async def test_lists_page_by_link(api: httpx2.AsyncClient, opened: Service) -> None:
    for _ in range(3):
        await snapshot(opened)
    first = await api.get("/v1/runs", params={"limit": 2, "dataset": "file_metadata"})
    assert len(first.json()) == 2
    link = first.headers["link"]
    assert link.endswith('>; rel="next"')
    second = await api.get(link[1 : link.index(">")])
    assert len(second.json()) == 1
    assert "link" not in second.headers
    ids = [run["id"] for run in first.json() + second.json()]
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=1.0", "limit=+1", "limit=1_0", "limit=", "limit=%E2%91%A0"),
        *("state=odd", "kind=odd", "cursor=x", "dataset=A", "dataset=", "unknown=1", "token=x"),
    ],
)
async def test_wrong_filters_are_refused(api: httpx2.AsyncClient, query: str) -> None:
    is_problem(await api.get(f"/v1/runs?{query}"), 422, "UNPROCESSABLE")


async def test_what_is_not_there(api: httpx2.AsyncClient) -> None:
    is_problem(await api.get("/v1/runs/01a202e6-4fb4-77e4-a088-2c935f55c4b6"), 404, "NOT_FOUND")
    is_problem(await api.get("/nowhere"), 404, "NOT_FOUND")
    is_problem(await api.get("/v1/runs/not-an-id"), 422, "UNPROCESSABLE")


async def test_health_is_open_and_metrics_count(api: httpx2.AsyncClient, opened: Service) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await api.get(path, headers={"Authorization": ""})).status_code == 200
    await snapshot(opened)
    text = (await api.get("/metrics")).text
    assert 'dxr_ingest_runs{state="landed"} 1.0' in text
    assert 'dxr_ingest_rows_total{dataset="file_metadata"} 500.0' in text
    assert "dxr_ingest_receipts_overdue 0.0" in text


async def test_the_description_knows_the_routes(api: httpx2.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    assert set(paths) >= {"/v1/snapshots", "/v1/runs", "/v1/runs/{run_id}", "/v1/runs/{run_id}/cancel", "/healthz"}


async def test_without_a_dxr_token_the_trigger_names_it(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    settings = make_settings(dxr_base_url=dxr.url).model_copy(update={"dxr_bearer_token": None})
    async with wiring.opened(settings) as service, served(service) as client:
        body = is_problem(await client.post("/v1/snapshots", json={}), 422, "CONFIGURATION")
        assert "DXR_BEARER_TOKEN" in body["detail"]


async def test_an_idempotency_key_gives_the_same_run_again(api: httpx2.AsyncClient, opened: Service) -> None:
    first = await api.post("/v1/snapshots", json={"dataset": None}, headers={"Idempotency-Key": "2026-11-22/1"})
    assert first.status_code == 202
    await until(api, first.json()["id"], "landed")
    again = await api.post(
        "/v1/snapshots",
        content=b'{ "dataset" : null }',
        headers={"Content-Type": "application/json", "Idempotency-Key": "2026-11-22/1"},
    )
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    assert again.headers["location"] == first.headers["location"]
    other = await api.post(
        "/v1/snapshots", json={"ingestion_date": "2026-11-20"}, headers={"Idempotency-Key": "2026-11-22/1"}
    )
    is_problem(other, 422, "UNPROCESSABLE")
    assert len(commits(opened)) == 1
    for key in ("", "ü", "x" * 256):
        wrong = await api.post("/v1/snapshots", json={}, headers={"Idempotency-Key": key.encode()})
        is_problem(wrong, 422, "UNPROCESSABLE")


async def test_a_service_that_drains_is_not_ready(api: httpx2.AsyncClient, opened: Service) -> None:
    assert (await api.get("/readyz")).status_code == 200
    await opened.supervisor.drain(0, 10)
    refused = await api.get("/readyz")
    is_problem(refused, 503, "SERVICE_UNAVAILABLE")
    assert refused.headers["retry-after"]
    assert (await api.get("/healthz")).status_code == 200


async def test_queued_and_active_runs_are_bounded(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    settings = make_settings(dxr_base_url=dxr.url, runs_active_max=2)
    async with wiring.opened(settings) as service, served(service) as api:
        await service.supervisor.drain(0, 1)  # what is asked for stays in the queue
        runs = []
        for name in ("a", "b"):
            body, key = {"dataset": name, "query": "size > 1"}, {"Idempotency-Key": name}
            runs.append((await api.post("/v1/snapshots", json=body, headers=key)).json())
        refused = await api.post("/v1/snapshots", json={"dataset": "c", "query": "size > 1"})
        is_problem(refused, 429, "TOO_MANY_RUNS")
        assert int(refused.headers["retry-after"]) > 0
        body, key = {"dataset": "a", "query": "size > 1"}, {"Idempotency-Key": "a"}
        repeated = await api.post("/v1/snapshots", json=body, headers=key)
        assert (repeated.status_code, repeated.json()["id"]) == (202, runs[0]["id"])
        assert is_problem(await api.post("/v1/snapshots", json=body), 409, "ALREADY_ACTIVE")["run_id"] == runs[0]["id"]
        await api.post(f"/v1/runs/{runs[1]['id']}/cancel")
        room = await api.post("/v1/snapshots", json={"dataset": "c", "query": "size > 1"})
        assert room.status_code == 202


async def test_a_thousand_repeats_of_an_idempotency_key_make_one_run(api: httpx2.AsyncClient, opened: Service) -> None:
    async def repeat() -> tuple[int, str]:
        response = await api.post("/v1/snapshots", json={}, headers={"Idempotency-Key": "nightly"})
        return response.status_code, response.json()["id"]

    told = {answer for _ in range(20) for answer in await asyncio.gather(*(repeat() for _ in range(50)))}
    [(status, run_id)] = told
    assert status == 202
    await until(api, run_id, "landed")
    assert len(commits(opened)) == 1


async def test_reads_are_answered_while_a_snapshot_streams(
    api: httpx2.AsyncClient, dxr: DxrSimulator, opened: Service
) -> None:
    gate, run_id = await streaming(api, dxr)
    reads = await asyncio.gather(*(api.get(f"/v1/runs/{run_id}") for _ in range(50)))
    assert {(read.status_code, read.json()["state"]) for read in reads} == {(200, "running")}
    triggers = await asyncio.gather(*(api.post("/v1/snapshots", json={}) for _ in range(50)))
    assert {(answer.status_code, answer.json()["run_id"]) for answer in triggers} == {(409, run_id)}
    gate.open()
    await until(api, run_id, "landed")
    assert len(commits(opened)) == 1
