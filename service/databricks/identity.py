"""Who this service is at Databricks: the SDK's own configuration, asked in threads, because it blocks.

`Config()` and `authenticate()` make network calls without a time-out (databricks-sdk 0.156, oauth.py). A thread that
hangs there cannot be ended; it is left behind with the configuration that it holds, and the next one starts anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from service.errors import ConfigurationError, CredentialError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from databricks.sdk.core import Config

_TIMEOUT_S: Final = 60.0
# What the SDK's best-effort look at the host may take; its default of 300 s would hold up every start.
_DISCOVERY_TIMEOUT_S: Final = 5
# RFC 6749, section 5.2: the token endpoint knows us and says no. Anything else may pass.
_OAUTH_REFUSALS: Final = ("invalid_client", "unauthorized_client", "invalid_grant", "access_denied", "invalid_scope")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What settings say; what is None, the SDK looks for in its own variables and profiles."""

    host: str | None = None
    token: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the workspace is, and headers that it accepts now."""

    host: str
    headers: Mapping[str, str] = field(repr=False)


class Identity:
    """Gives access, with a token that the SDK renews 40 s before it expires, and once by force after a refusal."""

    def __init__(self, credentials: Credentials, timeout_s: float = _TIMEOUT_S) -> None:
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._config: Config | None = None
        self._alone = asyncio.Lock()

    async def access(self) -> Access:
        """Raises `ConfigurationError`, `CredentialError` and `UpstreamError`."""
        async with self._alone:
            return await self._ask()

    async def renewed(self, refused: Access) -> Access | None:
        """Another access than the refused one; None when there is no other (a personal token, for instance)."""
        async with self._alone:
            access = await self._ask()
            if access == refused:
                self._config = None
                access = await self._ask()
            return None if access == refused else access

    async def _ask(self) -> Access:
        try:
            async with asyncio.timeout(self._timeout_s):
                config = self._config
                self._config, access = await _in_own_thread(lambda: self._blocking(config))
                return access
        except TimeoutError:
            self._config = None  # its lock is held by the thread that hangs
            raise UpstreamError(
                "DATABRICKS_UNREACHABLE",
                f"Databricks gave no token within {self._timeout_s:g} seconds.",
                "Check DATABRICKS_HOST, the network policy and proxies.",
            ) from None

    def _blocking(self, config: Config | None) -> tuple[Config, Access]:
        try:
            config = config or self._configured()
            headers = dict(config.authenticate())
        except ImportError as error:
            raise ConfigurationError("databricks-sdk is not installed.", "Install dxr-ingest[service].") from error
        except Exception as error:
            raise _explained(error) from error
        if config.workspace_id:
            headers["X-Databricks-Workspace-Id"] = config.workspace_id
        return config, Access(config.host.rstrip("/"), headers)

    def _configured(self) -> Config:
        from databricks.sdk.core import Config  # 2 s of CPU: only who needs it pays for it

        config = Config(
            host=self._credentials.host,
            token=self._credentials.token,
            client_id=self._credentials.client_id,
            client_secret=self._credentials.client_secret,
            # A background renewal that hangs would keep the process from ending.
            disable_async_token_refresh=True,
            retry_timeout_seconds=_DISCOVERY_TIMEOUT_S,
            http_timeout_seconds=_DISCOVERY_TIMEOUT_S,
        )
        if not config.host:
            raise ConfigurationError("No Databricks workspace is named.", "Set DATABRICKS_HOST to its address.")
        return config


def _explained(error: Exception) -> Exception:
    """Ours for what the SDK raised; its own text may hold what was sent."""
    if isinstance(error, ConfigurationError):
        return error
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    from databricks.sdk.errors.base import DatabricksError

    if any(isinstance(one, FileNotFoundError | PermissionError) for one in chain):
        return ConfigurationError(
            "The file with the token for Databricks cannot be read.",
            "Check DATABRICKS_OIDC_TOKEN_FILEPATH and the projected volume of the pod.",
        )
    if any(isinstance(one, OSError | DatabricksError) for one in chain):  # requests' errors are OSErrors
        return UpstreamError(
            "DATABRICKS_UNREACHABLE",
            "Databricks did not answer while a token was asked for.",
            "Check DATABRICKS_HOST, the network policy and proxies.",
        )
    if any(str(one).startswith(_OAUTH_REFUSALS) for one in chain):
        return CredentialError(
            "DATABRICKS_UNAUTHORIZED",
            "Databricks refuses the credentials of this service: no token was given.",
            "Check DATABRICKS_CLIENT_ID with its secret, or the federation policy of the service principal.",
        )
    if "more than one authorization method" in str(error):
        return ConfigurationError(
            "More than one way to authenticate at Databricks is configured.",
            "Set DATABRICKS_AUTH_TYPE (oauth-m2m, file-oidc, pat, …) to the one that is meant.",
        )
    if "default credentials" in str(error) or "not configured" in str(error):
        return ConfigurationError(
            "No credentials for Databricks are configured.",
            "Set DATABRICKS_HOST, and DATABRICKS_CLIENT_ID with DATABRICKS_CLIENT_SECRET or "
            "DATABRICKS_OIDC_TOKEN_FILEPATH, or DATABRICKS_TOKEN (or DATABRICKS_CONFIG_PROFILE).",
        )
    return UpstreamError(
        "DATABRICKS_AUTHENTICATION",
        f"No token could be had from Databricks ({type(error).__name__}).",
        "Check DATABRICKS_HOST and the variables of the authentication that is used.",
    )


async def _in_own_thread(work: Callable[[], _T]) -> _T:
    """What `work` gives. The thread is nobody's: one that hangs neither blocks a pool nor the end of the process."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()

    def tell(step: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(lambda: None if outcome.done() else step())

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            failure = error
            tell(lambda: outcome.set_exception(failure))
        else:
            tell(lambda: outcome.set_result(result))

    threading.Thread(target=run, name="databricks-identity", daemon=True).start()
    return await outcome
