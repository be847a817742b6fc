"""A judge that never convicts would prove nothing: here is what it must see."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.crash.judge import Asked, Judge
from tests.crash.points import Moments
from tests.crash.witnesses import Revisions
from tests.simulators.dxr import Classifier, UploadedFile, truth_of
from tests.simulators.dxr import classifier_faults as odc
from tests.simulators.dxr.jobs import Plain

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.points import Point

RUN = "01a202f8-192e-72ad-935a-56a1fba81e3a"
CONTENT = b"label: A\n"
FILE = UploadedFile("unique-1.txt", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
VOLUME = {"a/report.txt": FILE.sha256}


class Trial:
    """A landing and a journal made by hand, and the judge before them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.moments = Moments(lease_s=1)
        self.classifier = Classifier(datasources=("11", "12"))
        self.judge = Judge(root, self.moments, self.classifier, Revisions(rows=20, seed=1))
        self.served = [list(b"".join(self.judge.revisions.revision(n).blocks()).splitlines(True)) for n in range(2)]
        for revision, rows in enumerate(self.served):
            digest = hashlib.sha256(b"".join(rows)).hexdigest()
            self.moments.tell("stream asked", "r.1", "file_metadata", revision=revision)
            self.moments.tell("stream ended", "r.1", "file_metadata", revision=revision, sha256=digest)

    def commit(self, rows: list[bytes], kind: str = "snapshot", sequence: int = 1, **counts: Any) -> str:
        """Land these rows; the commit's path."""
        dataset = "file_metadata" if kind == "snapshot" else "dxr_metadata"
        raw = b"".join(rows)
        stored = gzip.compress(raw)
        folder = f"chunks/{dataset}/ingestion_date=2026-11-22/run_id={RUN}/attempt={sequence}"
        chunk = {
            "path": f"{folder}/part-00000.jsonl.gz",
            "rows": len(rows),
            "raw_bytes": len(raw),
            "stored_bytes": len(stored),
            "sha256": hashlib.sha256(stored).hexdigest(),
        }
        commit = {"kind": kind, "dataset": dataset, "run_id": RUN, "sequence": sequence, "ingestion_date": "2026-11-22"}
        figures = {"rows": len(rows), "raw_bytes": len(raw), "chunks": [chunk], "rejects": [], "counts": counts}
        path = f"commits/{dataset}.{sequence:020d}.{RUN}.json"
        for name, content in ((chunk["path"], stored), (path, json.dumps(commit | figures).encode())):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(content)
        return path

    def snapshot(self, path: str, state: str = "landed") -> list[str]:
        """What the judge says of a snapshot run with this commit."""
        self.judge.run(Asked(RUN, "snapshot", "file_metadata"), run_of(state, path))
        return self.judge.finish().violations

    def submit(self, datasource: str, name: str, fate: Any = None) -> Any:
        """A job with the one file, told of as the witness does."""
        before = [(job.id, job.state) for job in self.classifier.jobs]
        file = FILE._replace(name=name)
        self.classifier.truth[FILE.sha256] = truth_of(CONTENT)
        job = self.classifier._jobs.take(datasource, (file,), fate or Plain(), 1)
        facts = {"job": job.id, "begun": len(self.moments.journal), "before": before}
        self.moments.tell("submit taken", "r.1", "dxr_metadata", **facts)
        return job

    def classification(self, job: Any, labels: list[str], *, copies: int = 1, unconfirmed: int = 0) -> list[str]:
        """What the judge says of a classification whose one file was labelled in that job."""
        record = {
            "relative_path": "a/report.txt",
            "status": "LABELLED",
            "labels": labels,
            "sha256": FILE.sha256,
            "datasource_id": job.datasource_id,
            "datasource_scan_id": job.scan_id,
        }
        counts = {"scanned": 1, "unchanged": 0, "labelled": 1, "reasons": {}, "resubmitted_unconfirmed": unconfirmed}
        path = self.commit([json.dumps(record).encode() + b"\n"] * copies, "classification", **counts)
        self.judge.run(Asked(RUN, "classification", "dxr_metadata", None, VOLUME), run_of("landed", path, counts))
        return self.judge.finish().violations


def run_of(state: str, commit: str | None, counts: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"state": state, "commit": commit, "counts": counts or {}, "error": None}


@pytest.fixture
async def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


async def test_what_is_right_is_not_convicted(trial: Trial) -> None:
    assert trial.snapshot(trial.commit(trial.served[0])) == []


async def test_lost_doubled_and_foreign_rows(trial: Trial) -> None:
    first, second = trial.served
    mixed = [*first[:3], *first[4:10], first[5], *first[10:], next(row for row in second if row not in first)]
    [violation] = trial.snapshot(trial.commit(mixed))
    assert "1 rows lost, 1 doubled, 1 of another stream" in violation
    assert (trial.judge.score.lost_rows, trial.judge.score.doubled_rows) == (1, 1)


@pytest.mark.parametrize("harm", ["cut", "gone", "altered"])
async def test_half_commits(harm: str, trial: Trial) -> None:
    path = trial.commit(trial.served[0])
    [part] = trial.root.rglob("part-*")
    match harm:
        case "cut":
            part.write_bytes(part.read_bytes()[:-10])
        case "gone":
            part.unlink()
        case _:
            part.write_bytes(gzip.compress(b"".join(trial.served[1])))
    assert "half commit" in trial.snapshot(path)[0]
    assert trial.judge.score.half_commits == 1


async def test_a_second_commit_though_it_comes_late(trial: Trial) -> None:
    assert trial.snapshot(trial.commit(trial.served[0])) == []
    trial.commit(trial.served[1], sequence=2)
    assert trial.judge.finish().violations == [f"run {RUN} has 2 commits"]


async def test_a_run_that_failed_or_names_no_commit(trial: Trial) -> None:
    assert "is failed" in trial.snapshot("", state="failed")[0]
    assert "has the commits []" in trial.snapshot("commits/none.json")[1]


@pytest.mark.parametrize(
    ("labels", "copies", "sentence"), [(["B"], 1, "labels ['B']"), (["A"], 2, "doubled ['a/report.txt']")]
)
async def test_labels_of_another_file_and_rows_twice(
    labels: list[str], copies: int, sentence: str, trial: Trial
) -> None:
    job = trial.submit("11", "unique-1.txt")
    trial.classifier._jobs.poll(job)
    [violation] = trial.classification(job, labels, copies=copies)
    assert sentence in violation


@pytest.mark.parametrize(
    ("first_fate", "told", "unconfirmed", "convicted"),
    [
        (None, None, 0, True),
        (None, None, 1, False),
        (odc.FailJob(), None, 0, False),
        (None, "search answered", 0, False),
    ],
    ids=["without a reason", "counted as unconfirmed", "after FAILED", "after the proof"],
)
async def test_a_file_submitted_twice(
    first_fate: Any, told: Point | None, unconfirmed: int, convicted: bool, trial: Trial
) -> None:
    first = trial.submit("11", "unique-1.txt", first_fate)
    trial.classifier._jobs.poll(first)
    if told:
        trial.moments.tell(told, "r.1", "dxr_metadata", file_name="unique-1.txt", proves_nothing_there=True)
    second = trial.submit("11", "unique-2.txt")
    trial.classifier._jobs.poll(second)
    found = trial.classification(second, ["A"], unconfirmed=unconfirmed)
    assert ["submitted files again" in violation for violation in found] == [True] * convicted


async def test_two_jobs_at_once_unless_one_was_frozen_on_its_way(trial: Trial) -> None:
    trial.submit("11", "unique-1.txt")
    trial.submit("11", "unique-2.txt")
    assert trial.judge.finish().violations == ["datasource 11 got job 7002 beside 7001"]
    trial.submit("12", "unique-3.txt")
    trial.moments.tell("thawed", "r.1", "")
    trial.submit("12", "unique-4.txt")
    assert len(trial.judge.finish().violations) == 1
    assert trial.judge.score.overlaps_in_flight == 1
