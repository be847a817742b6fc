"""`dxr-ingest doctor`: a line per thing that must work, a fix for each that does not, and the right exit code."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.conftest import TOKEN
from tests.e2e.commands import Commands
from tests.simulators.databricks import DatabricksSimulator

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulators.dxr import DxrSimulator


@pytest.fixture
def commands(tmp_path: Path, dxr: DxrSimulator) -> Commands:
    return Commands(
        tmp_path,
        {"DXR_BASE_URL": dxr.url, "DXR_BEARER_TOKEN": TOKEN, "LANDING_PATH": str(tmp_path / "landing")},
    )


async def test_all_is_well(commands: Commands) -> None:
    done = await commands.run("doctor", "-o", "json")
    assert done.code == 0, done.out
    assert [finding["check"] for finding in done.json] == ["configuration", "DXR", "landing", "run store", "receipts"]
    assert all(finding["ok"] for finding in done.json)
    assert TOKEN not in done.out + done.err
    assert not list((commands.folder / "landing").rglob("*"))
    assert (await commands.run("snapshot")).code == 0
    text = await commands.run("doctor")
    assert text.code == 0
    assert len(text.out.splitlines()) == 5
    assert "1 awaited" in text.out


async def test_a_receipt_that_does_not_come_is_told(commands: Commands) -> None:
    assert (await commands.run("snapshot")).code == 0
    with contextlib.closing(sqlite3.connect(commands.folder / ".dxr-ingest" / "runs.sqlite")) as store:
        store.execute("UPDATE runs SET ended_at = '2026-01-01T00:00:00.000000Z'")
        store.commit()
    done = await commands.run("doctor", "-o", "json")
    [overdue] = [finding for finding in done.json if not finding["ok"]]
    assert (done.code, overdue["check"], overdue["code"]) == (1, "receipts", "RECEIPTS_OVERDUE")
    assert "Spark job" in overdue["hint"]


async def test_beside_a_running_service(commands: Commands) -> None:
    async with commands.serving():
        assert (await commands.run("doctor")).code == 0


@pytest.mark.parametrize(
    ("variables", "check", "code", "fix"),
    [
        ({"DXR_BASE_URL": ""}, "configuration", 3, "config schema"),
        ({"DXR_BEARER_TOKEN": ""}, "configuration", 3, "DXR_BEARER_TOKEN_FILE"),
        ({"DXR_BEARER_TOKEN": "wrong"}, "DXR", 4, "Issue a new token"),
        ({"DXR_BASE_URL": "http://127.0.0.1:9"}, "DXR", 5, "network policy"),
        ({"LANDING_PATH": "/proc/nowhere"}, "landing", 1, "LANDING_PATH"),
        ({"DATABASE_URL": "sqlite+aiosqlite:////proc/nowhere"}, "run store", 5, "DATABASE_URL"),
    ],
)
async def test_each_red_line_has_its_way_out(
    variables: dict[str, str], check: str, code: int, fix: str, commands: Commands
) -> None:
    done = await commands.run("doctor", **variables)
    assert done.code == code, done.out
    [red] = [number for number, line in enumerate(done.out.splitlines()) if line.startswith("FAIL")]
    assert check in done.out.splitlines()[red]
    assert fix in done.out.splitlines()[red + 1]
    assert "Traceback" not in done.out + done.err


async def test_a_volume_that_may_not_be_written(commands: Commands, tmp_path: Path) -> None:
    async with DatabricksSimulator(tmp_path / "volumes") as databricks:
        databricks.volume("main", "dxr", "landing")
        variables = {
            "LANDING_PATH": "/Volumes/main/dxr/landing",
            "DATABRICKS_HOST": databricks.url,
            "DATABRICKS_CLIENT_ID": databricks.client_id,
            "DATABRICKS_CLIENT_SECRET": databricks.client_secret,
        }
        assert (await commands.run("doctor", **variables)).code == 0
        assert list((tmp_path / "volumes").rglob("*.txt")) == []
        databricks.read_only.add("/Volumes/main/dxr/landing")
        done = await commands.run("doctor", **variables)
        assert done.code == 4
        assert "WRITE VOLUME" in done.out
        # pragma: allowlist nextline secret
        wrong = await commands.run("doctor", **{**variables, "DATABRICKS_CLIENT_SECRET": "not-the-secret"})
        assert wrong.code == 4
        assert "not-the-secret" not in wrong.out + wrong.err
        assert databricks.client_secret not in done.out + done.err
