"""Files → a multipart body of known length, read in pieces: nobody holds a batch in memory."""

from __future__ import annotations

import contextlib
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.errors import DxrIngestError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

_EXTENSION: Final = re.compile(r"[A-Za-z0-9]{1,10}")
# What is smaller is sent together: to send costs more than to copy it.
_TOGETHER_BYTES: Final = 1 << 16

Piece = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a job, under a name that only we know the meaning of."""

    name: str
    size_bytes: int
    content_type: str
    pieces: Callable[[], AsyncGenerator[Piece]]


class UploadBrokenError(Exception):
    """A file could not be sent as announced: the request is broken off before its end, so no job comes of it."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name)
        self.name = name
        self.reason = reason


def upload_name(file_name: str) -> str:
    """A unique name that maps back exactly and can inject nothing; DXR may look at the extension, so it is kept."""
    extension = file_name.rpartition(".")[2] if "." in file_name else ""
    suffix = f".{extension}" if _EXTENSION.fullmatch(extension) else ""
    return f"{uuid.uuid4()}{suffix}"


class MultipartBody:
    """`multipart/form-data` with one part named `files` for each upload (fact sheet, section 2)."""

    def __init__(self, uploads: Sequence[Upload]) -> None:
        self._uploads = uploads
        self._boundary = uuid.uuid4().hex
        self._heads = [self._head(upload) for upload in uploads]
        self.broken: UploadBrokenError | None = None
        self.unsent: DxrIngestError | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Content type and length."""
        length = sum(map(len, self._heads)) + sum(upload.size_bytes + 2 for upload in self._uploads) + len(self._end)
        return {"Content-Type": f"multipart/form-data; boundary={self._boundary}", "Content-Length": str(length)}

    async def pieces(self) -> AsyncGenerator[Piece]:
        """The bytes, once. A file that is not as announced raises `UploadBrokenError`, which stays in `broken`.

        What its source failed with otherwise stays in `unsent`. (aiohttp hides what its body raised behind a
        connection error.)
        """
        try:
            held = bytearray()
            for head, upload in zip(self._heads, self._uploads, strict=True):
                held += head
                async with contextlib.aclosing(_exactly(upload)) as pieces:
                    async for piece in pieces:
                        if held and max(len(piece), len(held)) > _TOGETHER_BYTES:
                            yield bytes(held)
                            held.clear()
                        if len(piece) > _TOGETHER_BYTES:
                            yield piece
                        else:
                            held += piece
                held += b"\r\n"
            yield bytes(held) + self._end
        except UploadBrokenError as error:
            self.broken = error
            raise
        except DxrIngestError as error:
            self.unsent = error
            raise

    @property
    def _end(self) -> bytes:
        return f"--{self._boundary}--\r\n".encode()

    def _head(self, upload: Upload) -> bytes:
        return (
            f"--{self._boundary}\r\n"
            f'Content-Disposition: form-data; name="files"; filename="{upload.name}"\r\n'
            f"Content-Type: {upload.content_type}\r\n\r\n"
        ).encode()


async def _exactly(upload: Upload) -> AsyncGenerator[Piece]:
    left = upload.size_bytes
    async with contextlib.aclosing(upload.pieces()) as pieces:
        async for piece in pieces:
            left -= len(piece)
            if left < 0:
                break
            yield piece
    if left:
        raise UploadBrokenError(upload.name, "it changed while it was read")
