"""Attempts: each has its own folder in the landing, and its place in the order of truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a run: its number from 1, its sequence, and when it began (ISO 8601)."""

    number: int
    sequence: int
    started_at: str


class Attempts(Protocol):
    """Gives out attempts, durably, before the first request of each."""

    async def begin(self, newest_sequence: int) -> Attempt:
        """The next attempt; its sequence is above `newest_sequence`."""
        ...

    async def failed(self, code: str) -> None:
        """The attempt that goes on ended with this code."""
        ...

    @property
    def used(self) -> int:
        """How many attempts have failed before this process took the run."""
        ...
