"""The one way to DXR: authentication, redirects, and the mapping of everything aiohttp raises to our own errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from yarl import URL

from service.dxr.body import DXR, ResponseBody
from service.dxr.inflate import decoder_for
from service.errors import ConfigurationError, CredentialError, RefusedError, UpstreamError
from service.upstream import CONNECT_TIMEOUT_S, mapped_errors, proxy_of, retry_after_s

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

    from service.dxr.token import BearerToken

_REDIRECTS_MAX: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_READ_BUFFER_BYTES: Final = 3 << 17
_CALL_TIMEOUT_S: Final = 300.0
_DOCUMENT_BYTES_MAX: Final = 64 << 20
_JSON: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


class DxrSession:
    """Requests to one DXR origin. A redirect is followed only inside it; a refused token is read again once."""

    def __init__(self, base_url: str, token: BearerToken, user_agent: str, *, tls: ssl.SSLContext | bool) -> None:
        self._base = URL(base_url)
        self._token = token
        # `total` and `sock_read` stay open: a slow stream that lives is not ended, the row watchdog ends the others.
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            # A connection serves one request: nothing that comes behind an answer is taken for the next one, or kept.
            connector=aiohttp.TCPConnector(ssl=tls, limit=0, force_close=True),
            headers={"User-Agent": user_agent},
            auto_decompress=False,
            read_bufsize=_READ_BUFFER_BYTES,
            proxy=proxy_of(self._base),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_sent_once,),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    @property
    def origin(self) -> str:
        """Scheme, host and port, for people and commits."""
        return str(self._base.origin())

    @contextlib.asynccontextmanager
    async def get(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """A GET below the base address, answered with 2xx or 404. Raises the errors of `service.errors`."""
        response = await self._answer("GET", self._base.joinpath(path.lstrip("/")).with_query(params), headers, None)
        try:
            yield response
        finally:
            response.close()

    async def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The JSON document of a short call; None for 404. Raises the errors of `service.errors`."""
        return await self._document(method, path, {"Content-Type": "application/json", **(headers or {})}, body)

    async def upload(self, path: str, body: AsyncGenerator[bytes], headers: Mapping[str, str]) -> Any:
        """The JSON document that answers a streamed POST; None for 404. The body is sent once, never repeated.

        However this ends, the body is closed then.
        """
        async with _closed_at_the_end(body) as pieces:
            return await self._document("POST", path, headers, pieces)

    async def _document(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | AsyncIterator[bytes] | None
    ) -> Any:
        url = self._base.joinpath(path.lstrip("/"))
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                response = await self._answer(method, url, {**_JSON, **headers}, body)
                try:
                    if response.status == 404:
                        return None
                    content = await self._content(ResponseBody(response))
                finally:
                    response.close()
        except TimeoutError:
            raise UpstreamError(
                "DXR_TIMEOUT",
                f"DXR did not answer a call within {_CALL_TIMEOUT_S:g} seconds.",
                "Look at the load of the Data X-Ray instance.",
            ) from None
        try:
            document = json.loads(content, parse_int=_integer, parse_float=_finite, parse_constant=str)
        except (ValueError, RecursionError):
            document = None
        if document is None:
            raise UpstreamError(
                "DXR_UNAVAILABLE",
                "DXR answered a call with something that is no JSON document.",
                "Check DXR_BASE_URL, DXR_API_PREFIX and what stands between this service and DXR.",
            )
        return document

    async def _content(self, body: ResponseBody) -> bytearray:
        decoder = decoder_for(body.content_encoding)
        content = bytearray()
        while piece := await body.read():
            for decoded in decoder.feed(piece):
                content += decoded
                if len(content) > _DOCUMENT_BYTES_MAX:
                    raise UpstreamError(
                        "DXR_UNAVAILABLE", "DXR answered a call with far too much.", "Lower DXR_MAX_FILES_PER_JOB."
                    )
        decoder.finish()
        return content

    async def _answer(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | AsyncIterator[bytes] | None
    ) -> aiohttp.ClientResponse:
        reread, redirects = False, 0
        while True:
            authorized = {**headers, "Authorization": f"Bearer {await self._token.read()}"}
            with mapped_errors(DXR):
                response = await self._http.request(method, url, headers=authorized, data=body, allow_redirects=False)
            try:
                if response.status in {401, 403} and not reread:
                    reread = True
                    if await self._token.reread():
                        response.close()
                        if body is None or isinstance(body, bytes):
                            continue
                        raise UpstreamError(
                            "DXR_TOKEN_ROTATED",
                            "DXR's token was renewed while files were sent.",
                            "Start it again: the new token is read.",
                        )
                if response.status in _REDIRECTS:
                    if method != "GET":
                        raise _redirected_away("it redirects what was sent to it")
                    redirects += 1
                    url = self._redirected(url, response, redirects)
                    response.close()
                    continue
                if response.status != 404:
                    self._raise_for(response)
            except BaseException:
                response.close()
                raise
            return response

    def _redirected(self, url: URL, response: aiohttp.ClientResponse, count: int) -> URL:
        if count > _REDIRECTS_MAX:
            raise _redirected_away(f"it redirects more than {_REDIRECTS_MAX} times")
        location = response.headers.get("Location")
        if not location:
            raise _redirected_away("it redirects without saying where to")
        try:
            target = url.join(URL(location)).with_user(None)
        except ValueError:
            raise _redirected_away("it redirects to something that is no address") from None
        if (target.scheme, target.host, target.port) != (self._base.scheme, self._base.host, self._base.port):
            raise _redirected_away("it redirects to another address, where the token must not go")
        return target

    def _raise_for(self, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if status < 300:
            return
        wait_s = retry_after_s(response.headers.get("Retry-After"))
        asked = f" It asks for a pause of {wait_s:.0f} seconds." if wait_s else ""
        match status:
            case 401:
                raise CredentialError(
                    "DXR_UNAUTHORIZED",
                    f"DXR does not accept the token of {self._token.setting} (401).",
                    "Issue a new token in Data X-Ray and put it there.",
                )
            case 403:
                raise CredentialError(
                    "DXR_FORBIDDEN",
                    f"DXR refuses the token of {self._token.setting} (403): it has expired or lacks the permission.",
                    "Give the token's user the right to read files in Data X-Ray, or issue a new token.",
                )
            case 407:
                raise ConfigurationError(
                    "The proxy on the way to DXR asks for credentials (407).",
                    "Put them into HTTPS_PROXY or HTTP_PROXY, or name DXR's host in NO_PROXY.",
                )
            case 413:
                raise RefusedError(
                    "DXR_TOO_LARGE", "DXR refuses a request of this size (413).", "Lower DXR_MAX_BYTES_PER_JOB."
                )
            case 429:
                raise UpstreamError(
                    "DXR_THROTTLED", f"DXR asks to slow down (429).{asked}", "Try again later.", retry_after_s=wait_s
                )
            case 504:
                raise UpstreamError(
                    "DXR_TOO_BROAD",
                    f"DXR gave up on the query (504): it is too broad for this instance.{asked}",
                    "Narrow DXR_QUERY, for instance by datasource, and make a dataset of each part.",
                    retry_after_s=wait_s,
                )
            case 408 | 425 | _ if status in {408, 425} or status >= 500:
                raise UpstreamError(
                    "DXR_UNAVAILABLE",
                    f"DXR answered with status {status}.{asked}",
                    "Look at the state of the Data X-Ray instance, then try again.",
                    retry_after_s=wait_s,
                )
            case _:
                raise RefusedError(
                    "DXR_REJECTED",
                    f"DXR rejects the request (status {status}).",
                    "Check DXR_BASE_URL and DXR_QUERY.",
                )


def _redirected_away(why: str) -> RefusedError:
    return RefusedError(
        "DXR_REDIRECTED",
        f"DXR's answer was not followed: {why}.",
        "Set DXR_BASE_URL to the address that answers itself.",
    )


class _AnswerLostError(aiohttp.ClientError):
    """The connection broke before the head of an answer was whole."""


async def _sent_once(
    request: aiohttp.ClientRequest, send: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
) -> aiohttp.ClientResponse:
    """Aiohttp would repeat a GET by itself after these errors: what is tried again is decided in one place only."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _AnswerLostError from error


@contextlib.asynccontextmanager
async def _closed_at_the_end(body: AsyncGenerator[bytes]) -> AsyncGenerator[AsyncIterator[bytes]]:
    """Aiohttp gives a body up at any moment, within a read too, and leaves it open."""
    reading = asyncio.Lock()

    async def pieces() -> AsyncGenerator[bytes]:
        while True:
            async with reading:
                piece = await anext(body, None)
            if piece is None:
                return
            yield piece

    try:
        yield pieces()
    finally:
        async with reading:  # a read that was given up comes to its end first
            await body.aclose()


def _integer(text: str) -> int | str:
    """A whole number of a call's answer; one with more digits than Python converts stays the text that it was."""
    try:
        return int(text)
    except ValueError:
        return text


def _finite(text: str) -> float | str:
    """A number of a call's answer; one that no JSON could hold afterwards stays the text that it was."""
    number = float(text)
    return number if math.isfinite(number) else text
