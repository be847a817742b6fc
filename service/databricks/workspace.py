"""Requests to one Databricks workspace: at most five at once, tried again where that can help, errors in our words."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass
from io import FileIO
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import quote

import aiohttp
from aiohttp.payload import Payload
from yarl import URL

from service.errors import CredentialError, RefusedError, UpstreamError
from service.upstream import CONNECT_TIMEOUT_S, Partner, mapped_errors, proxy_of, retry_after_s

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from aiohttp.abc import AbstractStreamWriter

    from service.databricks.identity import Access, Identity
    from service.retrying import Retrying

# The Files API's limit that was seen is 10 at once; Databricks' own CLI keeps to 5.
_REQUESTS_AT_ONCE_MAX: Final = 5
# One does it, unless the new token is refused too, for a moment or for good.
_RENEWALS_MAX: Final = 2
_CALL_TIMEOUT_S: Final = 300.0
_READ_TIMEOUT_S: Final = 60.0
_DOCUMENT_BYTES_MAX: Final = 64 << 20
_PIECE_BYTES: Final = 1 << 18
DATABRICKS: Final = Partner(
    name="Databricks",
    codes="DATABRICKS",
    address="DATABRICKS_HOST",
    trust="Set SSL_CERT_FILE to the bundle of certificates that signed it.",
    cut="DATABRICKS_CUT",
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole. `status` is 2xx or one of those that the caller asked to see."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def document(self) -> dict[str, Any]:
        """The JSON object. Raises `UpstreamError` when it is none."""
        try:
            document = json.loads(self.content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise no_api("it answered with something that is no JSON object")
        return cast("dict[str, Any]", document)


class _File(Payload):
    """A body that is read from an open file, from its start for each try; aiohttp's own would close it after one."""

    def __init__(self, file: FileIO) -> None:
        super().__init__(file)
        self._size = os.fstat(file.fileno()).st_size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return os.pread(self._value.fileno(), self._size or 0, 0).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        sent = 0
        while piece := await asyncio.to_thread(os.pread, self._value.fileno(), _PIECE_BYTES, sent):
            sent += len(piece)
            await writer.write(piece)


class Workspace:
    """The one way to a workspace."""

    def __init__(self, identity: Identity, user_agent: str, retrying: Retrying) -> None:
        self._identity = identity
        self._retrying = retrying
        self._user_agent = user_agent
        self._at_once = asyncio.Semaphore(_REQUESTS_AT_ONCE_MAX)
        self._http: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()

    async def sign_in(self) -> str:
        """Get a token now, so that wrong credentials are known at the start; the workspace's address."""
        return (await self._identity.access()).host

    async def repeated(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """What `work` gives, tried again where that can help: 429 as asked, 408, 5xx, resets, time-outs."""
        return await self._retrying.call(work)

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        content: bytes | FileIO | None = None,
        accept: frozenset[int] = frozenset(),
    ) -> Answer:
        """One request, tried once. A body is bytes or a file: a stream that was read could not be sent again."""
        try:
            async with (
                asyncio.timeout(_CALL_TIMEOUT_S),
                self.answer(method, path, query=query, content=content, accept=accept) as response,
            ):
                return Answer(response.status, response.headers, await _whole(response))
        except TimeoutError:
            raise UpstreamError(
                "DATABRICKS_TIMEOUT",
                f"Databricks did not answer within {_CALL_TIMEOUT_S:g} seconds.",
                "Check the network to DATABRICKS_HOST.",
            ) from None

    @contextlib.asynccontextmanager
    async def answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        content: bytes | FileIO | None = None,
        headers: Mapping[str, str] | None = None,
        accept: frozenset[int] = frozenset(),
        any_type: bool = False,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The head of one answer; holds one of the places until the block is left."""
        async with self._at_once:
            access: Access | None = await self._identity.access()
            response = await self._sent(access, method, path, query, content, headers)
            for _ in range(_RENEWALS_MAX):
                if response.status != 401 or not (access := await self._identity.renewed(access)):
                    break
                response.close()
                response = await self._sent(access, method, path, query, content, headers)
            try:
                _judge(response, f"{method} of {_volume_of(path)}", accept, any_type=any_type)
                yield response
            finally:
                response.close()

    async def _sent(
        self,
        access: Access,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        content: bytes | FileIO | None,
        headers: Mapping[str, str] | None,
    ) -> aiohttp.ClientResponse:
        url = URL(access.host + quote(path, safe="/"), encoded=True).with_query(query or {})
        with mapped_errors(DATABRICKS):
            return await self._session(url).request(
                method,
                url,
                data=_File(content) if isinstance(content, FileIO) else content,
                headers={
                    "Accept-Encoding": "identity",
                    **({} if content is None else {"Content-Type": "application/octet-stream"}),
                    **(headers or {}),
                    **access.headers,
                },
                allow_redirects=False,
            )

    def _session(self, url: URL) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=_READ_TIMEOUT_S),
                headers={"User-Agent": self._user_agent},
                auto_decompress=False,
                proxy=proxy_of(url),
            )
        return self._http


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0
    with mapped_errors(DATABRICKS):
        while piece := await response.content.readany():
            pieces.append(piece)
            size += len(piece)
            if size > _DOCUMENT_BYTES_MAX:
                raise no_api("it answered a call with far too much")
    return b"".join(pieces)


def _volume_of(path: str) -> str:
    """The volume in a path of the API: what lies in it may be a person's file name, which no message shows."""
    volume = path.partition("/Volumes/")[2].split("/")[:3]
    return "/Volumes/" + "/".join(volume) if volume[0] else path


def _judge(response: aiohttp.ClientResponse, asked: str, accept: frozenset[int], *, any_type: bool) -> None:
    """Raise for everything that is no answer of the API to this call."""
    status = response.status
    if status in accept:
        return
    wait_s = retry_after_s(response.headers.get("Retry-After"))
    if status < 300:
        # A login page of a proxy or of Private Link comes with 200, too.
        if not any_type and response.content_type == "text/html":
            raise no_api("it answered with a web page")
        return
    match status:
        case 401:
            raise CredentialError(
                "DATABRICKS_UNAUTHORIZED",
                "Databricks does not accept the token of this service (401).",
                "Check the service principal's secret, federation policy or personal token.",
            )
        case 403:
            raise CredentialError(
                "DATABRICKS_FORBIDDEN",
                f"Databricks refuses a {asked} to this service (403).",
                "Grant its principal USE CATALOG, USE SCHEMA, READ VOLUME and, for the landing, WRITE VOLUME.",
            )
        case 429:
            raise UpstreamError(
                "DATABRICKS_THROTTLED", "Databricks asks to slow down (429).", "Try again later.", retry_after_s=wait_s
            )
        case _ if status < 400:
            raise no_api("it redirects the request")
        case 408 | 425 | _ if status in {408, 425} or status >= 500:
            raise UpstreamError(
                "DATABRICKS_UNAVAILABLE",
                f"Databricks answered with status {status}.",
                "Look at the state of the workspace, then try again.",
                retry_after_s=wait_s,
            )
        case _:
            raise RefusedError(
                "DATABRICKS_REJECTED",
                f"Databricks rejects a {asked} (status {status}).",
                "Check that the volume exists and that its name is written as Unity Catalog has it.",
            )


def no_api(why: str) -> UpstreamError:
    """Something else than the workspace's API answers."""
    return UpstreamError(
        "DATABRICKS_NO_API",
        f"The address of DATABRICKS_HOST is not answered by the workspace's API: {why}.",
        "Set DATABRICKS_HOST to the workspace's own address; look at proxies and at Private Link.",
    )
