"""What the service needs of a landing, whatever stores it; tests/contract holds every implementation to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Before = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of the landing."""

    path: str
    size_bytes: int
    modified_at_s: float


class Part(Protocol):
    """A chunk being written; called from a worker thread. It has no name that a reader sees before `publish`."""

    @property
    def path(self) -> str:
        """The place under the root that it will have."""
        ...

    def write(self, data: bytes) -> None:
        """Append. Raises `LandingError`."""
        ...

    def discard(self) -> None:
        """Forget it, published or not; never raises."""
        ...


class Landing(Protocol):
    """Paths are relative to the root, with `/`.

    Methods raise `LandingError`; a volume also what Databricks answers: `UpstreamError`, `CredentialError`,
    `RefusedError`, `ConfigurationError`. Each has a code and a hint.
    """

    def new_part(self, path: str) -> Part:
        """Begin a chunk."""
        ...

    async def publish(self, part: Part, size_bytes: int) -> None:
        """Make what was written durable, `size_bytes` of it, then give it its name, durably. No more writes follow."""
        ...

    async def put_new(self, path: str, content: bytes, before: Before | None = None) -> None:
        """Write a small file once. An equal file there is success, another one `LANDING_CONFLICT`.

        `before` is awaited right before each step that could make it visible; what it raises ends the put.
        """
        ...

    async def read(self, path: str) -> bytes | None:
        """The content of a small file; None when there is none."""
        ...

    def list(self, folder: str) -> AsyncIterator[Stored]:
        """Every finished file below `folder`, at any depth; nothing when there is no such folder."""
        ...

    async def delete(self, path: str) -> None:
        """Remove a file, and the folders that this leaves empty; nothing when there is no such file."""
        ...
