"""The bench runs, and its page and chart are made of what it found. What it measures is no matter of tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench import page
from bench.chart import Bar, Panel, drawn
from bench.results import save

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all parts: results are added to those that are there."""
    return tmp_path_factory.mktemp("bench")


def ran(folder: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "BENCH_TINY": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = (sys.executable, "-m", "bench", *parts)
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=400, check=False)


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / ".bench" / "results.json").read_text())


@pytest.mark.parametrize("part", ["startup", "uploads", "streams", "classification", "landing", "tables"])
def test_a_part_tells_and_keeps_what_it_measured(part: str, folder: Path) -> None:
    done = ran(folder, part)
    if part == "landing" and not shutil.which("igzip"):
        assert (done.returncode, "apt-get install isal" in done.stderr) == (1, True)
        return
    assert done.returncode in {0, 1}, done.stderr
    found = results(folder)
    assert set(found["machine"]) == {"cpu", "cores", "memory_gib", "kernel", "python"}
    assert found[part]["passed"] == all(found[part]["judged"].values()) == (done.returncode == 0)
    assert all(f"{'yes' if holds else 'NO '}  {claim}" in done.stdout for claim, holds in found[part]["judged"].items())
    assert {"at", "load_before", "load_after"} <= set(found[part])
    text = page.figures(found)
    assert all(claim in text for claim in found[part]["judged"])
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert tables
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_the_chart_shows_every_panel_and_breaks_what_is_too_long(folder: Path) -> None:
    bars = [Bar("ours", 3.0, "3.0"), Bar("<theirs> & more", 140.0, "140", "theirs")]
    picture = ET.fromstring(
        drawn([Panel("One", "s/GB", bars, 8.0), Panel("Two", "files/s", bars), Panel("3", "", bars)])
    )
    texts = ["".join(text.itertext()) for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert [one for one in texts if one in {"One", "Two", "3"}] == ["One", "Two", "3"]
    assert texts.count("<theirs> & more") == 3
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}path"))) == 1


def test_the_page_is_made_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    machine = {"cpu": "a CPU", "cores": 2, "memory_gib": 8, "kernel": "6", "python": "3.11"}
    start = {
        "at": "2026-11-22 10:00",
        "load_before": 0.1,
        "judged": {"it starts": True},
        "help_cpu_s": [0.25, 0.5, 1.0],
    }
    start |= {
        "first_byte_cpu_s": [0.5],
        "idle": {"rss": 90, "cpu_ms_per_s": 3},
        "made_of": {"x": {"mib": 1, "cpu_s": 2}},
    }
    save({"machine": machine, "startup": start})
    Path("docs").mkdir()
    page.PAGE.write_text(f"before\n{page.BEGIN}\nthe last figures\n{page.END}\nafter\n")
    page.write()
    written = page.PAGE.read_text()
    assert written.startswith(f"before\n{page.BEGIN}\n")
    assert written.endswith(f"{page.END}\nafter\n")
    assert "the last figures" not in written
    assert "| `dxr-ingest --help` | 0.50 (0.25..1.00) s CPU |" in written
    page.write()
    assert page.PAGE.read_text() == written


def test_a_part_that_there_is_not_is_told_with_those_that_there_are(folder: Path) -> None:
    done = ran(folder, "nonsense")
    assert done.returncode == 2
    assert "there is no part nonsense; there are: landing, streams" in done.stdout
