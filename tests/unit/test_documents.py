"""The documents against the repository: every test that one names exists, and so does every file that one links to."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TEST = re.compile(r"`(?:tests/)?([\w/]+\.py)::([\w:]+)`")
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)[^)]*\)")


@cache
def functions(path: str) -> frozenset[str]:
    """The tests of a file, with the class that they stand in; none of a file that is not there."""
    file = ROOT / "tests" / path
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body if file.is_file() else []:
        within = node.body if isinstance(node, ast.ClassDef) else [node]
        before = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {f"{before}{one.name}" for one in within if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    return frozenset(found)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_names_exists(document: Path) -> None:
    text = document.read_text()
    named = TEST.findall(text)
    assert [f"{path}::{name}" for path, name in named if name not in functions(path)] == []
    assert len(named) == text.count(".py::")
    assert [link for link in LINK.findall(text) if not (document.parent / link).exists()] == []


def test_every_threat_names_its_test() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    tables = page[page.index("## The API") : page.index("## The parts")]
    threats = [line for line in tables.splitlines() if re.match(r"\| (API|E)\d", line)]
    assert len(threats) > 25
    elsewhere = [line for line in threats if not TEST.search(line.rsplit("|", 2)[1])]
    assert [line for line in elsewhere if not re.search(r"\| see [^|]+ \|", line)] == []
