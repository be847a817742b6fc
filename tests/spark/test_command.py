"""The command from end to end: a real stream, its lines, its exit codes, its end by a signal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from spark_jobs import batch
from spark_jobs.ingest import main
from spark_jobs.landing import Landing
from spark_jobs.receipts import Receipt, publish_receipt
from tests.spark.landing_builder import DAY, rows, run_id


@pytest.fixture
def flags(house):
    return [
        f"--landing-path={house.settings.landing_path}",
        f"--checkpoint-path={house.settings.checkpoint_path}",
        f"--dxr-delta-path={house.settings.snapshots.path}",
    ]


def test_the_job_says_what_it_did_and_ends_well_also_when_commits_were_refused(house, flags, capfd):
    for folder in ("commits", "receipts"):
        (house.landing.root / folder).rmdir()
    assert main(flags) == 0
    assert (
        capfd.readouterr().out
        == "done: 0 ingested, 0 superseded, 0 refused; 0 rows, 0 quarantined, 0 commits pending\n"
    )
    house.landing.commit(1, [[*rows(2), b"secret no row"]])
    house.landing.publish(house.landing.document(2, [], day="2026-02-01"), b"")
    assert main(flags) == 0
    out, err = capfd.readouterr()
    assert f"ingested file_metadata {DAY} run {run_id(1)}: 2 rows, 1 quarantined, " in out
    assert f"refused file_metadata - run {run_id(2)}: 0 rows" in out
    assert out.endswith("done: 1 ingested, 0 superseded, 1 refused; 2 rows, 1 quarantined, 0 commits pending\n")
    assert "secret" not in out + err
    # A lost checkpoint delivers everything again, and nothing happens.
    versions = house.versions()
    assert main([*flags, f"--checkpoint-path={house.settings.checkpoint_path}-2"]) == 0
    assert house.versions() == versions
    assert house.table("dxr_ingest_log").count() == 2


def test_a_failure_is_one_sentence_and_a_traceback_only_on_request(house, flags, capfd):
    path = house.path("file_metadata")
    house.spark.sql(f"CREATE TABLE delta.`{path}` (size STRING, ingestion_date DATE) USING delta")
    house.landing.commit(1, [rows(1)])
    assert main(flags) == 1
    err = capfd.readouterr().err
    assert err.startswith(f"dxr-ingest-tables: {path}: column size is STRING, the job writes BIGINT. Rename")
    assert len(err.splitlines()) == 1
    assert main([*flags, "--debug"]) == 1
    assert "Traceback" in capfd.readouterr().err


def test_a_signal_ends_the_continuous_job_cleanly_and_views_did_not_wait_for_it(house, flags, tmp_path):
    house.landing.commit(1, [rows(1)])
    named = ["--dxr-delta-table=file_metadata", "--create-views"]  # one that failed would be told
    command = [sys.executable, "-m", "spark_jobs.ingest", *flags, *named, "--ingest-trigger=continuous"]
    job = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert job.stdout.readline().startswith("ingested")
    house.landing.commit(2, [rows(2)], day="2026-02-01")  # seen by the running stream
    assert job.stdout.readline().startswith("ingested file_metadata 2026-02-01")
    job.send_signal(signal.SIGINT)  # the one for which pyspark has a handler of its own
    out, err = job.communicate(timeout=60)
    assert (job.returncode, "Traceback" in err, "cannot be made" in err) == (0, False, False), err
    assert (Path(house.path("dxr_metadata")) / "_delta_log").is_dir()
    assert out == "done: 2 ingested, 0 superseded, 0 refused; 3 rows, 0 quarantined, 0 commits pending\n"


def test_the_first_verdict_stands_whoever_comes_second(house):
    landing = Landing(house.settings.landing_path)
    first, second = Receipt(run_id(1), "refused", None, "now"), Receipt(run_id(1), "ingested", "t", "later")
    assert publish_receipt(landing, first) == first
    assert publish_receipt(landing, second) == first
    assert json.loads((landing.receipts / f"{run_id(1)}.json").read_bytes())["state"] == "refused"
    assert [file.name for file in landing.receipts.iterdir()] == [f"{run_id(1)}.json"]


def test_two_jobs_at_once_leave_the_newest_day(house):
    house.landing.commit(1, [rows(2, "old")])
    racers = []
    for number in (2, 3):
        house.landing.commit(number, [rows(2, f"r{number}")])
        racers.append(threading.Thread(target=batch.ingest_commits, args=(house.spark, house.settings)))
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert house.ids() == ["r3-0", "r3-1"]
    assert house.landing.states(3) == ["ingested"]
