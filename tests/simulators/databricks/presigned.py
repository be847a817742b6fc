"""Transfers through the cloud store, which this workspace begins but never allows: clients go on without.

The SDK asks for presigned URLs from 50 MiB on for uploads and always for downloads. An error of initiate-upload
would be its own; only one of the URL for the first part makes it fall back to a single PUT.
"""

from aiohttp import web

from tests.simulators.databricks.errors import ApiError
from tests.simulators.databricks.exchange import FILES, FILES_API
from tests.simulators.databricks.files import FilesApi, file_path, overwriting


class PresignedUrls:
    """What the Files API says to those who would rather talk to the store behind it."""

    def __init__(self, files: FilesApi) -> None:
        self._files = files

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked where."""
        urls = ("upload-part-urls", "resumable-upload-url", "abort-upload-url", "download-url")
        return [
            web.post(FILES + "{path:/.*}", self._initiate),
            *(web.post(f"{FILES_API}create-{url}", self._refuse) for url in urls),
        ]

    async def _initiate(self, request: web.Request) -> web.StreamResponse:
        path = file_path(request)
        if request.query.get("action") != "initiate-upload":
            raise ApiError(404, "There is no such upload.")
        self._files.may_create(path, overwrite=overwriting(request))
        return web.json_response({"multipart_upload": {"session_token": "simulated-session"}})

    async def _refuse(self, request: web.Request) -> web.StreamResponse:
        raise ApiError(403, "Presigned URLs are not enabled for this workspace.", reason="FILES_API_API_IS_NOT_ENABLED")
