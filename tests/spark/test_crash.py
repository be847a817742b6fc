"""A job that is killed between any two of its steps loses nothing and doubles nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spark_jobs.ingest import main
from tests.spark.landing_builder import LandingBuilder, reject, rows, run_id

ROOT = Path(__file__).parents[2]
STEPS = ["write_snapshot", "quarantine_lines", "publish_receipt", "append_log"]


def flags(root: Path) -> list[str]:
    return [
        f"--landing-path={root / 'landing'}",
        f"--checkpoint-path={root / 'checkpoint'}",
        f"--dxr-delta-path={root / 'tables' / 'file_metadata'}",
    ]


@pytest.fixture(scope="module")
def killed(spark, tmp_path_factory):
    """One run for each step, all at once, since each is mostly the start of a JVM."""
    roots = {step: tmp_path_factory.mktemp(step) for step in STEPS}
    running = {}
    for step, root in roots.items():
        LandingBuilder(root / "landing").commit(1, [[*rows(3), b"no row"]], rejects=[reject(7, b"\xff")])
        command = [sys.executable, "-m", "tests.spark.killed", step, *flags(root)]
        running[step] = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    codes = {step: process.wait(timeout=250) for step, process in running.items()}
    assert codes == dict.fromkeys(STEPS, -9)
    return roots


@pytest.mark.parametrize("step", STEPS)
def test_killed_after_a_step_and_run_again(killed, spark, step, capsys):
    root = killed[step]
    tables = root / "tables"
    versions = sorted((tables / "file_metadata" / "_delta_log").glob("*.json"))
    assert main(flags(root)) == 0
    assert sorted((tables / "file_metadata" / "_delta_log").glob("*.json")) == versions
    receipt = LandingBuilder(root / "landing").receipt(1)
    assert (receipt["state"], receipt["table_version"], receipt["reason"]) == ("ingested", 1, None)
    assert (receipt["table_rows"], receipt["quarantined_rows"]) == (3, 2)
    read = spark.read.format("delta")
    assert sorted(row.file_id for row in read.load(str(tables / "file_metadata")).collect()) == ["f-0", "f-1", "f-2"]
    quarantine = read.load(str(tables / "dxr_quarantine")).collect()
    assert sorted(bytes(row.raw) for row in quarantine) == [b"no row", b"\xff"]
    assert [row.run_id for row in read.load(str(tables / "dxr_ingest_log")).collect()] == [run_id(1)]
    assert "0 commits pending" in capsys.readouterr().out
