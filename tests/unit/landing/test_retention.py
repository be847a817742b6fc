"""Which chunk goes and which stays."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.landing.documents import Receipt
from service.landing.layout import attempt_folder
from service.landing.port import Stored
from service.landing.retention import Facts, Reason, Retention, run_of, verdict

RUN = "01a202f8-192e-72ad-935a-56a1fba81e3a"
NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
PATH = f"{attempt_folder('file_metadata', '2026-11-22', RUN, 1)}/part-00000.jsonl.gz"
NAMED = frozenset({PATH})
KEPT_30_DAYS = Retention(30, NOW)


def ago(days: float) -> dt.datetime:
    return NOW - dt.timedelta(days=days)


def chunk(age_days: float = 0) -> Stored:
    return Stored(PATH, 100, ago(age_days).timestamp())


def receipt(state: str, age_days: float = 0, **more: str | None) -> Receipt:
    told = {"ingested_at": ago(age_days).isoformat(), **more}
    return Receipt(format=1, run_id=RUN, state=state, **told)


@pytest.mark.parametrize(
    ("stored", "run", "reason"),
    [
        (chunk(999), None, Reason.FOREIGN),
        (chunk(), Facts(ended=True), Reason.ORPHANED),
        (chunk(999), Facts(ended=False), Reason.ACTIVE),
        (chunk(999), Facts(False, NAMED, receipt=receipt("ingested", 999)), Reason.ACTIVE),
        (chunk(29.9), Facts(ended=None), Reason.RECENT),
        (chunk(30), Facts(ended=None), Reason.ORPHANED),
        (chunk(-1), Facts(ended=None), Reason.RECENT),
        (Stored(PATH, 100, 0), Facts(ended=None), Reason.RECENT),  # a listing that tells no time
        (chunk(999), Facts(True, NAMED), Reason.AWAITED),
        (chunk(999), Facts(None, NAMED), Reason.AWAITED),
        (chunk(999), Facts(True, NAMED, receipt=receipt("ingested", 29.9)), Reason.RETAINED),
        (chunk(), Facts(True, NAMED, receipt=receipt("ingested", 30)), Reason.INGESTED),
        (chunk(), Facts(None, NAMED, receipt=receipt("superseded", 30)), Reason.SUPERSEDED),
        (chunk(999), Facts(True, NAMED, receipt=receipt("refused", 999)), Reason.REFUSED),
        (chunk(999), Facts(True, NAMED, receipt=receipt("settled", 999)), Reason.REFUSED),
        (chunk(999), Facts(True, NAMED, receipt=receipt("ingested", 999, ingested_at=None)), Reason.RETAINED),
        (chunk(999), Facts(True, NAMED, receipt=receipt("ingested", ingested_at="long ago")), Reason.RETAINED),
        (chunk(999), Facts(True, NAMED, receipt=receipt("ingested", ingested_at="2020-01-01T00:00")), Reason.RETAINED),
        (chunk(999), Facts(True, frozenset(), unreadable=True), Reason.UNREADABLE),
        (chunk(), Facts(True, frozenset({"another"}), receipt=receipt("ingested")), Reason.ORPHANED),
        (chunk(), Facts(None, frozenset({"another"}), receipt=receipt("ingested", 999)), Reason.RECENT),
    ],
)
def test_the_rules(stored: Stored, run: Facts | None, reason: Reason) -> None:
    assert verdict(stored, run, KEPT_30_DAYS) is reason


def test_no_days_at_all_is_at_once() -> None:
    at_once = Retention(0, NOW)
    assert verdict(chunk(), Facts(True, NAMED, receipt=receipt("ingested")), at_once) is Reason.INGESTED
    assert verdict(chunk(), Facts(True, NAMED), at_once) is Reason.AWAITED


AGES = st.floats(-400, 4000)
RECEIPTS = st.none() | st.builds(
    receipt, st.sampled_from(["ingested", "superseded", "refused", "other"]), AGES, ingested_at=st.none() | st.text()
)
DATED_RECEIPTS = st.builds(receipt, st.sampled_from(["ingested", "superseded", "refused"]), AGES)
FACTS = st.builds(
    Facts,
    st.sampled_from([True, False, None]),
    st.sampled_from([NAMED, frozenset[str](), frozenset({"another"})]),
    st.booleans(),
    RECEIPTS | DATED_RECEIPTS,
)
RETENTIONS = st.builds(Retention, st.integers(0, 36_500), st.just(NOW))


@given(age_days=AGES, run=FACTS, retention=RETENTIONS)
def test_what_a_commit_names_goes_only_after_its_receipt(age_days: float, run: Facts, retention: Retention) -> None:
    if not verdict(chunk(age_days), run, retention).removes or PATH not in run.named:
        return
    assert run.receipt is not None
    assert run.receipt.state in {"ingested", "superseded"}
    assert run.receipt.ingested_at is not None
    assert NOW - dt.datetime.fromisoformat(run.receipt.ingested_at) >= dt.timedelta(days=retention.days)


@given(age_days=AGES, run=FACTS, retention=RETENTIONS)
def test_nothing_goes_of_a_run_that_is_active_or_cannot_be_judged(
    age_days: float, run: Facts, retention: Retention
) -> None:
    if run.ended is False or run.unreadable:
        assert not verdict(chunk(age_days), run, retention).removes


@given(age_days=AGES, retention=RETENTIONS)
def test_what_nobody_knows_goes_only_when_it_is_old(age_days: float, retention: Retention) -> None:
    gone = verdict(chunk(age_days), Facts(ended=None), retention).removes
    # A file's time is a float of seconds, so microseconds beside the limit may fall either way.
    assert gone == (age_days >= retention.days) or abs(age_days - retention.days) < 1e-6


@pytest.mark.parametrize("name", ["part-00000.jsonl.gz", "part-123456.jsonl.gz", "rejects-00001.jsonl.gz"])
def test_parts_and_rejects_name_their_run(name: str) -> None:
    assert run_of(f"{attempt_folder('d', '2026-11-22', RUN, 12)}/{name}") == RUN


@pytest.mark.parametrize(
    "path",
    [
        "",
        "chunks/readme.txt",
        PATH.replace("chunks/", "commits/"),
        PATH.replace("file_metadata", "File"),
        PATH.replace("attempt=1", "attempt=01"),
        PATH.replace("attempt=1", "attempt=1/deeper"),
        PATH.replace(RUN, RUN.upper()),
        PATH.replace("2026-11-22", "2026-11"),
        PATH.replace("part-00000", "part-1"),
        PATH.replace("part-", "notes-"),
        PATH + "\n",
        PATH + ".bak",
        "x/" + PATH,
    ],
)
def test_any_other_path_is_foreign(path: str) -> None:
    assert run_of(path) is None
