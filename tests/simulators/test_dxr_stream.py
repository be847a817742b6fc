"""The file metadata stream as clients know it: rows, tokens, filters, media types, what is recorded."""

import asyncio
import hashlib
import json
import sys
import threading

import aiohttp
import httpx2
import pytest
import requests

from tests.simulators.dxr import BadLines, DxrSimulator, GeneratedFiles, Together, faults
from tests.simulators.dxr.kql import parse
from tests.simulators.dxr.server import negotiated
from tests.simulators.raw_client import STREAM, ask, connect, request

TOKEN = "t" * 32
ROWS = GeneratedFiles(300, seed=1)


def lines_of(source):
    return b"".join(source.blocks()).splitlines()


def with_requests(url, token):
    with requests.get(url, headers={"Authorization": f"Bearer {token}"}, stream=True, timeout=30) as answer:
        answer.raise_for_status()
        return list(answer.iter_lines())


def with_httpx2(url, token):
    with httpx2.stream("GET", url, headers={"Authorization": f"Bearer {token}"}) as answer:
        answer.raise_for_status()
        return b"".join(answer.iter_bytes()).splitlines()


@pytest.fixture
async def dxr():
    async with DxrSimulator(ROWS, tokens=(TOKEN,)) as dxr:
        yield dxr


async def rows_for(dxr, query):
    answer = await ask(dxr, f"{STREAM}?q={requests.utils.quote(query)}")
    assert answer.status == 200, answer
    body, whole = answer.dechunked()
    assert whole
    return [json.loads(line) for line in body.splitlines()]


@pytest.mark.parametrize("client", [with_requests, with_httpx2])
async def test_public_clients_read_what_the_source_holds(dxr, client):
    assert await asyncio.to_thread(client, dxr.url + STREAM, TOKEN) == lines_of(ROWS)


async def test_aiohttp_reads_what_the_source_holds_and_the_connection_serves_again(dxr):
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        for _ in range(2):
            async with session.get(dxr.url + STREAM) as answer:
                assert answer.headers["Content-Type"] == "application/x-ndjson"
                assert (await answer.read()).splitlines() == lines_of(ROWS)
    assert len(dxr.requests) == 2


async def test_the_ledger_tells_what_went_out(dxr):
    dxr.source = BadLines(ROWS, every=30)
    body, whole = (await ask(dxr)).dechunked()
    entry = dxr.served[0]
    assert whole
    assert (entry.ended, entry.bytes, entry.sha256) == ("whole", len(body), hashlib.sha256(body).hexdigest())
    assert (entry.rows, entry.blank_lines) == (300 + dxr.source.bad_lines, dxr.source.blank_lines)


async def test_the_source_may_be_replaced_or_empty(dxr):
    dxr.source = Together(GeneratedFiles(2), GeneratedFiles(3, seed=9))
    assert dxr.source.count == 5
    body, whole = (await ask(dxr)).dechunked()
    assert whole
    assert body.splitlines() == lines_of(GeneratedFiles(2)) + lines_of(GeneratedFiles(3, seed=9))
    dxr.source = Together()
    assert (await ask(dxr)).dechunked() == (b"", True)


async def test_tokens(dxr):
    dxr.tokens_without_permission = ("p" * 32,)
    assert (await ask(dxr)).status == 200
    wrong = await ask(dxr, token="wrong")
    assert (wrong.status, wrong.headers["www-authenticate"]) == (401, "Bearer")
    assert (await ask(dxr, Authorization="Basic dXNlcjpwYXNz")).status == 401
    forbidden = await ask(dxr, token="p" * 32)
    assert (forbidden.status, forbidden.payload) == (403, b"")
    assert [entry.token_ok for entry in dxr.requests] == [True, False, False, False]
    assert len(dxr.served) == 1


async def test_a_rotated_token_counts_from_the_next_request(dxr):
    dxr.tokens = ("n" * 32,)
    assert dxr.token == "n" * 32
    assert (await ask(dxr, token=TOKEN)).status == 401
    assert (await ask(dxr)).status == 200


async def test_a_refused_request_uses_no_fault_up(dxr):
    dxr.faults.next(faults.Status(503))
    assert [(await ask(dxr, token=token)).status for token in ("wrong", None, None)] == [401, 503, 200]


async def test_the_older_path_answers_only_where_the_newer_does_not(dxr):
    older = "/api/vbeta/files"
    assert [(await ask(dxr, path)).status for path in (STREAM, older)] == [200, 404]
    dxr.api_version = "vbeta"
    assert [(await ask(dxr, path)).status for path in (STREAM, older)] == [404, 200]
    assert (await ask(dxr, "/api/v2/files")).status == 404


async def test_requests_are_recorded_without_regard_to_case(dxr):
    await ask(dxr, f"{STREAM}?q=size%3E1&x=y", Accept="application/json", X_Trace="7")
    entry = dxr.requests[0]
    assert (entry.method, entry.path, entry.query) == ("GET", STREAM, {"q": "size>1", "x": "y"})
    assert (entry.headers["accept"], entry.headers["X-Trace"]) == ("application/json", "7")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/x-ndjson"),
        ("application/x-ndjson, application/jsonlines, application/json", "application/x-ndjson"),
        ("application/json", "application/json"),
        ("application/jsonlines;q=0.5, text/plain", "application/jsonlines"),
        ("application/x-ndjson;q=0, application/*", "application/jsonlines"),
        ("text/html", None),
    ],
)
async def test_the_media_type_follows_accept(dxr, accept, expected):
    assert negotiated(accept) == expected
    answer = await ask(dxr, Accept=accept)
    if expected is None:
        assert answer.status == 406
    else:
        assert answer.headers["content-type"] == expected
        assert answer.dechunked()[0].splitlines() == lines_of(ROWS)


async def test_filters_keep_the_rows_that_fit(dxr):
    rows = [json.loads(line) for line in lines_of(ROWS)]
    one = rows[17]
    labelled = next(row for row in rows if row["labels"])
    label, name = labelled["labels"][0]["id"], one["datasource"]["name"]

    def domains(row):
        return {annotator["domain"]["name"] for annotator in row.get("annotators", [])}

    expected = {
        f'fileId:"{one["fileId"]}"': lambda row: row is one,
        f'labels.id:"{label}"': lambda row: label in {entry["id"] for entry in row["labels"]},
        'annotators.domain.name:"PII"': lambda row: "PII" in domains(row),
        f'datasource.name:"{name}"': lambda row: row["datasource"]["name"] == name,
        "datasource.id:1201": lambda row: row["datasource"]["id"] == "1201",
        'fileName:"*.pdf"': lambda row: row["fileName"].endswith(".pdf"),
        "size > 1000": lambda row: row["size"] > 1000,
        "size<=1000 AND fileName:Invoice*": lambda row: row["size"] <= 1000 and row["fileName"].startswith("Invoice"),
        'fileId:"nobody"': lambda row: False,
    }
    for query, fits in expected.items():
        assert await rows_for(dxr, query) == [row for row in rows if fits(row)], query
    assert dxr.served[0].rows == 1


async def test_filters_pass_over_lines_that_are_no_rows(dxr):
    dxr.source = BadLines(ROWS, every=10)
    assert len(await rows_for(dxr, "size >= 0")) == 300


@pytest.mark.parametrize(
    "query",
    [
        "nonsense",
        "size > many",
        'owner:"me"',
        'fileId:"a" or fileId:"b"',
        'fileId:"a" fileId:"b"',
        'not fileId:"a"',
        "(size > 1)",
    ],
)
async def test_other_filters_are_refused_as_json(dxr, query):
    with pytest.raises(ValueError, match="KQL not understood at position"):
        parse(query)
    answer = await ask(dxr, f"{STREAM}?q={requests.utils.quote(query)}")
    assert answer.status == 400
    assert "KQL not understood" in json.loads(answer.payload)["error"]
    assert dxr.served == []


async def test_kql_takes_escapes_and_foreign_wildcards_literally(dxr):
    row = json.loads(lines_of(ROWS)[0]) | {"fileName": 'a [1] "b"?.txt'}

    class One:
        count = 1

        def blocks(self):
            yield json.dumps(row).encode() + b"\n"

    dxr.source = One()
    assert await rows_for(dxr, r'fileName:"a [1] \"b\"?.*"') == [row]
    assert await rows_for(dxr, 'fileName:"a ?1] *"') == []


async def test_many_clients_are_served_at_once(dxr):
    answers = await asyncio.gather(*(ask(dxr) for _ in range(20)))
    assert {hashlib.sha256(answer.dechunked()[0]).hexdigest() for answer in answers} == {dxr.served[0].sha256}


async def test_a_client_that_goes_is_noticed(dxr):
    gate = faults.Gate(after_rows=1)
    dxr.faults.next(gate)
    _, writer = await connect(dxr)
    writer.write(request(dxr))
    await gate.reached()
    writer.close()
    await dxr.idle()
    assert (dxr.served[0].ended, dxr.served[0].rows) == ("client gone", 1)


async def test_a_slow_source_holds_up_nobody_else(dxr):
    started, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Slow:
        count = None

        def blocks(self):
            loop.call_soon_threadsafe(started.set)
            go_on.wait()
            yield ROWS.row(0) + b"\n"

    dxr.source = Slow()
    slow = asyncio.create_task(ask(dxr))
    await started.wait()
    dxr.source = ROWS
    assert (await ask(dxr)).dechunked()[1]
    go_on.set()
    assert (await slow).dechunked() == (ROWS.row(0) + b"\n", True)


async def test_a_source_that_fails_looks_like_a_cut(dxr, caplog):
    class Failing:
        count = None

        def blocks(self):
            yield next(ROWS.blocks())
            raise OSError("the disk is gone")

    dxr.source = Failing()
    body, whole = (await ask(dxr)).dechunked()
    assert ROWS.row(0) in body
    assert not whole
    assert dxr.served[0].ended == "source failed"
    assert "the disk is gone" in caplog.text


async def test_the_command_serves_until_it_is_told_to_stop(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.simulators.dxr", "--rows", "20", "--folder", tmp_path, "--bad-every", "10"),
        *("--token", TOKEN),
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdout is not None
    announced = (await server.stdout.readline()).decode()
    assert announced.startswith("listening on http://127.0.0.1:")
    lines = await asyncio.to_thread(with_requests, announced.split()[-1] + STREAM, TOKEN)
    assert json.loads(lines[0])["fileName"] == "a.txt"
    assert len(lines) > 21
    server.terminate()
    await server.communicate()
    assert server.returncode == 0
