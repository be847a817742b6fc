"""Lines → rows, rejects and blanks, and the judgement whether an answer is newline-delimited JSON at all. Pure.

What a row is stands in docs/landing-format.md, section 2; the golden files of tests/golden hold both packages to it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

import msgspec

from service.errors import UpstreamError
from service.snapshot.lines import LongLine

DEPTH_MAX: Final = 500
# A document nested deeper than this needs an opening and a closing byte for each level.
_SHALLOW_BYTES: Final = 2 * DEPTH_MAX
_BLANK: Final = b" \t\r"
_OBJECT: Final = ord("{")

NOT_JSON: Final = "NOT_JSON"
NOT_AN_OBJECT: Final = "NOT_AN_OBJECT"
INVALID_UTF8: Final = "INVALID_UTF8"
TOO_DEEP: Final = "TOO_DEEP"
TOO_LONG: Final = "TOO_LONG"

_decode = msgspec.json.Decoder(msgspec.Raw).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_ESCAPED_SURROGATE = re.compile(rb"(?<!\\)((?:\\\\)*)\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
# The closing quote is optional, so that a line full of unfinished strings is still read in linear time.
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


class Reject(msgspec.Struct, frozen=True):
    r"""A line that is no row, as it is landed: its place in the stream, the reason, the line without its ``\n``."""

    line_number: int
    reason: str
    length: int
    sha256: str
    raw: str | None


@dataclass(slots=True)
class Sorted:
    """What one piece of the stream held."""

    rows: list[bytes] = field(default_factory=list[bytes])
    rejects: list[Reject] = field(default_factory=list[Reject])


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
    if line[0] != _OBJECT and line.lstrip(_BLANK)[0] != _OBJECT:
        return NOT_AN_OBJECT
    if not line.isascii() and not _is_utf8(line):
        return INVALID_UTF8
    if _may_be_deep(line) and _depth(line) > DEPTH_MAX:
        return TOO_DEEP
    return None


def _second_opinion(line: bytes) -> str | None:
    if not _is_utf8(line):
        return INVALID_UTF8
    tame = _ESCAPED_SURROGATE.sub(rb"\1\\u0041", line)
    if tame == line:
        return TOO_DEEP if _depth(line) > DEPTH_MAX else NOT_JSON
    try:
        _decode(tame)
    except RecursionError:
        return TOO_DEEP
    except msgspec.DecodeError:
        return NOT_JSON
    return flaw_of(tame)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _may_be_deep(line: bytes) -> bool:
    return len(line) > _SHALLOW_BYTES and line.count(b"{") + line.count(b"[") > DEPTH_MAX


def _depth(line: bytes) -> int:
    """The deepest nesting, counted no further than one above the limit."""
    depth = deepest = 0
    for token in _STRING_OR_BRACKET.finditer(line):
        start = line[token.start()]
        if start in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > DEPTH_MAX:
                break
        elif start in b"]}":
            depth -= 1
    return deepest


def _is_closed(line: bytes) -> bool:
    """Whether the first bracket of `line` is closed on it."""
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(line):
        start = line[token.start()]
        if start in b"[{":
            depth += 1
        elif start in b"]}":
            depth -= 1
            if depth == 0:
                return True
    return False


def _no_ndjson(kind: str) -> UpstreamError:
    return UpstreamError(
        "NOT_NDJSON",
        f"DXR answered with {kind} instead of newline-delimited JSON rows.",
        "Check DXR_BASE_URL and what stands between this service and DXR (login page, proxy); nothing was committed.",
    )


class RowSorter:
    """Sorts the lines of one answer and keeps the counts that must balance.

    `served_lines = rows + rejected_rows + blank_lines` holds after every call. Raises `UpstreamError` (`NOT_NDJSON`,
    `STREAM_CUT`) as soon as the answer cannot be what was asked for.
    """

    def __init__(self, row_bytes_max: int, record_cap: int | None = None) -> None:
        self._row_bytes_max = row_bytes_max
        self._record_cap = record_cap
        self._last_row: bytes | None = None
        self.rows = 0
        self.rejected_rows = 0
        self.blank_lines = 0

    @property
    def served_lines(self) -> int:
        """Lines seen so far."""
        return self.rows + self.rejected_rows + self.blank_lines

    @property
    def capped(self) -> bool:
        """Whether the asked number of rows was reached: nothing after it is looked at."""
        return self._record_cap is not None and self.rows >= self._record_cap

    def feed(self, lines: list[bytes | LongLine]) -> Sorted:
        """Sort whole lines."""
        out = Sorted()
        for line in lines:
            if self.capped:
                break
            self._sort(line, out)
        return out

    def finish(self, tail: bytes | LongLine) -> Sorted:
        """Judge the answer as a whole; `tail` is what came after the last newline and must be empty or a row."""
        out = Sorted()
        if tail:
            self._sort(tail, out)
            if not out.rows:
                raise UpstreamError(
                    "STREAM_CUT",
                    f"The stream of DXR ended inside line {self.served_lines}.",
                    "Nothing was committed; the attempt is repeated from the start.",
                )
        if self.rejected_rows and not self.rows:
            raise _no_ndjson("lines of which none is a JSON object")
        if self._last_row is not None:
            fields = _fields(self._last_row)
            if fields & {"error", "errors"} and "fileId" not in fields:
                raise _no_ndjson("an error object")
        return out

    def _sort(self, line: bytes | LongLine, out: Sorted) -> None:
        if isinstance(line, LongLine):
            self._reject(TOO_LONG, line, out)
            return
        row = line[:-1] if line.endswith(b"\r") else line
        flaw = flaw_of(row) if len(row) <= self._row_bytes_max else TOO_LONG
        if not self.rows and not self.rejected_rows:
            self._judge_first(row)
        if flaw is None:
            self.rows += 1
            self._last_row = row
            out.rows.append(row)
        elif not row.strip(_BLANK) and flaw is not TOO_LONG:
            self.blank_lines += 1
        else:
            self._reject(flaw, line, out)

    def _judge_first(self, line: bytes) -> None:
        start = line.lstrip(_BLANK)[:1]
        if start == b"<":
            raise _no_ndjson("markup (HTML or XML)")
        if start == b"[" and not _is_closed(line):
            raise _no_ndjson("one JSON array over several lines")

    def _reject(self, reason: str, line: bytes | LongLine, out: Sorted) -> None:
        self.rejected_rows += 1
        if isinstance(line, LongLine):
            reject = Reject(self.served_lines, reason, line.length, line.sha256, None)
        else:
            raw = None if reason is TOO_LONG else base64.b64encode(line).decode()
            reject = Reject(self.served_lines, reason, len(line), hashlib.sha256(line).hexdigest(), raw)
        out.rejects.append(reject)


def _fields(row: bytes) -> set[str]:
    return set(_decode_fields(_ESCAPED_SURROGATE.sub(rb"\1\\u0041", row)))
