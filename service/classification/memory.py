"""What a classification run keeps outside of its process: files between runs, batches and chunks between processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Mapping, Sequence

    from service.classification.volume import Found, VolumeFile
    from service.landing.documents import Chunk

# What is known of a batch: its files may have been sent; its job exists; its job has finished.
SUBMITTING: Final = "submitting"
SUBMITTED: Final = "submitted"
FINISHED: Final = "finished"


@dataclass(frozen=True, slots=True)
class Batch:
    """The files of one job, under the names that they are uploaded with."""

    number: int
    datasource_id: str
    state: str
    uploads: Mapping[str, VolumeFile]
    job_id: str | None = None
    scan_id: int | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A record of a file: `status` is LABELLED, DELETED or a reason code."""

    file: VolumeFile
    status: str


class Memory(Protocol):
    """A lost memory only means that everything is classified again.

    All methods raise `StoreError` and `LeaseLostError`.
    """

    async def unchanged(self, files: Sequence[VolumeFile], /) -> set[str]:
        """Paths of files that a landed run labelled as they are now."""
        ...

    async def seen(self, files: Sequence[Found], /) -> None:
        """This run has met these files."""
        ...

    def missing(self, prefix: str) -> AsyncIterator[list[str]]:
        """Paths below the prefix that earlier runs met, this one neither met nor told, and nobody told to be gone."""
        ...

    async def told(self, files: Sequence[Found], /) -> set[str]:
        """Paths of files of which a published chunk of this run has a record."""
        ...

    async def tally(self) -> Counter[str]:
        """How many files this run has told, by status: not only this process."""
        ...

    async def register(self, chunk: Chunk, told: Sequence[Told], /) -> None:
        """Write down a published chunk and, in one step with it, the files that it has records of."""
        ...

    async def chunks(self) -> list[Chunk]:
        """Every registered chunk of this run, in the order of their paths."""
        ...

    async def save(self, batch: Batch, /) -> None:
        """Write down a batch before the step that could be lost."""
        ...

    async def left(self) -> list[Batch]:
        """Batches that a process which is gone has left, with those of their files that are not told yet."""
        ...

    async def occupy(self, datasource_id: str, /) -> bool:
        """Take a datasource for this run's jobs; False while another run has it."""
        ...
