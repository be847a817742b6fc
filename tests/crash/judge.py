"""The judge: only what can be seen from outside counts, the landing and the simulators' ledgers.

What a run says about itself is compared with that, never believed. Whatever is wrong becomes one sentence in
`violations`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.simulators.dxr import kql
from tests.simulators.dxr.jobs import FAILED, FINISHED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.crash.points import Moment, Moments
    from tests.crash.witnesses import Revisions
    from tests.simulators.dxr import Classifier
    from tests.simulators.dxr.jobs import Job

_NAME: Final = re.compile(r"([a-z0-9_]+)\.(\d{20})\.([0-9a-f-]{36})\.json")
_CHUNK: Final = "chunks/{dataset}/ingestion_date={ingestion_date}/run_id={run_id}/attempt="

Document = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A run that was asked for. `files` are those of the volume at that time, their hashes by relative path."""

    run_id: str
    kind: str
    dataset: str
    query: str | None = None
    files: dict[str, str] = field(default_factory=dict[str, str])


@dataclass
class Score:
    """What the judge counted."""

    landed: int = 0
    partial: int = 0
    lost_rows: int = 0
    doubled_rows: int = 0
    half_commits: int = 0
    submitted_again_after_failure: int = 0
    submitted_again_after_proof: int = 0
    submitted_again_unconfirmed: int = 0
    overlaps_in_flight: int = 0
    violations: list[str] = field(default_factory=list[str])


class HalfCommitError(Exception):
    """A commit that names what is not there."""


@dataclass
class Judge:
    """Judges one world, again and again."""

    root: Path
    moments: Moments
    classifier: Classifier
    revisions: Revisions
    score: Score = field(default_factory=Score)
    _whole: dict[str, tuple[Document, bytes]] = field(default_factory=dict[str, tuple[Document, bytes]])
    _half: set[str] = field(default_factory=set[str])
    _ended: list[tuple[Asked, Document]] = field(default_factory=list[tuple[Asked, Document]])
    _judged_overlaps: int = 0

    def run(self, asked: Asked, run: Document) -> None:
        """Judge a run that is not active any more."""
        self._ended.append((asked, run))
        if run["state"] not in {"landed", "partial"}:
            code = run["error"]["code"] if run["error"] else None
            self._violated(asked, f"is {run['state']} ({code})")
            return
        if run["state"] == "landed":
            self.score.landed += 1
        else:
            self.score.partial += 1
        self.commits()
        paths = [path for path in self._whole if asked.run_id in path]
        if paths != [run["commit"]]:
            self._violated(asked, f"has the commits {paths} and says {run['commit']}")
        for path in paths[:1]:
            commit, content = self._whole[path]
            self._consistent(asked, run, commit)
            if asked.kind == "snapshot":
                self._snapshot(asked, content)
            else:
                self._classification(asked, run, content)
                self._submitted_once(asked, run)

    def commits(self) -> None:
        """Whatever commit can be seen is whole, now and for ever; and each run has one."""
        for path in sorted((self.root / "commits").glob("[!.]*")):
            relative = path.relative_to(self.root).as_posix()
            if relative in self._whole or relative in self._half:
                continue
            try:
                self._whole[relative] = whole_commit(self.root, path)
            except HalfCommitError as error:
                self._half.add(relative)
                self.score.half_commits += 1
                self.score.violations.append(f"half commit {relative}: {error}")
        for run_id, count in Counter(commit["run_id"] for commit, _ in self._whole.values()).items():
            if count > 1:
                self._once(f"run {run_id} has {count} commits")

    def finish(self) -> Score:
        """Judge what may have come late: commits of runs that had ended, jobs, and jobs at the same time."""
        self.commits()
        for asked, run in self._ended:
            if asked.kind == "classification" and run["state"] in {"landed", "partial"}:
                self._submitted_once(asked, run, late=True)
        self._one_job_at_a_time()
        self._sequences_rise()
        for complaint in [*self.moments.complaints, *self._processes()]:
            self._once(complaint)
        return self.score

    def _processes(self) -> Iterator[str]:
        if self.moments.fleet is not None:
            yield from self.moments.fleet.ended_by_themselves()

    def _consistent(self, asked: Asked, run: Document, commit: Document) -> None:
        if (commit["run_id"], commit["dataset"], commit["kind"]) != (asked.run_id, asked.dataset, asked.kind):
            self._violated(asked, "has a commit that names another run")
        if any(run["counts"].get(name) != value for name, value in commit["counts"].items()):
            self._violated(asked, f"counts {run['counts']}, its commit {commit['counts']}")
        folders = {chunk["path"].rpartition("/")[0] for chunk in commit["chunks"]}
        if asked.kind == "snapshot" and len(folders) > 1:
            self._violated(asked, f"mixes the attempts {sorted(folders)}")

    def _snapshot(self, asked: Asked, content: bytes) -> None:
        """It is exactly one of the streams that were served whole; no two of them are the same."""
        served = [moment for moment in self._of("stream ended") if moment.dataset == asked.dataset]
        if hashlib.sha256(content).hexdigest() in {moment.facts["sha256"] for moment in served}:
            return
        asked_for = [m.facts["revision"] for m in self._of("stream asked") if m.dataset == asked.dataset]
        found = Counter(content.splitlines())
        expected = [Counter(self._rows(asked, revision)) for revision in asked_for]
        nearest = max(expected, key=lambda rows: (rows & found).total(), default=Counter[bytes]())
        lost, more = nearest - found, found - nearest
        doubled = Counter({row: count for row, count in more.items() if row in nearest})
        self.score.lost_rows += lost.total()
        self.score.doubled_rows += doubled.total()
        self._violated(
            asked,
            f"is no stream that was served whole: {lost.total()} rows lost, {doubled.total()} doubled, "
            f"{(more - doubled).total()} of another stream",
        )

    def _rows(self, asked: Asked, revision: int) -> list[bytes]:
        blocks = self.revisions.revision(revision).blocks()
        if asked.query is not None:
            blocks = kql.matching(blocks, kql.parse(asked.query))
        return b"".join(blocks).splitlines()

    def _classification(self, asked: Asked, run: Document, content: bytes) -> None:
        """One row per file, with the labels of its content, of a finished job that held it."""
        records = [json.loads(line) for line in content.splitlines()]
        paths = Counter(record["relative_path"] for record in records)
        lost, doubled = asked.files.keys() - paths.keys(), {path for path, count in paths.items() if count > 1}
        self.score.lost_rows += len(lost)
        self.score.doubled_rows += len(doubled)
        if lost or doubled or paths.keys() - asked.files.keys():
            self._violated(asked, f"lost {sorted(lost)}, doubled {sorted(doubled)}, has {len(paths)} paths")
        for record in records:
            if why := self._wrong(asked, record):
                self._violated(asked, f"has a wrong row of {record['relative_path']}: {why}")
        counts = run["counts"]
        if counts["scanned"] != counts["unchanged"] + counts["labelled"] + sum(counts["reasons"].values()):
            self._violated(asked, f"does not balance: {counts}")
        if counts["scanned"] != len(asked.files) or counts["labelled"] != len(asked.files):
            self._violated(asked, f"counts {counts} of {len(asked.files)} files")

    def _wrong(self, asked: Asked, record: Document) -> str | None:
        content = asked.files.get(record["relative_path"])
        if record["status"] != "LABELLED":
            return f"{record['status']}: {record.get('reason')}"
        if content is None or record["sha256"] != content:
            return "another content"
        truth = self.classifier.truth[content]
        if record["labels"] != [*truth.labels, *(annotator.name for annotator in truth.annotators)]:
            return f"labels {record['labels']}"
        jobs = [job for job in self.classifier.jobs if job.scan_id == record["datasource_scan_id"]]
        if not any(job.state == FINISHED and content in _contents(job) for job in jobs):
            return f"scan {record['datasource_scan_id']} did not find it"
        if any(record["datasource_id"] != job.datasource_id for job in jobs):
            return f"datasource {record['datasource_id']}"
        return None

    def _submitted_once(self, asked: Asked, run: Document, *, late: bool = False) -> None:
        """No file is in a second job, but for the three reasons that there may be."""
        contents = set(asked.files.values())
        unexplained: list[str] = []
        reasons = Counter[str]()
        for taken in self._of("submit taken"):
            if contents & _contents(self._job(taken.facts["job"])):
                whys = [self._explained(taken, earlier, state) for earlier, state in taken.facts["before"]]
                unexplained += [f"job {taken.facts['job']} (step {taken.step})"] if None in whys else []
                reasons.update({why for why in whys if why})
        counted = run["counts"].get("resubmitted_unconfirmed", 0)
        if len(unexplained) > counted:
            self._violated(asked, f"submitted files again in {', '.join(unexplained)}, {counted} of them counted")
        if not late:
            self.score.submitted_again_after_failure += reasons[_FAILURE]
            self.score.submitted_again_after_proof += reasons[_PROOF]
            self.score.submitted_again_unconfirmed += counted

    def _explained(self, taken: Moment, earlier_id: int, state: str) -> str | None:
        if state == FAILED:
            return _FAILURE
        names = {file.name for job in (earlier_id, taken.facts["job"]) for file in self._job(job).files}
        for search in self._of("search answered"):
            if search.step < taken.step and search.facts["proves_nothing_there"] and search.facts["file_name"] in names:
                return _PROOF
        return None

    def _one_job_at_a_time(self) -> None:
        """No datasource had two jobs of ours, but for a submit that was on its way while its sender was frozen."""
        taken = {moment.facts["job"]: moment for moment in self._of("submit taken")}
        for overlap in self.classifier.overlaps[self._judged_overlaps :]:
            if any(self._was_in_flight(taken[job]) for job in (overlap.submitted, overlap.active)):
                self.score.overlaps_in_flight += 1
            else:
                self._once(f"datasource {overlap.datasource_id} got job {overlap.submitted} beside {overlap.active}")
        self._judged_overlaps = len(self.classifier.overlaps)

    def _was_in_flight(self, taken: Moment) -> bool:
        """Whether its sender was frozen after it had begun to send, or sent it as the first thing when it woke."""
        begun, own = taken.facts["begun"], [moment for moment in self.moments.journal if moment.who == taken.who]
        if any(moment.point == "frozen" and begun <= moment.step <= taken.step for moment in own):
            return True
        before = [moment for moment in own if moment.step < begun]
        return bool(before) and before[-1].point == "thawed"

    def _sequences_rise(self) -> None:
        """What was asked for later is the newer truth."""
        newest: dict[str, tuple[int, str]] = {}
        committed = {commit["run_id"]: commit["sequence"] for commit, _ in self._whole.values()}
        for asked, _ in self._ended:
            sequence = committed.get(asked.run_id, 0)
            before, run_id = newest.get(asked.dataset, (0, ""))
            if sequence and sequence <= before:
                self._once(f"run {asked.run_id} has sequence {sequence}, {run_id} before it {before}")
            newest[asked.dataset] = max((sequence, asked.run_id), (before, run_id))

    def _of(self, point: str) -> Iterable[Moment]:
        return [moment for moment in self.moments.journal if moment.point == point]

    def _job(self, job_id: int) -> Job:
        return self.classifier.jobs[job_id - 7001]

    def _violated(self, asked: Asked, what: str) -> None:
        self._once(f"{asked.kind} {asked.dataset} {asked.run_id} {what}")

    def _once(self, what: str) -> None:
        if what not in self.score.violations:
            self.score.violations.append(what)


_FAILURE, _PROOF = "after FAILED", "after the proof"


def whole_commit(root: Path, path: Path) -> tuple[Document, bytes]:
    """A commit and the rows that it names, every figure checked. Raises `HalfCommitError`."""
    try:
        commit = json.loads(path.read_text())
    except ValueError as error:
        raise HalfCommitError(f"no JSON: {error}") from None
    name = _NAME.fullmatch(path.name)
    if name is None or (commit["dataset"], commit["sequence"], commit["run_id"]) != (name[1], int(name[2]), name[3]):
        raise HalfCommitError("its name is not its own")
    content = b""
    for entry in [*commit["chunks"], *commit["rejects"]]:
        rows = _whole_chunk(root, commit, entry)
        if entry in commit["chunks"]:
            content += rows
    if (content.count(b"\n"), len(content)) != (commit["rows"], commit["raw_bytes"]):
        raise HalfCommitError("its sums are not those of its chunks")
    if len({entry["path"] for entry in commit["chunks"]}) != len(commit["chunks"]):
        raise HalfCommitError("it names a chunk twice")
    return commit, content


def _whole_chunk(root: Path, commit: Document, entry: Document) -> bytes:
    if not entry["path"].startswith(_CHUNK.format(**commit)):
        raise HalfCommitError(f"{entry['path']} is another run's")
    try:
        stored = (root / entry["path"]).read_bytes()
        rows = gzip.decompress(stored)
    except (OSError, EOFError, zlib.error) as error:
        raise HalfCommitError(f"{entry['path']}: {error}") from None
    figures = len(stored), hashlib.sha256(stored).hexdigest(), rows.count(b"\n"), len(rows)
    if figures != (entry["stored_bytes"], entry["sha256"], entry["rows"], entry["raw_bytes"]):
        raise HalfCommitError(f"{entry['path']} is not what the commit says")
    return rows


def _contents(job: Job) -> set[str]:
    return {file.sha256 for file in job.files}
