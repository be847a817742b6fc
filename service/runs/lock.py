"""SQLite belongs to one executing process: the lock on STATE_DIR says which."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@contextlib.contextmanager
def held_state_dir(state_dir: Path) -> Generator[None]:
    """Make the folder and hold its lock. Raises `ConfigurationError`, with `STORE_IN_USE` when it is held."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"STATE_DIR is {state_dir}, which cannot be written ({os.strerror(error.errno or 0)}).",
            "Name a folder that this process may write.",
        ) from error
    try:
        _lock(handle, state_dir)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, state_dir: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigurationError(
            f"Another dxr-ingest process works on the run store in {state_dir}.",
            "Work through it with --server http://127.0.0.1:8080 (SERVICE_URL), or set another STATE_DIR.",
            code="STORE_IN_USE",
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"STATE_DIR is {state_dir}, whose file system refuses locks ({os.strerror(error.errno or 0)}).",
            "Name a folder on a local disk or a volume that supports flock.",
        ) from error
