"""The small model: what a run may become, and by whom. It reads what the database's triggers wrote down."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from service.errors import AlreadyActiveError, DxrIngestError
from service.landing import layout
from service.landing.documents import Commit, Receipt, decode_commit, decode_receipt
from tests.property.flows import CODES

if TYPE_CHECKING:
    from pathlib import Path

    from service.runs.model import Run

Row = dict[str, Any]
ClaimOf = tuple[str, int] | None  # the run and the fence in whose name something was done
_DAY_US: Final = 24 * 3600 * 1_000_000
_ACTIVE: Final = frozenset({"queued", "running"})
_AWAITING: Final = frozenset({"landed", "partial"})
_COMMITTED: Final = frozenset({"landed", "partial", "ingested"})


@dataclass(frozen=True)
class Asked:
    """A trigger, and what time it was."""

    dataset: str
    key: str | None
    at_us: int
    jumps: int


@dataclass(frozen=True)
class Named:
    """The run that a key was answered with, and between which times."""

    dataset: str
    run_id: str
    asked_us: int
    answered_us: int


@dataclass
class Known:
    """What the model knows of a run."""

    row: Row
    attempts: list[Row] = field(default_factory=list[Row])
    failed_when_claimed: int = 0
    # The fence that it had when it was asked to stop.
    asked_to_stop: int | None = None
    # Where in what was written down it was claimed last; with which fence, and where, its commit became visible.
    claimed_at: int = 0
    linked: tuple[int, int] | None = None
    # An attempt of it was ended: either the run ends with it, or it counts as a failed one.
    attempt_ended: bool = False
    gone: bool = False

    def __getattr__(self, name: str) -> Any:
        return self.row[name]

    @property
    def is_seen_to_be_landed(self) -> bool:
        """Whether its process must have found its commit: it put it there itself, or it was there before the claim."""
        return self.linked is not None and (self.linked[0] == self.fence or self.linked[1] < self.claimed_at)


class Referee:
    """Whatever is wrong becomes one sentence; `look` raises the first one."""

    def __init__(self, path: Path, attempts_max: int, takeovers_max: int) -> None:
        self.runs: dict[str, Known] = {}
        self.files: dict[str, tuple[bytes, float]] = {}
        self._attempts_max = attempts_max
        self._takeovers_max = takeovers_max
        self._reader = sqlite3.connect(path, isolation_level=None)
        self._reader.row_factory = sqlite3.Row
        self._read_to = 0
        self._violations: list[str] = []
        self._newest: defaultdict[str, int] = defaultdict(int)
        self._newest_commit: defaultdict[str, int] = defaultdict(int)
        self._named: dict[str, Named] = {}
        self._open: Counter[str] = Counter()
        self._latest_us = 0
        self._cancelled: set[str] = set()
        self._slots: dict[str, str] = {}
        self._unsteady_at = 0
        self._too_late: set[str] = set()
        self._turned_away: set[ClaimOf] = set()

    def violated(self, sentence: str) -> None:
        self._violations.append(sentence)

    def close(self) -> None:
        self._reader.close()

    # After each step.

    def look(self) -> None:
        """See whether all is as it may be."""
        self._read()
        for dataset, count in Counter(run.dataset for run in self.runs.values() if run.state in _ACTIVE).items():
            self._must(count == 1, f"{dataset} has {count} active runs")
        self._whistle()

    def _read(self) -> None:
        """Go on in what was written down."""
        for line in self._reader.execute("SELECT * FROM audit WHERE n > ? ORDER BY n", (self._read_to,)):
            self._read_to = line["n"]
            old, new = (json.loads(line[name]) if line[name] else {} for name in ("old", "new"))
            who, run_id, fence = json.loads(line["writer"])
            claim = None if run_id is None else (run_id, fence)
            written = f"{who} as {claim} wrote {line['name']} {_change(old, new)} of {(new or old).get('id', '')}"
            getattr(self, f"_{line['name']}")(claim, line["at_us"], old, new, written)

    def _whistle(self) -> None:
        if self._violations:
            raise AssertionError(self._violations[0])

    def _must(self, truth: object, sentence: str) -> None:
        if not truth:
            self.violated(sentence)

    def _runs(self, claim: ClaimOf, at_us: int, old: Row, new: Row, written: str) -> None:
        if not new:
            self._must(old["state"] not in _ACTIVE | _AWAITING, f"forgotten too early: {written}")
            self.runs[old["id"]].gone = True
            return
        if not old:
            self._must((new["state"], new["fence"], claim) == ("queued", 0, None), written)
            self.runs[new["id"]] = Known(new)
            return
        run, changed = self.runs[new["id"]], set(_change(old, new)) - {"revision"}
        self._must(new["revision"] == old["revision"] + 1, f"whoever follows it would not see it: {written}")
        self._must(run.row == old, f"the model has {run.row}: {written}")
        if claim is None:
            self._must(self._anybody_may(run, changed, at_us, old, new), f"not without a claim: {written}")
        else:
            self._must(claim == (old["id"], old["fence"]) and old["state"] == "running", f"an old claim: {written}")
            self._must(changed.isdisjoint({"fence", "takeovers", "cancel_requested", "receipt"}), written)
            extended = "lease_until_us" in changed and new["state"] == "running"
            self._must(not extended or old["lease_until_us"] >= at_us, f"a lease that had run out: {written}")
            failed = new["failed_attempts"] - old["failed_attempts"]
            self._must(new["state"] != "running" or failed == run.attempt_ended, f"miscounted: {written}")
            run.attempt_ended = False
            blind = claim in self._turned_away or not run.is_seen_to_be_landed
            self._must(new["state"] not in {"failed", "cancelled"} or blind, f"though its commit is there: {written}")
            self._must(new["state"] != "cancelled" or old["cancel_requested"], f"nobody asked: {written}")
        if new["state"] in _COMMITTED:
            path = new["commit_path"] or ""
            self._must(new["id"] in path and path in self.files, f"without its commit: {written}")
        run.row = new

    def _anybody_may(self, run: Known, changed: set[str], at_us: int, old: Row, new: Row) -> bool:
        """What may be done to a run by those who do not carry it out."""
        match old["state"], new["state"]:
            case (("queued" | "running"), "running") if "fence" in changed:  # a claim
                run.claimed_at, run.failed_when_claimed = self._read_to, new["failed_attempts"]
                free = old["state"] == "queued" or old["lease_until_us"] < at_us
                raised = (new["fence"], new["takeovers"]) == (old["fence"] + 1, old["fence"])
                return free and raised and changed.isdisjoint({"attempt", "failed_attempts", "cancel_requested"})
            case "running", "running":
                run.asked_to_stop = run.asked_to_stop or new["fence"]
                return changed <= {"cancel_requested"}
            case "queued", "cancelled":
                return changed == {"state", "ended_at"}
            case (("failed" | "cancelled"), ("landed" | "partial")):
                return old["commit_path"] is None and new["commit_path"] == old["publishing"]
            case ("failed", "failed") | ("cancelled", "cancelled"):
                return changed <= {"publishing"}
            case ("landed", "landed" | "ingested" | "failed") | ("partial", "partial" | "failed"):
                first = old["receipt"] is None and new["receipt"] is not None
                return not changed or (first and changed <= {"receipt", "state", "counts", "error"})
        return False

    def _attempts(self, claim: ClaimOf, at_us: int, old: Row, new: Row, written: str) -> None:
        run = self.runs[(new or old)["run_id"]]
        if not new:
            self._must(run.gone, written)
            return
        self._must(claim == (run.id, run.fence), f"an old claim: {written}")
        if old:
            self._must(old["ended_at"] is None and set(_change(old, new)) == {"ended_at", "code"}, written)
            run.attempts[new["number"] - 1], run.attempt_ended = new, True
            return
        of_claim = sum(attempt["fence"] == new["fence"] for attempt in run.attempts)
        left = max(1, self._attempts_max - run.failed_when_claimed)
        self._must(new["number"] == len(run.attempts) + 1, f"a gap: {written}")
        self._must(of_claim < left and new["fence"] - 1 <= self._takeovers_max, f"one attempt too many: {written}")
        self._must(not run.is_seen_to_be_landed, f"after its commit: {written}")
        self._must(run.asked_to_stop is None or new["fence"] <= run.asked_to_stop, f"after a cancel: {written}")
        on_its_way = layout.CommitName.parse(run.publishing or "")
        if run.kind == "classification" and run.attempts:
            self._must(new["sequence"] == run.attempts[0]["sequence"], f"another sequence: {written}")
        elif on_its_way is not None:
            self._must(new["sequence"] == on_its_way.sequence, f"another name for a commit: {written}")
        else:
            self._must(new["sequence"] > self._newest[run.dataset], f"an old sequence: {written}")
            self._newest[run.dataset] = new["sequence"]
        run.attempts.append(new)

    def _datasource_slots(self, claim: ClaimOf, at_us: int, old: Row, new: Row, written: str) -> None:
        if not new:
            self._slots.pop(old["datasource_id"])
            return
        run = self.runs[new["run_id"]]
        self._must(claim == (run.id, new["fence"]) == (run.id, run.fence), f"an old claim: {written}")
        mine = not old or old["run_id"] == new["run_id"]
        self._must(mine or old["lease_until_us"] < at_us, f"another's datasource: {written}")
        self._slots[new["datasource_id"]] = run.id

    def _classification_batches(self, claim: ClaimOf, at_us: int, old: Row, new: Row, written: str) -> None:
        """What is written down right before a job is submitted."""
        if new:
            run = self.runs[new["run_id"]]
            self._must(claim == (run.id, run.fence), f"an old claim: {written}")
            # The lease of a datasource is not extended as often as that of its run: it may have run out alone.
            mine = self._slots.get(new["datasource_id"]) == run.id or self._unsteady_at >= run.claimed_at
            self._must(mine, f"another's datasource: {written}")

    # What a run does outside of the database.

    def mark(self) -> int:
        """A place in what was written down."""
        self._read()
        return self._read_to

    def linking(self, path: str, claim: ClaimOf, mark: int) -> None:
        """A commit becomes visible. Its process has proven its lease after `mark`, and may have stood still since."""
        name = layout.CommitName.parse(path)
        assert name is not None
        assert claim is not None
        proof = self._row(
            "SELECT count(*) AS n FROM audit WHERE name = 'runs' AND n > ? AND new ->> 'publishing' = ?"
            " AND writer ->> 1 = ? AND writer ->> 2 = ?",
            *(mark, path, *claim),
        )
        self._must(proof["n"], f"{claim} publishes {path} without a proof of its lease")
        self._must(name.run_id not in self._commits, f"a second commit of {name.run_id}")
        run = self.runs[name.run_id]
        run.linked = (claim[1], self.mark())
        if run.gone or run.state not in _ACTIVE:
            # It stood still until its run had ended. Whether anybody still looks for that commit is chance.
            self._too_late.add(name.run_id)
        else:
            self._must(name.sequence > self._newest_commit[name.dataset], f"{path} is older than one before")
        self._newest_commit[name.dataset] = max(name.sequence, self._newest_commit[name.dataset])

    def turned_away(self, claim: ClaimOf) -> None:
        """The landing did not answer."""
        self._turned_away.add(claim)

    def unsteady(self) -> None:
        """The clock jumps, or a process stands still."""
        self._unsteady_at = self.mark()

    # What is asked and answered.

    def asks(self, asked: Asked) -> None:
        """A trigger is on its way."""
        self._latest_us = max(self._latest_us, asked.at_us)
        self._open[asked.key or ""] += 1

    def triggered(self, asked: Asked, answer: Run | DxrIngestError, at_us: int, jumps: int) -> None:
        """A trigger was answered. With a key, and nothing unclear about it, it can be told how."""
        key, code = asked.key or "", getattr(answer, "code", None)
        if code in {"STORE_UNAVAILABLE", "STORE_BUSY"}:
            return  # it may have counted all the same
        self._open[key] -= 1
        if isinstance(answer, AlreadyActiveError):
            return
        before, clear = self._named.get(key), key and not self._open[key] and jumps == asked.jumps
        young = before is not None and asked.at_us - before.answered_us <= _DAY_US
        if isinstance(answer, DxrIngestError):
            differs = code == "UNPROCESSABLE" and before is not None and before.dataset != asked.dataset
            self._must(not clear or (differs and young), f"{asked} was refused: {answer!r} after {before}")
            return
        self._must(answer.request.dataset == asked.dataset, f"{asked} was answered with {answer}")
        same = before is not None and before.run_id == answer.id
        if clear and before is not None:
            self._must(not same or young, f"{asked} was answered with a run of yesterday: {before}")
            surely_young = max(self._latest_us, at_us) - before.asked_us <= _DAY_US
            self._must(same or not surely_young, f"{asked} was answered with {answer.id} after {before}")
        if not same:
            self._named[key] = Named(asked.dataset, answer.id, asked.at_us, at_us)

    def cancelled(self, run_id: str) -> None:
        """A cancel was answered as accepted."""
        self._cancelled.add(run_id)

    @property
    def active(self) -> list[str]:
        """Runs that have not ended."""
        return [run.id for run in self.runs.values() if run.state in _ACTIVE]

    # When nothing goes on any more.

    @property
    def is_quiet(self) -> bool:
        """Whether every run has ended, and what the landing and the receipts say of it is noted."""
        return not any(self._is_open(run) for run in self.runs.values() if not run.gone)

    def _is_open(self, run: Known) -> bool:
        if run.receipt:
            return False
        unsure = run.state in {"failed", "cancelled"} and run.publishing and not run.commit_path
        told = run.state in _AWAITING and layout.receipt_path(run.id) in self.files
        return run.state in _ACTIVE or bool(unsure) or told

    def quiet(self) -> None:
        """What must be true in the end."""
        commits = self._commits
        for run in self.runs.values():
            if not run.gone and run.id not in self._too_late:
                if run.id in commits:
                    self._landed(run, *commits[run.id])
                else:
                    self._not_landed(run)
        self._whistle()

    def _landed(self, run: Known, path: str, commit: Commit) -> None:
        state = "partial" if commit.counts.get("reasons") else "landed"
        receipt = self._receipt(run.id)
        if receipt is not None and receipt.state == "refused":
            state = "failed"
        elif receipt is not None and receipt.state == "ingested" and state == "landed":
            state = "ingested"
        self._must((run.state, run.commit_path) == (state, path), f"{path} is there, which is {state}: {run}")
        self._must(commit.sequence in {attempt["sequence"] for attempt in run.attempts}, f"{path} is of no attempt")
        self._must(commit.counts.items() <= json.loads(run.counts).items(), f"other counts than {commit.counts}: {run}")
        for chunk in commit.chunks if receipt is None else ():
            self._must(chunk.path in self.files, f"{path} names {chunk.path}, which is not there")

    def _not_landed(self, run: Known) -> None:
        self._must(run.state in {"failed", "cancelled"} and not run.commit_path, f"it has no commit: {run}")
        if run.state == "failed":
            code = json.loads(run.error)["code"]
            self._must(code in CODES, f"failed with {code}: {run}")
            exhausted = run.takeovers > self._takeovers_max
            self._must((code == "TAKEOVERS_EXHAUSTED") == exhausted, f"failed with {code}: {run}")
            stopped = run.id in self._cancelled and run.asked_to_stop is not None and run.fence > run.asked_to_stop
            self._must(not stopped, f"it was cancelled before it was taken over: {run}")

    def free(self, before: set[str]) -> None:
        """After each dataset was triggered once more."""
        again = {run.dataset: run.state for run in self.runs.values() if run.id not in before}
        for run_id in before:
            dataset = self.runs[run_id].dataset
            self._must(again.get(dataset) in _COMMITTED, f"{dataset} is not free: {again}")
        self._whistle()

    @property
    def _commits(self) -> dict[str, tuple[str, Commit]]:
        names = [name for path in self.files if (name := layout.CommitName.parse(path))]
        return {name.run_id: (name.path, decode_commit(self.files[name.path][0], name.path)) for name in names}

    def _receipt(self, run_id: str) -> Receipt | None:
        path = layout.receipt_path(run_id)
        return decode_receipt(self.files[path][0], path) if path in self.files else None

    def _row(self, query: str, *values: Any) -> Row:
        with contextlib.closing(self._reader.execute(query, values)) as rows:
            return dict(rows.fetchone() or {})


def _change(old: Row, new: Row) -> Row:
    """What is not as it was, with both."""
    return {name: (old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)}
