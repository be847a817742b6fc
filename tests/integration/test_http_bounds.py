"""What a hostile client meets, byte by byte over a real socket: deadlines, bounds, and our headers on every answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from service.api.connection import Bounds
from service.api.form import BODY_BYTES_MAX, HEAD_BYTES_MAX
from service.api.headers import SECURITY_HEADERS
from tests.integration.runs import snapshot
from tests.integration.serving import FULL, READ_ONLY, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from service.wiring import Service

TOKEN = f"Authorization: Bearer {FULL}\r\n"
HOST = "Host: service\r\n"
ALIVE = f"GET /healthz HTTP/1.1\r\n{HOST}\r\n".encode()
DEADLINE_S = 20.0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        document = json.loads(self.body)
        assert document["status"] == self.status
        assert document["request_id"] == self.headers["x-request-id"]
        return document


class Client:
    """A connection that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self, *sent: bytes, head: bool = False) -> Answer:
        for data in sent:
            self.writer.write(data)
            await self.writer.drain()
        async with asyncio.timeout(DEADLINE_S):
            top = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = top.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
            length = 0 if head else int(headers["content-length"])
            answer = Answer(int(line.split()[1]), headers, await self.reader.readexactly(length))
        assert set(headers) >= {name.decode() for name, _ in SECURITY_HEADERS} | {"x-request-id"}
        assert "server" not in headers
        return answer

    async def ended(self) -> bytes:
        """What still comes until the service closes."""
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionResetError):
                return await self.reader.read()
        return b""


class Door:
    def __init__(self, port: int) -> None:
        self._port = port
        self._clients: list[Client] = []

    async def client(self) -> Client:
        self._clients.append(Client(*await asyncio.open_connection("127.0.0.1", self._port)))
        return self._clients[-1]

    async def close(self) -> None:
        for client in self._clients:
            client.writer.transport.abort()


@contextlib.asynccontextmanager
async def opened_door(service: Service, bounds: Bounds | None = None) -> AsyncIterator[Door]:
    async with served(service, bounds) as api:
        assert api.base_url.port
        door = Door(api.base_url.port)
        try:
            yield door
        finally:
            await door.close()


@pytest_asyncio.fixture
async def door(opened: Service) -> AsyncIterator[Door]:
    async with opened_door(opened) as door:
        yield door


def post(path: str, *headers: str, body: bytes = b"", token: str = TOKEN) -> bytes:
    head = f"POST {path} HTTP/1.1\r\n{HOST}{token}" + "".join(f"{line}\r\n" for line in headers)
    length = "" if any(line.startswith("Transfer-Encoding") for line in headers) else f"Content-Length: {len(body)}\r\n"
    return f"{head}{length}\r\n".encode("latin-1") + body


JSON = "Content-Type: application/json"
LENGTH_0 = b"Content-Length: 0\r\n"


BEFORE_THE_TOKEN = {
    "a body that is no JSON": post("/v1/snapshots", JSON, body=b"{", token=""),
    "a body of another type": post("/v1/snapshots", "Content-Type: text/plain", body=b"\xff", token=""),
    "a body with NaN": post("/v1/snapshots", JSON, body=b'{"a": NaN}', token="Authorization: Bearer wrong\r\n"),
    "a body too large": post("/v1/snapshots", JSON, "Content-Length: 99999999", token="").replace(LENGTH_0, b""),
    "a query read in two ways": post("/v1/snapshots?a=1&a=2", JSON, body=b"{}", token=""),
    "a token in a cookie": post("/v1/snapshots", JSON, body=b"{}", token=f"Cookie: token={FULL}; Bearer={FULL}\r\n"),
    "a token in the query": post(f"/v1/snapshots?token={FULL}&access_token={FULL}", JSON, body=b"{}", token=""),
    "two tokens": post("/v1/snapshots", JSON, body=b"{}", token=TOKEN + TOKEN),
    "another scheme": post("/v1/snapshots", JSON, body=b"{}", token=f"Authorization: Basic {FULL}\r\n"),
    "a wrong run id": post("/v1/runs/not-an-id/cancel", token=""),
    "a wrong method": b"DELETE /v1/runs HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path through an open one": b"GET /healthz/../v1/runs HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path to an open one": b"GET /v1/../healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a doubled slash": b"GET //healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a whole URL": b"GET http://x/v1/runs HTTP/1.1\r\nHost: x\r\n\r\n",
    "no path": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path that is not there": b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    "the list of runs": b"GET /v1/runs HTTP/1.1\r\nHost: x\r\n\r\n",
    "the metrics": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "the description": b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("request_", BEFORE_THE_TOKEN.values(), ids=BEFORE_THE_TOKEN)
async def test_without_a_token_nothing_else_is_looked_at(door: Door, request_: bytes) -> None:
    answer = await (await door.client()).answer(request_)
    assert (answer.status, answer.problem["code"]) == (401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_scope_is_looked_at_before_the_body(door: Door) -> None:
    reader = f"Authorization: Bearer {READ_ONLY}\r\n"
    answer = await (await door.client()).answer(post("/v1/snapshots", JSON, body=b"{", token=reader))
    assert (answer.status, answer.problem["code"]) == (403, "FORBIDDEN")


def chunks(sizes: Iterable[int]) -> Iterable[bytes]:
    for size in sizes:
        yield b"%x\r\n%s\r\n" % (size, b" " * size)


async def test_a_body_is_counted_as_it_streams(door: Door) -> None:
    client = await door.client()
    head = post("/v1/snapshots", JSON, "Transfer-Encoding: chunked")
    answer = await client.answer(head, *chunks([BODY_BYTES_MAX // 2] * 2), b"1\r\n \r\n")
    assert (answer.status, answer.problem["code"]) == (413, "BODY_TOO_LARGE")
    client.writer.write(b"".join(chunks([BODY_BYTES_MAX] * 4)) + b"0\r\n\r\n")
    assert (await client.answer(ALIVE)).status == 200  # the rest was thrown away, and the connection goes on


async def test_a_body_of_the_greatest_size_is_read(door: Door) -> None:
    body = b'{"record_cap": 1}'.ljust(BODY_BYTES_MAX)
    assert (await (await door.client()).answer(post("/v1/snapshots", JSON, body=body))).status == 202


async def test_a_body_announced_too_large_is_not_waited_for(door: Door) -> None:
    head = post("/v1/snapshots", JSON).replace(LENGTH_0, b"Content-Length: %d\r\n" % (BODY_BYTES_MAX + 1))
    answer = await (await door.client()).answer(head)
    assert (answer.status, answer.problem["code"]) == (413, "BODY_TOO_LARGE")


ASKED = (HOST + TOKEN).encode()
WRONG = {
    "a header too long": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"a" * HEAD_BYTES_MAX + b"\r\n\r\n", 431),
    "a header without end": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 4 * HEAD_BYTES_MAX, 431),
    "too many headers": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 3000 + b"\r\n", 431),
    "a query too long": (b"GET /healthz?" + b"a" * (HEAD_BYTES_MAX - 200) + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a path without end": (b"GET /" + b"a" * 4 * HEAD_BYTES_MAX, 431),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "a blank before the colon": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
    "a zero byte": (b"GET /health\x00z HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a client that speaks TLS \r\n\r\n", 400),
    "two lengths": (post("/healthz", "Content-Length: 5", token=""), 400),
    "a bad chunk": (post("/healthz", "Transfer-Encoding: chunked", token="") + b"zz\r\n", 400),
    "another coding": (post("/healthz", "Transfer-Encoding: gzip", token=""), 400),
    "a length and chunks": (post("/healthz", "Transfer-Encoding: chunked", "Content-Length: 4", token=""), 400),
    "no JSON": (post("/v1/snapshots", JSON, body=b"["), 400),
    "an unsaid type": (post("/v1/snapshots", body=b"{}"), 415),
    "no object": (post("/v1/snapshots", JSON, body=b'"' + b"a" * 40_000 + b'"'), 422),
    "no body": (post("/v1/snapshots", JSON), 422),
    "POST": (post("/v1/runs"), 405),
    "TRACE": (b"TRACE /v1/runs HTTP/1.1\r\n" + ASKED + b"\r\n", 405),
    "OPTIONS": (b"OPTIONS /v1/runs HTTP/1.1\r\n" + ASKED + b"\r\n", 405),
    "a slash behind": (b"GET /v1/runs/ HTTP/1.1\r\n" + ASKED + b"\r\n", 404),
    "an escaped slash": (b"GET /v1/runs%2F HTTP/1.1\r\n" + ASKED + b"\r\n", 404),
}


@pytest.mark.parametrize(("request_", "status"), WRONG.values(), ids=WRONG)
async def test_wrong_requests_are_answered_by_a_problem(door: Door, request_: bytes, status: int) -> None:
    client = await door.client()
    answer = await client.answer(request_)
    assert answer.status == status
    assert answer.problem["detail"]
    if status == 405:
        assert answer.headers["allow"] == "GET"
    if answer.headers.get("connection") == "close":
        assert await client.ended() == b""


async def test_head_is_get_without_a_body(door: Door) -> None:
    client = await door.client()
    answer = await client.answer(f"HEAD /v1/runs HTTP/1.1\r\n{HOST}{TOKEN}\r\n".encode(), head=True)
    assert (answer.status, answer.headers["content-length"]) == (200, "2")
    assert (await client.answer(ALIVE)).body == b'{"status":"alive"}'


async def test_head_of_a_stream_of_events_ends_at_once(door: Door, opened: Service) -> None:
    run = await snapshot(opened)  # landed: its events would go on until a receipt comes
    client = await door.client()
    answer = await client.answer(f"HEAD /v1/runs/{run.id}/events HTTP/1.1\r\n{HOST}{TOKEN}\r\n".encode(), head=True)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (await client.answer(ALIVE)).status == 200


async def test_an_upgrade_is_not_taken(door: Door) -> None:
    upgrade = f"GET /healthz HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert (await (await door.client()).answer(upgrade.encode())).status == 200


async def test_pipelined_requests_are_answered_in_order(door: Door) -> None:
    client = await door.client()
    first = await client.answer(ALIVE + post("/v1/runs") + ALIVE)
    assert [first.status, (await client.answer()).status, (await client.answer()).status] == [200, 405, 200]


async def test_the_host_header_changes_nothing(door: Door) -> None:
    for host in ("evil.example", "127.0.0.1:1", "x" * 300):
        request = f"GET /v1/runs HTTP/1.1\r\nHost: {host}\r\n{TOKEN}X-Forwarded-Host: {host}\r\n\r\n"
        answer = await (await door.client()).answer(request.encode())
        assert answer.status == 200
        assert host not in str(answer)


SHORT = Bounds(request_timeout_s=0.05)


BEGUN = {
    "half a line": b"GET /healthz HTT",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: a",
    "half a body": post("/v1/snapshots", JSON).replace(LENGTH_0, b"Content-Length: 2\r\n") + b"{",
    "half the chunks": post("/v1/snapshots", JSON, "Transfer-Encoding: chunked") + b"1\r\n{\r\n",
}


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN)
async def test_a_request_that_does_not_come_is_ended(opened: Service, begun: bytes) -> None:
    async with opened_door(opened, SHORT) as door:
        client = await door.client()
        answer = await client.answer(begun)
        assert (answer.status, answer.problem["code"]) == (408, "REQUEST_TIMEOUT")
        assert await client.ended() == b""
        assert (await (await door.client()).answer(ALIVE)).status == 200


async def test_dripping_bytes_do_not_prolong_a_request(opened: Service) -> None:
    async with opened_door(opened, SHORT) as door:
        client = await door.client()
        client.writer.write(ALIVE[:-2])
        answer = asyncio.create_task(client.answer())
        while not answer.done():  # a header line each turn of the loop
            client.writer.write(b"A: a\r\n" if client.writer.transport.get_write_buffer_size() == 0 else b"")
            await asyncio.wait([answer], timeout=0.01)
        assert (await answer).status in {408, 431}


async def test_a_second_request_has_a_deadline_too(opened: Service) -> None:
    async with opened_door(opened, SHORT) as door:
        client = await door.client()
        assert (await client.answer(ALIVE)).status == 200
        assert (await client.answer(ALIVE[:20])).status == 408


async def test_the_rest_of_a_refused_body_has_a_deadline(opened: Service) -> None:
    async with opened_door(opened, SHORT) as door:
        client = await door.client()
        head = post("/v1/snapshots", JSON, token="").replace(LENGTH_0, b"Content-Length: 99\r\n")
        assert (await client.answer(head, b"{")).status == 401
        assert await client.ended() == b""


async def test_who_asks_nothing_is_let_go(opened: Service) -> None:
    async with opened_door(opened, SHORT) as door:
        assert await (await door.client()).ended() == b""
    async with opened_door(opened, Bounds(idle_timeout_s=0)) as door:
        client = await door.client()
        assert (await client.answer(ALIVE)).status == 200
        assert await client.ended() == b""


async def test_too_many_connections_make_room_for_the_newest(opened: Service) -> None:
    async with opened_door(opened, Bounds(connections_max=3)) as door:
        waiting = [await door.client() for _ in range(3)]
        for client in waiting:
            assert (await client.answer(ALIVE)).status == 200
        waiting[0].writer.write(ALIVE[:10])  # that does not make it younger
        assert (await (await door.client()).answer(ALIVE)).status == 200
        assert await waiting[0].ended() == b""
        for client in waiting[1:]:
            assert (await client.answer(ALIVE)).status == 200


async def test_the_rest_of_an_answer_to_who_does_not_read_is_dropped(opened: Service) -> None:
    async with opened_door(opened, Bounds(reading_timeout_s=0.05)) as door:
        client = await door.client()
        transport = client.writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE_S):
                while not transport.is_closing():
                    client.writer.write(b"GET /openapi.json HTTP/1.1\r\n" + (HOST + TOKEN).encode() + b"\r\n")
                    await asyncio.sleep(0)
                    await client.writer.drain()
        assert transport.is_closing()
