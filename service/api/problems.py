"""Errors as RFC 9457 problem documents: never with the request's content, a token or an exception's text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from service.errors import AlreadyActiveError, DxrIngestError

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = structlog.get_logger(__name__)
MEDIA_TYPE: Final = "application/problem+json"
_STATUS: Final = {
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "ALREADY_ACTIVE": 409,
    "ALREADY_ENDED": 409,
    "CONFIGURATION": 422,
    "UNPROCESSABLE": 422,
    "SERVICE_UNAVAILABLE": 503,
    "STORE_UNAVAILABLE": 503,
    "STORE_BUSY": 503,
}
_RETRY_AFTER_S: Final = "5"


def problem(
    status: int, code: str, detail: str, hint: str = "", headers: Mapping[str, str] | None = None, **members: Any
) -> JSONResponse:
    """A problem document; `code` is the stable name of the problem."""
    content = {"type": "about:blank", "title": _title(status), "status": status, "code": code, "detail": detail}
    if hint:
        content["hint"] = hint
    return JSONResponse({**content, **members}, status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error this way."""
    app.add_exception_handler(DxrIngestError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _known(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, DxrIngestError):
        raise error
    status = _STATUS.get(error.code, 500)
    headers: dict[str, str] = {}
    members: dict[str, Any] = {}
    if isinstance(error, AlreadyActiveError):
        headers["Location"] = f"/v1/runs/{error.run_id}"
        members["run_id"] = error.run_id
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        headers["Retry-After"] = _RETRY_AFTER_S
    return problem(status, error.code, error.message, error.hint, headers, **members)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    # The place and the kind of each mistake, not what was sent: a body may hold NaN or a secret.
    mistakes = [
        {"where": ".".join(str(part) for part in detail["loc"]), "what": detail["type"]} for detail in error.errors()
    ]
    return problem(
        422, "UNPROCESSABLE", "The request is not what this route takes.", "See /openapi.json.", mistakes=mistakes
    )


async def _http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, StarletteHTTPException):
        raise error
    return problem(
        error.status_code,
        _title(error.status_code).upper().replace(" ", "_"),
        _title(error.status_code),
        "",
        error.headers,
    )


async def _unexpected(_request: Request, error: Exception) -> JSONResponse:
    _log.error("request_crashed", exc_info=error)
    return problem(500, "INTERNAL", "The service met a problem it does not know.", "Look at its log, and report it.")


def _title(status: int) -> str:
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
