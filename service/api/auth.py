"""API tokens: named, with scopes, compared in constant time as hashes."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.errors import ConfigurationError, CredentialError
from service.settings import TOKEN_CHARS_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.settings import Settings

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
    return [_parse(number, entry) for number, entry in enumerate(entries, 1) if entry and not entry.startswith("#")]


def _parse(number: int, entry: str) -> ApiToken:
    name, _, rest = entry.partition(":")
    value, _, scopes_text = rest.partition(":")
    scopes = frozenset(scope.strip() for scope in scopes_text.split(",")) if scopes_text else _SCOPES
    if not _NAME.match(name):
        what = "has no name before the first ':'"
    elif len(value) < TOKEN_CHARS_MIN:
        what = f"({name}) has a token of fewer than {TOKEN_CHARS_MIN} characters"
    elif not scopes <= _SCOPES:
        what = f"({name}) has scopes other than read and trigger"
    else:
        return ApiToken(name, hashlib.sha256(value.encode()).digest(), scopes)
    raise ConfigurationError(
        f"Entry {number} of SERVICE_API_TOKENS {what}.",
        "Write name:token or name:token:read; `openssl rand -hex 32` makes one.",
    )


class Tokens:
    """The tokens that count now."""

    def __init__(self, tokens: Sequence[ApiToken]) -> None:
        self._tokens = tokens

    def current(self) -> Sequence[ApiToken]:
        """The tokens; none: everybody may do everything."""
        return self._tokens


def tokens_of(settings: Settings) -> Tokens:
    """The configured tokens; none is allowed only on a loopback address. Raises `ConfigurationError`."""
    text = settings.service_api_tokens.get_secret_value() if settings.service_api_tokens else ""
    if file := settings.service_api_tokens_file:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"SERVICE_API_TOKENS_FILE names {file}, which cannot be read ({type(error).__name__}).",
                "Mount it there.",
            ) from error
    tokens = Tokens(parse_tokens(text))
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
