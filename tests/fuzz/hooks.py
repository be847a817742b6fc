"""What the fuzzer has to know that no schema can say."""

from __future__ import annotations

import uuid
from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """A key that was used for another body is refused by contract; the fuzzer draws the same few again and again."""
    if case.meta and case.meta.generation.mode.is_positive and case.headers.get("Idempotency-Key"):
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
