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


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a job, under a name that only we know the meaning of."""

    name: str
    size_bytes: int
    content_type: str


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
    """`multipart/form-data` with one part named `files` for each upload (fact sheet, section 2).

    `contents` reads the files one after the other; with each piece it yields the place of its file in `uploads`.
    """

    def __init__(self, uploads: Sequence[Upload], contents: Callable[[], AsyncGenerator[tuple[int, bytes]]]) -> None:
        self._uploads = uploads
        self._contents = contents
        self._boundary = uuid.uuid4().hex
        # What stands before each file, and behind the last one.
        self._between = [*map(self._head, uploads), f"--{self._boundary}--\r\n".encode()]
        self._between[1:] = [b"\r\n" + text for text in self._between[1:]]
        self.broken: UploadBrokenError | None = None
        self.unsent: DxrIngestError | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Content type and length."""
        length = sum(map(len, self._between)) + sum(upload.size_bytes for upload in self._uploads)
        return {"Content-Type": f"multipart/form-data; boundary={self._boundary}", "Content-Length": str(length)}

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The bytes, once. A file that is not as announced raises `UploadBrokenError`, which stays in `broken`.

        What its source failed with otherwise stays in `unsent`. (aiohttp hides what its body raised behind a
        connection error.)
        """
        try:
            async with contextlib.aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    yield piece
        except UploadBrokenError as error:
            self.broken = error
            raise
        except DxrIngestError as error:
            self.unsent = error
            raise

    async def _pieces(self) -> AsyncGenerator[bytes]:
        left_bytes = [upload.size_bytes for upload in self._uploads]
        held = bytearray(self._between[0])
        at = 0
        async with contextlib.aclosing(self._contents()) as contents:
            async for place, piece in contents:
                held += self._passed(at, place, left_bytes)
                at = place
                left_bytes[at] -= len(piece)
                if left_bytes[at] < 0:
                    raise self._changed(at)
                if held and max(len(piece), len(held)) > _TOGETHER_BYTES:
                    yield bytes(held)
                    held.clear()
                if len(piece) > _TOGETHER_BYTES:
                    yield piece
                else:
                    held += piece
        yield bytes(held) + self._passed(at, len(left_bytes), left_bytes)

    def _passed(self, start: int, stop: int, left_bytes: Sequence[int]) -> bytes:
        """What stands between two places; whoever passes a file has all of it."""
        for place in range(start, stop):
            if left_bytes[place]:
                raise self._changed(place)
        return b"".join(self._between[start + 1 : stop + 1])

    def _changed(self, place: int) -> UploadBrokenError:
        return UploadBrokenError(self._uploads[place].name, "it changed while it was read")

    def _head(self, upload: Upload) -> bytes:
        return (
            f"--{self._boundary}\r\n"
            f'Content-Disposition: form-data; name="files"; filename="{upload.name}"\r\n'
            f"Content-Type: {upload.content_type}\r\n\r\n"
        ).encode()
