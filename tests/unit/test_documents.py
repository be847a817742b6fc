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
def functions_of(file: Path) -> frozenset[str]:
    """The functions of a file of tests, with the class that they stand in; none of one that is not there."""
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
    assert [f"{path}::{name}" for path, name in named if name not in functions_of(ROOT / "tests" / path)] == []
    assert len(named) == text.count(".py::")
    assert [link for link in LINK.findall(text) if not (document.parent / link).exists()] == []


def test_every_threat_names_its_test() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    threats = [line for line in page.splitlines() if re.match(r"\| (API\d|E\d)[^|]* \| .* \| .* \|$", line)]
    threats = [line for line in threats if "see the next table" not in line and "see *What" not in line]
    assert len(threats) > 25
    assert [line for line in threats if not TEST.search(line.rsplit("|", 2)[1]) and line.count("|") > 4] == []
