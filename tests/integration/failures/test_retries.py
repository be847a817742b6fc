"""What is tried again, how often and when; credentials, TLS, names and proxies that fail say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import email.utils
from typing import TYPE_CHECKING, Any

import pytest

from service import wiring
from service.errors import exit_code
from service.runs.model import State
from tests.integration.failures.attempts import CountedAttempts, failure, landed, rows_of
from tests.integration.runs import snapshot
from tests.simulators.dxr import DxrSimulator, faults, hostile
from tests.simulators.dxr.certificates import Authority
from tests.simulators.dxr.hostile import Lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service.wiring import Service
    from tests.conftest import MakeSettings

BODY = b'{"fileId":"a"}\n'
TOKEN = "a-token-of-the-simulated-tenant-0"


@pytest.fixture(autouse=True)
def _small(dxr: DxrSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    dxr.source = Lines(BODY)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


PASSING: dict[str, tuple[Any, str]] = {
    "no answer": (hostile.Exactly(), "STREAM_CUT"),
    "a reset": (hostile.Exactly(then="reset"), "STREAM_CUT"),
    "a cut": (faults.MissingTerminalChunk(), "STREAM_CUT"),
    "an answer that is no HTTP": (hostile.Exactly(b"what?\r\n\r\n"), "STREAM_CUT"),
    "a login page": (faults.Body(b"<html>"), "NOT_NDJSON"),
    "408": (faults.Status(408), "DXR_UNAVAILABLE"),
    "425": (faults.Status(425), "DXR_UNAVAILABLE"),
    "429": (faults.Status(429), "DXR_THROTTLED"),
    "500": (faults.Status(500), "DXR_UNAVAILABLE"),
    "502 with a page": (faults.Status(502, body=b"<html>", content_type="text/html"), "DXR_UNAVAILABLE"),
    "503 for ever": (hostile.Told(b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked"), "DXR_UNAVAILABLE"),
    "504": (faults.Status(504), "DXR_TOO_BROAD"),
    "599": (faults.Status(599), "DXR_UNAVAILABLE"),
    "999": (hostile.Exactly(b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"), "DXR_UNAVAILABLE"),
}
FINAL: dict[str, tuple[Any, str]] = {
    "300": (faults.Status(300), "DXR_REJECTED"),
    "304": (faults.Status(304), "DXR_REJECTED"),
    "400": (faults.Status(400), "DXR_REJECTED"),
    "401": (faults.Status(401), "DXR_UNAUTHORIZED"),
    "403": (faults.Status(403), "DXR_FORBIDDEN"),
    "406": (faults.Status(406), "DXR_REJECTED"),
    "407": (faults.Status(407), "CONFIGURATION"),
    "413": (faults.Status(413), "DXR_TOO_LARGE"),
    "451": (faults.Status(451), "DXR_REJECTED"),
}


@pytest.mark.parametrize(("fault", "code"), PASSING.values(), ids=PASSING)
async def test_what_may_pass_is_tried_as_often_as_allowed(
    fault: Any, code: str, dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_retry_attempts=3)) as service:
        dxr.faults.next(fault, times=3)
        assert (await failure(service)).code == code
        assert len(dxr.requests) == 3
        dxr.faults.next(fault, times=2)
        attempts = CountedAttempts()
        await landed(service, attempts)
        assert (attempts.number, attempts.codes) == (3, [code] * 2)
        assert len(dxr.requests) == 6


@pytest.mark.parametrize(("fault", "code"), FINAL.values(), ids=FINAL)
async def test_what_does_not_pass_is_not_tried_again(
    fault: Any, code: str, dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_retry_attempts=3)) as service:
        dxr.faults.always(fault)
        error = await failure(service)
        assert (error.code, error.retryable, len(dxr.requests)) == (code, False, 1)


async def test_missing_paths_are_asked_for_once_each(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url + "/elsewhere", dxr_retry_attempts=3)) as service:
        assert (await failure(service)).code == "DXR_REJECTED"
        assert [request.path for request in dxr.requests] == [
            "/elsewhere/api/v1/files",
            "/elsewhere/api/vbeta/files",
        ]


@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ("7", "7 seconds"),
        ("1.5", "2 seconds"),
        ("9" * 400, "31622400 seconds"),
        ("9" * 5000, "31622400 seconds"),
        (email.utils.format_datetime(dt.datetime(2999, 1, 1, tzinfo=dt.UTC), usegmt=True), "31622400 seconds"),
        ("0", None),
        ("-5", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("", None),
        ("Wed, 99 Oct 2099 99:99:99 GMT", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2099 07:28:00", None),
        ("Wed, 21 Oct 1999 07:28:00 GMT", None),
        ("\xff\xfe", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503, 504])
async def test_retry_after_is_shown_whatever_it_is(
    status: int, header: str, asked: str | None, service: Service, dxr: DxrSimulator
) -> None:
    dxr.faults.next(faults.Status(status, retry_after=header))
    error = await failure(service)
    assert error.retryable
    assert ("pause of" in error.message) == (asked is not None)
    assert (asked or "") in error.message


async def test_too_broad_query_says_how_to_narrow_it(service: Service, dxr: DxrSimulator) -> None:
    dxr.faults.next(faults.Status(504))
    error = await failure(service)
    assert "too broad" in error.message
    assert "DXR_QUERY" in error.hint


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_token_is_read_again_once_and_never_shown(
    status: int, dxr: DxrSimulator, make_settings: MakeSettings, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("an-old-token-that-was-rotated-out\n")
    settings = make_settings(dxr_base_url=dxr.url, dxr_bearer_token=None, dxr_bearer_token_file=str(file))
    settings = settings.model_copy(update={"dxr_bearer_token": None, "dxr_retry_attempts": 5})
    async with wiring.opened(settings) as service:
        if status == 403:
            dxr.tokens_without_permission = ("an-old-token-that-was-rotated-out", "a-newer-token-without-a-right")
        run = await snapshot(service)
        assert (len(dxr.requests), run.state) == (1, State.FAILED)  # the file says the same: asking again is no use
        file.write_text("a-newer-token-without-a-right")
        run = await snapshot(service)
        assert len(dxr.requests) == 3
        assert run.error is not None
        assert "DXR_BEARER_TOKEN_FILE" in run.error.message
        assert str(status) in run.error.message
        assert exit_code(run.error.code) == 4
        assert "token-" not in f"{run.error.message}{run.error.hint}"
        file.write_text(dxr.token)
        assert (await snapshot(service)).state is State.LANDED
        assert len(dxr.requests) == 5


async def test_token_that_expires_between_two_attempts(
    dxr: DxrSimulator, make_settings: MakeSettings, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(dxr.token)
    settings = make_settings(dxr_base_url=dxr.url, dxr_bearer_token=None, dxr_bearer_token_file=str(file))
    settings = settings.model_copy(update={"dxr_bearer_token": None, "dxr_retry_attempts": 2})
    gate = faults.Gate()
    async with wiring.opened(settings) as service:
        dxr.faults.next(gate)
        run = asyncio.create_task(landed(service))
        await gate.reached()
        dxr.tokens = ("the-token-after-the-rotation-of-it",)
        file.write_text(dxr.token)
        dxr.source = Lines(BODY * 2)
        await dxr.__aexit__(None, None, None)  # the stream is cut
        async with DxrSimulator(dxr.source, tokens=dxr.tokens, port=int(dxr.url.rpartition(":")[2])) as again:
            assert (await run).rows == 2
            assert [request.token_ok for request in again.requests] == [False, True]


@pytest.mark.parametrize("token", ["two words", "two\nlines", "a\0b", "bell\x07", "ümläut", "\x1b[2J"])
async def test_what_is_no_token_is_named_and_never_sent(
    token: str, dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url, dxr_bearer_token=token)) as service:
        error = await failure(service)
        assert (error.code, dxr.requests) == ("CONFIGURATION", [])
        assert "DXR_BEARER_TOKEN" in error.message
        assert token not in error.message + error.hint


async def test_host_that_is_not_found(make_settings: MakeSettings) -> None:
    async with wiring.opened(make_settings(dxr_base_url="http://no-such-host.invalid")) as service:
        error = await failure(service)
        assert (error.code, error.retryable, exit_code(error.code)) == ("DXR_DNS", True, 5)
        assert "DXR_BASE_URL" in error.hint


async def test_connection_that_is_refused(make_settings: MakeSettings) -> None:
    async with wiring.opened(make_settings()) as service:
        error = await failure(service)
        assert (error.code, error.retryable, exit_code(error.code)) == ("DXR_UNREACHABLE", True, 5)
        assert "network policy" in error.hint


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_tls_of_an_authority_that_is_told_is_trusted(authority: Authority, make_settings: MakeSettings) -> None:
    async with DxrSimulator(Lines(BODY), tokens=(TOKEN,), tls=authority.tenant()) as tenant:
        settings = make_settings(dxr_base_url=tenant.url, dxr_ca_bundle_path=str(authority.bundle))
        async with wiring.opened(settings) as service:
            await landed(service)
            assert rows_of(service) == BODY


@pytest.mark.parametrize(
    ("certificate", "told"),
    [({}, False), ({"valid_days": -1}, True), ({"address": "127.0.0.2"}, True)],
    ids=["unknown authority", "expired", "of another host"],
)
async def test_tls_that_is_not_trusted(
    certificate: dict[str, Any], told: bool, authority: Authority, make_settings: MakeSettings
) -> None:
    async with DxrSimulator(Lines(BODY), tokens=(TOKEN,), tls=authority.tenant(**certificate)) as tenant:
        more = {"dxr_ca_bundle_path": str(authority.bundle)} if told else {}
        async with wiring.opened(make_settings(dxr_base_url=tenant.url, dxr_retry_attempts=3, **more)) as service:
            error = await failure(service)
            assert (error.code, error.retryable, exit_code(error.code)) == ("DXR_TLS", False, 3)
            assert "DXR_CA_BUNDLE_PATH" in error.hint
            assert tenant.requests == []
        settings = make_settings(dxr_base_url=tenant.url, dxr_verify_ssl=False)
        async with wiring.opened(settings) as service:
            await landed(service)


async def test_tenant_without_tls_behind_an_https_address(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    async with wiring.opened(make_settings(dxr_base_url=dxr.url.replace("http:", "https:"))) as service:
        assert (await failure(service)).code == "DXR_TLS"


async def test_tenant_with_tls_behind_an_http_address(authority: Authority, make_settings: MakeSettings) -> None:
    async with DxrSimulator(Lines(BODY), tokens=(TOKEN,), tls=authority.tenant()) as tenant:
        address = tenant.url.replace("https:", "http:")
        async with wiring.opened(make_settings(dxr_base_url=address)) as service:
            assert (await failure(service)).code == "STREAM_CUT"


@contextlib.asynccontextmanager
async def proxy(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy that answers every request so; its address and the requests."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


@pytest.mark.parametrize(
    ("scheme", "status", "code"),
    [
        ("http", 407, "CONFIGURATION"),
        ("http", 503, "DXR_UNAVAILABLE"),
        ("https", 407, "DXR_UNREACHABLE"),
        ("https", 403, "DXR_UNREACHABLE"),
    ],
)
async def test_proxy_that_refuses(
    scheme: str, status: int, code: str, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status) as (address, asked):
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", address)
        async with wiring.opened(make_settings(dxr_base_url=f"{scheme}://dxr.example.invalid")) as service:
            error = await failure(service)
            assert error.code == code
            assert "proxy" in f"{error.message} {error.hint}".lower() or code == "DXR_UNAVAILABLE"
            assert len(asked) == 1


async def test_proxy_is_used_only_where_it_is_meant(
    dxr: DxrSimulator, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with wiring.opened(make_settings(dxr_base_url=dxr.url)) as service:
        assert (await failure(service)).code == "DXR_UNREACHABLE"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with wiring.opened(make_settings(dxr_base_url=dxr.url)) as service:
        await landed(service)
        assert dxr.requests[-1].headers["Authorization"] == f"Bearer {TOKEN}"
