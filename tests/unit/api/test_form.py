"""The form of a request: sizes, what may be there once, and what a JSON document is."""

from __future__ import annotations

import pytest

from service.api.form import BODY_BYTES_MAX, HEAD_BYTES_MAX, TARGET_BYTES_MAX, check_body, check_head, check_size
from service.errors import RefusedError


def test_sizes() -> None:
    assert _code(check_size, TARGET_BYTES_MAX, []) is None
    assert _code(check_size, TARGET_BYTES_MAX + 1, []) == "TARGET_TOO_LONG"
    assert _code(check_size, 10, [(b"a", b"x" * (HEAD_BYTES_MAX - 15))]) is None
    assert _code(check_size, 10, [(b"a", b"x" * (HEAD_BYTES_MAX - 14))]) == "HEAD_TOO_LARGE"
    assert _code(check_size, 10, [(b"a", b"")] * 4000) == "HEAD_TOO_LARGE"


@pytest.mark.parametrize(
    ("headers", "query", "code"),
    [
        ([(b"accept", b"a"), (b"accept", b"b"), (b"content-length", b"0")], b"a=1&b=1", None),
        ([(b"content-length", str(BODY_BYTES_MAX).encode())], b"", None),
        ([(b"content-length", str(BODY_BYTES_MAX + 1).encode())], b"", "BODY_TOO_LARGE"),
        ([(b"content-length", b"2"), (b"transfer-encoding", b"chunked")], b"", "MALFORMED"),
        ([(b"content-type", b"application/json")] * 2, b"", "MALFORMED"),
        ([(b"idempotency-key", b"1"), (b"idempotency-key", b"2")], b"", "MALFORMED"),
        ([], b"limit=1&limit=2", "MALFORMED"),
        ([], b"limit=1&%6cimit=", "MALFORMED"),
    ],
)
def test_what_could_be_read_in_two_ways(headers: list[tuple[bytes, bytes]], query: bytes, code: str | None) -> None:
    assert _code(check_head, headers, query) == code


BODIES = {
    "half": b"{",
    "two": b"{} {}",
    "NaN": b'{"record_cap": NaN}',
    "Infinity": b'{"record_cap": Infinity}',
    "beyond a double": b'{"record_cap": 1e999}',
    "a long number": b'{"record_cap": ' + b"9" * 5000 + b"}",
    "no UTF-8": b'{"query": "\xff"}',
    "half a surrogate": b'{"query": "\\ud800"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "a well": b"[" * 30_000 + b"]" * 30_000,
    "a raw newline": b'{"query": "a\nb"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_is_no_json(body: bytes) -> None:
    assert _code(check_body, "application/json", body) == "MALFORMED"


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("application/json", None),
        ("Application/JSON; charset=utf-8", None),
        ("", "UNSUPPORTED_MEDIA_TYPE"),
        ("text/plain", "UNSUPPORTED_MEDIA_TYPE"),
        ("application/jsonx", "UNSUPPORTED_MEDIA_TYPE"),
        ("application/x-www-form-urlencoded", "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
def test_a_body_is_declared_as_json(content_type: str, code: str | None) -> None:
    assert _code(check_body, content_type, b' {"a": [1, null]}\r\n') == code
    assert _code(check_body, content_type, b"") is None


def _code(check: object, *given: object) -> str | None:
    assert callable(check)
    try:
        check(*given)
    except RefusedError as refusal:
        return refusal.code
    return None
