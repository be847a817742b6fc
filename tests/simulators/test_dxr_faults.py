"""Each fault does on the wire what its docstring says, as seen by a client that hides nothing."""

import asyncio
import gzip
import zlib

import aiohttp
import pytest

from tests.simulators.dxr import DxrSimulator, GeneratedFiles, faults
from tests.simulators.raw_client import STREAM, ask, connect, read_head, request

ROWS = GeneratedFiles(500, seed=1, mean_bytes=600)
BODY = b"".join(ROWS.blocks())


def first(rows):
    return b"".join(BODY.splitlines(keepends=True)[:rows])


@pytest.fixture
async def dxr():
    async with DxrSimulator(ROWS, tokens=("t" * 32,)) as dxr:
        yield dxr


async def test_faults_queue_up_are_used_up_and_give_way_to_the_lasting_one(dxr):
    dxr.faults.next(faults.Status(429, retry_after="1"), times=2)
    dxr.faults.next(faults.Status(503))
    dxr.faults.always(faults.Status(504))
    assert [(await ask(dxr)).status for _ in range(5)] == [429, 429, 503, 504, 504]
    dxr.faults.next(faults.Status(500))
    dxr.faults.clear()
    assert (await ask(dxr)).dechunked() == (BODY, True)
    assert [entry.ended for entry in dxr.served] == ["Status"] * 5 + ["whole"]


async def test_status(dxr):
    dxr.faults.next(faults.Status(503, retry_after="soon", body=b"<p>later</p>", content_type="text/html"))
    answer = await ask(dxr)
    assert (answer.status, answer.payload) == (503, b"<p>later</p>")
    assert (answer.headers["retry-after"], answer.headers["content-type"]) == ("soon", "text/html")
    dxr.faults.next(faults.Status(599))
    assert (await ask(dxr)).headers["content-length"] == "0"


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_body(dxr, framing):
    dxr.faults.next(faults.Body(b"<html>", content_type="text/html", framing=framing))
    answer = await ask(dxr)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html")
    if framing == "chunked":
        assert answer.dechunked() == (b"<html>", True)
    else:
        assert answer.payload == b"<html>"
    assert ("content-length" in answer.headers) == (framing == "length")
    assert dxr.served[0].ended == "Body"


@pytest.mark.parametrize("rows", [0, 1, 250, 500, 501])
async def test_cut_after_rows(dxr, rows):
    dxr.faults.next(faults.CutAfterRows(rows))
    assert (await ask(dxr)).dechunked() == (first(rows), False)
    entry = dxr.served[0]
    assert (entry.rows, entry.ended) == (min(rows, 500), "CutAfterRows")


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
async def test_cut_after_bytes(dxr, framing, reset):
    dxr.faults.next(faults.CutAfterBytes(12_345, framing=framing, reset=reset))
    answer = await ask(dxr)
    body = answer.dechunked()[0] if framing == "chunked" else answer.payload
    assert body == BODY[:12_345]
    assert answer.reset == reset
    assert int(answer.headers.get("content-length", 99_999)) > 12_345
    assert dxr.served[0].bytes == 12_345


async def test_missing_terminal_chunk(dxr):
    dxr.faults.next(faults.MissingTerminalChunk())
    assert (await ask(dxr)).dechunked() == (BODY, False)
    assert (dxr.served[0].rows, dxr.served[0].ended) == (500, "MissingTerminalChunk")


async def test_stall_keeps_the_connection_open_until_the_tenant_stops(dxr):
    dxr.faults.next(faults.Stall(after_rows=3))
    reader, writer = await connect(dxr)
    writer.write(request(dxr))
    assert (await read_head(reader))[0] == 200
    await reader.readuntil(b"}\n\r\n")
    assert not reader.at_eof()
    await dxr.__aexit__(None, None, None)
    assert await reader.read() == b""
    writer.close()
    assert (dxr.served[0].rows, dxr.served[0].ended) == (3, "Stall")


async def test_stall_without_headers_ends_with_its_client(dxr):
    dxr.faults.next(faults.Stall(headers=False))
    _, writer = await connect(dxr)
    writer.write(request(dxr))
    await ask(dxr)  # the next one is served meanwhile
    assert dxr.served[0].ended == "Stall"
    writer.close()
    await dxr.idle()
    assert dxr.served[0].bytes == 0


async def test_no_task_outlives_the_tenant():
    before = asyncio.all_tasks()
    async with DxrSimulator(ROWS) as dxr:
        for fault in (faults.Stall(), faults.DripBlankLines(), faults.Gate()):
            dxr.faults.next(fault)
        clients = [await connect(dxr) for _ in range(3)]
        for reader, writer in clients:
            writer.write(request(dxr))
            await read_head(reader)
    assert asyncio.all_tasks() == before
    for _, writer in clients:
        writer.close()


async def test_drip_blank_lines(dxr):
    dxr.faults.next(faults.DripBlankLines(after_rows=2))
    reader, writer = await connect(dxr)
    writer.write(request(dxr))
    await read_head(reader)
    for _ in range(3):
        await reader.readuntil(b"\r\n1\r\n\n\r\n")
    writer.close()
    await dxr.idle()
    entry = dxr.served[0]
    assert (entry.rows, entry.ended) == (2, "DripBlankLines")
    assert entry.blank_lines >= 3


async def test_garbage_chunk_size(dxr):
    dxr.faults.next(faults.GarbageChunkSize(after_rows=2))
    answer = await ask(dxr)
    with pytest.raises(ValueError, match="not-a-size"):
        answer.dechunked()
    assert first(2) in answer.payload
    assert answer.payload.endswith(b"\r\nnot-a-size\r\n")


@pytest.mark.parametrize("members", [1, 4])
async def test_gzip_unasked(dxr, members):
    dxr.faults.next(faults.Gzip(members=members))
    answer = await ask(dxr)
    coded, whole = answer.dechunked()
    assert whole
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(coded) == BODY
    assert coded.count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00") == members
    entry = dxr.served[0]
    assert (entry.rows, entry.bytes, entry.ended) == (500, len(coded), "whole")


async def test_gzip_cut_inside_whole_framing(dxr):
    dxr.faults.next(faults.Gzip(cut_after_bytes=5000))
    coded, whole = (await ask(dxr)).dechunked()
    assert (len(coded), whole) == (5000, True)
    inflater = zlib.decompressobj(31)
    assert BODY.startswith(inflater.decompress(coded))
    assert not inflater.eof
    assert dxr.served[0].ended == "Gzip"


async def test_gzip_with_a_bad_crc(dxr):
    dxr.faults.next(faults.Gzip(bad_crc=True))
    coded, _ = (await ask(dxr)).dechunked()
    with pytest.raises(gzip.BadGzipFile, match="CRC"):
        gzip.decompress(coded)
    assert zlib.decompress(coded[10:-8], wbits=-15) == BODY


async def test_deflate(dxr):
    dxr.faults.next(faults.Deflate())
    answer = await ask(dxr)
    assert answer.headers["content-encoding"] == "deflate"
    assert zlib.decompress(answer.dechunked()[0]) == BODY


async def test_close_delimited(dxr):
    dxr.faults.next(faults.CloseDelimited())
    answer = await ask(dxr)
    assert answer.payload == BODY
    assert answer.headers["connection"] == "close"
    assert not answer.headers.keys() & {"content-length", "transfer-encoding"}


async def test_redirect(dxr):
    dxr.faults.next(faults.Redirect("http://elsewhere.example/files", code=307))
    answer = await ask(dxr)
    assert (answer.status, answer.headers["location"]) == (307, "http://elsewhere.example/files")
    dxr.faults.next(faults.Redirect(STREAM + "?again=1"))
    headers = {"Authorization": f"Bearer {dxr.token}"}
    async with aiohttp.request("GET", dxr.url + STREAM, headers=headers) as followed:
        assert await followed.read() == BODY


async def test_gate(dxr):
    gate = faults.Gate(after_rows=7)
    dxr.faults.next(gate)
    answer = asyncio.create_task(ask(dxr))
    await gate.reached()
    assert (dxr.served[0].rows, dxr.served[0].ended) == (7, "open")
    gate.open()
    assert (await answer).dechunked() == (BODY, True)
    assert dxr.served[0].ended == "whole"


async def test_a_client_of_http_1_0_gets_no_chunks(dxr):
    reader, writer = await connect(dxr)
    writer.write(request(dxr).replace(b"HTTP/1.1", b"HTTP/1.0"))
    _, headers = await read_head(reader)
    assert "transfer-encoding" not in headers
    assert await reader.read() == BODY
    writer.close()
