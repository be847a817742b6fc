"""The service's own client of a simulated Databricks workspace, for tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from service.databricks.identity import Credentials, Identity
from service.databricks.workspace import Workspace
from service.retrying import Retrying
from tests.simulators.databricks import faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.simulators.databricks import DatabricksSimulator

# What may befall any request and passes by itself.
PASSING: Final = (
    faults.status(429, retry_after=0),
    faults.status(500),
    faults.status(502),
    faults.status(503, retry_after=0),
    faults.status(504),
    faults.reset_before(),
    faults.reset_after(),
    faults.html_login(),
    faults.token_expired(),
)


def service_principal(databricks: DatabricksSimulator) -> Credentials:
    """Those of the simulated OAuth service principal."""
    return Credentials(databricks.url, None, databricks.client_id, databricks.client_secret)


@contextlib.asynccontextmanager
async def connected(
    databricks: DatabricksSimulator, credentials: Credentials | None = None, tries_max: int = 8, timeout_s: float = 60
) -> AsyncIterator[Workspace]:
    """A client with tries as the service has them; as the service principal, unless other credentials are given."""
    identity = Identity(credentials or service_principal(databricks), timeout_s)
    workspace = Workspace(identity, "dxr-ingest/tests", Retrying(tries_max, 0, lambda _error: None))
    try:
        yield workspace
    finally:
        await workspace.close()
