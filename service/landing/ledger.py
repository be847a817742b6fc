"""What lies in the landing by now: commits with the verdicts on them.

A commit never changes and the first verdict on it stands, so each is read once and remembered; what is asked of the
landing again and again is the list of names.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from service.errors import LandingError
from service.landing import layout
from service.landing.history import commit_at, commit_names, receipt_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from service.landing.documents import Commit, Receipt
    from service.landing.port import Landing

_REMEMBERED_MAX: Final = 20_000
# The Files API takes few requests at once, and a run that lands needs some of them.
_READS_AT_ONCE: Final = 3

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Landed:
    """A commit, without the list of its chunks, and its receipt if there is one."""

    commit: Commit
    receipt: Receipt | None


class Ledger:
    """Reads what it does not know yet. Raises what the landing raises."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self._commits: dict[str, Commit | None] = {}
        self._receipts: dict[str, Receipt] = {}

    async def names(self) -> list[layout.CommitName]:
        """Every commit's name, newest truth first."""
        return await commit_names(self._landing)

    async def learn(self, names: Collection[layout.CommitName]) -> None:
        """Read what is not known of these commits; one that cannot be read is named in the log, once, and left out."""
        await _some_at_once([name for name in names if not self.knows(name)], self._read)
        awaited = {one.commit.run_id for one in self.known(names) if one.receipt is None}
        if awaited:
            there = {stored.path async for stored in self._landing.list(layout.RECEIPTS)}
            await _some_at_once([one for one in awaited if layout.receipt_path(one) in there], self._read_receipt)

    def knows(self, name: layout.CommitName) -> bool:
        """Whether it was read before."""
        return name.path in self._commits

    def known(self, names: Collection[layout.CommitName]) -> Sequence[Landed]:
        """Those of these commits that were read, with their receipts."""
        found = (self._commits.get(name.path) for name in names)
        return [Landed(commit, self._receipts.get(commit.run_id)) for commit in found if commit is not None]

    async def _read(self, name: layout.CommitName) -> None:
        commit = await commit_at(self._landing, name)
        if commit is not None:
            commit = msgspec.structs.replace(commit, chunks=[], rejects=[])
        _remember(self._commits, name.path, commit)

    async def _read_receipt(self, run_id: str) -> None:
        try:
            receipt = await receipt_of(self._landing, run_id)
        except LandingError as error:
            if error.code != "LANDING_DOCUMENT":
                raise
            return  # torn: no verdict yet
        if receipt is not None:
            _remember(self._receipts, run_id, receipt)


def _remember(memory: dict[str, _Value], key: str, value: _Value) -> None:
    memory[key] = value
    if len(memory) > _REMEMBERED_MAX:
        del memory[next(iter(memory))]


async def _some_at_once(items: Iterable[_Item], work: Callable[[_Item], Awaitable[None]]) -> None:
    left = iter(items)

    async def in_turn() -> None:
        for item in left:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_READS_AT_ONCE):
                group.create_task(in_turn())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
