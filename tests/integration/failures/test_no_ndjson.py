"""Answers that are something else than rows: they fail with the kind of what was found, and never with its text."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from service import wiring
from tests.integration.failures.attempts import failure, landed, rows_of
from tests.integration.runs import commits
from tests.simulators.dxr import DxrSimulator, faults, hostile
from tests.simulators.dxr.hostile import Lines

if TYPE_CHECKING:
    from service.wiring import Service
    from tests.conftest import MakeSettings

SECRET = b"wJalrXUtnFEMI"
ROW = b'{"fileId":"a"}\n'
LONG = b" " * 300

ANSWERS: dict[str, tuple[bytes, str]] = {
    "HTML": (b"<html>" + SECRET + b"</html>\n", "markup"),
    "HTML without a newline": (b"<html>" + SECRET + b"</html>", "markup"),
    "HTML behind blank lines": (b"\r\n \n<!DOCTYPE html>" + SECRET, "markup"),
    "HTML behind a byte order mark": (b"\xef\xbb\xbf<html>" + SECRET, "markup"),
    "HTML on a line beyond the limit": (b"<html>" + SECRET + LONG + b"\n" + ROW, "markup"),
    "HTML behind blanks on a line beyond the limit": (LONG + b"<html>" + SECRET + b"\n" + ROW, "markup"),
    "HTML of one byte more than a row": (b"<" + SECRET + b" " * (200 - len(SECRET)) + b"\n" + ROW, "markup"),
    "XML": (b'<?xml version="1.0"?><error>' + SECRET + b"</error>\n", "markup"),
    "array over several lines": (b'[\n{"fileId":"' + SECRET + b'"},\n{"fileId":"b"}\n]\n', "array"),
    "array over several lines, beyond the limit": (b'[{"fileId":"' + SECRET + b'"},' + LONG + b"\n" + ROW, "array"),
    "array on one line": (b'[{"fileId":"' + SECRET + b'"}]\n', "no line is an object"),
    "array on one line without a newline": (b'[{"fileId":"' + SECRET + b'"}]', "no line is an object"),
    "array on one line beyond the limit": (b"[" + SECRET + LONG + b"1]", "longer than DXR_MAX_ROW_BYTES"),
    "error alone": (b'{"error":"' + SECRET + b'"}\n', "error object"),
    "error alone without a newline": (b'{"error":"' + SECRET + b'"}', "error object"),
    "errors alone": (b'{"errors":["' + SECRET + b'"],"status":500}\n', "error object"),
    "error of null": (b'{"error":null,"x":"' + SECRET + b'"}\n', "error object"),
    "error with an escaped name": (b'{"\\u0065rror":"' + SECRET + b'"}\n', "error object"),
    "error after rows": (ROW * 3 + b'{"error":"' + SECRET + b'"}\n', "error object"),
    "error after rows and before blank lines": (ROW + b'{"error":"' + SECRET + b'"}\n\n \n', "error object"),
    "error over several lines": (b'{\n  "error": "' + SECRET + b'"\n}\n', "no JSON"),
    "plain text": (b"Unauthorized " + SECRET, "no JSON"),
    "server-sent events": (b"data: " + ROW + b"\ndata: " + SECRET + b"\n\n", "no JSON"),
    "JSON text sequence": (b"\x1e" + ROW + b"\x1e" + SECRET + b"\n", "no JSON"),
    "text in quotes": (b'"' + SECRET + b'"', "no line is an object"),
    "null": (b"null\n", "no line is an object"),
    "UTF-16": ((ROW * 3).decode().encode("utf-16") + SECRET, "no text"),
    "gzip that is not said": (gzip.compress(ROW), "no text"),
}


@pytest.mark.parametrize(("body", "kind"), ANSWERS.values(), ids=ANSWERS)
async def test_answer_that_is_no_ndjson(body: bytes, kind: str, dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_max_row_bytes=200)) as service:
        for fault in (faults.Body(body), faults.Body(body, framing="length"), hostile.Encoded(body, ())):
            dxr.faults.next(fault)
            error = await failure(service)
            assert (error.code, error.retryable) == ("NOT_NDJSON", True)
            assert kind in error.message
            assert SECRET.decode() not in error.message + error.hint


@pytest.mark.parametrize(
    ("body", "rejects"),
    [
        (b"[" + LONG + b"]\n" + ROW, 1),
        (b"[1]\n" + ROW, 1),
        (b'{"error":1,"fileId":"a"}\n', 0),
        (b'{"error":1}\n' + ROW, 0),
        (ROW + b"<html>\n", 1),
        (ROW + b"[\n", 1),
        (ROW + b"<" + LONG + b"\n", 1),
        (b"nothing\n" + ROW, 1),
    ],
    ids=str,
)
async def test_what_looks_alike_and_is_rows_lands(
    body: bytes, rejects: int, dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_max_row_bytes=200)) as service:
        dxr.source = Lines(body)
        assert (await landed(service)).rejected_rows == rejects


@pytest.mark.parametrize("status", [201, 202, 203, 205, 206, 207, 226, 299])
async def test_status_that_is_no_whole_answer(status: int, service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(faults.Status(status, body=ROW * 3, content_type="application/x-ndjson"))
    error = await failure(service)
    assert error.code == "NOT_NDJSON"
    assert str(status) in error.message


async def test_switching_protocols_is_no_answer(service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(hostile.Told(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket"))
    assert (await failure(service)).code == "NOT_NDJSON"


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 204 No Content", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nContent-Encoding: gzip"],
    ids=str,
)
async def test_no_content_is_a_proven_empty_answer(head: bytes, service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(hostile.Exactly(head + b"\r\n\r\n", then="hold"))
    commit = await landed(service)
    assert (commit.rows, commit.unproven) == (0, False)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirects_inside_the_origin_are_followed_three_times(
    code: int, service: Service, dxr: DxrSimulator
) -> None:
    dxr.source = Lines(ROW)
    dxr.faults.next(faults.Redirect("/api/v1/files", code), times=3)
    await landed(service)
    assert rows_of(service) == ROW
    assert len(dxr.requests) == 4
    assert {request.headers["Authorization"] for request in dxr.requests} == {f"Bearer {dxr.token}"}
    dxr.faults.next(faults.Redirect("/api/v1/files", code), times=4)
    error = await failure(service)
    assert (error.code, error.retryable, len(dxr.requests)) == ("DXR_REDIRECTED", False, 8)


async def test_credentials_in_a_redirect_are_dropped(service: Service, dxr: DxrSimulator) -> None:
    dxr.source = Lines(ROW)
    dxr.faults.next(faults.Redirect(dxr.url.replace("//", "//user:password@") + "/api/v1/files"))
    await landed(service)
    assert dxr.requests[-1].headers["Authorization"] == f"Bearer {dxr.token}"


@pytest.mark.parametrize(
    "location",
    [
        "{other}/api/v1/files",
        "//{other_host}/api/v1/files",
        "http://localhost:{port}/api/v1/files",
        "https://127.0.0.1:{port}/api/v1/files",
        "http://127.0.0.1/api/v1/files",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "",
    ],
)
async def test_redirect_never_leaves_the_origin(location: str, service: Service, dxr: DxrSimulator) -> None:
    async with DxrSimulator(Lines(ROW)) as other:
        port, host = dxr.url.rpartition(":")[2], other.url.removeprefix("http://")
        dxr.faults.next(faults.Redirect(location.format(other=other.url, other_host=host, port=port)))
        error = await failure(service)
        assert (error.code, error.retryable) == ("DXR_REDIRECTED", False)
        assert "DXR_BASE_URL" in error.hint
        assert other.requests == []
        assert len(dxr.requests) == 1


async def test_older_path_is_asked_when_the_newer_is_not_there(service: Service, dxr: DxrSimulator) -> None:
    dxr.source, dxr.api_version = Lines(ROW), "vbeta"
    await landed(service)
    assert [request.path for request in dxr.requests] == ["/api/v1/files", "/api/vbeta/files"]
    assert commits(service)[0]["rows"] == 1
