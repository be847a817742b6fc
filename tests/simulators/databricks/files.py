"""The Files API, version 2.0: one file or one directory each request."""

import json
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from re import fullmatch
from typing import BinaryIO

from aiohttp import web

from tests.simulators.databricks import listing
from tests.simulators.databricks.errors import ApiError
from tests.simulators.databricks.exchange import DIRECTORIES, EXCHANGE, FILES, send
from tests.simulators.databricks.paths import VolumePath
from tests.simulators.databricks.switches import Switches
from tests.simulators.databricks.volumes import Upload, Volumes, pieces


class FilesApi:
    """Files and directories of the volumes, as the switches allow."""

    def __init__(self, volumes: Volumes, switches: Switches) -> None:
        self._volumes = volumes
        self._switches = switches

    def routes(self) -> list[web.RouteDef]:
        """Return what is asked where."""
        file, directory = FILES + "{path:/.*}", DIRECTORIES + "{path:/.*}"
        return [
            web.put(file, self._put_file),
            web.get(file, self._get_file, allow_head=False),
            web.head(file, self._head_file),
            web.delete(file, self._delete_file),
            web.put(directory, self._put_directory),
            web.get(directory, self._list_directory, allow_head=False),
            web.head(directory, self._head_directory),
            web.delete(directory, self._delete_directory),
        ]

    def may_create(self, path: VolumePath, *, overwrite: bool) -> None:
        """Raise the `ApiError` that a PUT of this file is answered with, unless it may be made now."""
        self._may_write(path)
        kind = self._volumes.kind(path)
        if kind == "directory":
            raise ApiError(409, "The given path points to an existing directory.")
        if kind == "file" and not overwrite:
            raise self._conflict()
        if not self._switches.implicit_parents and self._volumes.kind(path.parent) != "directory":
            raise _no_directory()

    async def _put_file(self, request: web.Request) -> web.StreamResponse:
        path, overwrite, exchange = file_path(request), overwriting(request), request[EXCHANGE]
        self.may_create(path, overwrite=overwrite)
        upload = self._volumes.upload()
        try:
            async for piece in request.content.iter_any():
                exchange.record.body_bytes += len(piece)
                if not exchange.twist.store_nothing:
                    upload.write(piece)
            self._publish(upload, path, overwrite=overwrite)
        finally:
            upload.discard()
        return web.Response(status=204)

    def _publish(self, upload: Upload, path: VolumePath, *, overwrite: bool) -> None:
        self.may_create(path, overwrite=overwrite)  # much may have happened while the body came
        self._volumes.make_directory(path.parent)
        try:
            upload.publish(self._volumes.on_disk(path), overwrite=overwrite)
        except FileExistsError:  # by someone who does not ask this workspace
            raise self._conflict() from None

    async def _get_file(self, request: web.Request) -> web.StreamResponse:
        path = self._readable(file_path(request), "file")
        with _opened(self._volumes.on_disk(path)) as file:
            headers, size = _metadata(self._volumes.on_disk(path))
            if _modified_since(request.headers.get("If-Unmodified-Since"), headers["Last-Modified"]):
                raise ApiError(412, "The file was modified since the given time.")
            part = _range(request.headers.get("Range"), size)
            start, stop = part or (0, size)
            if part is not None:
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            answer = web.StreamResponse(status=200 if part is None else 206, headers=headers)
            return await send(request, answer, pieces(file, start, stop - start), stop - start)

    async def _head_file(self, request: web.Request) -> web.StreamResponse:
        path = self._readable(file_path(request), "file")
        headers, size = _metadata(self._volumes.on_disk(path))
        return web.Response(headers=headers | {"Content-Length": str(size)})

    async def _delete_file(self, request: web.Request) -> web.StreamResponse:
        path = file_path(request)
        self._may_write(path)
        if self._volumes.kind(path) != "file":
            raise _no_file()
        self._volumes.on_disk(path).unlink()
        return web.Response(status=204)

    async def _put_directory(self, request: web.Request) -> web.StreamResponse:
        path = _directory_path(request)
        self._may_write(path)
        self._volumes.make_directory(path)
        return web.Response(status=204)

    async def _list_directory(self, request: web.Request) -> web.StreamResponse:
        path, query, switches = self._readable(_directory_path(request), "directory"), request.query, self._switches
        start = listing.position(path, query.get("page_size"), query.get("page_token"), switches.page_size_max)
        spoilt = request[EXCHANGE].twist.spoil_page_token
        page = listing.page(path, self._volumes.entries(path), start, ragged=switches.ragged_pages, spoilt=spoilt)
        body = json.dumps(page).encode()
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        return await send(request, answer, iter([body]), len(body))

    async def _head_directory(self, request: web.Request) -> web.StreamResponse:
        self._readable(_directory_path(request), "directory")
        return web.Response()

    async def _delete_directory(self, request: web.Request) -> web.StreamResponse:
        path = _directory_path(request)
        self._may_write(path)
        if self._volumes.kind(path) != "directory":
            raise _no_directory()
        if path == path.volume:
            raise ApiError(400, "A volume is no directory to delete.", error_code="INVALID_PARAMETER_VALUE")
        self._volumes.remove_directory(path)
        return web.Response(status=204)

    def _may_write(self, path: VolumePath) -> None:
        self._has_volume(path)
        if path.within(self._switches.read_only):
            raise ApiError(403, f"WRITE VOLUME on {path.volume} is missing.")

    def _readable(self, path: VolumePath, kind: str) -> VolumePath:
        self._has_volume(path)
        if path.within(self._switches.unreadable):
            raise ApiError(403, f"READ VOLUME on {path.volume} is missing.")
        if self._volumes.kind(path) != kind:
            raise _no_file() if kind == "file" else _no_directory()
        return path

    def _has_volume(self, path: VolumePath) -> None:
        if self._volumes.kind(path.volume) != "directory":
            raise ApiError(404, f"Volume '{'.'.join(path.volume.parts)}' does not exist.")

    def _conflict(self) -> ApiError:
        return ApiError(self._switches.conflict_status, "The file being created already exists.")


def file_path(request: web.Request) -> VolumePath:
    """Return the file that the URL names, whichever of the two resources it is below."""
    return VolumePath.escaped(_escaped(request, FILES), directory=False)


def overwriting(request: web.Request) -> bool:
    """Return whether a file that exists may be replaced: where nothing is said, yes."""
    said = request.query.get("overwrite", "true")
    if said not in {"true", "false"}:
        raise ApiError(400, "overwrite is true or false", error_code="INVALID_PARAMETER_VALUE")
    return said == "true"


def _directory_path(request: web.Request) -> VolumePath:
    return VolumePath.escaped(_escaped(request, DIRECTORIES), directory=True)


def _escaped(request: web.Request, resource: str) -> str:
    return request.raw_path.partition("?")[0].removeprefix(resource)


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def _metadata(path: Path) -> tuple[dict[str, str], int]:
    status = path.stat()
    modified = format_datetime(datetime.fromtimestamp(int(status.st_mtime), UTC), usegmt=True)
    return {"Content-Type": "application/octet-stream", "Last-Modified": modified}, status.st_size


def _modified_since(limit: str | None, modified: str) -> bool:
    try:
        return limit is not None and parsedate_to_datetime(modified) > parsedate_to_datetime(limit)
    except (ValueError, TypeError):
        return False  # what is no date is to be ignored


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return from where up to where; None, for the whole, where the header is not one range of bytes."""
    match = fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < start:
        return None
    if start >= size:
        raise ApiError(416, "The range is behind the end of the file.", headers={"Content-Range": f"bytes */{size}"})
    return start, stop


def _no_file() -> ApiError:
    return ApiError(404, "The file being accessed is not found.")


def _no_directory() -> ApiError:
    return ApiError(404, "The directory being accessed is not found.", reason="FILES_API_DIRECTORY_IS_NOT_FOUND")
