"""Rows that are missing without any error: an empty or a shrunken snapshot never replaces a full one silently."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest

from service import wiring
from service.runs.model import State
from tests.integration.runs import commits, snapshot
from tests.simulators.dxr import DxrSimulator, GeneratedFiles, faults, hostile
from tests.simulators.dxr.hostile import Lines

if TYPE_CHECKING:
    from service.runs.model import Run
    from service.wiring import Service
    from tests.conftest import MakeSettings

EMPTY: dict[str, Any] = {
    "status 204": faults.Status(204),
    "no chunk but the last": faults.Body(b""),
    "a length of 0": faults.Body(b"", framing="length"),
    "blank lines": faults.Body(b"\n \r\n\t\n"),
    "a byte order mark": faults.Body(b"\xef\xbb\xbf"),
    "gzip of nothing": hostile.Encoded(gzip.compress(b""), ("gzip",)),
}


def refused(run: Run) -> tuple[str, bool] | None:
    assert run.state in {State.FAILED, State.LANDED}
    return (run.error.code, run.error.retryable) if run.error else None


@pytest.mark.parametrize("fault", EMPTY.values(), ids=EMPTY)
async def test_empty_answer_commits_only_over_nothing(
    fault: Any, dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    settings = make_settings(dxr_base_url=dxr.url)
    async with wiring.opened(settings) as service:
        dxr.faults.next(fault, times=2)
        assert refused(await snapshot(service)) is None  # nothing was there before
        assert refused(await snapshot(service)) is None  # the newest one was empty
        assert refused(await snapshot(service)) is None  # 500 rows
        dxr.faults.next(fault, times=2)
        assert refused(await snapshot(service)) == ("EMPTY_SNAPSHOT", False)
        assert refused(await snapshot(service, accept_shrunken=True)) == ("EMPTY_SNAPSHOT", False)
        assert [commit["rows"] for commit in commits(service)] == [0, 0, 500]
    async with wiring.opened(settings.model_copy(update={"snapshot_allow_empty": True})) as service:
        dxr.faults.next(fault)
        assert refused(await snapshot(service)) is None
        assert commits(service)[-1]["chunks"] == []


async def test_empty_unproven_answer_is_refused(service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(faults.Body(b"", framing="close"))
    assert refused(await snapshot(service)) == ("STREAM_UNPROVEN", True)


async def test_far_fewer_rows_are_held_back_unless_accepted(service: Service, dxr: DxrSimulator) -> None:
    await snapshot(service)
    dxr.source = GeneratedFiles(rows=249)
    assert refused(await snapshot(service)) == ("SHRUNKEN_SNAPSHOT", False)
    dxr.source = GeneratedFiles(rows=250)  # half of them: SNAPSHOT_MIN_ROWS_RATIO
    assert refused(await snapshot(service)) is None
    dxr.source = GeneratedFiles(rows=1)
    assert refused(await snapshot(service)) == ("SHRUNKEN_SNAPSHOT", False)
    assert refused(await snapshot(service, accept_shrunken=True)) is None


async def test_base_is_the_newest_uncapped_commit_of_the_landing(
    service: Service, dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    await snapshot(service, ingestion_date="2026-01-01")
    assert refused(await snapshot(service, ingestion_date="2026-01-02", record_cap=1)) is None
    dxr.source = Lines(b"{}\n")
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, state_dir="elsewhere")) as other_store:
        assert refused(await snapshot(other_store, ingestion_date="2026-01-03")) == ("SHRUNKEN_SNAPSHOT", False)
        dxr.source = Lines(b"")
        assert refused(await snapshot(other_store, ingestion_date="2026-01-03")) == ("EMPTY_SNAPSHOT", False)
        assert refused(await snapshot(other_store, ingestion_date="2026-01-03", record_cap=5)) is None


async def test_rejects_alone_never_pass_for_an_empty_tenant(service: Service, dxr: DxrSimulator) -> None:
    dxr.source = Lines(b"nothing\nof this is a row\n")
    assert refused(await snapshot(service)) == ("NOT_NDJSON", True)
