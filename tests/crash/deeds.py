"""What can befall a process. `begin` is the signal, at the very moment; `follow` is what comes of it."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from tests.crash.points import Moments
    from tests.crash.replicas import Replica


@dataclass(frozen=True)
class Deed:
    """Does nothing; the others are kinds of it."""

    name: ClassVar[str] = "nothing"

    def __str__(self) -> str:
        return self.name

    def begin(self, replica: Replica) -> None:
        """Strike. May be called from any thread."""

    async def held(self) -> None:
        """How long the request that was the moment waits at the simulator."""

    async def follow(self, replica: Replica, moments: Moments) -> str | None:
        """Bring the replica back; what was wrong about it, if anything."""


@dataclass(frozen=True)
class Kill(Deed):
    """SIGKILL; what it asked for at that moment is not answered any more. Another life follows."""

    name = "kill"

    def begin(self, replica: Replica) -> None:
        replica.send(signal.SIGKILL)

    async def held(self) -> None:
        await _until_its_end()

    async def follow(self, replica: Replica, moments: Moments) -> str | None:
        await replica.gone()
        await replica.start()
        return None


@dataclass(frozen=True)
class Freeze(Deed):
    """SIGSTOP, and after so many leases SIGCONT; what it asked for at that moment is done meanwhile, or `late`.

    It can do most harm if it wakes up just when somebody else has begun to do its work, or is done with it.
    """

    name = "freeze"
    leases: float = 3
    until: Literal["some leases", "taken over", "run ended"] = "some leases"
    late: bool = False
    _thawed: asyncio.Event = field(default_factory=asyncio.Event, compare=False, repr=False)

    def __str__(self) -> str:
        until = f"{self.leases:g} leases" if self.until == "some leases" else self.until
        return f"freeze until {until}" + (", late" if self.late else "")

    def begin(self, replica: Replica) -> None:
        self._thawed.clear()
        replica.send(signal.SIGSTOP)

    async def held(self) -> None:
        if self.late:
            await self._thawed.wait()

    async def follow(self, replica: Replica, moments: Moments) -> str | None:
        match self.until:
            case "some leases":
                await asyncio.sleep(self.leases * moments.lease_s)
            case "taken over":
                await moments.taken_over(replica.who)
            case "run ended":
                await moments.all_ended()
        self._thawed.set()
        replica.send(signal.SIGCONT)
        return None


@dataclass(frozen=True)
class Terminate(Deed):
    """SIGTERM; it drains and ends with 0, though what it asked for at that moment is not answered any more."""

    name = "terminate"

    def begin(self, replica: Replica) -> None:
        replica.send(signal.SIGTERM)

    async def held(self) -> None:
        await _until_its_end()

    async def follow(self, replica: Replica, moments: Moments) -> str | None:
        who, log = replica.who, replica.log
        code = await replica.gone()
        await replica.start()
        return f"{who} ended with exit code {code} after SIGTERM, see {log}" if code else None


@dataclass(frozen=True)
class Pause(Deed):
    """No signal: the request waits at the simulator until the test calls `open`."""

    name = "pause"
    _opened: asyncio.Event = field(default_factory=asyncio.Event, compare=False)

    def open(self) -> None:
        """Let it go on."""
        self._opened.set()

    async def held(self) -> None:
        await self._opened.wait()


async def _until_its_end() -> None:
    await asyncio.get_running_loop().create_future()  # the end of the connection cancels the simulator's handler
