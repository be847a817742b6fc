"""The real command `dxr-ingest` as a process, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND = str(Path(sys.prefix) / "bin" / "dxr-ingest")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Commands:
    """Runs commands with these variables and no others of ours, in this folder."""

    folder: Path
    variables: dict[str, str]

    async def start(self, *arguments: str, **more: str) -> asyncio.subprocess.Process:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), **self.variables, **more}
        return await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            cwd=self.folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str, **more: str) -> Done:
        return await finished(await self.start(*arguments, **more))

    @contextlib.asynccontextmanager
    async def serving(self, **more: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
        """`dxr-ingest serve` on a free port; yields its address; ended by SIGTERM."""
        process = await self.start("serve", "--port", "0", **more)
        assert process.stderr is not None
        try:
            async with asyncio.timeout(60):
                async for line in process.stderr:
                    if found := re.search(rb'"address": "([^"]+)"', line):
                        break
                else:
                    raise AssertionError(await process.wait())
            drained = asyncio.create_task(process.stderr.read())
            yield found[1].decode(), process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
        await drained


async def finished(process: asyncio.subprocess.Process) -> Done:
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())
