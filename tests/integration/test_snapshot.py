"""Snapshots from a real server into a real folder: what lands is what was served, nothing else is committed."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from service import wiring
from service.runs.model import State
from service.runs.triggers import SnapshotRequest, resolve_snapshot
from tests.integration.runs import carried_out, commits, root, snapshot, stored_lines
from tests.simulators.dxr import BadLines, DxrSimulator, GeneratedFiles, faults
from tests.unit.snapshot.test_golden_answers import ANSWERS, EXPECTED

if TYPE_CHECKING:
    from service.wiring import Service
    from tests.conftest import MakeSettings

FULL = GeneratedFiles(rows=500, seed=7)


def served_by(source: Any) -> bytes:
    return b"".join(source.blocks())


async def test_what_is_served_is_what_lands(service: Service, dxr: DxrSimulator) -> None:
    run = await snapshot(service, ingestion_date="2026-11-20")
    assert run.state is State.LANDED
    [commit] = commits(service)
    assert stored_lines(service, commit["chunks"]) == served_by(FULL)
    assert run.counts == {
        "served_lines": 500,
        "rows": 500,
        "rejected_rows": 0,
        "blank_lines": 0,
        "raw_bytes": len(served_by(FULL)),
        "stored_bytes": sum(chunk["stored_bytes"] for chunk in commit["chunks"]),
        "chunks": 1,
    }
    assert run.commit == f"commits/file_metadata.{commit['sequence']:020d}.{run.id}.json"
    assert commit["source"] == dxr.url
    folder = f"chunks/file_metadata/ingestion_date=2026-11-20/run_id={run.id}/attempt=1"
    assert [chunk["path"] for chunk in commit["chunks"]] == [f"{folder}/part-00000.jsonl.gz"]
    [request] = dxr.requests
    assert request.headers["Accept"] == "application/x-ndjson, application/jsonlines, application/json"


async def test_chunks_never_exceed_their_size_and_keep_the_order(
    dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, landing_chunk_bytes="50KB")) as service:
        await snapshot(service)
        [commit] = commits(service)
        assert len(commit["chunks"]) > 10
        longest = max(len(line) for line in served_by(FULL).split(b"\n")) + 1
        assert max(chunk["raw_bytes"] for chunk in commit["chunks"]) <= max(50_000, longest)
        assert stored_lines(service, commit["chunks"]) == served_by(FULL)


@pytest.mark.parametrize("name", sorted(EXPECTED))
async def test_golden_answers_land_exactly(name: str, dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    expected = EXPECTED[name]
    dxr.faults.always(faults.Body((ANSWERS / f"{name}.ndjson").read_bytes()))
    limit = expected.get("row_bytes_max", 64 * 2**20)
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_max_row_bytes=limit)) as service:
        run = await snapshot(service)
        if "error" in expected:
            assert (run.state, run.error and run.error.code) == (State.FAILED, expected["error"])
            assert commits(service) == []
            return
        assert run.state is State.LANDED
        [commit] = commits(service)
        assert stored_lines(service, commit["chunks"]) == (ANSWERS / f"{name}.rows").read_bytes()
        rejects = [json.loads(line) for line in stored_lines(service, commit["rejects"]).splitlines()]
        assert [[reject["line_number"], reject["reason"]] for reject in rejects] == expected["rejects"]
        counts = {key: expected[key] for key in ("served_lines", "rows", "blank_lines")}
        assert run.counts.items() >= counts.items()


async def test_rejects_keep_every_byte(service: Service, dxr: DxrSimulator) -> None:
    dxr.source = BadLines(GeneratedFiles(rows=200, seed=1), every=10)
    body = served_by(BadLines(GeneratedFiles(rows=200, seed=1), every=10))
    run = await snapshot(service)
    [commit] = commits(service)
    rejects = [json.loads(line) for line in stored_lines(service, commit["rejects"]).splitlines()]
    lines = body.split(b"\n")
    assert [base64.b64decode(reject["raw"]) for reject in rejects] == [
        lines[reject["line_number"] - 1] for reject in rejects
    ]
    assert commit["rows"] == 200
    assert len(rejects) == commit["rejected_rows"] > 5
    counts = run.counts
    assert counts["served_lines"] == len(lines) - 1
    assert counts["served_lines"] == counts["rows"] + counts["rejected_rows"] + counts["blank_lines"]


@pytest.mark.parametrize(
    "fault",
    [faults.Gzip(), faults.Gzip(members=3), faults.Deflate(), faults.Body(served_by(FULL), framing="length")],
    ids=lambda fault: str(fault)[:30],
)
async def test_every_whole_framing_lands(fault: Any, service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(fault)
    run = await snapshot(service)
    assert run.state is State.LANDED
    assert stored_lines(service, commits(service)[0]["chunks"]) == served_by(FULL)


CUTS: list[tuple[Any, str]] = [
    (faults.CutAfterRows(250), "STREAM_CUT"),
    (faults.CutAfterRows(0), "STREAM_CUT"),
    (faults.MissingTerminalChunk(), "STREAM_CUT"),
    (faults.CutAfterBytes(100_000), "STREAM_CUT"),
    (faults.CutAfterBytes(100_000, framing="length"), "STREAM_CUT"),
    (faults.CutAfterBytes(100_000, reset=True), "STREAM_CUT"),
    (faults.Gzip(cut_after_bytes=20_000), "STREAM_CUT"),
    (faults.Gzip(members=2, cut_after_bytes=60_000), "STREAM_CUT"),
    (faults.Gzip(bad_crc=True), "STREAM_CUT"),
    (faults.CloseDelimited(), "STREAM_UNPROVEN"),
    (faults.Stall(after_rows=100), "STREAM_STALLED"),
    (faults.Stall(headers=False), "STREAM_STALLED"),
    (faults.DripBlankLines(after_rows=100), "STREAM_STALLED"),
    (faults.GarbageChunkSize(after_rows=100), "STREAM_STALLED|STREAM_CUT"),
    (faults.Status(429, retry_after="1"), "DXR_THROTTLED"),
    (faults.Status(503), "DXR_UNAVAILABLE"),
    (faults.Status(504), "DXR_TOO_BROAD"),
]


@pytest.mark.parametrize(("fault", "code"), CUTS, ids=[str(fault)[:40] for fault, _ in CUTS])
async def test_a_broken_answer_commits_nothing_and_the_next_attempt_lands(
    fault: Any, code: str, dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    settings = make_settings(dxr_base_url=dxr.url, dxr_http_timeout=0.3, dxr_retry_attempts=1)
    async with wiring.opened(settings) as service:
        dxr.faults.next(fault)
        failed = await snapshot(service)
        assert failed.state is State.FAILED
        assert failed.error is not None
        assert failed.error.code in code.split("|")
        assert failed.error.retryable
        assert failed.error.hint
        assert commits(service) == []
        assert list(root(service).rglob("*.tmp")) == []
    async with wiring.opened(settings.model_copy(update={"dxr_retry_attempts": 2})) as service:
        dxr.faults.next(fault)
        landed = await snapshot(service)
        assert (landed.state, landed.attempt) == (State.LANDED, 2)
        [commit] = commits(service)
        assert "/attempt=2/" in commit["chunks"][0]["path"]
        assert stored_lines(service, commit["chunks"]) == served_by(FULL)


async def test_a_stream_cut_at_any_byte_is_never_committed(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    body = served_by(GeneratedFiles(rows=3, seed=2, mean_bytes=600))
    async with wiring.opened(make_settings(dxr_base_url=dxr.url)) as service:
        dxr.source = GeneratedFiles(rows=3, seed=2, mean_bytes=600)
        for count in range(0, len(body), 37):
            dxr.faults.next(faults.CutAfterBytes(count))
            run = await snapshot(service)
            assert run.error is not None
            assert run.error.code == "STREAM_CUT"
        assert commits(service) == []


async def test_an_unproven_stream_lands_flagged_when_allowed(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_accept_unproven_streams=True)) as service:
        dxr.faults.next(faults.CloseDelimited())
        assert (await snapshot(service)).state is State.LANDED
        assert [commit["unproven"] for commit in commits(service)] == [True]


async def test_a_slow_stream_that_lives_is_not_ended(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    """Nine pauses, each below the limit, together far above it."""
    gates = faults.Gate(after_rows=200)
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_http_timeout=5)) as service:
        dxr.faults.next(gates)
        task = asyncio.create_task(snapshot(service))
        await gates.reached()
        gates.open()
        assert (await task).state is State.LANDED


async def test_the_cap_ends_the_stream_and_is_told(service: Service, dxr: DxrSimulator) -> None:
    run = await snapshot(service, record_cap=42, ingestion_date="2026-01-01")
    [commit] = commits(service)
    assert (run.state, commit["rows"], commit["record_cap"]) == (State.LANDED, 42, 42)
    assert stored_lines(service, commit["chunks"]) == b"".join(served_by(FULL).splitlines(keepends=True)[:42])


async def test_a_cap_never_replaces_the_full_snapshot_of_its_date(service: Service, dxr: DxrSimulator) -> None:
    await snapshot(service, ingestion_date="2026-01-01")
    asked_before = len(dxr.requests)
    run = await snapshot(service, record_cap=42, ingestion_date="2026-01-01")
    assert run.error is not None
    assert run.error.code == "CAPPED_OVER_FULL"
    assert len(dxr.requests) == asked_before
    other = await snapshot(service, record_cap=42, ingestion_date="2026-01-02")
    assert other.state is State.LANDED


async def test_lost_rows_are_held_back(service: Service, dxr: DxrSimulator) -> None:
    await snapshot(service)
    dxr.source = GeneratedFiles(rows=100, seed=7)
    shrunken = await snapshot(service)
    assert shrunken.error is not None
    assert (shrunken.error.code, shrunken.error.retryable) == ("SHRUNKEN_SNAPSHOT", False)
    dxr.faults.always(faults.Status(204))
    empty = await snapshot(service)
    assert empty.error is not None
    assert empty.error.code == "EMPTY_SNAPSHOT"
    assert len(commits(service)) == 1
    dxr.faults.clear()
    assert (await snapshot(service, accept_shrunken=True)).state is State.LANDED


async def test_an_empty_tenant_is_a_snapshot_without_chunks(service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.always(faults.Status(204))
    run = await snapshot(service)
    assert run.state is State.LANDED
    assert [commit["chunks"] for commit in commits(service)] == [[]]


async def test_sequences_rise_with_every_attempt(service: Service, dxr: DxrSimulator) -> None:
    first, second = await snapshot(service), await snapshot(service)
    assert 0 < first.sequence < second.sequence
    assert [commit["sequence"] for commit in commits(service)] == [first.sequence, second.sequence]


async def test_a_lost_store_goes_on_above_what_has_landed(
    service: Service, dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    await snapshot(service)
    [commit] = commits(service)
    ahead = commit | {"sequence": commit["sequence"] + 10**15}
    name = f"file_metadata.{ahead['sequence']:020d}.{ahead['run_id']}.json"
    (root(service) / "commits" / name).write_text(json.dumps(ahead))
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, state_dir="elsewhere")) as other:
        assert (await snapshot(other)).sequence == ahead["sequence"] + 1


async def test_a_refused_token_is_read_again_once(
    dxr: DxrSimulator, make_settings: MakeSettings, tmp_path: Any
) -> None:
    file = tmp_path / "token"
    file.write_text("an-old-token-that-was-rotated-out\n")
    settings = make_settings(dxr_base_url=dxr.url, dxr_bearer_token=None, dxr_bearer_token_file=str(file))
    settings = settings.model_copy(update={"dxr_bearer_token": None, "dxr_retry_attempts": 5})
    async with wiring.opened(settings) as service:
        refused = await snapshot(service)
        assert refused.error is not None
        assert (refused.error.code, refused.error.retryable) == ("DXR_UNAUTHORIZED", False)
        assert "DXR_BEARER_TOKEN_FILE" in refused.error.message
        assert len(dxr.requests) == 1
        file.write_text(dxr.token)
        assert (await snapshot(service)).state is State.LANDED


@pytest.mark.parametrize(("code", "reads"), [(401, "DXR_UNAUTHORIZED"), (403, "DXR_FORBIDDEN"), (400, "DXR_REJECTED")])
async def test_a_refusal_is_not_repeated(code: int, reads: str, dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_retry_attempts=5)) as service:
        dxr.faults.always(faults.Status(code))
        run = await snapshot(service)
        assert run.error is not None
        assert (run.error.code, run.error.retryable, run.attempt) == (reads, False, 1)


async def test_redirects_stay_at_the_origin(service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(faults.Redirect("/api/v1/files"))
    assert (await snapshot(service)).state is State.LANDED
    async with DxrSimulator(GeneratedFiles(rows=1)) as other:
        dxr.faults.next(faults.Redirect(other.url + "/api/v1/files"))
        run = await snapshot(service)
        assert run.error is not None
        assert run.error.code == "DXR_REDIRECTED"
        assert other.requests == []


async def test_an_unreachable_tenant_says_so(make_settings: MakeSettings) -> None:
    async with wiring.opened(make_settings()) as service:
        run = await snapshot(service)
        assert run.error is not None
        assert (run.error.code, run.error.retryable) == ("DXR_UNREACHABLE", True)


async def test_a_landing_that_takes_nothing_fails_the_run(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, landing_path="/proc/no-such-place")) as service:
        run = await snapshot(service)
        assert run.error is not None
        assert run.error.code.startswith("LANDING_")
        assert run.error.hint


async def test_a_landing_that_breaks_under_the_run_fails_it(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    """The first part's temporary name is taken: nothing of the attempt can be written."""
    async with wiring.opened(make_settings(dxr_base_url=dxr.url)) as service:
        today = service.clock.now().date()
        asked = SnapshotRequest(ingestion_date="2026-01-01")
        request = resolve_snapshot(asked, service.settings, today, "test")
        created = await service.store.create(request)
        folder = root(service) / f"chunks/file_metadata/ingestion_date=2026-01-01/run_id={created.id}/attempt=1"
        folder.mkdir(parents=True)
        (folder / ".part-00000.jsonl.gz.tmp").symlink_to("/dev/full")
        ended = await carried_out(service, created.id)
        assert ended.state is State.FAILED
        assert commits(service) == []
