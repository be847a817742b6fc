"""What is told of a run, and when the telling ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.runs.events import Seen, end, ending, news
from service.runs.model import Kind, Request, Run, State

RUN = Run(
    "01a202f8-192e-72ad-935a-56a1fba81e3a",
    Request(Kind.SNAPSHOT, "d", "2026-11-22", None, None, accept_shrunken=False, trigger="test"),
    State.RUNNING,
    attempt=1,
    sequence=1,
    created_at="2026-11-22T02:00:00Z",
    progress={"rows": 1},
)
BEFORE = Seen(RUN, 7, "2026-11-22T02:00:01Z")


def later(**more: Any) -> Seen:
    return Seen(replace(RUN, **more), 8, "2026-11-22T02:00:02Z")


def test_whoever_knows_nothing_is_told_the_run() -> None:
    event = news(None, BEFORE)
    assert event is not None
    assert (event.name, event.id, event.data) == ("run", 7, RUN.as_dict())


def test_nothing_new_is_not_told() -> None:
    assert news(BEFORE, later()) is None


def test_progress_alone_is_told_alone() -> None:
    event = news(BEFORE, later(progress={"rows": 2}))
    assert event is not None
    assert (event.name, event.id) == ("progress", 8)
    assert event.data == {
        "run_id": RUN.id,
        "at": "2026-11-22T02:00:02Z",
        "state": "running",
        "attempt": 1,
        "progress": {"rows": 2},
    }


@pytest.mark.parametrize("more", [{"state": State.LANDED}, {"attempt": 2}, {"receipt": {"state": "ingested"}}])
def test_whatever_else_changes_is_told_with_the_run(more: dict[str, Any]) -> None:
    event = news(BEFORE, later(progress={"rows": 2}, **more))
    assert event is not None
    assert (event.name, event.data["progress"]) == ("run", {"rows": 2})


@pytest.mark.parametrize(
    ("state", "receipt", "waited_enough", "draining", "why"),
    [
        (State.QUEUED, None, False, False, None),
        (State.RUNNING, None, True, False, None),
        (State.RUNNING, None, False, True, "draining"),
        (State.LANDED, None, False, False, None),
        (State.LANDED, None, False, True, "draining"),
        (State.LANDED, None, True, False, "no_receipt"),
        (State.PARTIAL, None, True, False, "no_receipt"),
        (State.PARTIAL, {"state": "ingested"}, False, False, "settled"),
        (State.LANDED, {"state": "superseded"}, False, False, "settled"),
        (State.INGESTED, {"state": "ingested"}, False, True, "settled"),
        (State.FAILED, None, False, False, "settled"),
        (State.CANCELLED, None, True, True, "settled"),
    ],
)
def test_the_end(state: State, receipt: Any, waited_enough: bool, draining: bool, why: str | None) -> None:
    run = replace(RUN, state=state, receipt=receipt)
    found = ending(run, waited_enough=waited_enough, draining=draining)
    assert (found and found.value) == why
    if found:
        event = end(run, 9, found)
        assert (event.name, event.id, event.data) == (
            "end",
            9,
            {"run_id": RUN.id, "state": state.value, "reason": why},
        )


def test_a_run_that_is_gone() -> None:
    assert ending(None, waited_enough=False, draining=False) == "forgotten"
