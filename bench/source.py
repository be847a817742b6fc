"""A tenant that is never the bottleneck: a corpus framed once, then handed from the page cache to the socket.

python -m bench.source FILE serves `GET /api/v1/files`; `?q=<n>` serves the corpus n times in one answer.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from tests.simulators.dxr import GeneratedFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

SEED: Final = 1
# As many rows of some megabytes as real tenants have; they are what hurts a client that splits lines badly.
BIG_ROW_EVERY: Final = 15_000
# The size of the chunks that common servers send.
_CHUNK_BYTES: Final = 32 << 10
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


def corpus(rows: int, folder: Path) -> Path:
    """Rows as a chunked body without its terminal chunk; made once."""
    path = folder / f"{rows}-rows-{SEED}.chunked"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as out:
            held = bytearray()
            for block in GeneratedFiles(rows, seed=SEED, big_row_every=BIG_ROW_EVERY).blocks():
                held += block
                while len(held) >= _CHUNK_BYTES:
                    out.write(b"%x\r\n%b\r\n" % (_CHUNK_BYTES, held[:_CHUNK_BYTES]))
                    del held[:_CHUNK_BYTES]
            if held:
                out.write(b"%x\r\n%b\r\n" % (len(held), held))
        temporary.rename(path)
    return path


def _answer(client: socket.socket, path: Path) -> None:
    with client, path.open("rb") as file:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (read := client.recv(1 << 16)):
                return
            head += read
        query = parse_qs(urlsplit(head.split(b" ", 2)[1].decode()).query)
        client.sendall(_HEAD)
        for _ in range(int(query.get("q", ["1"])[0])):
            _send(client, file)
        client.sendall(b"0\r\n\r\n")


def _send(client: socket.socket, file: BufferedReader) -> None:
    at, end = 0, os.fstat(file.fileno()).st_size
    while at < end:
        at += os.sendfile(client.fileno(), file.fileno(), at, end - at)


def serve(answer: Callable[[socket.socket], None]) -> None:
    """Say the address and answer each connection in a thread, until the process is ended."""
    server = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"listening on http://127.0.0.1:{server.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        client, _ = server.accept()
        threading.Thread(target=answer, args=(client,), daemon=True).start()


if __name__ == "__main__":
    serve(lambda client: _answer(client, Path(sys.argv[1])))
