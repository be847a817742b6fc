"""Files → a multipart body of known length, read in pieces: nobody holds a batch in memory."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

_EXTENSION: Final = re.compile(r"[A-Za-z0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a job, under a name that only we know the meaning of."""

    name: str
    size_bytes: int
    content_type: str
    pieces: Callable[[], AsyncIterator[bytes]]


class UploadChangedError(Exception):
    """A file was not as long as announced (`name` is its upload name): the request is broken off."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


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

    @property
    def headers(self) -> dict[str, str]:
        """Content type and length."""
        length = sum(map(len, self._heads)) + sum(upload.size_bytes + 2 for upload in self._uploads) + len(self._end)
        return {"Content-Type": f"multipart/form-data; boundary={self._boundary}", "Content-Length": str(length)}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes, once. Raises `UploadChangedError` as soon as a file is not as long as announced."""
        for head, upload in zip(self._heads, self._uploads, strict=True):
            yield head
            left = upload.size_bytes
            async for piece in upload.pieces():
                left -= len(piece)
                if left < 0:
                    raise UploadChangedError(upload.name)
                yield piece
            if left:
                raise UploadChangedError(upload.name)
            yield b"\r\n"
        yield self._end

    @property
    def _end(self) -> bytes:
        return f"--{self._boundary}--\r\n".encode()

    def _head(self, upload: Upload) -> bytes:
        return (
            f"--{self._boundary}\r\n"
            f'Content-Disposition: form-data; name="files"; filename="{upload.name}"\r\n'
            f"Content-Type: {upload.content_type}\r\n\r\n"
        ).encode()
