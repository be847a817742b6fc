"""The events of a run over a real server: from the trigger to the receipt, resumed, cancelled, on another replica."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from service import wiring
from service.runs import watch as watching
from service.runs.schema import runs
from service.runs.watch import RunWatch
from tests.integration.runs import root, snapshot
from tests.integration.serving import streaming
from tests.integration.test_api import (  # noqa: F401 - fixtures
    api,
    is_problem,
    opened,
    served,
    until,
)
from tests.integration.test_datasets import receipt_of
from tests.simulators.dxr import GeneratedFiles, faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2
    import pytest

    from service.wiring import Service
    from tests.conftest import MakeSettings
    from tests.simulators.dxr import DxrSimulator


@dataclass(frozen=True)
class Told:
    name: str
    id: int
    data: dict[str, Any]


async def told(lines: AsyncIterator[str]) -> AsyncIterator[Told]:
    """The events of a stream, as a browser reads them."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Told(fields["event"], int(fields["id"]), json.loads(fields["data"]))
            fields = {}


@contextlib.asynccontextmanager
async def following(
    api: httpx2.AsyncClient,  # noqa: F811
    run_id: str,
    last_id: int | str | None = None,
) -> AsyncIterator[AsyncIterator[Told]]:
    headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
    async with asyncio.timeout(60), api.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield told(response.aiter_lines())


async def all_of(api: httpx2.AsyncClient, run_id: str, last_id: int | str | None = None) -> list[Told]:  # noqa: F811
    async with following(api, run_id, last_id) as events:
        return [event async for event in events]


async def started(api: httpx2.AsyncClient) -> str:  # noqa: F811
    return (await api.post("/v1/snapshots", json={})).json()["id"]


async def nobody_follows(service: Service) -> None:
    async with asyncio.timeout(20):
        while service.watch.followers or service.watch._looking:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_run_is_told_from_its_trigger_to_its_receipt(
    api: httpx2.AsyncClient,  # noqa: F811
    opened: Service,  # noqa: F811
    dxr: DxrSimulator,
) -> None:
    gate, run_id = await streaming(api, dxr)
    seen: list[Told] = []
    async with following(api, run_id) as events:
        async for event in events:
            seen.append(event)
            if event.data.get("progress", {}).get("rows") == 10:
                gate.open()
            if event.name == "run" and event.data["state"] == "landed" and not event.data["receipt"]:
                receipt_of(root(opened), run_id)
    assert [event.name for event in seen][:1] == ["run"]
    assert [event.name for event in seen][-2:] == ["run", "end"]
    assert any(event.name == "progress" and event.data["progress"]["rows"] == 10 for event in seen)
    states = [event.data["state"] for event in seen if event.name == "run"]
    assert (states[-2:], seen[-1].data) == (
        ["landed", "ingested"],
        {"run_id": run_id, "state": "ingested", "reason": "settled"},
    )
    ids = [event.id for event in seen]
    assert ids == sorted(ids)
    assert len(set(ids[:-1])) == len(ids) - 1  # only the end has the id of what it ends
    assert seen[-2].data == (await api.get(f"/v1/runs/{run_id}")).json()
    await nobody_follows(opened)


async def test_a_stream_is_resumed_where_it_broke(
    api: httpx2.AsyncClient,  # noqa: F811
    opened: Service,  # noqa: F811
) -> None:
    run = await snapshot(opened)
    async with following(api, run.id) as events:
        first = await anext(events)
    assert (first.name, first.data["state"]) == ("run", "landed")
    receipt_of(root(opened), run.id)
    await until(api, run.id, "ingested")
    missed = await all_of(api, run.id, first.id)
    assert [(event.name, event.data["state"]) for event in missed] == [("run", "ingested"), ("end", "ingested")]
    assert missed[0].id > first.id
    assert [event.name for event in await all_of(api, run.id, missed[0].id)] == ["end"]
    for strange in ("-1", "x", "9" * 30, 0):
        assert [event.name for event in await all_of(api, run.id, strange)] == ["run", "end"]


async def test_a_cancel_is_told(api: httpx2.AsyncClient, opened: Service, dxr: DxrSimulator) -> None:  # noqa: F811
    _, run_id = await streaming(api, dxr)
    async with following(api, run_id) as events:
        assert (await anext(events)).name == "run"
        await api.post(f"/v1/runs/{run_id}/cancel")
        rest = [event async for event in events]
    assert [event.data["state"] for event in rest[-2:]] == ["cancelled", "cancelled"]
    assert rest[-1].data["reason"] == "settled"


async def test_a_failure_is_told_with_its_reason(
    api: httpx2.AsyncClient,  # noqa: F811
    dxr: DxrSimulator,
) -> None:
    dxr.faults.always(faults.Status(503))
    seen = await all_of(api, await started(api))
    assert (seen[-2].data["state"], seen[-2].data["error"]["code"]) == ("failed", "DXR_UNAVAILABLE")


async def test_whoever_goes_away_leaves_nothing_behind(
    api: httpx2.AsyncClient,  # noqa: F811
    opened: Service,  # noqa: F811
    dxr: DxrSimulator,
) -> None:
    gate, run_id = await streaming(api, dxr)
    async with following(api, run_id) as first, following(api, run_id) as second:
        await anext(first)
        await anext(second)
        assert opened.watch.followers == 2
    await nobody_follows(opened)
    gate.open()
    await until(api, run_id, "landed")


async def test_another_replica_tells_the_same(
    dxr: DxrSimulator, make_settings: MakeSettings, database_url: str
) -> None:
    settings = make_settings(dxr_base_url=dxr.url, database_url=database_url, receipt_poll_seconds=0.05)
    dxr.source = GeneratedFiles(rows=50, seed=1)
    async with wiring.opened(settings) as one, wiring.opened(settings) as two, served(one) as at_work:
        gate, run_id = await streaming(at_work, dxr)
        two.supervisor.draining = True  # it carries out nothing, and tells all the same
        async with served(two) as other, following(other, run_id) as there:
            first = await anext(there)
            assert first.name == "run"
            gate.open()
            async for event in there:
                if event.name == "run" and event.data["state"] == "landed":
                    break
            receipt_of(root(one), run_id, rows=50)
            rest = [event async for event in there]
            assert [event.name for event in rest][-1] == "end"
            assert rest[-1].data["state"] == "ingested"
        assert [event.name for event in await all_of(at_work, run_id, rest[-1].id)] == ["end"]


async def test_a_receipt_that_does_not_come_is_not_waited_for_without_end(opened: Service) -> None:  # noqa: F811
    impatient = replace(opened, watch=RunWatch(opened.store, opened.clock, receipt_wait_s=0.05))
    run = await snapshot(opened)
    async with served(impatient) as client:
        seen = await all_of(client, run.id)
    assert [event.name for event in seen] == ["run", "end"]
    assert seen[-1].data == {"run_id": run.id, "state": "landed", "reason": "no_receipt"}


async def test_a_drain_ends_the_streams_and_begins_none(
    api: httpx2.AsyncClient,  # noqa: F811
    opened: Service,  # noqa: F811
    dxr: DxrSimulator,
) -> None:
    gate, run_id = await streaming(api, dxr)
    async with following(api, run_id) as events:
        await anext(events)
        opened.watch.close()
        rest = [event async for event in events]
    assert (rest[-1].name, rest[-1].data["reason"], rest[-1].data["state"]) == ("end", "draining", "running")
    refused = await api.get(f"/v1/runs/{run_id}/events")
    is_problem(refused, 503, "SERVICE_UNAVAILABLE")
    gate.open()


async def test_a_run_that_is_removed_ends_its_stream(api: httpx2.AsyncClient, opened: Service) -> None:  # noqa: F811
    run = await snapshot(opened)
    async with following(api, run.id) as events:
        await anext(events)
        async with opened.store.database.begin() as connection:
            await connection.execute(runs.delete())
        assert [event.data["reason"] async for event in events] == ["forgotten"]


async def test_streams_are_bounded(
    api: httpx2.AsyncClient,  # noqa: F811
    opened: Service,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "FOLLOWERS_MAX", 1)
    run = await snapshot(opened)
    async with following(api, run.id) as events:
        await anext(events)
        refused = await api.get(f"/v1/runs/{run.id}/events")
        is_problem(refused, 503, "TOO_MANY_STREAMS")
        assert refused.headers["retry-after"]
    await nobody_follows(opened)
    async with following(api, run.id) as events:
        assert (await anext(events)).name == "run"


async def test_a_store_that_is_away_for_a_while_breaks_no_stream(
    api: httpx2.AsyncClient,  # noqa: F811
    opened: Service,  # noqa: F811
) -> None:
    run = await snapshot(opened)
    async with following(api, run.id) as events:
        await anext(events)
        asked = opened.watch._seen
        away = asyncio.Event()

        async def fails(run_ids: Any) -> Any:
            away.set()
            opened.watch._seen = asked
            return await opened.store.get("01a202e6-4fb4-77e4-a088-2c935f55c4b6")  # raises one of our errors

        opened.watch._seen = fails
        await away.wait()
        receipt_of(root(opened), run.id)
        rest = [event async for event in events]
    assert rest[-1].data["state"] == "ingested"


async def test_what_cannot_be_followed(api: httpx2.AsyncClient) -> None:  # noqa: F811
    missing = "/v1/runs/01a202e6-4fb4-77e4-a088-2c935f55c4b6/events"
    is_problem(await api.get(missing), 404, "NOT_FOUND")
    is_problem(await api.get("/v1/runs/x/events"), 422, "UNPROCESSABLE")
    is_problem(await api.get(missing, headers={"Authorization": ""}), 401, "UNAUTHORIZED")


async def test_the_description_shows_the_stream(api: httpx2.AsyncClient) -> None:  # noqa: F811
    described = (await api.get("/openapi.json")).json()["paths"]["/v1/runs/{run_id}/events"]["get"]["responses"]
    assert "event: end" in described["200"]["content"]["text/event-stream"]["example"]
    assert set(described) >= {"200", "401", "404", "422", "503"}
