"""Errors as RFC 9457 problem documents: never with the request's content, a token or an exception's text."""

from __future__ import annotations

from http import HTTPStatus
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
    "MALFORMED": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMEOUT": 408,
    "ALREADY_ACTIVE": 409,
    "ALREADY_ENDED": 409,
    "BODY_TOO_LARGE": 413,
    "TARGET_TOO_LONG": 414,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "CONFIGURATION": 422,
    "UNPROCESSABLE": 422,
    "TOO_MANY_RUNS": 429,
    "HEAD_TOO_LARGE": 431,
    "INTERNAL": 500,
    "SERVICE_UNAVAILABLE": 503,
    "STORE_UNAVAILABLE": 503,
    "STORE_BUSY": 503,
    "TOO_MANY_CONNECTIONS": 503,
    "TOO_MANY_STREAMS": 503,
}
_RETRY_AFTER_S: Final = {429: 30, 503: 5}


def status_of(code: str) -> int:
    """The HTTP status of an error code."""
    return _STATUS.get(code, 500)


def document(code: str, message: str, hint: str, request_id: str, **members: Any) -> dict[str, Any]:
    """A problem document; `code` is the stable name of the problem."""
    status = status_of(code)
    known = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code}
    return {**known, "detail": message, "hint": hint, "request_id": request_id, **members}


def known(state: dict[str, Any], error: DxrIngestError, **members: Any) -> JSONResponse:
    """The answer that an error of ours becomes; `state` is that of the request, which remembers the code."""
    headers: dict[str, str] = {}
    if isinstance(error, AlreadyActiveError):
        headers["Location"] = f"/v1/runs/{error.run_id}"
        members["run_id"] = state["run_id"] = error.run_id
    if error.code == "UNAUTHORIZED":
        headers["WWW-Authenticate"] = "Bearer"
    if retry_after_s := _RETRY_AFTER_S.get(status_of(error.code)):
        headers["Retry-After"] = str(retry_after_s)
    return _answer(state, error.code, error.message, error.hint, headers, **members)


def install(app: FastAPI) -> None:
    """Answer every error this way."""
    app.add_exception_handler(DxrIngestError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _answer(
    state: dict[str, Any], code: str, message: str, hint: str, headers: Mapping[str, str] | None = None, **members: Any
) -> JSONResponse:
    state["code"] = code
    content = document(code, message, hint, state["request_id"], **members)
    return JSONResponse(content, status_of(code), headers, MEDIA_TYPE)


async def _known(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, DxrIngestError):
        raise error
    return known(request.scope["state"], error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    # The place and the kind of each mistake, not what was sent: it may be a secret, and so may the name of a field.
    mistakes = [{"where": _place(detail["loc"], detail["type"]), "what": detail["type"]} for detail in error.errors()]
    message, hint = "The request is not what this route takes.", "See /openapi.json."
    return _answer(request.scope["state"], "UNPROCESSABLE", message, hint, mistakes=mistakes)


def _place(location: tuple[int | str, ...], kind: str) -> str:
    """Where a mistake is; the name of an unknown field is the caller's own text."""
    return ".".join(str(part) for part in (location[:-1] if kind == "extra_forbidden" else location))


async def _http(request: Request, error: Exception) -> JSONResponse:
    """What the framework says by itself: no such route, no such method."""
    if not isinstance(error, StarletteHTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    code = status.name if status.name in _STATUS else "MALFORMED"
    return _answer(request.scope["state"], code, f"{status.phrase}.", "See /openapi.json.", error.headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("request_crashed", exc_info=error)
    message, hint = "The service met a problem it does not know.", "Look for request_id in its log, and report it."
    return _answer(request.scope["state"], "INTERNAL", message, hint)
