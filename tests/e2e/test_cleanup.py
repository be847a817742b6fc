"""`dxr-ingest cleanup`: what goes, what it says, and beside whom it may work."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.conftest import TOKEN
from tests.e2e.commands import Commands
from tests.simulators.databricks import DatabricksSimulator
from tests.simulators.dxr import DxrSimulator, GeneratedFiles, faults


@pytest.fixture
def commands(tmp_path: Path, dxr: DxrSimulator) -> Commands:
    dxr.source = GeneratedFiles(rows=3_000, seed=7)
    return Commands(
        tmp_path,
        {
            "DXR_BASE_URL": dxr.url,
            "LANDING_PATH": str(tmp_path / "landing"),
            "LANDING_CHUNK_BYTES": "64kB",
            "DXR_RETRY_ATTEMPTS": "1",
        },
    )


def landing_files(commands: Commands) -> set[str]:
    root = commands.folder / "landing"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


async def failed_and_landed(commands: Commands, dxr: DxrSimulator) -> tuple[str, str]:
    """The ids of a run that left parts behind and of one that landed."""
    dxr.faults.next(faults.CutAfterRows(2_500))
    failed = await commands.run("snapshot", "-o", "json", DXR_BEARER_TOKEN=TOKEN)
    landed = await commands.run("snapshot", "-o", "json", DXR_BEARER_TOKEN=TOKEN)
    assert (failed.json["state"], landed.json["state"]) == ("failed", "landed")
    return failed.json["id"], landed.json["id"]


def ingest(root: Path, run_id: str, ingested_at: str = "2020-01-01T00:00:00Z") -> None:
    """What the Spark job says when the run is in its table."""
    (root / "receipts").mkdir(exist_ok=True)
    verdict = {"format": 1, "run_id": run_id, "state": "ingested", "ingested_at": ingested_at}
    (root / "receipts" / f"{run_id}.json").write_text(json.dumps(verdict))


async def test_a_failed_run_and_an_ingested_one(commands: Commands, dxr: DxrSimulator) -> None:
    failed, landed = await failed_and_landed(commands, dxr)
    before = landing_files(commands)
    parts = {run: {path for path in before if f"/run_id={run}/" in path} for run in (failed, landed)}
    assert all(parts.values())

    rehearsed = await commands.run("cleanup", "--dry-run", "-o", "json")
    assert rehearsed.code == 0, rehearsed.err
    assert rehearsed.json["dry_run"] is True
    assert {one["path"] for one in rehearsed.json["paths"]} == parts[failed]
    assert rehearsed.json["kept"]["awaited"]["files"] == len(parts[landed])
    assert landing_files(commands) == before

    cleaned = await commands.run("cleanup", "-o", "json")
    assert (cleaned.code, cleaned.json) == (0, rehearsed.json | {"dry_run": False})
    assert landing_files(commands) == before - parts[failed]

    ingest(commands.folder / "landing", landed)
    text = await commands.run("cleanup", "--dry-run")
    assert text.code == 0
    assert f"would remove {len(parts[landed]):,} files" in text.out
    shown = [line for line in text.out.splitlines() if line.startswith("would remove chunks/")]
    assert {line.split()[2] for line in shown} < parts[landed]
    assert f"… and {len(parts[landed]) - len(shown)} more" in text.out
    text = await commands.run("cleanup")
    assert text.code == 0
    assert "\nremoved chunks/" in text.out
    assert landing_files(commands) == before - parts[failed] - parts[landed] | {f"receipts/{landed}.json"}

    text = await commands.run("cleanup")
    assert (text.code, text.out) == (0, "removed 0 files, 0 bytes\nkept 0 files, 0 bytes\n")
    assert "Traceback" not in text.err


async def test_the_days_are_a_setting(commands: Commands, dxr: DxrSimulator) -> None:
    _, landed = await failed_and_landed(commands, dxr)
    ingest(commands.folder / "landing", landed)
    kept = await commands.run("cleanup", "-o", "json", LANDING_RETENTION_DAYS="36500")
    assert list(kept.json["kept"]) == ["retained"]
    gone = await commands.run("cleanup", "-o", "json", LANDING_RETENTION_DAYS="0")
    assert list(gone.json["removed"]) == ["ingested"]
    wrong = await commands.run("cleanup", LANDING_RETENTION_DAYS="-1")
    assert wrong.code == 3
    assert "LANDING_RETENTION_DAYS" in wrong.err


async def test_beside_a_service_only_a_rehearsal(commands: Commands, dxr: DxrSimulator) -> None:
    """Even of the run that is under way and has parts already, nothing would go."""
    async with commands.serving(DXR_BEARER_TOKEN=TOKEN) as (address, _):
        gate = faults.Gate(after_rows=2_500)
        dxr.faults.next(gate)
        running = await commands.start("snapshot", "--server", address)
        await gate.reached()
        refused = await commands.run("cleanup")
        assert refused.code == 7
        assert "works on the run store" in refused.err
        async with asyncio.timeout(60):
            rehearsed = await commands.run("cleanup", "--dry-run", "-o", "json")
            while rehearsed.code == 0 and not rehearsed.json["kept"]:  # its first part is not published yet
                rehearsed = await commands.run("cleanup", "--dry-run", "-o", "json")
        assert rehearsed.code == 0, rehearsed.err
        assert (rehearsed.json["removed"], set(rehearsed.json["kept"])) == ({}, {"active"})
        gate.open()
        await running.communicate()
    assert running.returncode == 0


async def test_another_stores_runs_are_left_alone_while_they_are_young(commands: Commands, dxr: DxrSimulator) -> None:
    await failed_and_landed(commands, dxr)
    before = landing_files(commands)
    elsewhere = {"STATE_DIR": str(commands.folder / "elsewhere")}
    rehearsed = await commands.run("cleanup", "--dry-run", "-o", "json", **elsewhere)
    assert not (commands.folder / "elsewhere").exists()
    done = await commands.run("cleanup", "-o", "json", **elsewhere)
    assert (rehearsed.code, done.code) == (0, 0)
    assert (done.json["removed"], set(done.json["kept"])) == ({}, {"recent", "awaited"})
    assert landing_files(commands) == before


async def test_what_cannot_be_deleted_is_told_and_the_rest_goes(commands: Commands, tmp_path: Path) -> None:
    async with DatabricksSimulator(tmp_path / "volumes") as databricks:
        volume = databricks.volume("main", "dxr", "landing")
        paths = [
            f"chunks/d/ingestion_date=2026-11-22/run_id=01a202f8-192e-72ad-935a-{run:012d}/attempt=1/part-00000.jsonl.gz"
            for run in range(2)
        ]
        for path in paths:
            (volume / path).parent.mkdir(parents=True)
            (volume / path).write_bytes(b"7 bytes")
        denied = Path(f"/Volumes/main/dxr/landing/{paths[0]}")
        databricks.read_only.add(str(denied))
        variables = {
            "LANDING_PATH": "/Volumes/main/dxr/landing",
            "LANDING_RETENTION_DAYS": "0",
            "DATABRICKS_HOST": databricks.url,
            "DATABRICKS_CLIENT_ID": databricks.client_id,
            "DATABRICKS_CLIENT_SECRET": databricks.client_secret,
        }
        done = await commands.run("cleanup", "-o", "json", **variables)
        assert done.code == 1, done.err
        assert [one["path"] for one in done.json["paths"]] == paths[1:]
        assert [(one["path"], one["code"]) for one in done.json["failed"]] == [(paths[0], "DATABRICKS_FORBIDDEN")]
        text = await commands.run("cleanup", **variables)
        assert text.code == 1
        assert f"error: {paths[0]} stays." in text.err
        assert "Traceback" not in text.err
