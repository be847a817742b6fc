"""`status`, `runs watch`, `runs list` and the progress of a run, as people and monitors use them."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import pty
import signal
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING

import pytest

from tests.conftest import TOKEN
from tests.e2e.commands import COMMAND, Commands, finished
from tests.e2e.test_cli import said
from tests.integration.test_datasets import receipt_of
from tests.simulators.dxr import faults

if TYPE_CHECKING:
    from tests.simulators.dxr import DxrSimulator


@pytest.fixture
def commands(tmp_path: Path, dxr: DxrSimulator) -> Commands:
    return Commands(
        tmp_path,
        {
            "DXR_BASE_URL": dxr.url,
            "DXR_BEARER_TOKEN": TOKEN,
            "LANDING_PATH": str(tmp_path / "landing"),
            "DXR_RETRY_ATTEMPTS": "1",
            "RECEIPT_POLL_SECONDS": "0.1",
        },
    )


def back(days: int) -> str:
    return (dt.datetime.now(dt.UTC).date() - dt.timedelta(days=days)).isoformat()


async def test_status_tells_monitors_whether_yesterday_was_complete(commands: Commands) -> None:
    nothing = await commands.run("status")
    assert (nothing.code, "file_metadata: no run yet" in nothing.err) == (6, True)

    first = (await commands.run("snapshot", "-o", "json", "--ingestion-date", back(1))).json
    awaited = await commands.run("status")
    assert awaited.code == 6
    assert "AWAITING_RECEIPT" in awaited.err

    receipt_of(commands.folder / "landing", first["id"])
    complete = await commands.run("status")
    assert (complete.code, complete.err) == (0, "")
    assert f"newest complete day {back(1)}, 500 rows" in complete.out
    assert "■ ]" in complete.out  # yesterday, and today before its run

    document = (await commands.run("status", "-o", "json", "--days", "3")).json
    assert [day["date"] for day in document[0]["days"]] == [back(3), back(2), back(1), back(0)]
    assert document[0]["last_complete"]["run_id"] == first["id"]

    async with commands.serving() as (address, _):
        through = {"SERVICE_URL": address, "DXR_BASE_URL": "", "LANDING_PATH": ""}
        answered = await commands.run("status", **through)
        assert (answered.code, answered.out.splitlines()[0]) == (0, complete.out.splitlines()[0])
        beside = await commands.run("status", "-o", "json", "--days", "3")
        assert [day["state"] for day in beside.json[0]["days"]] == ["none", "none", "complete", "none"]

    assert (await commands.run("status", "--date", back(0), "--dataset", "file_metadata")).code == 0
    unknown = await commands.run("status", "--dataset", "nobody")
    assert (unknown.code, "There is no dataset nobody" in unknown.err) == (1, True)
    for wrong in ("soon", "2020-01-01", back(-1)):
        assert (await commands.run("status", "--date", wrong)).code == 2


async def test_status_of_a_landing_that_is_away_is_no_verdict(commands: Commands) -> None:
    (commands.folder / "landing").mkdir()
    (commands.folder / "landing" / "commits").write_text("no folder")
    done = await commands.run("status")
    assert done.code == 1
    assert "landing" in done.err


async def test_watch_follows_a_run_through_the_service_and_beside_it(commands: Commands, dxr: DxrSimulator) -> None:
    gate = faults.Gate(after_rows=10)
    dxr.faults.next(gate)
    async with commands.serving() as (address, _):
        trigger = await commands.start("snapshot", "--server", address)
        await gate.reached()
        [active] = (await commands.run("runs", "list", "-o", "json")).json
        through = await commands.start("runs", "watch", active["id"], "--server", address)
        beside = await commands.start("runs", "watch", active["id"], "-o", "json")
        for watching in (through, beside):
            await said(watching, b"running")
        gate.open()
        for watching in (through, beside):
            await said(watching, b"landed")
        receipt_of(commands.folder / "landing", active["id"])
        told = [await finished(process) for process in (through, beside)]
        assert (await finished(trigger)).code == 0
    assert [one.code for one in told] == [0, 0]
    assert "ingested" in told[0].out
    assert (told[1].json["state"], told[1].json["counts"]["table_rows"]) == ("ingested", 500)


async def test_watch_ends_with_the_code_of_the_run(commands: Commands, dxr: DxrSimulator) -> None:
    dxr.faults.always(faults.Status(503))
    failed = (await commands.run("snapshot", "-o", "json")).json
    done = await commands.run("runs", "watch", failed["id"])
    assert (done.code, "DXR_UNAVAILABLE" in done.err) == (5, True)
    missing = await commands.run("runs", "watch", "01a202e6-4fb4-77e4-a088-2c935f55c4b6")
    assert (missing.code, "There is no run" in missing.err) == (1, True)


async def test_a_watch_goes_on_when_the_service_is_restarted(commands: Commands, dxr: DxrSimulator) -> None:
    gate = faults.Gate(after_rows=10)
    dxr.faults.next(gate)
    async with commands.serving() as (address, process):
        port = address.rpartition(":")[2]
        trigger = await commands.start("snapshot", "--server", address)
        await gate.reached()
        [active] = (await commands.run("runs", "list", "-o", "json")).json
        watching = await commands.start("runs", "watch", active["id"], "--server", address)
        await said(watching, b"running")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0  # no stream holds the drain up
    trigger.kill()
    await trigger.wait()
    again = await commands.start("serve", "--port", port)
    try:
        await said(watching, b"landed")
        receipt_of(commands.folder / "landing", active["id"])
        assert (await finished(watching)).code == 0
    finally:
        again.terminate()
        await again.communicate()


async def test_on_a_narrow_terminal_ids_stay_whole(commands: Commands) -> None:
    run = (await commands.run("snapshot", "-o", "json")).json
    terminal = await Terminal.of(commands, 80, "runs", "list")
    shown = await terminal.ended()
    assert run["id"] in shown
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())


async def test_on_a_terminal_a_snapshot_shows_how_far_it_is(commands: Commands, dxr: DxrSimulator) -> None:
    await commands.run("snapshot")
    gate = faults.Gate(after_rows=250)
    dxr.faults.next(gate)
    terminal = await Terminal.of(commands, 160, "snapshot")
    await gate.reached()
    await terminal.says("(≈ 50% of the snapshot before)")
    gate.open()
    assert "landed" in await terminal.ended()


class Terminal:
    """A command on a terminal of so many columns, and what it shows."""

    def __init__(self, process: asyncio.subprocess.Process, screen: int) -> None:
        self._process = process
        self._screen = screen
        self._shown = b""
        self._reading = asyncio.create_task(asyncio.to_thread(self._read))

    @classmethod
    async def of(cls, commands: Commands, columns: int, *arguments: str) -> Terminal:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            cwd=commands.folder,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(commands.folder),
                "TERM": "xterm",
                "COLUMNS": str(columns),
                **commands.variables,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        return cls(process, ours)

    async def says(self, words: str) -> None:
        async with asyncio.timeout(60):
            while words not in self._shown.decode(errors="replace"):  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def ended(self) -> str:
        async with asyncio.timeout(120):
            assert await self._process.wait() == 0
            await self._reading
        return self._shown.decode().replace("\r\n", "\n")

    def _read(self) -> None:
        try:
            while piece := os.read(self._screen, 65536):
                self._shown += piece
        except OSError:  # the other side is closed
            pass
        finally:
            os.close(self._screen)
