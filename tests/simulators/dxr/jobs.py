"""Jobs of the classifier: one at a time on each datasource, moved on by questions and never by time."""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from tests.simulators.dxr.uploads import UploadedFile

SUBMITTED, FINISHED, FAILED, CANCELLED = "SUBMITTED", "FINISHED", "FAILED", "CANCELLED"
# Not a state that is ever answered: the job's address is a 404.
GONE = "GONE"
_ENDED = frozenset({FINISHED, FAILED, CANCELLED, GONE})
_ON_THE_WAY = ("RUNNING", "PROCESSING", "AWAITING_RECRAWL_TO_COMPLETE")


class Fate(Protocol):
    """What becomes of a job; see the job faults."""

    @property
    def error(self) -> str | None:
        """The error text, once the job has ended."""
        ...

    @property
    def blocks(self) -> bool:
        """Whether other jobs of the datasource wait for this one."""
        ...

    @property
    def indexed(self) -> bool:
        """Whether the index has its files although it did not finish."""
        ...

    def state(self, steps: int, steps_until_done: int) -> str:
        """Return the state after so many steps."""
        ...


def plain_state(steps: int, steps_until_done: int) -> str:
    """SUBMITTED, RUNNING (and later waiting states), FINISHED."""
    if steps >= steps_until_done:
        return FINISHED
    return SUBMITTED if steps == 0 else _ON_THE_WAY[min(steps, len(_ON_THE_WAY)) - 1]


@dataclass(frozen=True, slots=True)
class Plain:
    """The fate of a job without a fault."""

    error: str | None = None
    blocks: bool = True
    indexed: bool = False

    def state(self, steps: int, steps_until_done: int) -> str:
        """Return the state after so many steps."""
        return plain_state(steps, steps_until_done)


@dataclass(slots=True, eq=False)
class Job:
    """One accepted submit. `order` counts from 0 over all datasources; `polls` are those of this job alone."""

    order: int
    datasource_id: str
    files: tuple[UploadedFile, ...]
    fate: Fate
    steps_until_done: int
    steps: int = 0
    polls: int = 0

    @property
    def id(self) -> int:
        """The job id, however it is written on the wire."""
        return 7001 + self.order

    @property
    def scan_id(self) -> int:
        """The datasource scan id, which is no job's id."""
        return 40_001 + self.order

    @property
    def state(self) -> str:
        """The state now, in upper case."""
        return self.fate.state(self.steps, self.steps_until_done)

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in _ENDED

    @property
    def indexed(self) -> bool:
        """Whether a search can find the files."""
        return self.state == FINISHED or (self.ended and self.fate.indexed)


@dataclass(frozen=True, slots=True)
class Overlap:
    """`submitted` came to the datasource while `active` had not ended; both are job ids."""

    datasource_id: str
    submitted: int
    active: int


@dataclass(slots=True)
class Jobs:
    """All jobs in the order in which they were taken, and who broke the rule of one at a time."""

    taken: list[Job] = field(default_factory=list[Job])
    overlaps: list[Overlap] = field(default_factory=list[Overlap])
    _queues: dict[str, deque[Job]] = field(default_factory=dict[str, deque[Job]])
    _by_file_name: dict[str, list[Job]] = field(default_factory=dict[str, list[Job]])

    def take(self, datasource_id: str, files: tuple[UploadedFile, ...], fate: Fate, steps_until_done: int) -> Job:
        """Accept a job; behind an active one it waits for its turn."""
        job = Job(len(self.taken), datasource_id, files, fate, steps_until_done)
        self.taken.append(job)
        for file in files:
            self._by_file_name.setdefault(file.name, []).append(job)
        if (active := self.active(datasource_id)) is not None:
            self.overlaps.append(Overlap(datasource_id, job.id, active.id))
        if fate.blocks:
            self._queues.setdefault(datasource_id, deque()).append(job)
        return job

    def active(self, datasource_id: str) -> Job | None:
        """Return the job that the datasource works on; one that blocks nobody is never it."""
        queue = self._queues.get(datasource_id, deque())
        while queue and queue[0].ended:
            queue.popleft()
        return queue[0] if queue else None

    def move(self, datasource_id: str) -> None:
        """Move the active job of a datasource one step on."""
        if (active := self.active(datasource_id)) is not None:
            active.steps += 1

    def poll(self, job: Job) -> None:
        """Count a poll, and move the job on, or the one that it waits for."""
        job.polls += 1
        if not job.fate.blocks:
            job.steps += 1
        elif not job.ended:
            self.move(job.datasource_id)

    def numbered(self, job_id: int) -> Job | None:
        """Return the job with this id, or None."""
        place = job_id - 7001
        return self.taken[place] if 0 <= place < len(self.taken) else None

    def scanned(self, scan_id: int) -> list[Job]:
        """Return the job of this scan, if there is one."""
        place = scan_id - 40_001
        return self.taken[place : place + 1] if place >= 0 else []

    def holding(self, file_name: str) -> list[Job]:
        """Return the jobs with an upload of this name."""
        return self._by_file_name.get(file_name, [])
