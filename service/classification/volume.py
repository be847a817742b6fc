"""What the classification needs of a volume, however it is reached; and which paths a prefix covers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from service.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """A regular file; `relative_path` is below the volume's root, with `/`."""

    relative_path: str
    size_bytes: int
    modified_ms: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that is there and could not be looked at."""

    relative_path: str
    reason: str


Found = VolumeFile | Unreadable


class UnreadableFileError(Exception):
    """A file cannot be read as it was listed; `place` is its own among those asked for, `reason` has no name in it."""

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason


class Scan(Protocol):
    """One look at what lies below a prefix.

    After the last page, `skipped` counts what is no regular file (links, FIFOs, devices) and `unlisted` names the
    folders that could not be listed (each of them was yielded as `Unreadable`, too).
    """

    skipped: int
    unlisted: list[str]

    def pages(self) -> AsyncIterator[list[Found]]:
        """Files in any order, a bounded number at a time.

        Raises `RefusedError` (`VOLUME_UNAVAILABLE`) when the root or the prefix is no folder or is closed.
        """
        ...


class VolumeFiles(Protocol):
    """The files of one volume."""

    def scan(self, prefix: str) -> Scan:
        """Look at what lies below a prefix. Raises `RefusedError` for one that leads out of the volume."""
        ...

    def contents(self, files: Sequence[VolumeFile]) -> AsyncGenerator[tuple[int, bytes]]:
        """The bytes of one file after the other; with each piece, the place of its file in `files`.

        Raises `UnreadableFileError`, perhaps before all of the files above it were yielded; when the volume is away,
        the errors of `service.errors`. Whoever does not read to the end closes it: until then a file, or a request
        for one, is open.
        """
        ...


def unavailable(why: str) -> RefusedError:
    """The volume cannot be scanned at all."""
    return RefusedError(
        "VOLUME_UNAVAILABLE",
        f"The volume, or the prefix in it, {why}.",
        "Check VOLUME_CATALOG, VOLUME_SCHEMA, VOLUME_NAME, VOLUME_PREFIX and the mount of VOLUME_BASE_PATH "
        "(or DATABRICKS_HOST, when there is no mount).",
    )


def clean_prefix(prefix: str) -> str:
    """The prefix without slashes around it. Raises `RefusedError` for one that leads out of the volume."""
    parts = PurePosixPath(prefix.strip("/")).parts
    if ".." in parts or "\0" in prefix:
        raise RefusedError("UNPROCESSABLE", "The prefix leads out of the volume.", "Write it relative, without '..'.")
    return "/".join(part for part in parts if part != ".")


def is_below(relative_path: str, prefix: str) -> bool:
    """Whether a path lies below a prefix, folder by folder: `a/b` does not cover `a/bc`."""
    return not prefix or relative_path == prefix or relative_path.startswith(f"{prefix}/")
