"""The FastAPI application around the parts of `service.wiring`, behind the gate."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI

from service import __version__
from service.api import datasets, events, page, problems
from service.api.description import describe
from service.api.gate import Gate
from service.api.routes import health, pages, v1

if TYPE_CHECKING:
    from service.api.auth import Tokens
    from service.wiring import Service

# Everything else needs a token, whether it exists or not.
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"}) | page.OPEN_PATHS
_PAGES: Final = frozenset({"/metrics", "/openapi.json", "/docs", "/docs.css"})


def create_app(service: Service, tokens: Tokens) -> Gate:
    """The application over an opened service; without tokens it is open, which only a loopback address may be."""
    open_paths = OPEN_PATHS | _PAGES if service.settings.service_open_pages else OPEN_PATHS
    app = with_routes()
    app.state.service = service
    service.metrics.follow_api_tokens(lambda: tokens.stale)
    problems.install(app)
    told = functools.cache(lambda: describe(app, service.settings, open_paths, secured=bool(tokens.current())))
    app.openapi = told  # pyright: ignore[reportAttributeAccessIssue] - as FastAPI's documentation does it
    return Gate(app, tokens, open_paths)


def with_routes() -> FastAPI:
    """All routes, and no service behind them."""
    app = FastAPI(
        title="dxr-ingest",
        description="Triggers and shows runs that land the metadata of a Data X-Ray tenant for Delta tables.",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be built from the Host header
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for router in (v1, datasets.router, events.router, page.router, health, pages):
        app.include_router(router)
    return app
