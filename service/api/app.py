"""The FastAPI application around the parts of `service.wiring`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from service import __version__
from service.api import problems
from service.api.routes import open_pages, v1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.api.auth import ApiToken
    from service.wiring import Service


def create_app(service: Service, tokens: Sequence[ApiToken]) -> FastAPI:
    """The application over an opened service; without tokens it is open, which only a loopback address may be."""
    app = FastAPI(title="dxr-ingest", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = service
    app.state.tokens = tokens
    problems.install(app)
    app.include_router(v1)
    app.include_router(open_pages)
    return app
