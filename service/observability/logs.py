"""Structured logs on stderr: one JSON object a line, with run and request ids, never a token, name or row."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict

# The one library whose own words are kept: they say why the service cannot listen, and never what was asked of it.
_SERVER: Final = "uvicorn.error"


def configure(level: str) -> None:
    """Our own logs from `level` on, and those of the libraries from warnings on: their details hold what was sent."""
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _class_and_place,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _without_words],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    logging.getLogger("service").setLevel(level.upper())


def _class_and_place(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Of an exception, its class and where it was raised: its text may hold a row, a name or a token."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(error, BaseException):
        trace = error.__traceback__
        while trace and trace.tb_next:
            trace = trace.tb_next
        event["error"] = type(error).__name__
        event["where"] = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else None
    return event


def _without_words(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Of what a library says, who says it and where: asyncio, for one, puts the text of lost exceptions into words."""
    record = event["_record"]
    event["logger"] = record.name
    if record.name != _SERVER:
        event["event"] = "library_warns"
        event.setdefault("where", f"{record.pathname}:{record.lineno}")
    return event
