"""The files of a real folder, scanned while they are asked for: what a FOLDER_PATH datasource would say of them."""

import grp
import mimetypes
import os
import pwd
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from tests.simulators.dxr.findings import annotators_in, labels_for
from tests.simulators.dxr.sources import BLOCK_BYTES

Json = dict[str, Any]

HASHED_BYTES_MAX = 4 * 1024 * 1024
READ_FOR_ANNOTATORS_BYTES = 64 * 1024


class FolderFiles:
    """The regular files below `root`, sorted by path, folder by folder; symbolic links are not followed.

    Files that cannot be read are left out and counted in `skipped` by the latest stream. Every stream scans anew, so a
    folder that changes changes the stream.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        datasource_name: str = "Folder",
        max_files: int | None = None,
        leave_out: frozenset[str] = frozenset(),
    ) -> None:
        self.skipped = 0
        self._root = Path(root)
        self._leave_out = leave_out  # names of files and folders, at any depth
        self._max_files = max_files
        self._datasource = {
            "id": str(int(identifier(datasource_name)[:7], 16)),
            "name": datasource_name,
            "connector": {"type": "FOLDER_PATH"},
        }

    @property
    def count(self) -> None:
        """Not known before the folder is scanned."""
        return

    def blocks(self) -> Iterator[bytes]:
        """Yield the rows in blocks of about 192 KiB; no more of the folder is read than asked for."""
        self.skipped = 0
        encode = msgspec.json.encode
        block, size, rows = list[bytes](), 0, 0
        for entry in _regular_files(self._root, self._leave_out):
            if rows == self._max_files:
                break
            try:
                row = encode(self._row(entry))
            except OSError:
                self.skipped += 1
                continue
            rows += 1
            block.append(row)
            size += len(row)
            if size >= BLOCK_BYTES:
                yield b"\n".join((*block, b""))
                block, size = [], 0
        if block:
            yield b"\n".join((*block, b""))

    def _row(self, path: str) -> Json:
        start, digest, status = _read(path)
        relative = _text(os.path.relpath(path, self._root))
        mime_type, _ = mimetypes.guess_type(path)
        annotators = annotators_in(start)
        owner = _user(status.st_uid)
        row: Json = {
            "datasource": self._datasource,
            "fileName": relative.rpartition("/")[2],
            "fileId": identifier(f"{self._datasource['name']}\0{relative}"),
            "path": relative,
            "size": status.st_size,
            "mimeType": mime_type or "application/octet-stream",
            "createdAt": _moment(status.st_ctime),  # the nearest a POSIX file system tells
            "lastModifiedAt": _moment(status.st_mtime),
            "labels": labels_for(annotators),
            "scanDepth": "DISCOVERY_AND_CLASSIFICATION",
            "entitlements": {"whoCanAccess": _who_can_read(status)},
            "owner": owner,
        }
        if digest is not None:
            row["contentSha256"] = digest
        if annotators:
            row["annotators"] = annotators
        return row


def identifier(text: str) -> str:
    """A stable id for a name."""
    return sha256(text.encode()).hexdigest()[:32]


def _regular_files(folder: Path | str, leave_out: frozenset[str]) -> Iterator[str]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted((entry for entry in listing if entry.name not in leave_out), key=lambda entry: entry.name)
    except OSError:  # a folder nobody may list has no files for this tenant
        return
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            yield entry.path
        elif entry.is_dir(follow_symlinks=False):
            yield from _regular_files(entry.path, leave_out)


def _read(path: str) -> tuple[bytes, str | None, os.stat_result]:
    """Return the start of the content, the hash of all of it unless it is too long, and the file's status."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        start = file.read(READ_FOR_ANNOTATORS_BYTES)
        if status.st_size > HASHED_BYTES_MAX:
            return start, None, status
        digest, piece = sha256(start), start
        while piece:
            piece = file.read(1024 * 1024)
            digest.update(piece)
        return start, digest.hexdigest(), status


def _who_can_read(status: os.stat_result) -> list[Json]:
    accounts = [_user(status.st_uid)]
    if status.st_mode & stat.S_IRGRP:
        accounts.append(_group(status.st_gid))
    if status.st_mode & stat.S_IROTH:
        accounts.append(_account("GROUP", "everyone", "Everyone"))
    return accounts


@cache
def _user(uid: int) -> Json:
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = None
    return _account("USER", f"uid:{uid}", name)


@cache
def _group(gid: int) -> Json:
    try:
        name = grp.getgrgid(gid).gr_name
    except KeyError:
        name = None
    return _account("GROUP", f"gid:{gid}", name)


def _account(kind: str, key: str, name: str | None) -> Json:
    account = {
        "id": identifier(key),
        "accountType": kind,
        "realmAccountId": key,
        "realmKey": "posix",
        "accountSubType": "LOCAL",
    }
    return account if name is None else account | {"name": name}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(name: str) -> str:
    """A file name need not be UTF-8; the row must."""
    return os.fsencode(name).decode("utf-8", "replace")
