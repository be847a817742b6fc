"""API tokens: names, scopes, and errors that never hold a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.api.auth import ANONYMOUS, READ, TRIGGER, authenticate, parse_tokens, tokens_of
from service.errors import ConfigurationError, CredentialError

if TYPE_CHECKING:
    from tests.conftest import MakeSettings

LONG, OTHER = "x" * 32, "y" * 40


def test_entries_with_and_without_scopes() -> None:
    tokens = parse_tokens(f"ops:{LONG}; board:{OTHER}:read\n\n# a comment\nci:{'z' * 32}:read,trigger")
    assert [(token.name, token.scopes) for token in tokens] == [
        ("ops", {READ, TRIGGER}),
        ("board", {READ}),
        ("ci", {READ, TRIGGER}),
    ]
    assert LONG not in repr(tokens)


@pytest.mark.parametrize("entry", [f":{LONG}", "ops", "ops:short", f"ops:{LONG}:write", f"two words:{LONG}"])
def test_a_wrong_entry_is_named_by_its_place(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="Entry 2 of SERVICE_API_TOKENS") as caught:
        parse_tokens(f"good:{OTHER};{entry}")
    assert LONG not in caught.value.message


def test_who_calls() -> None:
    tokens = parse_tokens(f"ops:{LONG};board:{OTHER}:read")
    assert authenticate(tokens, LONG.encode(), TRIGGER).name == "ops"
    assert authenticate(tokens, OTHER.encode(), READ).name == "board"
    for given in ("", "wrong", LONG[:-1], LONG + "x"):
        with pytest.raises(CredentialError) as caught:
            authenticate(tokens, given.encode(), READ)
        assert caught.value.code == "UNAUTHORIZED"
    with pytest.raises(CredentialError) as caught:
        authenticate(tokens, OTHER.encode(), TRIGGER)
    assert caught.value.code == "FORBIDDEN"
    assert authenticate([], b"", TRIGGER) is ANONYMOUS


def test_without_tokens_only_loopback(make_settings: MakeSettings) -> None:
    assert tokens_of(make_settings(service_host="127.0.0.1")).current() == []
    with pytest.raises(ConfigurationError, match="no API token is set"):
        tokens_of(make_settings(service_host="0.0.0.0"))
    assert len(tokens_of(make_settings(service_host="0.0.0.0", service_api_tokens=f"ops:{LONG}")).current()) == 1
    with pytest.raises(ConfigurationError, match="SERVICE_API_TOKENS_FILE"):
        tokens_of(make_settings(service_api_tokens_file="/nowhere"))
