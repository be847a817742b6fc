"""What routes need: the service, who is calling, and a place for what the audit line shall name."""

from __future__ import annotations

from typing import Annotated, Any, Final, cast

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from service.api.auth import ApiToken
from service.api.models import ProblemBody
from service.wiring import Service

# The gate has looked at the token before a route is chosen; this one is for the description alone.
bearer = HTTPBearer(auto_error=False, description="An entry of SERVICE_API_TOKENS.")

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"model": ProblemBody, "description": text}
    for code, text in {
        401: "no valid token",
        403: "the token lacks the scope",
        422: "the request is not what this route takes",
        503: "the run store does not answer; try again after Retry-After",
    }.items()
}


def _service(request: Request) -> Service:
    return cast("Service", request.app.state.service)


def _caller(request: Request) -> ApiToken:
    return cast("ApiToken", request.state.caller)


ServiceDep = Annotated[Service, Depends(_service)]
Caller = Annotated[ApiToken, Depends(_caller)]


def about(request: Request, run_id: str) -> None:
    """Say which run this request is about, for its audit line."""
    request.state.run_id = run_id
