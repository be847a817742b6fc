"""What routes need from the app: the service, and who is calling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.api.auth import READ, TRIGGER, ApiToken, authenticate
from service.api.models import ProblemBody
from service.wiring import Service

if TYPE_CHECKING:
    from collections.abc import Callable

_bearer = HTTPBearer(auto_error=False, description="an entry of SERVICE_API_TOKENS")


def _service(request: Request) -> Service:
    return cast("Service", request.app.state.service)


def _caller(scope: str) -> Callable[..., ApiToken]:
    def check(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> ApiToken:
        return authenticate(request.app.state.tokens, credentials.credentials if credentials else None, scope)

    return check


def _page_caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    if not _service(request).settings.service_open_pages:
        authenticate(request.app.state.tokens, credentials.credentials if credentials else None, READ)


ServiceDep = Annotated[Service, Depends(_service)]
Reader = Annotated[ApiToken, Depends(_caller(READ))]
Triggerer = Annotated[ApiToken, Depends(_caller(TRIGGER))]
PageCaller = Annotated[None, Depends(_page_caller)]

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"model": ProblemBody, "description": text}
    for code, text in {
        401: "no valid token",
        403: "the token lacks the scope",
        422: "the request is not what this route takes",
        503: "the run store does not answer; try again after Retry-After",
    }.items()
}
