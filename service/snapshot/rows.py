"""Lines → rows, rejects and blanks, and the judgement whether an answer is newline-delimited JSON at all. Pure.

What a row is stands in docs/landing-format.md, section 2; the golden files of tests/golden hold both packages to it.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from service.errors import UpstreamError
from service.snapshot.lines import BLANK, LoneLine, LongLine
from service.snapshot.quick import QuickCheck, Rows, brackets_of, deepest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DEPTH_MAX: Final = 500
# A document nested deeper than this needs an opening and a closing byte for each level.
_SHALLOW_BYTES: Final = 2 * DEPTH_MAX
# A long line is looked at in pieces: no single call into C may keep the interpreter from a lease that must be extended.
_PIECE_BYTES: Final = 1 << 16
_OBJECT: Final = ord("{")
_NO_STRUCTURE: Final = bytes(set(range(256)) - set(b'"[]{}'))
_NO_BACKSLASH: Final = re.compile(rb"[^\\]")
_STEPS: Final = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]

NOT_JSON: Final = "NOT_JSON"
NOT_AN_OBJECT: Final = "NOT_AN_OBJECT"
INVALID_UTF8: Final = "INVALID_UTF8"
TOO_DEEP: Final = "TOO_DEEP"
TOO_LONG: Final = "TOO_LONG"

# What people are told that an answer without any row is, by the flaw of its first line.
_KINDS: Final = {
    NOT_JSON: "text that is no JSON, or JSON over several lines",
    NOT_AN_OBJECT: "JSON of which no line is an object",
    INVALID_UTF8: "bytes that are no text",
    TOO_DEEP: "JSON that is nested too deep",
    TOO_LONG: "lines that are longer than DXR_MAX_ROW_BYTES",
}

_decode = msgspec.json.Decoder(msgspec.Raw).decode


class _Marks(msgspec.Struct):
    """The fields that tell an error from a row; all others are passed over, however many they are."""

    error: msgspec.Raw = msgspec.Raw()
    errors: msgspec.Raw = msgspec.Raw()
    file_id: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="fileId")


_decode_marks = msgspec.json.Decoder(_Marks).decode


class Reject(msgspec.Struct, frozen=True):
    r"""A line that is no row, as it is landed: its place in the stream, the reason, the line without its ``\n``."""

    line_number: int
    reason: str
    length: int
    sha256: str
    raw: str | None


@dataclass(slots=True)
class Counts:
    """`served_lines = rows + rejected_rows + blank_lines`; `raw_bytes` are those of the rows."""

    rows: int = 0
    rejected_rows: int = 0
    blank_lines: int = 0
    raw_bytes: int = 0

    @property
    def served_lines(self) -> int:
        """Lines seen so far."""
        return self.rows + self.rejected_rows + self.blank_lines


@dataclass(slots=True)
class Sorted:
    """What some lines of the stream held."""

    rows: list[Rows] = field(default_factory=list[Rows])
    rejects: list[Reject] = field(default_factory=list[Reject])


# What the quick check vouched for, what it did not, and the lines that were too long for it.
Lines: TypeAlias = Rows | bytes | LoneLine | LongLine


def flaw_of(line: bytes) -> str | None:
    r"""Why `line` (without ``\n`` and trailing ``\r``) is no row; None when it is one.

    msgspec proves the syntax of one JSON value, but neither UTF-8 nor depth nor that the value is an object, and it
    refuses escaped lone surrogates, which RFC 8259 allows: those lines are looked at a second time.
    """
    try:
        _decode(line)
    except RecursionError:
        return TOO_DEEP
    except msgspec.DecodeError:
        return _second_opinion(line)
    if line[0] != _OBJECT and line.lstrip(BLANK)[0] != _OBJECT:
        return NOT_AN_OBJECT
    if not line.isascii() and not _is_utf8(line):
        return INVALID_UTF8
    if _may_be_deep(line) and not _is_shallow(line) and _depth(line) > DEPTH_MAX:
        return TOO_DEEP
    return None


def _second_opinion(line: bytes) -> str | None:
    if not _is_utf8(line):
        return INVALID_UTF8
    tame = _without_surrogates(line)
    return NOT_JSON if tame == line else flaw_of(tame)


def _without_surrogates(line: bytes) -> bytes:
    r"""The line with ``\u0xxx`` for ``\udxxx``: as long and as legal as before, also where the backslash is escaped."""
    return line.replace(b"\\ud", b"\\u0").replace(b"\\uD", b"\\u0")


def _is_utf8(line: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(line), _PIECE_BYTES):
            decoder.decode(line[start : start + _PIECE_BYTES])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _may_be_deep(line: bytes) -> bool:
    return len(line) > _SHALLOW_BYTES and (len(line) > _PIECE_BYTES or brackets_of(line) > DEPTH_MAX)


def _brackets(line: bytes) -> Iterator[bytes]:
    """The brackets of a line of JSON that are in no string, some at a time."""
    # Without escapes and everything else, an even number of quotes before a bracket says that it is in no string; two
    # quotes side by side change nothing about that.
    start = in_string = 0
    while start < len(line):
        last = _NO_BACKSLASH.search(line, start + _PIECE_BYTES - 1)  # no piece ends inside an escape
        stop = last.end() if last else len(line)
        piece = line[start:stop]
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.translate(None, _NO_STRUCTURE).replace(b'""', b"").split(b'"')
        yield b"".join(parts[in_string::2])
        in_string ^= (len(parts) - 1) & 1
        start = stop


def _is_shallow(line: bytes) -> bool:
    """Whether a line of JSON is nested no deeper than DEPTH_MAX; False also when nothing can be said.

    msgspec says it: inside so many arrays that it takes DEPTH_MAX levels more, and not one above them.
    """
    around = max(0, deepest(_takes) - DEPTH_MAX)
    while _takes(around + DEPTH_MAX + 1):  # the deeper the calls, the less it takes: only what it refuses here counts
        around += 1
    return _takes(around, line)


def _takes(levels: int, inside: bytes = b"") -> bool:
    try:
        _decode(b"".join((b"[" * levels, inside, b"]" * levels)))
    except RecursionError:
        return False
    return True


def _depths(line: bytes) -> Iterator[list[int]]:
    """The depth after each bracket of a line of JSON, some at a time, the depth before them first."""
    depth = 0
    for brackets in _brackets(line):
        depths = list(itertools.accumulate(map(_STEPS.__getitem__, brackets), initial=depth))
        depth = depths[-1]
        yield depths


def _depth(line: bytes) -> int:
    """The deepest nesting, counted no further than where it is above the limit."""
    deepest = 0
    for depths in _depths(line):
        deepest = max(deepest, *depths)
        if deepest > DEPTH_MAX:
            break
    return deepest


def _is_closed(line: bytes) -> bool:
    """Whether the first bracket of `line` is closed on it."""
    return any(0 in (depths[1:]) for depths in _depths(line))


def _no_ndjson(kind: str) -> UpstreamError:
    return UpstreamError(
        "NOT_NDJSON",
        f"DXR answered with {kind} instead of newline-delimited JSON rows.",
        "Check DXR_BASE_URL and what stands between this service and DXR (login page, proxy); nothing was committed.",
    )


class RowSorter:
    """Sorts the lines of one answer and keeps the counts that must balance.

    Raises `UpstreamError` (`NOT_NDJSON`, `STREAM_CUT`) as soon as the answer cannot be what was asked for.
    """

    def __init__(self, row_bytes_max: int, record_cap: int | None = None) -> None:
        self._row_bytes_max = row_bytes_max
        self._record_cap = record_cap
        self._quick = QuickCheck(row_bytes_max, DEPTH_MAX)
        self._last_row: Rows | None = None
        self._first_flaw: str | None = None
        self.counts = Counts()

    @property
    def capped(self) -> bool:
        """Whether the asked number of rows was reached: nothing after it is looked at."""
        return self._record_cap is not None and self.counts.rows >= self._record_cap

    def feed(self, lines: Iterable[Lines]) -> Sorted:
        r"""Sort whole lines: rows that `QuickCheck.sifted` vouched for, and lines with their ``\n``."""
        out = Sorted()
        for some in lines:
            if isinstance(some, LongLine):
                self._sort_each([some], out)
            elif isinstance(some, LoneLine):
                self._sort_each([some.data], out)
            elif isinstance(some, bytes):
                self._sort_each(some.split(b"\n")[:-1], out, some)
            elif self._has_room_for(some.count):
                self.counts.rows += some.count
                self._take(some, out)
            else:
                self._sort_each(some.data.split(b"\n")[:-1], out)
        return out

    def finish(self, tail: bytes | LongLine) -> Sorted:
        """Judge the answer as a whole; `tail` is what came after the last newline and must be empty or a row."""
        out = Sorted()
        if tail:
            self._sort_each([tail], out)
        if self._first_flaw and not self.counts.rows and not _may_be_a_cut_row(tail):
            raise _no_ndjson(_KINDS[self._first_flaw])
        if tail and not out.rows:
            raise UpstreamError(
                "STREAM_CUT",
                f"The stream of DXR ended inside line {self.counts.served_lines}.",
                "Nothing was committed. Look for what ends long answers (proxies, restarts), then start it again.",
            )
        if self._last_row and _is_error(self._last_row.data):
            raise _no_ndjson("an error object")
        return out

    def _has_room_for(self, count: int) -> bool:
        return self._record_cap is None or self.counts.rows + count <= self._record_cap

    def _sort_each(self, lines: Sequence[bytes | LongLine], out: Sorted, together: bytes = b"") -> None:
        """`together` is what the lines were made of: when all of them are rows, no copy of it is needed."""
        rows: list[bytes] = []
        for line in lines:
            if self.capped:
                break
            row = line if isinstance(line, bytes) and self._quick.vouches_for(line) else self._row_of(line, out)
            if row is not None:
                self.counts.rows += 1
                rows.append(row)
        if rows:
            unchanged = sum(map(len, rows)) + len(rows) == len(together)
            self._take(Rows(together if unchanged else b"\n".join([*rows, b""]), len(rows)), out)

    def _take(self, rows: Rows, out: Sorted) -> None:
        self._last_row = rows.last()
        self.counts.raw_bytes += len(rows.data)
        out.rows.append(rows)

    def _row_of(self, line: bytes | LongLine, out: Sorted) -> bytes | None:
        """The row that this line is, if it is one; else it is counted."""
        if isinstance(line, LongLine):
            self._judge_first(line.first, closed=line.last == b"]")
            self._reject(TOO_LONG, line, out)
            return None
        row = line[:-1] if line.endswith(b"\r") else line
        if len(row) > self._row_bytes_max:
            self._judge_first(row.lstrip(BLANK)[:1], closed=row.rstrip(BLANK).endswith(b"]"))
            self._reject(TOO_LONG, line, out)
        elif not row.strip(BLANK):
            self.counts.blank_lines += 1
        elif (flaw := flaw_of(row)) is None:
            return row
        else:
            start = row.lstrip(BLANK)[:1]
            self._judge_first(start, closed=start != b"[" or _is_closed(row))
            self._reject(flaw, line, out)
        return None

    def _judge_first(self, start: bytes, *, closed: bool) -> None:
        """Raise when the first line that is not blank shows that no rows will come; of others nothing is asked."""
        if self.counts.rows or self.counts.rejected_rows:
            return
        if start == b"<":
            raise _no_ndjson("markup (HTML or XML)")
        if start == b"[" and not closed:
            raise _no_ndjson("one JSON array over several lines")

    def _reject(self, reason: str, line: bytes | LongLine, out: Sorted) -> None:
        self._first_flaw = self._first_flaw or reason
        self.counts.rejected_rows += 1
        if isinstance(line, LongLine):
            reject = Reject(self.counts.served_lines, reason, line.length, line.sha256, None)
        else:
            raw = None if reason is TOO_LONG else base64.b64encode(line).decode()
            reject = Reject(self.counts.served_lines, reason, len(line), hashlib.sha256(line).hexdigest(), raw)
        out.rejects.append(reject)


def _may_be_a_cut_row(tail: bytes | LongLine) -> bool:
    first = tail.first if isinstance(tail, LongLine) else tail.lstrip(BLANK)[:1]
    return first == b"{"


def _is_error(row: bytes) -> bool:
    marks = _decode_marks(_without_surrogates(row))
    return bool(len(marks.error) or len(marks.errors)) and not len(marks.file_id)
