"""What every request must look like, whatever its route, before anything else reads it. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import msgspec

from service.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD_BYTES_MAX: Final = 16 * 2**10
TARGET_BYTES_MAX: Final = 8 * 2**10
BODY_BYTES_MAX: Final = 64 * 2**10
# Two of these would mean different things to different readers.
_ONCE_AT_MOST: Final = (b"content-type", b"idempotency-key")


def check_size(target_bytes: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises `RefusedError` for a target (path and query) or a head that is too long."""
    if target_bytes > TARGET_BYTES_MAX:
        raise RefusedError("TARGET_TOO_LONG", f"Path and query are longer than {TARGET_BYTES_MAX} bytes.", "Say less.")
    if target_bytes + sum(len(name) + len(value) + 4 for name, value in headers) > HEAD_BYTES_MAX:
        raise head_too_large()


def head_too_large() -> RefusedError:
    """The refusal of a request whose head is longer than is read."""
    return RefusedError("HEAD_TOO_LARGE", f"The headers are longer than {HEAD_BYTES_MAX} bytes.", "Send fewer headers.")


def body_too_large() -> RefusedError:
    """The refusal of a request whose body is longer than is read."""
    return RefusedError("BODY_TOO_LARGE", f"The body is longer than {BODY_BYTES_MAX} bytes.", "Send a smaller one.")


def check_head(headers: Iterable[tuple[bytes, bytes]], query: bytes) -> None:
    """Raises `RefusedError` for what could be read in two ways, and for a body that is announced too large."""
    counts = Counter(name for name, _ in headers)
    if counts[b"content-length"] and counts[b"transfer-encoding"]:
        raise _malformed("The length of the body is said in two ways.")
    if any(counts[name] > 1 for name in _ONCE_AT_MOST):
        raise _malformed("A header is there twice that may be there once.")
    if any(int(value) > BODY_BYTES_MAX for name, value in headers if name == b"content-length"):
        raise body_too_large()
    names = Counter(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    if any(count > 1 for count in names.values()):
        raise _malformed("A parameter of the query is there twice.")


def check_body(content_type: str, body: bytes) -> None:
    """Raises `RefusedError` for a body that is not one JSON document: strict, UTF-8, of sane depth and numbers."""
    if not body:
        return
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(
            "UNSUPPORTED_MEDIA_TYPE", "The body is not declared as JSON.", "Send Content-Type: application/json."
        )
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # The cause would quote the body.
        raise _malformed("The body is not a JSON document (RFC 8259, UTF-8).") from None


def _malformed(message: str) -> RefusedError:
    return RefusedError("MALFORMED", message, "Correct the request; /openapi.json describes it.")
