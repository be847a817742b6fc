"""Streams that never end: without a whole row an attempt ends, whatever flows; a slow stream that lives does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service import wiring
from service.dxr import session
from tests.integration.failures.attempts import failure, landed, rows_of
from tests.integration.runs import commits
from tests.integration.test_classification import classify, tenant
from tests.simulators.dxr import DxrSimulator, faults, hostile
from tests.simulators.dxr import classifier_faults as odc
from tests.simulators.dxr.hostile import Lines

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeSettings

BODY = b"".join(b'{"fileId":"%d"}\n' % row for row in range(15))
LIMIT_S = 0.8
OFTEN_S = 0.01
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

STALLS: dict[str, tuple[Any, int]] = {
    "no byte of an answer": (faults.Stall(headers=False), 0),
    "half a head": (hostile.Exactly(HEAD, then="hold"), 0),
    "a head, byte by byte": (hostile.DrippingHead(HEAD, b"X", OFTEN_S), 0),
    "blank lines instead of a head": (hostile.DrippingHead(b"", b"\r\n", OFTEN_S), 0),
    "early hints for ever": (hostile.DrippingHead(b"", EARLY, OFTEN_S), 0),
    "early hints for ever, as a flood": (hostile.DrippingHead(b"", EARLY * 500), 0),
    "a head and no body": (faults.Stall(), 0),
    "silence inside the body": (faults.Stall(after_rows=7), 7),
    "all rows and no terminal chunk": (faults.Stall(after_rows=15), 15),
    "blank lines": (faults.DripBlankLines(after_rows=7), 7),
    "blank lines as a flood": (hostile.Dripping(b"\n" * 65_536, after_rows=7), 7),
    "blank lines as a compressed flood": (hostile.Dripping(b"\r\n" * 500_000, after_rows=7, compressed=True), 7),
    "a row, byte by byte": (hostile.Dripping(b"x", after_rows=7, every_s=OFTEN_S), 7),
    "a row without end": (hostile.Dripping(b"x" * 65_536, after_rows=7), 7),
    "lines that are no rows": (hostile.Dripping(b"nothing\n" * 5_000, after_rows=7), 7),
    "chunk size of endless zeros": (hostile.Dripping(b"0", after_rows=7, every_s=OFTEN_S, raw=True), 7),
    "chunk extension without end": (
        hostile.DrippingHead(HEAD + b"\r\n" + hostile.chunk(BODY) + b"5;", b"e" * 99, OFTEN_S),
        15,
    ),
}


@pytest.mark.parametrize(("fault", "rows"), STALLS.values(), ids=STALLS)
async def test_stall_ends_the_attempt(fault: Any, rows: int, dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    dxr.source = Lines(BODY)
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_http_timeout=LIMIT_S)) as service:
        dxr.faults.next(fault)
        error = await failure(service)
        assert (error.code, error.retryable) == ("STREAM_STALLED", True)
        assert f"(row {rows + 1})" in error.message
        assert "DXR_HTTP_TIMEOUT" in error.hint
        assert len(dxr.requests) == 1


async def test_call_that_is_never_answered_is_given_up(
    volume: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_CALL_TIMEOUT_S", LIMIT_S)
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        hold = odc.Hold("poll")
        dxr.classifier.faults.next(hold, times=100)
        run = await classify(service)
        hold.open()
        assert run.error is not None
        assert (run.error.code, run.error.retryable) == ("DXR_TIMEOUT", True)
        assert commits(service) == []


async def test_slow_stream_that_lives_is_not_ended(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    """Fifteen rows, each well within the limit, together beyond it."""
    dxr.source = Lines(BODY)
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_http_timeout=1)) as service:
        dxr.faults.next(hostile.Paced(every_s=0.1))
        await landed(service)
        assert rows_of(service) == BODY
