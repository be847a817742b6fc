"""API tokens: names, scopes, and errors that never hold a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from service.api.auth import ANONYMOUS, READ, TRIGGER, authenticate, parse_tokens, tokens_of
from service.errors import ConfigurationError, CredentialError

if TYPE_CHECKING:
    from pathlib import Path

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


def test_the_same_token_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="there twice") as caught:
        parse_tokens(f"ops:{LONG};board:{LONG}:read")
    assert LONG not in caught.value.message


class Secret:
    """A folder as Kubernetes mounts a secret: the file is a link through `..data`, which is set anew as a whole."""

    def __init__(self, folder: Path, text: str) -> None:
        self._folder = folder
        self.file = folder / "tokens"
        self.file.symlink_to("..data/tokens")
        self.update(text)

    def update(self, text: str | bytes) -> None:
        version = self._folder / f"..{len(list(self._folder.iterdir()))}"
        version.mkdir()
        (version / "tokens").write_bytes(text if isinstance(text, bytes) else text.encode())
        (self._folder / "..new").symlink_to(version.name)
        (self._folder / "..new").rename(self._folder / "..data")


def test_a_token_file_is_read_again_when_it_changes(make_settings: MakeSettings, tmp_path: Path) -> None:
    secret = Secret(tmp_path, f"ops:{LONG}\n")
    tokens = tokens_of(make_settings(service_host="0.0.0.0", service_api_tokens_file=str(secret.file)))
    assert authenticate(tokens.current(), LONG.encode(), TRIGGER).name == "ops"
    secret.update(f"ops:{OTHER}\nboard:{'z' * 32}:read\n")
    assert [token.name for token in tokens.current()] == ["ops", "board"]
    with pytest.raises(CredentialError):
        authenticate(tokens.current(), LONG.encode(), READ)
    secret.file.unlink()
    secret.file.write_text(f"plain:{LONG}")  # a file that is written in place
    assert [token.name for token in tokens.current()] == ["plain"]


@pytest.mark.parametrize("broken", ["", "# none\n", "ops:short", b"ops:\xff", f"ops:{OTHER}\nops:"])
def test_a_broken_token_file_leaves_the_tokens_as_they_were(
    make_settings: MakeSettings, tmp_path: Path, broken: str | bytes
) -> None:
    secret = Secret(tmp_path, f"ops:{LONG}\n")
    tokens = tokens_of(make_settings(service_api_tokens_file=str(secret.file)))
    with structlog.testing.capture_logs() as log:
        secret.update(broken)
        for _ in range(3):
            assert authenticate(tokens.current(), LONG.encode(), TRIGGER).name == "ops"
        assert tokens.stale
        secret.update(f"new:{OTHER}")
        assert authenticate(tokens.current(), OTHER.encode(), TRIGGER).name == "new"
        assert not tokens.stale
    assert [line["event"] for line in log] == ["api_tokens_kept", "api_tokens_read"]  # once, not with each request
    assert OTHER not in str(log)


def test_a_token_file_that_vanishes_leaves_the_tokens_as_they_were(make_settings: MakeSettings, tmp_path: Path) -> None:
    secret = Secret(tmp_path, f"ops:{LONG}\n")
    tokens = tokens_of(make_settings(service_api_tokens_file=str(secret.file)))
    secret.file.unlink()
    assert [token.name for token in tokens.current()] == ["ops"]
    assert tokens.stale
