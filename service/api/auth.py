"""API tokens: named, with scopes, compared in constant time as hashes."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from service.errors import ConfigurationError, CredentialError
from service.settings import TOKEN_CHARS_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from service.settings import Settings

_log = structlog.get_logger(__name__)
READ: Final = "read"
TRIGGER: Final = "trigger"
_SCOPES: Final = frozenset({READ, TRIGGER})
_NAME: Final = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token without its value."""

    name: str
    digest: bytes
    scopes: frozenset[str]


ANONYMOUS: Final = ApiToken("anonymous", b"", _SCOPES)


def parse_tokens(text: str) -> list[ApiToken]:
    """Entries `name:token[:scopes]`, a line or a `;` each. Raises `ConfigurationError`, never with a value."""
    entries = [entry.strip() for entry in re.split(r"[;\n]", text)]
    tokens = [_parse(number, entry) for number, entry in enumerate(entries, 1) if entry and not entry.startswith("#")]
    if len({token.digest for token in tokens}) < len(tokens):
        raise ConfigurationError("A token of SERVICE_API_TOKENS is there twice.", "Give each entry its own.")
    return tokens


def _parse(number: int, entry: str) -> ApiToken:
    name, _, rest = entry.partition(":")
    value, _, scopes_text = rest.partition(":")
    scopes = frozenset(scope.strip() for scope in scopes_text.split(",")) if scopes_text else _SCOPES
    if not _NAME.match(name):
        what = "has no name before the first ':'"
    elif len(value) < TOKEN_CHARS_MIN:
        what = f"has a token of fewer than {TOKEN_CHARS_MIN} characters"
    elif not scopes <= _SCOPES:
        what = "has scopes other than read and trigger"
    else:
        return ApiToken(name, hashlib.sha256(value.encode()).digest(), scopes)
    # Its name is not shown: of a token that stands alone, that would be the token.
    raise ConfigurationError(
        f"Entry {number} of SERVICE_API_TOKENS {what}.",
        "Write name:token or name:token:read; `openssl rand -hex 32` makes one.",
    )


class Tokens:
    """The tokens that count now: those of the setting, or of the file, which is looked at before each use.

    A file that has become useless leaves the tokens as they were, and says so in the log and by `stale`.
    """

    def __init__(self, tokens: Sequence[ApiToken], file: Path | None = None) -> None:
        self._file = file
        self._seen = _signature(file)
        self._tokens = _read(file) if file else tokens
        self.stale = False

    def current(self) -> Sequence[ApiToken]:
        """The tokens; none: everybody may do everything."""
        if self._file and (seen := _signature(self._file)) != self._seen:
            self._seen = seen
            self._read_again(self._file)
        return self._tokens

    def _read_again(self, file: Path) -> None:
        try:
            tokens = _read(file)
            if not tokens:
                raise ConfigurationError("SERVICE_API_TOKENS_FILE holds no token any more.", "Write them again.")
        except ConfigurationError as error:
            self.stale = True
            _log.error("api_tokens_kept", reason=error.message)
        else:
            self._tokens, self.stale = tokens, False
            _log.info("api_tokens_read", names=[token.name for token in tokens])


def _signature(file: Path | None) -> tuple[int, int, int] | None:
    """Changes when the file does, also when a link on the way to it is set anew, as Kubernetes updates secrets."""
    try:
        status = file.stat() if file else None
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size) if status else None


def _read(file: Path) -> list[ApiToken]:
    try:
        return parse_tokens(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"SERVICE_API_TOKENS_FILE names something that cannot be read ({type(error).__name__}).", "Mount it there."
        ) from error


def tokens_of(settings: Settings) -> Tokens:
    """The configured tokens; none is allowed only on a loopback address. Raises `ConfigurationError`."""
    text = settings.service_api_tokens.get_secret_value() if settings.service_api_tokens else ""
    tokens = Tokens(parse_tokens(text), settings.service_api_tokens_file)
    if not tokens.current() and settings.service_host not in _LOOPBACK:
        raise ConfigurationError(
            f"SERVICE_HOST is {settings.service_host}, reachable from outside, and no API token is set.",
            "Set SERVICE_API_TOKENS or SERVICE_API_TOKENS_FILE, or listen on 127.0.0.1.",
        )
    return tokens


def authenticate(tokens: Sequence[ApiToken], given: bytes, scope: str) -> ApiToken:
    """Who calls. Raises `CredentialError`: `UNAUTHORIZED` without a good token, `FORBIDDEN` without the scope."""
    if not tokens:
        return ANONYMOUS
    digest = hashlib.sha256(given).digest()
    matches = [token for token in tokens if hmac.compare_digest(token.digest, digest)]
    if not matches:
        raise CredentialError("UNAUTHORIZED", "A valid API token is needed.", "Send Authorization: Bearer <token>.")
    if scope not in matches[0].scopes:
        raise CredentialError("FORBIDDEN", f"This token may not {scope}.", f"Use a token with the scope {scope}.")
    return matches[0]
