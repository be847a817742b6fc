"""The command line as people and CronJobs use it: real processes, real exit codes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path

import pytest

from service import __version__
from tests.conftest import TOKEN
from tests.e2e.commands import COMMAND, Commands, Done, finished
from tests.simulators.dxr import DxrSimulator, GeneratedFiles, faults

API_TOKEN = "ops-" + "o" * 32


@pytest.fixture
def commands(tmp_path: Path, dxr: DxrSimulator) -> Commands:
    return Commands(
        tmp_path,
        {
            "DXR_BASE_URL": dxr.url,
            "DXR_BEARER_TOKEN": TOKEN,
            "LANDING_PATH": str(tmp_path / "landing"),
            "DXR_RETRY_ATTEMPTS": "1",
        },
    )


def commit_files(commands: Commands) -> list[Path]:
    return sorted((commands.folder / "landing" / "commits").glob("*"))


async def test_a_snapshot_lands_and_prints_its_run(commands: Commands) -> None:
    done = await commands.run("snapshot", "-o", "json", "--ingestion-date", "2026-11-20")
    assert done.code == 0
    assert (done.json["state"], done.json["counts"]["rows"], done.json["ingestion_date"]) == (
        "landed",
        500,
        "2026-11-20",
    )
    assert [path.name for path in commit_files(commands)] == [done.json["commit"].removeprefix("commits/")]
    assert TOKEN not in done.out + done.err
    listed = await commands.run("runs", "list", "-o", "json")
    assert [run["id"] for run in listed.json] == [done.json["id"]]
    shown = await commands.run("runs", "show", done.json["id"], "-o", "json")
    assert shown.json == done.json
    text = await commands.run("runs", "list")
    assert done.json["id"] in text.out


async def test_a_failed_run_is_printed_too(commands: Commands, dxr: DxrSimulator) -> None:
    dxr.faults.always(faults.Status(503))
    done = await commands.run("snapshot", "-o", "json")
    assert done.code == 5
    assert done.json["error"]["code"] == "DXR_UNAVAILABLE"
    dxr.faults.always(faults.Status(403))
    done = await commands.run("snapshot")
    assert done.code == 4
    assert "DXR_FORBIDDEN" in done.err
    assert "Traceback" not in done.err
    assert commit_files(commands) == []


@pytest.mark.parametrize(
    ("more", "arguments", "code", "reads"),
    [
        ({"DXR_BASE_URL": ""}, ("snapshot",), 3, "DXR_BASE_URL is not set"),
        ({"LANDING_PATH": ""}, ("serve",), 3, "LANDING_PATH is not set"),
        ({"DXR_BEARER_TOKEN": ""}, ("snapshot",), 3, "DXR_BEARER_TOKEN_FILE"),
        ({"SERVICE_HOST": "0.0.0.0"}, ("serve",), 3, "no API token is set"),
        ({"LANDING_PATH": "/Volumes/a/b"}, ("serve",), 3, "/Volumes/<catalog>/<schema>/<volume>"),
        ({"LANDING_PATH": "/Volumes/a/b/c"}, ("serve",), 3, "Set DATABRICKS_HOST"),
        ({"DXR_TOKEN_SCOPE": "dxr"}, ("serve",), 3, "DXR_TOKEN_KEY is not set"),
        ({"STATE_DIR": "/proc/nowhere"}, ("snapshot",), 3, "STATE_DIR is /proc/nowhere"),
        ({}, ("snapshot", "--no-such-flag"), 2, "No such option"),
        ({}, ("snapshot", "--query", "size > 1"), 2, "dataset name of its own"),
        ({}, ("snapshot", "--ingestion-date", "soon"), 2, "YYYY-MM-DD"),
        ({}, ("runs", "show", "01a202e6-4fb4-77e4-a088-2c935f55c4b6"), 1, "There is no run"),
        ({}, ("snapshot", "--server", "http://127.0.0.1:9"), 5, "does not answer"),
    ],
)
async def test_bad_input_is_one_clear_message(
    commands: Commands, more: dict[str, str], arguments: tuple[str, ...], code: int, reads: str
) -> None:
    done = await commands.run(*arguments, **more)
    assert done.code == code, done.err
    assert reads in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert done.out == ""


async def test_the_seeds_flags_come_before_the_environment(commands: Commands, dxr: DxrSimulator) -> None:
    done = await commands.run(
        *("snapshot", "--base-url", dxr.url, "--bearer-token", TOKEN, "--record-cap", "7", "--verify-ssl", "true"),
        *("--http-timeout", "30", "--user-agent", "me/1", "-o", "json"),
        DXR_BASE_URL="http://127.0.0.1:9",
        DXR_BEARER_TOKEN="",
    )
    assert (done.code, done.json["counts"]["rows"], done.json["record_cap"]) == (0, 7, 7)
    assert "--bearer-token is visible" in done.err
    assert dxr.requests[0].headers["User-Agent"] == "me/1"


async def test_a_landing_that_takes_no_more_fails_the_run(commands: Commands, dxr: DxrSimulator) -> None:
    """The process may write files of 1 MiB at most: the first part breaks in the middle of the stream."""
    dxr.source = GeneratedFiles(rows=10_000, seed=3)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", 'ulimit -f 1024; exec "$@"', "-", COMMAND, "snapshot", "-o", "json"),
        cwd=commands.folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(commands.folder), **commands.variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    done = await finished(process)
    assert (done.code, done.json["state"]) == (1, "failed")
    assert done.json["error"]["code"] == "LANDING_FULL"
    assert "Make room" in done.json["error"]["hint"]
    assert commit_files(commands) == []
    assert list((commands.folder / "landing").rglob("*.tmp")) == []


async def test_a_landing_that_may_not_be_written_fails_the_run(commands: Commands) -> None:
    """Not even root may make files in /sys."""
    done = await commands.run("snapshot", "-o", "json", LANDING_PATH="/sys/landing")
    assert (done.code, done.json["error"]["code"]) == (4, "LANDING_FORBIDDEN")
    assert "LANDING_PATH" in done.json["error"]["hint"]


async def test_interrupted_runs_end_cleanly(commands: Commands, dxr: DxrSimulator) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        gate = faults.Gate(after_rows=10)
        dxr.faults.next(gate)
        process = await commands.start("snapshot", "-o", "json")
        await gate.reached()
        process.send_signal(number)
        done = await finished(process)
        assert (done.code, done.json["state"]) == (code, "queued")
    assert commit_files(commands) == []
    assert list((commands.folder / "landing").rglob("*.tmp")) == []
    again = await commands.run("snapshot", "-o", "json")
    assert (again.code, again.json["id"], again.json["attempt"]) == (0, done.json["id"], 3)


async def test_a_killed_run_blocks_nothing_and_commits_nothing(commands: Commands, dxr: DxrSimulator) -> None:
    gate = faults.Gate(after_rows=10)
    dxr.faults.next(gate)
    process = await commands.start("snapshot")
    await gate.reached()
    process.kill()
    await finished(process)
    assert commit_files(commands) == []
    assert (await commands.run("snapshot", "--ingestion-date", "2026-11-20")).code == 0
    states = {run["state"]: run["error"] for run in (await commands.run("runs", "list", "-o", "json")).json}
    assert states["landed"] is None
    assert states["failed"]["code"] == "INTERRUPTED"


async def test_a_service_and_its_clients(commands: Commands, dxr: DxrSimulator) -> None:
    tokens = {"SERVICE_API_TOKENS": f"ops:{API_TOKEN}"}
    async with commands.serving(**tokens) as (address, process):
        through = {"SERVICE_URL": address, "SERVICE_TOKEN": API_TOKEN, "DXR_BASE_URL": "", "LANDING_PATH": ""}
        done = await commands.run("snapshot", "-o", "json", **through)
        assert (done.code, done.json["state"], done.json["trigger"]) == (0, "landed", "api:ops")
        assert (await commands.run("runs", "show", done.json["id"], "-o", "json", **through)).json == done.json
        assert (await commands.run("runs", "list", "-o", "json")).json == [done.json]

        wrong = await commands.run("snapshot", **(through | {"SERVICE_TOKEN": "wrong" * 10}))
        assert wrong.code == 4
        assert "wrongwrong" not in wrong.err

        second = await commands.run("snapshot")
        assert second.code == 7
        assert "--server" in second.err

        gate = faults.Gate(after_rows=10)
        dxr.faults.next(gate)
        first = await commands.start("snapshot", "-o", "json", **through)
        await gate.reached()
        joined = await commands.start("snapshot", "-o", "json", **through)
        await said(joined, b"joined active run")
        late = await commands.run("snapshot", "--ingestion-date", "2020-01-01", "--wait-active", "0", **through)
        assert late.code == 7
        other = await commands.start("snapshot", "-o", "json", "--ingestion-date", "2020-01-01", **through)
        await said(other, b"waiting for the end of active run")
        gate.open()
        ended = [(await finished(process)).json for process in (first, joined, other)]
        assert ended[0]["id"] == ended[1]["id"] != ended[2]["id"]
        assert [run["state"] for run in ended] == ["landed"] * 3

        cancelled_gate = faults.Gate(after_rows=10)
        dxr.faults.next(cancelled_gate)
        waiting = await commands.start("snapshot", "-o", "json", **through)
        await cancelled_gate.reached()
        [active] = (await commands.run("runs", "list", "--state", "running", "-o", "json", **through)).json
        assert (await commands.run("runs", "cancel", active["id"], **through)).code == 0
        assert (await finished(waiting)).code == 1
    assert process.returncode == 0


async def said(process: asyncio.subprocess.Process, words: bytes) -> None:
    """Read what it says on stderr until it says that."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while words not in await process.stderr.readline():
            assert not process.stderr.at_eof()


async def test_cancel_beside_a_service_works_through_the_store(commands: Commands, dxr: DxrSimulator) -> None:
    gate = faults.Gate(after_rows=10)
    async with commands.serving() as (address, _):
        dxr.faults.next(gate)
        waiting = await commands.start("snapshot", "-o", "json", "--server", address)
        await gate.reached()
        [active] = (await commands.run("runs", "list", "-o", "json")).json
        asked = await commands.run("runs", "cancel", active["id"])
        assert asked.code == 0
        assert "asked to stop" in asked.err
        assert (await finished(waiting)).json["state"] == "cancelled"


async def test_classify_lands_and_says_what_is_left(commands: Commands, dxr: DxrSimulator) -> None:
    volume = commands.folder / "volumes" / "main" / "legal" / "contracts"
    volume.mkdir(parents=True)
    (volume / "a.txt").write_text("label: A\n")
    (volume / "large.txt").write_text("label: B\n" * 1000)
    dxr.classifier.datasources = ("11",)
    more = {
        "VOLUME_CATALOG": "main",
        "VOLUME_SCHEMA": "legal",
        "VOLUME_NAME": "contracts",
        "VOLUME_BASE_PATH": str(commands.folder / "volumes"),
        "DXR_DATASOURCE_ID": "11",
        "DXR_POLL_INTERVAL_SECONDS": "0.01",
        "DXR_MAX_BYTES_PER_JOB": "5kB",
    }
    refused = await commands.run("classify")
    assert refused.code == 3
    assert "VOLUME_CATALOG" in refused.err
    done = await commands.run("classify", "-o", "json", **more)
    assert (done.code, done.json["state"]) == (6, "partial")
    assert done.json["counts"]["reasons"] == {"TOO_LARGE": 1}
    async with commands.serving(**more) as (address, _):
        again = await commands.run("classify", "--full", "--server", address)
    assert again.code == 6
    assert "labelled 1" in again.out
    assert "TOO_LARGE 1" in again.out


async def test_config_shows_masks_and_describes(commands: Commands) -> None:
    shown = await commands.run("config", "show", "-o", "json")
    assert shown.json["DXR_RETRY_ATTEMPTS"] == 1
    assert TOKEN not in shown.out
    schema = (await commands.run("config", "schema")).out
    assert json.loads(schema)["properties"]["dxr_http_timeout"]["default"] == 120


async def test_the_version(commands: Commands) -> None:
    assert (await commands.run("--version")).out == f"dxr-ingest {__version__}\n"


async def test_help_imports_nothing_heavy(commands: Commands) -> None:
    """CPU time is the figure (contract, section 4), but machines differ: what is imported decides it."""
    done = await commands.run("--help", PYTHONPROFILEIMPORTTIME="1")
    assert "typer" in imported(done)
    heavy = {"aiohttp", "fastapi", "pydantic", "sqlalchemy", "alembic", "isal", "msgspec", "structlog", "yaml"}
    assert not imported(done) & heavy


async def test_a_snapshot_imports_no_more_than_it_needs(commands: Commands) -> None:
    done = await commands.run("snapshot", PYTHONPROFILEIMPORTTIME="1")
    assert done.code == 0
    assert {"aiohttp", "sqlalchemy", "structlog"} <= imported(done)
    assert not imported(done) & {"fastapi", "uvicorn", "databricks", "alembic", "mako", "pygments", "pyspark"}


def imported(done: Done) -> set[str]:
    """The packages that a command with `PYTHONPROFILEIMPORTTIME` imported."""
    lines = (line for line in done.err.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


async def test_the_memory_of_the_service_does_not_grow_with_the_stream(commands: Commands, dxr: DxrSimulator) -> None:
    """A twenty-fifth of the real thing; `make bench PARTS=streams` shows the rest."""
    async with commands.serving() as (address, process):
        peaks_mib: list[int] = []
        for rows in (10_000, 40_000):
            dxr.source = GeneratedFiles(rows=rows, seed=3)
            done = await commands.run("snapshot", "-o", "json", "--server", address)
            assert done.json["counts"]["rows"] == rows
            status = Path(f"/proc/{process.pid}/status").read_text()
            peaks_mib.append(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024)
    assert peaks_mib[1] < 200
    assert peaks_mib[1] - peaks_mib[0] < 24


async def test_a_trigger_that_waits_ends_at_once_when_it_is_terminated(commands: Commands, dxr: DxrSimulator) -> None:
    """Also as the first process of a container, whom an unhandled signal does not end."""
    gate = faults.Gate(after_rows=10)
    dxr.faults.next(gate)
    async with commands.serving() as (address, _process):
        waiting = await commands.start("snapshot", "--server", address)
        await gate.reached()
        waiting.terminate()
        assert (await finished(waiting)).code == 143
        gate.open()
