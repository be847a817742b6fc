"""Headers that every answer carries, errors included, and the one by which a request is found again in the log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import uuid_utils

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS: Final = (
    (b"content-security-policy", _CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
REQUEST_ID: Final = b"x-request-id"
REQUEST_ID_PATTERN: Final = r"^[A-Za-z0-9_.-]{1,64}$"


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's `X-Request-Id` when it is harmless, else a new one."""
    for name, value in headers:
        if name == REQUEST_ID and re.fullmatch(REQUEST_ID_PATTERN, given := value.decode("latin-1")):
            return given
    return new_request_id()


def new_request_id() -> str:
    """An id of its own for a request that brought none."""
    return str(uuid_utils.uuid7())


def with_ours(headers: Iterable[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, and ours in place of any of the same name."""
    ours = (*SECURITY_HEADERS, (REQUEST_ID, request_id.encode()))
    names = {name for name, _ in ours}
    return [(name, value) for name, value in headers if name.lower() not in names] + list(ours)
