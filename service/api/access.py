"""What routes need: the service, who is calling, and a place for what the audit line shall name."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from service.api.auth import ApiToken
from service.wiring import Service

# The gate has looked at the token before a route is chosen; this one is for the description alone.
bearer = HTTPBearer(auto_error=False, description="An entry of SERVICE_API_TOKENS.")


# Coroutines, although they wait for nothing: plain functions would be sent to a thread for each request.
async def _service(request: Request) -> Service:
    return cast("Service", request.app.state.service)


async def _caller(request: Request) -> ApiToken:
    return cast("ApiToken", request.state.caller)


ServiceDep = Annotated[Service, Depends(_service)]
Caller = Annotated[ApiToken, Depends(_caller)]


def about(request: Request, run_id: str) -> None:
    """Say which run this request is about, for its audit line."""
    request.state.run_id = run_id
