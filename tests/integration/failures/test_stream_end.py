"""The end of a stream: only a proven one is committed, wherever a body is cut and however its head lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service import wiring
from service.errors import DxrIngestError
from tests.integration.failures.attempts import failure, landed, outcome, rows_of
from tests.integration.runs import commits
from tests.simulators.dxr import DxrSimulator, faults, hostile
from tests.simulators.dxr.hostile import Lines

if TYPE_CHECKING:
    from service.wiring import Service
    from tests.conftest import MakeSettings

BODY = b"".join(
    b'{"fileId":"%d","fileName":"a \xc3\xa4 \\" file-%d.txt","size":%d}\n' % (row, row, row * 1000) for row in range(5)
)
WIRES = {
    f"{framing} {coding}": hostile.answer_bytes(BODY, framing=framing, coding=coding)
    for framing in ("chunked", "length")
    for coding in ("identity", "gzip", "deflate", "raw deflate")
}


@pytest.fixture(autouse=True)
def _small(dxr: DxrSimulator) -> None:
    dxr.source = Lines(BODY)


@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)
async def test_cut_at_any_byte_of_the_wire(wire: bytes, service: Service, dxr: DxrSimulator) -> None:
    for cut in range(len(wire)):
        dxr.faults.next(hostile.Exactly(wire[:cut]))
        assert (await failure(service)).code == "STREAM_CUT", cut
    dxr.faults.next(hostile.Exactly(wire))
    assert (await landed(service)).rows == 5
    assert rows_of(service) == BODY


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
async def test_coded_body_cut_at_any_byte_inside_whole_framing(
    coding: hostile.Coding, service: Service, dxr: DxrSimulator
) -> None:
    body = hostile.coded(BODY, coding)
    for cut in range(len(body)):
        dxr.faults.next(hostile.Encoded(body[:cut], (coding.split()[-1],)))
        assert (await failure(service)).code == "STREAM_CUT", cut


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_wrong_check_sum(coding: hostile.Coding, service: Service, dxr: DxrSimulator) -> None:
    body = bytearray(hostile.coded(BODY, coding))
    for place in range(-8 if coding == "gzip" else -4, 0):
        spoilt = body.copy()
        spoilt[place] ^= 1
        dxr.faults.next(hostile.Encoded(bytes(spoilt), (coding,)))
        assert (await failure(service)).code == "STREAM_CUT"


async def test_members_of_gzip_one_after_another_are_one_body(service: Service, dxr: DxrSimulator) -> None:
    lines = BODY.splitlines(keepends=True)
    members = b"".join(hostile.coded(line, "gzip") for line in lines)
    dxr.faults.next(hostile.Encoded(members, ("gzip",)))
    await landed(service)
    assert rows_of(service) == BODY
    dxr.faults.next(hostile.Encoded(members + b"garbage", ("gzip",)))
    assert (await failure(service)).code == "STREAM_CUT"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (("gzip", "gzip"), "NOT_NDJSON"),
        (("gzip, gzip",), "NOT_NDJSON"),
        (("br",), "NOT_NDJSON"),
        (("zstd",), "NOT_NDJSON"),
        ((), "NOT_NDJSON"),
        (("deflate",), "STREAM_CUT"),
    ],
    ids=str,
)
async def test_coding_that_is_not_what_the_head_says(
    said: tuple[str, ...], code: str, service: Service, dxr: DxrSimulator
) -> None:
    dxr.faults.next(hostile.Encoded(hostile.coded(BODY, "gzip"), said))
    assert (await failure(service)).code == code


async def test_close_delimited_body_is_unproven_and_refused(service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(faults.CloseDelimited())
    error = await failure(service)
    assert (error.code, error.retryable) == ("STREAM_UNPROVEN", True)
    assert "DXR_ACCEPT_UNPROVEN_STREAMS" in error.hint


async def test_close_delimited_body_cut_at_any_byte_lands_flagged_and_without_a_torn_row_when_allowed(
    dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    settings = make_settings(dxr_base_url=dxr.url, dxr_accept_unproven_streams=True, snapshot_allow_empty=True)
    ends = {place + 1 for place, byte in enumerate(BODY) if byte == ord("\n")}
    async with wiring.opened(settings) as service:
        for cut in range(len(BODY) + 1):
            dxr.faults.next(faults.CutAfterBytes(cut, framing="close"))
            if not {cut, cut + 1} & (ends | {0}):
                assert (await failure(service)).code == "STREAM_CUT", cut
                continue
            await landed(service)
            assert commits(service)[-1]["unproven"]
            assert rows_of(service).rstrip(b"\n") == BODY[:cut].rstrip(b"\n")


PROVEN: list[Any] = [
    hostile.early_hints(1),
    hostile.early_hints(20),
    hostile.early_hints(1, code=100),
    hostile.early_hints(1, code=102),
    hostile.trailers(),
    hostile.trailers(b"X-Rows: 5", b"Server-Timing: db"),
    hostile.framed_by(b"Transfer-Encoding: Chunked"),
    hostile.framed_by(b"Transfer-Encoding: chunked", version=b"1.0"),
    hostile.framed_by(b"Transfer-Encoding: chunked", b"Content-Type: application/pdf"),
    hostile.framed_by(b"Transfer-Encoding: chunked", b"Content-Type: text/html; charset=utf-16"),
    hostile.Length((b"Content-Length: %d" % len(BODY),)),
    hostile.Length((b"Content-Length: %d" % len(BODY),), version=b"1.0"),
    hostile.Length((b"content-length:%d" % len(BODY), b"Connection: close")),
    hostile.Exactly(WIRES["chunked identity"], then="hold"),
    hostile.Exactly(WIRES["length identity"], then="hold"),
    hostile.ManySmallChunks(),
]


@pytest.mark.parametrize("fault", PROVEN, ids=lambda fault: str(fault)[:90])
async def test_whole_answer_in_an_odd_form_lands(fault: Any, service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(fault)
    assert not (await landed(service)).unproven
    assert rows_of(service) == BODY


LIES: list[tuple[Any, str]] = [
    (hostile.framed_by(b"Transfer-Encoding: chunked", b"Content-Length: 5"), "STREAM_CUT"),
    (hostile.framed_by(b"Content-Length: 5", b"Transfer-Encoding: chunked"), "STREAM_CUT"),
    (hostile.framed_by(b"Content-Length: 5", b"Content-Length: 5"), "STREAM_CUT"),
    (hostile.Length((b"Content-Length: %d" % len(BODY), b"Content-Length: 70")), "STREAM_CUT"),
    (hostile.Length((b"Content-Length: %d, 70" % len(BODY),)), "STREAM_CUT"),
    (hostile.Length((b"Content-Length: -1",)), "STREAM_CUT"),
    (hostile.Length((b"Content-Length: +%d" % len(BODY),)), "STREAM_CUT"),
    (hostile.Length((b"Content-Length: 99999999999999999999",)), "STREAM_CUT"),
    (hostile.Length((b"Content-Length: %d" % (len(BODY) + 1),)), "STREAM_CUT"),
    (hostile.Length((b"Content-Length: %d" % (len(BODY) - 9),)), "STREAM_CUT"),
    (hostile.Length(()), "STREAM_UNPROVEN"),
    (hostile.Length((), version=b"1.0"), "STREAM_UNPROVEN"),
    (hostile.Length((b"Connection: close",)), "STREAM_UNPROVEN"),
    (hostile.Length((b"X-Folded: a\r\n Content-Length: 5",)), "STREAM_UNPROVEN"),
    (hostile.Length((b"Transfer-Encoding: identity",)), "STREAM_UNPROVEN"),
    (hostile.Length((b"Transfer-Encoding: xchunked",)), "STREAM_UNPROVEN"),
    (hostile.Length((b"Transfer-Encoding: gzip",)), "STREAM_UNPROVEN"),
    (hostile.framed_by(b"Transfer-Encoding: chunked, identity"), "STREAM_UNPROVEN"),
    (hostile.framed_by(b"Transfer-Encoding: gzip, chunked"), "STREAM_UNPROVEN"),
    (hostile.framed_by(b"Transfer-Encoding: \x0bchunked"), "STREAM_UNPROVEN"),
    (hostile.framed_by(b"Transfer-Encoding : chunked"), "STREAM_UNPROVEN"),
    (hostile.trailers(b"Content-Length: 3", b"Transfer-Encoding: identity"), "STREAM_CUT"),
    (hostile.wide_header(100_000), "STREAM_CUT"),
    (hostile.many_headers(10_000), "STREAM_CUT"),
    (hostile.framed_by(b"X: a\0b", b"Transfer-Encoding: chunked"), "STREAM_CUT"),
    (hostile.framed_by(b"no colon", b"Transfer-Encoding: chunked"), "STREAM_CUT"),
    (hostile.Told(b"HTTP/1.1 2000 OK\r\nTransfer-Encoding: chunked"), "STREAM_CUT"),
    (hostile.Told(b"SSH-2.0-OpenSSH_9.2"), "STREAM_CUT"),
    (hostile.Exactly(), "STREAM_CUT"),
    (hostile.Exactly(then="reset"), "STREAM_CUT"),
    (hostile.Exactly(BODY), "STREAM_CUT"),
    (hostile.Exactly(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), "STREAM_CUT"),
    (hostile.Exactly(WIRES["chunked identity"][:-5] + b"-1\r\n"), "STREAM_CUT"),
    (hostile.Exactly(WIRES["chunked identity"][:-5] + b"ffffffffffffffffff\r\n"), "STREAM_CUT"),
    (hostile.Exactly(WIRES["chunked identity"][:-5] + b"0x0\r\n\r\n"), "STREAM_CUT"),
    (hostile.Exactly(WIRES["chunked identity"][:-5] + b"zz\r\n", then="hold"), "STREAM_CUT"),
    (hostile.Exactly(WIRES["chunked identity"][:-7] + b"XX0\r\n\r\n"), "STREAM_CUT"),
    (faults.GarbageChunkSize(after_rows=2), "STREAM_CUT"),
]


@pytest.mark.parametrize(("fault", "code"), LIES, ids=[f"{str(fault)[:110]}" for fault, _ in LIES])
async def test_head_or_framing_that_lies(fault: Any, code: str, service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(fault)
    error = await failure(service)
    assert (error.code, error.retryable) == (code, True)
    assert len(dxr.served) == 1  # aiohttp repeats nothing behind our back


@pytest.mark.parametrize(
    "raw",
    [b"garbage", WIRES["chunked identity"], b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", b"\r\n" * 99],
    ids=lambda raw: repr(raw[:12]),
)
async def test_bytes_behind_the_end_are_never_rows(raw: bytes, service: Service, dxr: DxrSimulator) -> None:
    """Whether the answer stands depends on whether they came with its last packet; what lands does not."""
    dxr.faults.next(hostile.followed_by(raw))
    ended = await outcome(service)
    if isinstance(ended, DxrIngestError):
        assert ended.code == "STREAM_CUT"
        assert commits(service) == []
    else:
        assert rows_of(service) == BODY
    await landed(service)
    assert rows_of(service) == BODY


async def test_rows_of_two_attempts_are_never_mixed(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_retry_attempts=4)) as service:
        other = b'{"fileId":"other"}\n' * 3
        dxr.faults.next(hostile.Exactly(hostile.answer_bytes(other, framing="chunked")[:-5]))
        dxr.faults.next(faults.CutAfterRows(4))
        dxr.faults.next(faults.MissingTerminalChunk())
        commit = await landed(service)
        assert rows_of(service) == BODY
        assert all("/attempt=4/" in chunk.path for chunk in commit.chunks)
