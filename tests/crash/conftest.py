"""Worlds that tests share, since starting a service costs more than most scenarios; a broken one is replaced."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest_asyncio

from tests.crash.world import Place, World, opened_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from tests.postgres import Postgres


class Worlds:
    """One world for each place, as long as nothing in it is broken."""

    def __init__(self, folders: pytest.TempPathFactory, server: Postgres) -> None:
        self._folders = folders
        self._server = server
        self._open: dict[Place, tuple[World, contextlib.AsyncExitStack]] = {}

    async def at(self, place: Place) -> World:
        """The world of that place, at rest."""
        if place in self._open and self._open[place][0].broken:
            await self._open.pop(place)[1].aclose()
        if place not in self._open:
            stack = contextlib.AsyncExitStack()
            folder = self._folders.mktemp(str(place))
            self._open[place] = await stack.enter_async_context(opened_world(folder, place, self._server)), stack
        return self._open[place][0]

    async def close(self) -> None:
        """End all processes."""
        for _, stack in self._open.values():
            await stack.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worlds(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> AsyncIterator[Worlds]:
    opened = Worlds(tmp_path_factory, postgres)
    try:
        yield opened
    finally:
        await opened.close()
