"""A job that is killed between any two of its steps loses nothing and doubles nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spark_jobs.ingest import main
from tests.spark.landing_builder import reject, rows, run_id

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("step", ["write_snapshot", "quarantine_lines", "publish_receipt", "append_log"])
def test_killed_after_a_step_and_run_again(house, step, capsys):
    document = house.landing.commit(1, [[*rows(3), b"no row"]], rejects=[reject(7, b"\xff")])
    flags = [
        f"--landing-path={house.settings.landing_path}",
        f"--checkpoint-path={house.settings.checkpoint_path}",
        f"--dxr-delta-path={house.settings.snapshots.path}",
    ]
    killed = subprocess.run(
        [sys.executable, "-m", "tests.spark.killed", step, *flags], cwd=ROOT, check=False, timeout=200
    )
    assert killed.returncode == -9
    versions = house.versions()
    assert main(flags) == 0
    assert house.versions() == versions
    receipt = house.landing.receipt(1)
    assert (receipt["state"], receipt["table_version"], receipt["reason"]) == ("ingested", 1, None)
    assert receipt["table_rows"] + receipt["quarantined_rows"] == document["rows"] + document["rejected_rows"] == 5
    assert house.ids() == ["f-0", "f-1", "f-2"]
    assert sorted(bytes(row.raw) for row in house.table("dxr_quarantine").collect()) == [b"no row", b"\xff"]
    assert [row.run_id for row in house.table("dxr_ingest_log").collect()] == [run_id(1)]
    assert "0 commits pending" in capsys.readouterr().out
