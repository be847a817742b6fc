"""The documents, and what they let people type: the commands of their blocks, and those in their sentences."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for folder in ("docs", "deploy", "tests") for page in (ROOT / folder).rglob("*.md"))]
)
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}
COMMANDS = "console"
NO_COMMANDS = {"", "text", "yaml", "json", "sql", "mermaid", "properties"}

_FENCED = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_BEGIN = re.compile(r"^\$ ", re.MULTILINE)
_REMARK = re.compile(r"\s+# .*$")
_INLINE = re.compile(r"`([^`\n]+)`")
_PROGRAM = re.compile(r"(make|kubectl|databricks|docker|dxr-ingest|dxr-ingest-tables|\.venv/bin/\S+) [^\d]")


def blocks(text: str) -> list[tuple[str, str]]:
    """The language and the text of each fenced block, without its indentation."""
    return [(found["language"], textwrap.dedent(found["body"])) for found in _FENCED.finditer(text)]


def commands(text: str) -> list[list[str]]:
    """For each block of commands its commands, without the remarks behind them."""
    return [
        [_REMARK.sub("", command.replace("\\\n", " ")).strip() for command in _BEGIN.split(body)[1:]]
        for language, body in blocks(text)
        if language == COMMANDS
    ]


def mentioned(text: str) -> list[str]:
    """The commands in sentences and tables."""
    return [found for found in _INLINE.findall(without_blocks(text)) if _PROGRAM.match(found)]


def without_blocks(text: str) -> str:
    """Headings, sentences and tables."""
    return _FENCED.sub("", text)
