"""Every compressed member is proven whole, wherever the body was cut on its way."""

from __future__ import annotations

import gzip
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dxr.inflate import decoder_for
from service.errors import UpstreamError

TEXT = b"".join(b'{"fileId":"%d"}\n' % number for number in range(300))


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


CODINGS = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "x-gzip": gzip.compress(TEXT[:100], mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(TEXT[100:], mtime=0),
    "deflate": zlib.compress(TEXT),
    "Deflate ": raw_deflate(TEXT),
    "identity": TEXT,
}


def inflate(coding: str, body: bytes, piece_bytes: int) -> bytes:
    decoder = decoder_for(coding)
    out = b"".join(
        piece for start in range(0, len(body), piece_bytes) for piece in decoder.feed(body[start : start + piece_bytes])
    )
    decoder.finish()
    return out


@pytest.mark.parametrize("coding", CODINGS)
@given(piece_bytes=st.integers(min_value=1, max_value=5000))
def test_whole_bodies_come_out_whole(coding: str, piece_bytes: int) -> None:
    assert inflate(coding, CODINGS[coding], piece_bytes) == TEXT


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "Deflate "])
def test_a_body_cut_at_any_byte_is_no_success(coding: str) -> None:
    body = CODINGS[coding]
    between_members = {len(gzip.compress(TEXT[:100], mtime=0)), len(gzip.compress(TEXT[:100], mtime=0)) + 20}
    for cut in range(len(body)):
        if coding == "x-gzip" and cut in between_members:
            continue  # whole members are whole; the framing of HTTP tells that more should have come
        with pytest.raises(UpstreamError) as caught:
            inflate(coding, body[:cut], 64)
        assert caught.value.code == "STREAM_CUT"


def test_a_wrong_check_sum_is_no_success() -> None:
    body = bytearray(CODINGS["gzip"])
    body[-6] ^= 1
    with pytest.raises(UpstreamError):
        inflate("gzip", bytes(body), 64)


def test_garbage_after_a_member_is_no_success() -> None:
    with pytest.raises(UpstreamError):
        inflate("gzip", CODINGS["gzip"] + b"garbage!" * 4, 4096)


def test_a_bomb_comes_out_in_bounded_pieces() -> None:
    bomb = gzip.compress(bytes(50_000_000), mtime=0)
    sizes = [len(piece) for piece in decoder_for("gzip").feed(bomb)]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 1 << 20


def test_what_does_not_compress_comes_out_too() -> None:
    noise = os.urandom(3_000_000)
    assert inflate("gzip", gzip.compress(noise, mtime=0), 70_000) == noise


def test_a_coding_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(UpstreamError) as caught:
        decoder_for("br")
    assert caught.value.code == "NOT_NDJSON"
