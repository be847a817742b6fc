"""The files of one multipart submit, taken in while they come: of each its name, size, hash and what it is about."""

from hashlib import sha256
from typing import NamedTuple

from aiohttp import BodyPartReader, web

from tests.simulators.dxr.truth import Truth, truth_of

READ_FOR_ANNOTATORS_BYTES = 64 * 1024
READ_BYTES = 256 * 1024


class UploadedFile(NamedTuple):
    """One file of a job; its content is gone."""

    name: str
    size: int
    sha256: str


async def taken_in(request: web.Request) -> tuple[tuple[UploadedFile, ...], dict[str, Truth]]:
    """Read the whole body; return the files in their order and the truth by content hash.

    No more than the start of one file is held at a time. Raises `ValueError` when the body is no form of `files`.
    """
    if request.content_type != "multipart/form-data":
        raise ValueError(f"a job is submitted as multipart/form-data, not {request.content_type}")
    files, truths = list[UploadedFile](), dict[str, Truth]()
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader) or part.name != "files" or not part.filename:
            raise ValueError("each part of a job is named `files` and has a file name")
        file, start = await _read(part, part.filename)
        files.append(file)
        if file.sha256 not in truths:
            truths[file.sha256] = truth_of(start)
    if not files:
        raise ValueError("a job has at least one file")
    return tuple(files), truths


async def _read(part: BodyPartReader, name: str) -> tuple[UploadedFile, bytes]:
    digest, size, start = sha256(), 0, b""
    while not part.at_eof():
        piece = await part.read_chunk(READ_BYTES)
        digest.update(piece)
        size += len(piece)
        if room := READ_FOR_ANNOTATORS_BYTES - len(start):
            start += piece[:room]
    return UploadedFile(name, size, digest.hexdigest()), start
