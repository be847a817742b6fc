"""The multipart body: of the announced length, under names that can inject nothing."""

from __future__ import annotations

import email
import re
from typing import TYPE_CHECKING

import pytest

from service.dxr.uploads import MultipartBody, Upload, UploadBrokenError, upload_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from email.message import Message

LARGE = 1 << 18


def body_with(*files: tuple[str, int, list[bytes]], content_type: str = "text/plain") -> MultipartBody:
    """Of files with a name, the size that is announced, and the pieces that come."""

    async def contents() -> AsyncGenerator[tuple[int, bytes]]:
        for place, (_, _, pieces) in enumerate(files):
            for piece in pieces:
                yield place, piece

    return MultipartBody([Upload(name, size, content_type) for name, size, _ in files], contents)


async def parts_of(body: MultipartBody) -> list[Message]:
    """As a stock parser reads them."""
    raw = b"".join([piece async for piece in body.pieces()])
    assert body.headers["Content-Length"] == str(len(raw))
    head = b"Content-Type: " + body.headers["Content-Type"].encode() + b"\r\n\r\n"
    parts = email.message_from_bytes(head + raw).get_payload()
    assert isinstance(parts, list)
    return parts


async def test_a_stock_parser_reads_what_went_in() -> None:
    files = [("a.txt", 5, [b"ab", b"\r\n", b"c"]), ("b", 0, []), ("c.bin", 4, [b"\x00\xff--"]), ("d", 0, [])]
    parts = await parts_of(body_with(*files, content_type="application/octet-stream"))
    found = [(part.get_filename(), part.get_param("name", header="content-disposition")) for part in parts]
    assert found == [("a.txt", "files"), ("b", "files"), ("c.bin", "files"), ("d", "files")]
    assert {part.get_content_type() for part in parts} == {"application/octet-stream"}
    assert [part.get_payload(decode=True) for part in parts] == [b"ab\r\nc", b"", b"\x00\xff--", b""]


@pytest.mark.parametrize("pieces", [[b"short"], [b"much", b" too long"], []])
@pytest.mark.parametrize("others", [0, 2])
async def test_a_file_of_another_length_breaks_the_request_off(pieces: list[bytes], others: int) -> None:
    body = body_with(*[("other", 2, [b"ab"])] * others, ("x", 8, pieces), *[("other", 2, [b"ab"])] * others)
    with pytest.raises(UploadBrokenError) as caught:
        _ = [piece async for piece in body.pieces()]
    assert caught.value.name == "x"
    assert body.broken is caught.value


@pytest.mark.parametrize("pieces_read", range(1, 6))
async def test_a_body_that_is_closed_early_closes_what_it_reads(pieces_read: int) -> None:
    opened: list[str] = []

    async def contents() -> AsyncGenerator[tuple[int, bytes]]:
        opened.append("the files")
        try:
            for place in range(2):
                yield place, bytes(LARGE)
        finally:
            opened.remove("the files")

    body = MultipartBody([Upload(name, LARGE, "text/plain") for name in ("a", "b")], contents).pieces()
    for _ in range(pieces_read):
        await anext(body)
    assert opened == ["the files"] * (pieces_read < 5)
    await body.aclose()
    assert opened == []


@pytest.mark.parametrize("sizes", [(10,) * 1000, (LARGE,) * 3, (0, LARGE, 1, LARGE, 70_000, 0)])
async def test_small_files_are_sent_together_and_large_ones_as_they_are(sizes: tuple[int, ...]) -> None:
    contents = [b"%d" % (place % 10) * size for place, size in enumerate(sizes)]
    body = body_with(
        *((f"{place}", len(content), [content] * (content != b"")) for place, content in enumerate(contents))
    )
    pieces = [piece async for piece in body.pieces()]
    assert sum(len(piece) == LARGE for piece in pieces) == sizes.count(LARGE)
    assert all(pieces)
    assert len(pieces) < 10
    assert [part.get_payload(decode=True) for part in await parts_of(body)] == contents


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
