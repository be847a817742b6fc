"""A tenant that takes every job and looks at none of its files: `python -m bench.sink` drains what is sent to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from bench.source import serve

if TYPE_CHECKING:
    import socket

_ANSWER: Final = b'{"id": "1", "state": "QUEUED"}'
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BUFFER_BYTES: Final = 1 << 20


def _drain(client: socket.socket) -> None:
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with client:
        while head := _head(client):
            said, _, rest = head.partition(b"\r\n\r\n")
            found = _LENGTH.search(said)
            left = (int(found[1]) if found else 0) - len(rest)
            while left:
                read = client.recv_into(buffer, min(left, _BUFFER_BYTES))
                if not read:
                    return
                left -= read
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            client.sendall(head % len(_ANSWER) + _ANSWER)


def _head(client: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        if not (read := client.recv(1 << 16)):
            return b""
        head += read
    return head


if __name__ == "__main__":
    serve(_drain)
