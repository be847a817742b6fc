"""The edge of the command line: an error that nobody expected is a sentence, and its text is never shown."""

from __future__ import annotations

import pytest

from service.cli import main
from service.errors import UpstreamError

PERSON = "alice@example.com"


def broken() -> None:
    try:
        raise KeyError(PERSON)
    except KeyError as error:
        try:
            raise UpstreamError("STREAM_CUT", "The answer broke off.") from error
        except UpstreamError:
            raise ValueError(f"a row of {PERSON}") from None


def chained() -> None:
    try:
        raise KeyError(PERSON)
    except KeyError as error:
        raise UpstreamError("STREAM_CUT", "The answer broke off.", "It is repeated.") from error


def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], work: object, *, debug: bool) -> str:
    monkeypatch.setattr(main, "app", lambda **_: work())  # pyright: ignore[reportCallIssue]
    monkeypatch.setattr(main, "_debug", debug)
    with pytest.raises(SystemExit) as caught:
        main.run()
    out, err = capsys.readouterr()
    assert (out, caught.value.code) == ("", 1 if work is broken else 5)
    assert PERSON not in err
    return err


def test_an_unexpected_error_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ended(monkeypatch, capsys, broken, debug=False)
    assert told.startswith("error: The service met a problem it does not know (ValueError).\n")
    assert "--debug" in told
    assert len(told.splitlines()) == 2


def test_debug_shows_where_without_what(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told = ended(monkeypatch, capsys, broken, debug=True)
    assert "in broken" in told
    assert "ValueError: its text may hold data" in told
    told = ended(monkeypatch, capsys, chained, debug=True)
    places = [told.index(text) for text in ("KeyError: its text", "Then:", "UpstreamError: The answer broke off.")]
    assert places == sorted(places)
    assert told.endswith("error: The answer broke off.\n  It is repeated.\n")
