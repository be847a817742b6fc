"""Real `dxr-ingest serve` processes: started, signalled, started again, and gone at the end whatever happened.

Each life of a replica has a name of its own (`replica-1.3` is the third), which it sends as its User-Agent: that is how
the simulators tell who is asking.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp

from tests.e2e.commands import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LISTENING: Final = re.compile(r'"address": "([^"]+)"')
_TIMEOUT_S: Final = 60
_STORE_AWAY: Final = 5
# A frozen process answers nobody; another one may.
_ANSWER_TIMEOUT_S: Final = 5


class Replica:
    """One place where a service runs; its variables and its STATE_DIR stay, its processes come and go."""

    def __init__(self, name: str, folder: Path, variables: dict[str, str]) -> None:
        self.name = name
        self.lives = 0
        self.frozen = False
        self.address = ""
        self._folder = folder
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None
        self._expected_to_end = False

    @property
    def who(self) -> str:
        """The name of this life."""
        return f"{self.name}.{self.lives}"

    @property
    def log(self) -> Path:
        """What this life says."""
        return self._folder / f"{self.who}.log"

    @property
    def up(self) -> bool:
        """Whether it can be asked."""
        return bool(self.address) and not self.frozen and not self._expected_to_end

    @property
    def ended_by_itself(self) -> int | None:
        """The exit code of a process that nobody told to end."""
        return None if self._process is None or self._expected_to_end else self._process.poll()

    async def start(self) -> None:
        """Begin a new life and wait until it listens; again when the store is away, as an orchestrator would."""
        async with asyncio.timeout(_TIMEOUT_S):
            while (code := await self._listening()) is not None:
                if code != _STORE_AWAY:
                    raise AssertionError(f"{self.who} ended with {code}: {self.log.read_text()[-2000:]}")

    async def _listening(self) -> int | None:
        """None once a new life listens; the exit code of one that does not get so far."""
        self.lives += 1
        self._spawn()
        while not (found := _LISTENING.search(self.log.read_text())):
            if (code := self.ended_by_itself) is not None:
                return code
            await asyncio.sleep(0.02)
        self.address = found[1]
        return None

    def _spawn(self) -> None:
        self.frozen = self._expected_to_end = False
        self._folder.mkdir(parents=True, exist_ok=True)
        home = {"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "STATE_DIR": str(self._folder / "state")}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [COMMAND, "serve", "--port", "0"],
                cwd=self._folder,
                env={**home, **self._variables, "DXR_USER_AGENT": self.who},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _started.append(self._process)

    def send(self, number: signal.Signals) -> None:
        """Signal the whole process group. May be called from any thread."""
        assert self._process is not None
        if number in {signal.SIGKILL, signal.SIGTERM}:
            self._expected_to_end = True
        self.frozen = number == signal.SIGSTOP or (self.frozen and number != signal.SIGCONT)
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def gone(self) -> int:
        """Wait for the end of a process that was told to end; its exit code."""
        assert self._process is not None
        async with asyncio.timeout(_TIMEOUT_S):
            while (code := self._process.poll()) is None:  # noqa: ASYNC110 - a process is no event
                await asyncio.sleep(0.01)
        self.address = ""
        return code


@dataclass(frozen=True)
class Answer:
    """What a replica answered."""

    status: int
    headers: Any
    body: Any


class Fleet:
    """All replicas of one run store; questions go to whoever can answer."""

    def __init__(self, count: int, folder: Path, variables: dict[str, str]) -> None:
        self.all = [Replica(f"replica-{n}", folder / f"replica-{n}", variables) for n in range(1, count + 1)]
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            timeout=aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_S),
        )
        try:
            await asyncio.gather(*(replica.start() for replica in self.all))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for replica in self.all:
            if replica.lives:
                replica.send(signal.SIGKILL)
                await replica.gone()
        if self._http is not None:
            await self._http.close()

    def living_as(self, who: str) -> Replica | None:
        """The replica whose present life has this name."""
        return next((replica for replica in self.all if replica.who == who), None)

    def ended_by_themselves(self) -> Iterator[str]:
        """What no process may do."""
        for replica in self.all:
            if (code := replica.ended_by_itself) is not None:
                yield f"{replica.who} ended by itself with exit code {code}, see {replica.log}"

    async def ask(self, method: str, path: str, body: Any = None, *, of: Replica | None = None) -> Answer:
        """The first answer of any replica that is up (or of this one); a lost answer is asked for again."""
        async with asyncio.timeout(_TIMEOUT_S):
            while True:
                for replica in [of] if of else self.all:
                    if replica.up and (answer := await self._asked(replica, method, path, body)):
                        return answer
                await asyncio.sleep(0.02)

    async def _asked(self, replica: Replica, method: str, path: str, body: Any) -> Answer | None:
        assert self._http is not None
        try:
            async with self._http.request(method, replica.address + path, json=body) as response:
                return Answer(response.status, response.headers, await response.json(content_type=None))
        except (aiohttp.ClientError, TimeoutError):
            return None


_started: list[subprocess.Popen[bytes]] = []


@atexit.register
def _end_all() -> None:
    for process in _started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
