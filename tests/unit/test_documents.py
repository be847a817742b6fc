"""The documents against the repository: every test that one names exists, and so does whatever one links to."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.documents import PAGES, ROOT, without_blocks

if TYPE_CHECKING:
    from pathlib import Path

TEST = re.compile(r"`(?:tests/)?([\w/]+\.py)::([\w:]+)`")
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


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


@cache
def anchors(page: Path) -> frozenset[str]:
    """How GitHub names the headings of a page: the second of the same words gets a number."""
    seen: Counter[str] = Counter()
    found: set[str] = set()
    for title in HEADING.findall(without_blocks(page.read_text())):
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_names_exists(document: Path) -> None:
    text = document.read_text()
    named = TEST.findall(text)
    assert [f"{path}::{name}" for path, name in named if name not in functions(path)] == []
    assert len(named) == text.count(".py::")
    links = [((document.parent / path).resolve() if path else document, anchor) for path, anchor in LINK.findall(text)]
    assert [page for page, _ in links if not page.exists()] == []
    assert [(page, anchor) for page, anchor in links if anchor and anchor not in anchors(page)] == []


def test_every_threat_names_its_test() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    tables = page[page.index("## The API") : page.index("## The parts")]
    threats = [line for line in tables.splitlines() if re.match(r"\| (API|E)\d", line)]
    assert len(threats) > 25
    elsewhere = [line for line in threats if not TEST.search(line.rsplit("|", 2)[1])]
    assert [line for line in elsewhere if not re.search(r"\| see [^|]+ \|", line)] == []
