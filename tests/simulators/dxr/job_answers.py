"""The many ways in which deployments write the same job as JSON."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from tests.simulators.dxr.jobs import FINISHED, SUBMITTED, Job

Json = dict[str, Any]
Shape = Literal["flat", "nested", "job", "status", "jobState", "flat key"]

SHAPES: tuple[Shape, ...] = ("flat", "nested", "job", "status", "jobState", "flat key")
DONE_WORDS = ("FINISHED", "COMPLETED", "SUCCESSFUL", "DONE")


@dataclass(frozen=True, slots=True)
class Facts:
    """A job as the wire will have it, before its shape."""

    id: int | str
    state: str
    scan_id: int | str | None
    error: str | None


def _flat(facts: Facts) -> Json:
    return {"state": facts.state, "datasourceScanId": facts.scan_id, "errorMessage": facts.error}


def _nested(facts: Facts) -> Json:
    return {"state": {"value": facts.state, "datasourceScanId": facts.scan_id, "errorMessage": facts.error}}


def _job(facts: Facts) -> Json:
    return {
        "job": {"id": facts.id, "state": facts.state, "datasourceScanId": facts.scan_id},
        "errorMessage": facts.error,
    }


def _status(facts: Facts) -> Json:
    return {"status": facts.state, "state.datasourceScanId": facts.scan_id, "message": facts.error}


def _job_state(facts: Facts) -> Json:
    return {"jobState": facts.state, "datasourceScanId": facts.scan_id, "error": facts.error}


def _flat_key(facts: Facts) -> Json:
    return {"state": facts.state, "state.datasourceScanId": facts.scan_id, "message": facts.error}


_WRITTEN: dict[Shape, Callable[[Facts], Json]] = {
    "flat": _flat,
    "nested": _nested,
    "job": _job,
    "status": _status,
    "jobState": _job_state,
    "flat key": _flat_key,
}


@dataclass(frozen=True, slots=True)
class JobAnswers:
    """How jobs are written; where several ways are given, answers take all their combinations in turn.

    `done` are the words for a finished job, `ids` counts for job, scan and datasource ids.
    """

    shapes: tuple[Shape, ...] = ("flat",)
    cases: tuple[Literal["upper", "lower"], ...] = ("upper",)
    done: tuple[str, ...] = ("FINISHED",)
    ids: tuple[Literal["number", "text"], ...] = ("number",)

    def written(self, job: Job, turn: int) -> Json:
        """Write the job as answer number `turn`; its scan has no id before it runs, absent values are left out.

        `id` stands at the top in every shape.
        """
        # The shape changes fastest, so that a client meets all of them early.
        ways = [(shape, case, done, ids) for ids, done, case, shape in self._ways()]
        shape, case, done, ids = ways[turn % len(ways)]
        state = done if job.state == FINISHED else job.state
        as_id: type[int | str] = str if ids == "text" else int
        facts = Facts(
            id=as_id(job.id),
            state=state.lower() if case == "lower" else state.upper(),
            scan_id=None if job.state == SUBMITTED else as_id(job.scan_id),
            error=job.fate.error if job.ended else None,
        )
        datasource_id = as_id(job.datasource_id) if job.datasource_id.isdecimal() else job.datasource_id
        return _without_none({"id": facts.id, "datasourceId": datasource_id} | _WRITTEN[shape](facts))

    def _ways(self) -> Iterator[tuple[Any, ...]]:
        return product(self.ids, self.done, self.cases, self.shapes)


EVERY_WAY = JobAnswers(shapes=SHAPES, cases=("upper", "lower"), done=DONE_WORDS, ids=("number", "text"))


def _without_none(answer: Json) -> Json:
    return {key: _value_without_none(value) for key, value in answer.items() if value is not None}


def _value_without_none(value: Any) -> Any:
    return _without_none(value) if isinstance(value, dict) else value  # pyright: ignore[reportUnknownArgumentType]
