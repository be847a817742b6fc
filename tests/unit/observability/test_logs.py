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
    structlog.reset_defaults()


@pytest.mark.usefixtures("_configured")
def test_no_exception_text_reaches_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")  # after capsys took stderr
    try:
        raise ValueError("alice@example.com")
    except ValueError as error:
        logging.getLogger("uvicorn.error").exception("crashed")
        structlog.get_logger("ours").error("crashed", exc_info=error)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 2
    for line in lines:
        assert (line["event"], line["error"], line["level"]) == ("crashed", "ValueError", "error")
        assert line["where"].rpartition(":")[0] == __file__
        assert "alice" not in json.dumps(line)


@pytest.mark.usefixtures("_configured")
def test_the_level_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning")
    structlog.get_logger("ours").info("quiet")
    structlog.get_logger("ours").warning("heard", run_id="1")
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line).items() >= {"event": "heard", "run_id": "1", "level": "warning"}.items()
