"""Store and supervisor, several processes of them, under whatever can befall them, against a small model.

Everything is real but the stream of rows, the landing (in memory), time and the thread of SQLite's driver: so a failure
repeats, shrinks, and is printed as a short list of steps.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from unittest import mock

import msgspec
import stamina.instrumentation
import structlog.testing
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from service.landing import layout
from service.landing.documents import FORMAT, Receipt
from tests.property.flows import PLANS, BugError
from tests.property.sqlite import empty_database, without_threads
from tests.property.world import COMMITS, DEEDS, LEASE_S, LOOKS, SLOTS, STATEMENTS, World, run_ids

# `RUNS_MODEL_EXAMPLES=5000 pytest tests/property` looks further than a run of the whole suite has time for.
EXAMPLES = int(os.environ.get("RUNS_MODEL_EXAMPLES", "100"))
STEPS = 15
HALF_A_DAY_S = 12 * 3600.0

slots = st.sampled_from(SLOTS)
datasets = st.sampled_from(["snapshots", "snapshots_too", "labels", "partial_labels"])
plans = st.lists(st.sampled_from(list(PLANS)), max_size=3)
deeds = st.sampled_from(DEEDS)
of_statements, of_looks, of_commits = (
    st.tuples(st.sampled_from(points), st.integers(1, often), deeds) for points, often in (STATEMENTS, LOOKS, COMMITS)
)
# What passes after a step.
pauses = st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.5, LEASE_S + 0.5])


class Runs(RuleBasedStateMachine):
    """Each step makes one thing happen and lets some time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = contextlib.ExitStack()
        enter = self.parts.enter_context
        folder = Path(enter(TemporaryDirectory()))
        self.logs = enter(structlog.testing.capture_logs())
        enter(stamina.set_testing(False))
        enter(without_threads())
        enter(mock.patch("service.runs.store.uuid_utils", SimpleNamespace(uuid7=run_ids())))
        enter(mock.patch.object(logging.getLogger("sqlalchemy.pool"), "level", logging.CRITICAL))
        self.world = World(folder)
        self.sound = True

    def pass_by(self, seconds: float) -> None:
        self.sound = False
        self.world.pass_by(seconds)
        self.sound = True

    @initialize(
        asked=st.lists(st.tuples(slots, datasets, plans), min_size=1, max_size=4),
        mishaps=st.tuples(
            *(st.lists(mishap, max_size=most) for mishap, most in ((of_commits, 2), (of_looks, 2), (of_statements, 3)))
        ).map(lambda lists: [mishap for mishaps in lists for mishap in mishaps]),
        then=pauses,
    )
    def begin(self, asked: list[tuple[int, str, list[str]]], mishaps: list[tuple[str, int, str]], then: float) -> None:
        self.world.start(0)
        self.world.start(1)
        for mishap in mishaps:
            self.world.lay_out(*mishap)
        for slot, dataset, plans in asked:
            self.trigger(slot, dataset, None, plans, 0.0)
        self.pass_by(then)

    @rule(slot=slots, dataset=datasets, key=st.sampled_from([None, "key"]), plans=plans, then=pauses)
    def trigger(self, slot: int, dataset: str, key: str | None, plans: list[str], then: float) -> None:
        if life := self.world.somebody(slot):
            self.world.plan(dataset, plans)
            self.world.trigger(life, dataset, key)
        self.pass_by(then)

    @precondition(lambda self: self.world.referee.active)
    @rule(slot=slots, nth=st.integers(0, 3), then=pauses)
    def cancel(self, slot: int, nth: int, then: float) -> None:
        active = self.world.referee.active
        if life := self.world.somebody(slot):
            self.world.cancel(life, active[nth % len(active)])
        self.pass_by(then)

    @precondition(lambda self: self.world.free_slots)
    @rule(nth=st.integers(0, 2), then=pauses)
    def start(self, nth: int, then: float) -> None:
        free = self.world.free_slots
        self.world.start(free[nth % len(free)])
        self.pass_by(then)

    @rule(mishap=of_statements | of_looks | of_commits, then=pauses)
    def lay_out(self, mishap: tuple[str, int, str], then: float) -> None:
        """Something will befall whichever process is the n-th to reach a point."""
        self.world.lay_out(*mishap)
        self.pass_by(then)

    @rule(slot=slots, deed=deeds, then=pauses)
    def befall(self, slot: int, deed: str, then: float) -> None:
        """Something befalls a process now."""
        if life := self.world.somebody(slot):
            self.world.befall(life, deed)
        self.pass_by(then)

    @precondition(lambda self: self.world.frozen)
    @rule(nth=st.integers(0, 2), then=pauses)
    def thaw(self, nth: int, then: float) -> None:
        frozen = self.world.frozen
        frozen[nth % len(frozen)].thaw()
        self.pass_by(then)

    @rule(slot=slots, seconds=st.sampled_from([0.0, 0.003, 0.3]), then=pauses)
    def slow_down(self, slot: int, seconds: float, then: float) -> None:
        """From now on, each statement and each look at the landing takes so long."""
        if life := self.world.somebody(slot):
            life.latency_s = seconds
        self.pass_by(then)

    @rule(seconds=st.sampled_from([-3600.0, HALF_A_DAY_S, 2 * HALF_A_DAY_S + 60.0]), then=pauses)
    def set_clock(self, seconds: float, then: float) -> None:
        self.world.jump(seconds)
        self.pass_by(then)

    @precondition(lambda self: self.world.awaited)
    @rule(state=st.sampled_from(["ingested", "superseded", "refused"]), then=pauses)
    def receive(self, state: str, then: float) -> None:
        """The Spark job speaks about the oldest commit that it has not spoken about."""
        at, run_id = self.world.clock.now_text(), self.world.awaited[0]
        receipt = Receipt(format=FORMAT, run_id=run_id, state=state, table_rows=2, ingested_at=at)
        self.world.landing.store(layout.receipt_path(run_id), msgspec.json.encode(receipt))
        self.pass_by(then)

    @rule(slot=slots, then=pauses)
    def keep_house(self, slot: int, then: float) -> None:
        if life := self.world.somebody(slot):
            self.world.keep_house(life)
        self.pass_by(then)

    def teardown(self) -> None:
        try:
            if self.sound:
                self.world.settle()
                for entry in self.logs:
                    assert entry["log_level"] != "error" or isinstance(entry["exc_info"], BugError), entry
        finally:
            self.world.close()
            self.parts.close()


def test_whatever_befalls_the_processes_each_run_ends_as_the_landing_says() -> None:
    empty_database()  # while the driver has its thread
    stamina.instrumentation.set_on_retry_hooks([])
    run_state_machine_as_test(
        Runs,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
