"""The multipart body: of the announced length, under names that can inject nothing."""

from __future__ import annotations

import email
import re
from typing import TYPE_CHECKING

import pytest

from service.dxr.uploads import MultipartBody, Upload, UploadBrokenError, upload_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

LARGE = 1 << 18


def reading(*pieces: bytes) -> Callable[[], AsyncGenerator[bytes]]:
    async def read() -> AsyncGenerator[bytes]:
        for piece in pieces:
            yield piece

    return read


async def body_of(*uploads: Upload) -> tuple[dict[str, str], bytes]:
    body = MultipartBody(uploads)
    return body.headers, b"".join([piece async for piece in body.pieces()])


async def test_a_stock_parser_reads_what_went_in() -> None:
    uploads = [
        Upload("a.txt", 5, "text/plain", reading(b"ab", b"\r\n", b"c")),
        Upload("b", 0, "application/octet-stream", reading()),
        Upload("c.bin", 4, "application/octet-stream", reading(b"\x00\xff--")),
    ]
    headers, raw = await body_of(*uploads)
    assert headers["Content-Length"] == str(len(raw))
    message = email.message_from_bytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + raw)
    parts = message.get_payload()
    assert isinstance(parts, list)
    found = [(part.get_filename(), part.get_param("name", header="content-disposition")) for part in parts]
    assert found == [("a.txt", "files"), ("b", "files"), ("c.bin", "files")]
    assert [part.get_content_type() for part in parts] == ["text/plain"] + ["application/octet-stream"] * 2
    assert raw.count(b"ab\r\nc\r\n--") == 1


@pytest.mark.parametrize("pieces", [(b"short",), (b"much", b" too long")])
async def test_a_file_of_another_length_breaks_the_request_off(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(UploadBrokenError) as caught:
        await body_of(Upload("x", 8, "text/plain", reading(*pieces)))
    assert caught.value.name == "x"


@pytest.mark.parametrize("pieces_read", range(1, 6))
async def test_a_body_that_is_closed_early_closes_the_file_that_it_is_in(pieces_read: int) -> None:
    opened: list[str] = []

    def within(name: str) -> Callable[[], AsyncGenerator[bytes]]:
        async def read() -> AsyncGenerator[bytes]:
            opened.append(name)
            try:
                yield bytes(LARGE)
            finally:
                opened.remove(name)

        return read

    body = MultipartBody([Upload(name, LARGE, "text/plain", within(name)) for name in ("a", "b")]).pieces()
    for _ in range(pieces_read):
        await anext(body)
    assert opened == {1: ["a"], 2: ["a"], 3: ["b"], 4: ["b"]}.get(pieces_read, [])
    await body.aclose()
    assert opened == []


@pytest.mark.parametrize("sizes", [(10,) * 1000, (LARGE,) * 3, (0, LARGE, 1, LARGE, 70_000, 0)])
async def test_small_files_are_sent_together_and_large_ones_as_they_are(sizes: tuple[int, ...]) -> None:
    uploads = [Upload(f"{n}", size, "text/plain", reading(b"%d" % (n % 10) * size)) for n, size in enumerate(sizes)]
    pieces = [piece async for piece in MultipartBody(uploads).pieces()]
    assert sum(len(piece) == LARGE for piece in pieces) == sizes.count(LARGE)
    assert all(pieces)
    assert len(pieces) < 10
    headers, raw = await body_of(*uploads)
    message = email.message_from_bytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + raw)
    contents = [part.get_payload(decode=True) for part in message.get_payload()]
    assert contents == [b"%d" % (n % 10) * size for n, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("file_name", "suffix"),
    [
        ("report.pdf", ".pdf"),
        ("archive.tar.gz", ".gz"),
        ("README", ""),
        ('x.p"df\r\nX-Evil: 1', ""),
        ("x.thisistoolong", ""),
        ("x.", ""),
        (".gitignore", ".gitignore"),
    ],
)
def test_names_are_ours(file_name: str, suffix: str) -> None:
    name = upload_name(file_name)
    assert re.fullmatch(r"[0-9a-f-]{36}" + re.escape(suffix), name)
    assert upload_name(file_name) != name
