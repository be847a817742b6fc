"""The Databricks SDK and the service's own client ask one workspace for the same things and agree on each answer."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Protocol

import pytest
import pytest_asyncio

from service.databricks.files import Files
from tests.simulators.databricks import DatabricksSimulator
from tests.workspaces import connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from databricks.sdk import WorkspaceClient

ROOT = "/Volumes/main/dxr/landing"
NAMES = ("plain", "a b", "ü=1", "50%.txt", "a#b?c&d", "quote'\"")


class Client(Protocol):
    async def make_directory(self, path: str) -> None: ...
    async def put(self, path: str, content: bytes, *, overwrite: bool) -> bool: ...
    async def read(self, path: str) -> bytes | None: ...
    async def names(self, path: str) -> dict[str, int]: ...
    async def delete(self, path: str) -> None: ...


class Own:
    def __init__(self, files: Files) -> None:
        self._files = files
        self.make_directory, self.put, self.read, self.delete = (
            files.make_directory,
            files.put,
            files.read,
            files.delete,
        )

    async def names(self, path: str) -> dict[str, int]:
        return {entry.name: entry.size_bytes async for page in self._files.pages(path) for entry in page}


class Sdk:
    def __init__(self, client: WorkspaceClient) -> None:
        self._api = client.files

    async def make_directory(self, path: str) -> None:
        await asyncio.to_thread(self._api.create_directory, path)

    async def put(self, path: str, content: bytes, *, overwrite: bool) -> bool:
        from databricks.sdk.errors import Aborted, AlreadyExists

        try:
            await asyncio.to_thread(self._api.upload, path, io.BytesIO(content), overwrite=overwrite)
        except (Aborted, AlreadyExists):
            return False
        return True

    async def read(self, path: str) -> bytes | None:
        from databricks.sdk.errors import NotFound

        def whole() -> bytes:
            contents = self._api.download(path).contents
            assert contents is not None
            with contents as opened:
                return opened.read()

        try:
            return await asyncio.to_thread(whole)
        except NotFound:
            return None

    async def names(self, path: str) -> dict[str, int]:
        entries = await asyncio.to_thread(lambda: list(self._api.list_directory_contents(path)))
        return {entry.name or "": entry.file_size or 0 for entry in entries}

    async def delete(self, path: str) -> None:
        await asyncio.to_thread(self._api.delete, path)


@pytest_asyncio.fixture
async def clients(tmp_path: Path) -> AsyncIterator[dict[str, Client]]:
    from databricks.sdk import WorkspaceClient

    async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
        databricks.volume("main", "dxr", "landing")
        databricks.page_size_max = 2
        databricks.ragged_pages = True
        sdk = await asyncio.to_thread(
            WorkspaceClient,
            host=databricks.url,
            client_id=databricks.client_id,
            client_secret=databricks.client_secret,
        )
        yield {"own": Own(Files(workspace)), "sdk": Sdk(sdk)}


@pytest.mark.parametrize(("writer", "reader"), [("own", "sdk"), ("sdk", "own"), ("own", "own"), ("sdk", "sdk")])
async def test_what_one_writes_the_other_finds(writer: str, reader: str, clients: dict[str, Client]) -> None:
    write, read = clients[writer], clients[reader]
    await write.make_directory(f"{ROOT}/deep/er")
    for name in NAMES:
        assert await write.put(f"{ROOT}/deep/er/{name}", name.encode(), overwrite=False)
    assert await read.names(f"{ROOT}/deep/er") == {name: len(name.encode()) for name in NAMES}
    for name in NAMES:
        path = f"{ROOT}/deep/er/{name}"
        assert await read.read(path) == name.encode()
        assert not await read.put(path, b"another", overwrite=False)
        assert await write.read(path) == name.encode()
        assert await read.put(path, b"another", overwrite=True)
        assert await write.read(path) == b"another"
        await read.delete(path)
        assert await write.read(path) is None
    assert await write.names(f"{ROOT}/deep/er") == {}
