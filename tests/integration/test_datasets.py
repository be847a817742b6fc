"""`GET /v1/datasets` over a real server: the store, the landing, and what the two know of a day together."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from service import wiring
from service.runs.schema import runs
from tests.integration.runs import commits, root, snapshot
from tests.integration.test_api import FULL, api, is_problem, opened, served, until  # noqa: F401 - fixtures
from tests.simulators.dxr import faults

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from service.wiring import Service
    from tests.conftest import MakeSettings
    from tests.simulators.dxr import DxrSimulator


def receipt_of(folder: Path, run_id: str, state: str = "ingested", rows: int = 500) -> None:
    receipt = {
        "format": 1,
        "run_id": run_id,
        "state": state,
        "table": "t",
        "table_version": 3,
        "table_rows": rows if state == "ingested" else 0,
        "quarantined_rows": 0,
        "reason": None,
        "ingested_at": "2026-11-22T00:00:00Z",
    }
    (folder / "receipts").mkdir(exist_ok=True)
    (folder / "receipts" / f"{run_id}.json").write_text(json.dumps(receipt))


def day_of(service: Service, back: int) -> str:
    return (service.clock.now().date() - dt.timedelta(days=back)).isoformat()


async def shown(api: httpx2.AsyncClient, **query: Any) -> dict[str, dict[str, Any]]:  # noqa: F811
    response = await api.get("/v1/datasets", params=query)
    assert response.status_code == 200, response.text
    return {one["dataset"]: one for one in response.json()}


async def until_day(
    api: httpx2.AsyncClient,  # noqa: F811
    dataset: str,
    date: str,
    state: str,
) -> dict[str, Any]:
    while True:
        for day in (await shown(api))[dataset]["days"]:
            if (day["date"], day["state"]) == (date, state):
                return day


async def test_configured_datasets_appear_without_any_run(api: httpx2.AsyncClient, opened: Service) -> None:  # noqa: F811
    found = await shown(api)
    assert set(found) == {"file_metadata", "pii"}  # no volume is configured
    one = found["file_metadata"]
    assert [one[name] for name in ("kind", "configured", "first_day", "last_complete", "freshness_seconds")] == [
        "snapshot",
        True,
        None,
        None,
        None,
    ]
    assert [day["date"] for day in one["days"]] == [day_of(opened, back) for back in reversed(range(30))]
    assert {day["state"] for day in one["days"]} == {"none"}


async def test_a_day_from_its_trigger_to_its_table(
    api: httpx2.AsyncClient,  # noqa: F811
    opened: Service,  # noqa: F811
    dxr: DxrSimulator,
) -> None:
    today = day_of(opened, 0)
    gate = faults.Gate(after_rows=10)
    dxr.faults.next(gate)
    run = (await api.post("/v1/snapshots", json={})).json()
    await gate.reached()
    running = await until_day(api, "file_metadata", today, "running")
    assert (running["run_id"], running["reason"], running["rows"]) == (run["id"], None, None)
    gate.open()
    await until(api, run["id"], "landed")
    landed = await until_day(api, "file_metadata", today, "running")
    assert (landed["reason"], landed["rows"], landed["table_rows"]) == ("AWAITING_RECEIPT", 500, None)
    receipt_of(root(opened), run["id"])
    complete = await until_day(api, "file_metadata", today, "complete")
    assert [complete[name] for name in ("run_id", "served_lines", "rows", "rejected_rows", "table_rows")] == [
        run["id"],
        500,
        500,
        0,
        500,
    ]
    one = (await shown(api, days=1))["file_metadata"]
    assert [day["state"] for day in one["days"]] == ["complete"]
    assert one["last_complete"] == complete
    assert one["freshness_seconds"] is not None


async def test_days_that_fail_are_capped_or_refused(
    api: httpx2.AsyncClient,  # noqa: F811
    opened: Service,  # noqa: F811
    dxr: DxrSimulator,
) -> None:
    capped = await snapshot(opened, ingestion_date=day_of(opened, 1), record_cap=7)
    refused = await snapshot(opened, ingestion_date=day_of(opened, 2))
    dxr.faults.always(faults.Status(503))
    failed = await snapshot(opened, ingestion_date=day_of(opened, 3))
    receipt_of(root(opened), refused.id, "refused")
    refused_day = await until_day(api, "file_metadata", day_of(opened, 2), "failed")
    assert (refused_day["reason"], refused_day["run_id"]) == ("INGEST_REFUSED", refused.id)
    days = {day["date"]: day for day in (await shown(api))["file_metadata"]["days"]}
    assert [days[day_of(opened, back)]["reason"] for back in (1, 3)] == ["CAPPED", "DXR_UNAVAILABLE"]
    assert [days[day_of(opened, back)]["run_id"] for back in (1, 3)] == [capped.id, failed.id]


async def test_what_another_store_landed_counts(opened: Service, make_settings: MakeSettings, tmp_path: Path) -> None:  # noqa: F811
    whole = await snapshot(opened, ingestion_date=day_of(opened, 1))
    waiting = await snapshot(opened, ingestion_date=day_of(opened, 0))
    receipt_of(root(opened), whole.id)
    (root(opened) / "receipts" / f"{waiting.id}.json").write_text("{")  # torn: no verdict yet
    settings = opened.settings.model_copy(update={"state_dir": tmp_path / "another"})
    async with wiring.opened(settings) as other, served(other) as client:
        days = (await shown(client))["file_metadata"]["days"]
        assert [(day["state"], day["run_id"], day["rows"]) for day in days[-2:]] == [
            ("complete", whole.id, 500),
            ("running", waiting.id, 500),
        ]
        receipt_of(root(opened), waiting.id)
        assert (await until_day(client, "file_metadata", day_of(opened, 0), "complete"))["run_id"] == waiting.id


async def test_a_receipt_counts_before_the_store_has_noted_it(opened: Service) -> None:  # noqa: F811
    """Where only commands run, nobody looks for receipts; of two snapshots of a day the first may be in its table."""
    first, second = await snapshot(opened), await snapshot(opened)
    receipt_of(root(opened), first.id)
    [day] = (await opened.datasets.of_days(1))[0].days
    assert (day.state, day.fact and day.fact.run_id) == ("complete", first.id)
    receipt_of(root(opened), second.id)
    [day] = (await opened.datasets.of_days(1))[0].days
    assert (day.state, day.fact and day.fact.run_id) == ("complete", second.id)


async def test_the_landing_has_the_last_word_on_a_run_that_the_store_believes_to_have_failed(
    api: httpx2.AsyncClient,  # noqa: F811
    opened: Service,  # noqa: F811
) -> None:
    run = await snapshot(opened)
    async with opened.store.database.begin() as connection:
        await connection.execute(runs.update().values(state="failed", commit_path=None, counts={}))
    day = await until_day(api, "file_metadata", day_of(opened, 0), "running")
    assert (day["run_id"], day["reason"], day["rows"]) == (run.id, "AWAITING_RECEIPT", 500)


async def test_a_landing_that_is_away(opened: Service) -> None:  # noqa: F811
    """What was seen of it before counts; if that is nothing, no day is called missing by mistake."""
    folder = root(opened)
    async with served(opened) as client:
        await snapshot(opened)
        seen = await until_day(client, "file_metadata", day_of(opened, 0), "running")
        one = (await shown(client))["file_metadata"]
        shutil.move(folder / "commits", folder / "elsewhere")
        (folder / "commits").write_text("no folder")
        async with (
            wiring.opened(opened.settings.model_copy(update={"state_dir": opened.settings.state_dir / "new"})) as new,
            served(new) as blind,
        ):
            problem = is_problem(await blind.get("/v1/datasets"), 503, "SERVICE_UNAVAILABLE")
            assert "landing" in problem["detail"]
        while not opened.datasets.landing_error:
            again = (await shown(client))["file_metadata"]
        again = (await shown(client))["file_metadata"]
        assert again["days"][-1] == seen
        assert again["landing_seen_at"] >= one["landing_seen_at"]


async def test_ten_thousand_runs_are_read_in_one_statement_that_gives_few_rows(opened: Service) -> None:  # noqa: F811
    created = await snapshot(opened)
    today = opened.clock.now()
    async with opened.store.database.begin() as connection:
        [row] = [dict(one) for one in (await connection.execute(runs.select())).mappings()]
        copies = [
            row
            | {
                "id": f"{number:08x}{created.id[8:]}",
                "state": "ingested" if number % 2 else "failed",
                "ingestion_date": (today - dt.timedelta(days=number % 30)).date().isoformat(),
                "receipt": {"state": "ingested", "table_rows": 500},
            }
            for number in range(10_000)
        ]
        await connection.execute(runs.insert(), copies)
    told, first_days = await opened.datasets._told_by_store("2000-01-01")
    assert len(told) <= 2 * 30 + 3
    assert first_days == {"file_metadata": created.created_at[:10]}
    [one, _] = await opened.datasets.of_days(30)
    assert [day.state.value for day in reversed(one.days)] == ["running", *["complete", "failed"] * 14, "complete"]


@pytest.mark.parametrize("query", ["days=0", "days=367", "days=x"])
async def test_wrong_windows_are_refused(api: httpx2.AsyncClient, query: str) -> None:  # noqa: F811
    is_problem(await api.get(f"/v1/datasets?{query}"), 422, "UNPROCESSABLE")


async def test_a_token_is_needed(api: httpx2.AsyncClient) -> None:  # noqa: F811
    is_problem(await api.get("/v1/datasets", headers={"Authorization": ""}), 401, "UNAUTHORIZED")


async def test_the_service_looks_at_the_days_by_itself(api: httpx2.AsyncClient, opened: Service) -> None:  # noqa: F811
    run = await snapshot(opened)
    receipt_of(root(opened), run.id)
    await until(api, run.id, "ingested")
    while not opened.datasets.fresh_since.get("file_metadata"):
        await opened.datasets.of_days(1)
    assert set(opened.datasets.fresh_since) == {"file_metadata", "pii"}
    assert len(commits(opened)) == 1
    assert FULL not in json.dumps(await shown(api))


async def test_metrics_tell_how_fresh_it_is_what_was_retried_and_whether_the_landing_is_there(
    dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    settings = make_settings(dxr_base_url=dxr.url, receipt_poll_seconds=0.05, dxr_retry_attempts=2)
    dxr.faults.next(faults.Status(503))
    async with wiring.opened(settings) as service:
        run = await snapshot(service)
        receipt_of(root(service), run.id)
        async with served(service) as client:
            await until(client, run.id, "ingested")
            while "dxr_ingest_dataset_freshness_seconds{" not in (text := (await client.get("/metrics")).text):
                pass
            while 'freshness_seconds{dataset="file_metadata"} +Inf' in (text := (await client.get("/metrics")).text):
                pass
    assert "dxr_ingest_landing_up 1.0" in text
    assert 'dxr_ingest_retries_total{reason="DXR_UNAVAILABLE",target="dxr"} 1.0' in text
    assert 'dxr_ingest_attempt_failures_total{reason="DXR_UNAVAILABLE"} 1.0' in text
