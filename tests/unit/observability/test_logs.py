"""Logs tell class and place of an error, never its text; every line is one JSON object."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from service.observability import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def _configured() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    logs.configure("info")
    yield
    root.handlers, root.level = before
    logging.getLogger("service").setLevel(logging.NOTSET)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_configured")
def test_no_exception_text_reaches_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")  # after capsys took stderr
    try:
        raise ValueError("alice@example.com")
    except ValueError as error:
        logging.getLogger("uvicorn.error").exception("crashed")
        structlog.get_logger("service.runs").error("crashed", exc_info=error)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 2
    for line in lines:
        assert (line["event"], line["error"], line["level"]) == ("crashed", "ValueError", "error")
        assert line["where"].rpartition(":")[0] == __file__
        assert "alice" not in json.dumps(line)


@pytest.mark.usefixtures("_configured")
@pytest.mark.parametrize("level", ["debug", "warning"])
def test_what_a_library_says_is_told_without_its_words(capsys: pytest.CaptureFixture[str], level: str) -> None:
    logs.configure(level)
    for name in ("asyncio", "urllib3.connectionpool", "databricks.sdk"):
        library = logging.getLogger(name)
        library.debug("GET /Volumes/%s", "alice@example.com")
        library.info("alice@example.com")
        library.warning("exception=OSError('alice@example.com')")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["logger"] for line in lines] == ["asyncio", "urllib3.connectionpool", "databricks.sdk"]
    for line in lines:
        assert (line["event"], line["level"]) == ("library_warns", "warning")
        assert line["where"].rpartition(":")[0] == __file__
        assert "alice" not in json.dumps(line)


@pytest.mark.usefixtures("_configured")
def test_our_own_details_are_told_at_level_debug(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug")
    structlog.get_logger("service.landing").debug("chunk_removed")
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "chunk_removed"


@pytest.mark.usefixtures("_configured")
def test_the_level_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning")
    structlog.get_logger("service.runs").info("quiet")
    structlog.get_logger("service.runs").warning("heard", run_id="1")
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line).items() >= {"event": "heard", "run_id": "1", "level": "warning"}.items()
