"""Values of secret scopes, read over REST."""

import base64

from aiohttp import web

from tests.simulators.databricks.errors import ApiError
from tests.simulators.databricks.switches import Switches


class Secrets:
    """The one request that reads a secret; a real workspace answers it within notebooks, and elsewhere as it likes."""

    def __init__(self, switches: Switches) -> None:
        self._switches = switches

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked where."""
        return [web.get("/api/2.0/secrets/get", self._get)]

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if self._switches.secrets_refused:
            raise ApiError(400, "A secret can be read from within a notebook alone.")
        scope, key = request.query.get("scope", ""), request.query.get("key", "")
        value = self._switches.secrets.get((scope, key))
        if value is None:
            raise ApiError(
                404, f"Secret does not exist with scope: {scope} and key: {key}", error_code="RESOURCE_DOES_NOT_EXIST"
            )
        return web.json_response({"key": key, "value": base64.b64encode(value).decode()})
