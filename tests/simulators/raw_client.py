"""A client that hides nothing: the bytes of one answer as they came, and how the connection ended."""

import asyncio
from dataclasses import dataclass

from tests.simulators.dxr import DxrSimulator

STREAM = "/api/v1/files"


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """`payload` is everything behind the head; `reset` tells an RST from an orderly end."""

    status: int
    headers: dict[str, str]
    payload: bytes
    reset: bool = False

    def dechunked(self) -> tuple[bytes, bool]:
        """Return the body and whether the terminal chunk came; `ValueError` at a broken chunk."""
        rest, body = self.payload, b""
        while rest:
            size_line, newline, rest = rest.partition(b"\r\n")
            size = int(size_line, 16)
            if not newline or size == 0:
                return body, size == 0 and rest == b"\r\n"
            body, rest = body + rest[:size], rest[size:].removeprefix(b"\r\n")
        return body, False


def request(dxr: DxrSimulator, path: str = STREAM, *, token: str | None = None, **headers: str) -> bytes:
    """Write a request that asks for the connection to be closed behind the answer."""
    fields = {"Host": "dxr", "Authorization": f"Bearer {token or dxr.token}", "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return "\r\n".join((f"GET {path} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items()), "", "")).encode()


async def connect(dxr: DxrSimulator) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the tenant."""
    return await asyncio.open_connection("127.0.0.1", int(dxr.url.rpartition(":")[2]), limit=1 << 24)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Read status and headers, names in lower case."""
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()[:-1]
    fields = (line.split(": ", 1) for line in lines)
    return int(status_line.split()[1]), {name.lower(): value for name, value in fields}


async def ask(dxr: DxrSimulator, path: str = STREAM, *, token: str | None = None, **headers: str) -> RawAnswer:
    """Send one request and read until the tenant ends the connection."""
    reader, writer = await connect(dxr)
    writer.write(request(dxr, path, token=token, **headers))
    status, fields = await read_head(reader)
    payload, reset = bytearray(), False
    try:
        while piece := await reader.read(1 << 20):
            payload += piece
    except ConnectionResetError:
        reset = True
    writer.close()
    return RawAnswer(status, fields, bytes(payload), reset)
