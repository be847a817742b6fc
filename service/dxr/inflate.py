"""Content codings → bytes, with proof that every compressed member was whole. Pure.

Stock clients end cleanly on a gzip body that is cut inside whole HTTP framing; that is why bodies are not inflated by
aiohttp but here (docs/decisions/0003).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, cast

from isal import isal_zlib

from service.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE_BYTES_MAX: Final = 1 << 20
_GZIP_WINDOW: Final = 16 + 15
_ZLIB_WINDOW: Final = 15
_RAW_WINDOW: Final = -15
_IsalError = cast("type[Exception]", isal_zlib.error)  # pyright: ignore[reportUnknownMemberType]


class Decoder(Protocol):
    """Turns the body as it came over the wire into the bytes that were meant."""

    @property
    def inflates(self) -> bool:
        """Whether the bytes that are meant may be many more than those that came."""
        ...

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Pieces of bounded size. Raises `UpstreamError` (`STREAM_CUT`) when the coding is broken."""
        ...

    def finish(self) -> None:
        """Raises `UpstreamError` (`STREAM_CUT`) when the last member is not whole."""
        ...


def decoder_for(content_encoding: str) -> Decoder:
    """The decoder for a `Content-Encoding` header. Raises `UpstreamError` for one nobody asked for."""
    match content_encoding.strip().lower():
        case "" | "identity":
            return _Identity()
        case "gzip" | "x-gzip":
            return _Inflate(_GZIP_WINDOW)
        case "deflate":
            return _Inflate(None)
        case _:
            raise UpstreamError(
                "NOT_NDJSON",
                "DXR answered in a content coding that was not asked for.",
                "Check what stands between this service and DXR; identity, gzip and deflate are understood.",
            )


class _Identity:
    inflates = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        pass


class _Member(Protocol):
    """What zlib's decompress objects have; isal's type stubs leave it open."""

    eof: bool
    unused_data: bytes
    unconsumed_tail: bytes

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _member(window: int) -> _Member:
    return cast("_Member", isal_zlib.decompressobj(wbits=window))  # pyright: ignore[reportUnknownMemberType]


class _Inflate:
    """gzip of one or several members, or deflate with or without the zlib wrapper (window None: found out)."""

    inflates = True

    def __init__(self, window: int | None) -> None:
        self._window = window
        self._member = None if window is None else _member(window)
        self._in_member = False
        self._seen = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        held_back = False  # output that the limit kept inside the decompressor
        while data or held_back:
            if self._member is None:
                # RFC 9110 means the zlib wrapper, many servers send none: its header byte has method 8 in the low half.
                self._window = _ZLIB_WINDOW if data[0] & 0x0F == 8 else _RAW_WINDOW
                self._member = _member(self._window)
            self._in_member = self._seen = True
            try:
                piece = self._member.decompress(data, _PIECE_BYTES_MAX)
            except _IsalError as error:
                raise _broken("a compressed member is damaged or fails its check sum") from error
            if self._member.eof:
                data, held_back, self._in_member = self._member.unused_data, False, False
                self._member = _member(self._window or _GZIP_WINDOW)
            else:
                data, held_back = self._member.unconsumed_tail, len(piece) == _PIECE_BYTES_MAX
            if piece:
                yield piece

    def finish(self) -> None:
        if self._in_member or not self._seen:
            raise _broken("a compressed member is not whole")


def _broken(what: str) -> UpstreamError:
    return UpstreamError(
        "STREAM_CUT",
        f"The stream of DXR is not whole: {what}.",
        "Nothing was committed. Look for what ends long answers (proxies, restarts), then start it again.",
    )
