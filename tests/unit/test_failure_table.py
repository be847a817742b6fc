"""docs/failures.md against the code: what it names exists, and no error code of the service is missing in it.

That its tests exist is seen to in `test_documents`.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from service.api.problems import _STATUS
from service.errors import _EXIT_CODES, exit_code
from service.runs.completeness import Reason
from service.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "failures.md").read_text()
NAMED = set(re.findall(r"`([^`]+)`", PAGE))
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| failure |")]
CODE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
# Constants that look like codes and are something else.
NO_CODES = {"DXR_JSON_QUERY", "DXR_SECRET", "DXR_TOKEN", *Reason}


def trees(folder: Path) -> list[ast.Module]:
    return [ast.parse(file.read_text()) for file in sorted(folder.rglob("*.py"))]


@cache
def texts(package: str) -> frozenset[str]:
    """Every text in the code of a package, and the codes that are put together from a partner's name and an ending."""
    nodes = [node for tree in trees(ROOT / package) for node in ast.walk(tree)]
    plain = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    parts = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
    endings = {
        said[1].value
        for said in parts
        if len(said) == 2
        and isinstance(said[0], ast.FormattedValue)
        and ast.unparse(said[0].value) == "codes"
        and isinstance(said[1], ast.Constant)
    }
    # A reason of the Spark job is a code and a sentence in one text.
    reasons = {text.partition(":")[0] for text in plain}
    return frozenset(plain | reasons | {f"{name}{ending}" for name in ("DXR", "DATABRICKS") for ending in endings})


@cache
def settings() -> frozenset[str]:
    names = {name.upper() for name in Settings.model_fields}
    return frozenset(names | {f"{name}_FILE" for name in names})


def test_every_failure_names_its_test() -> None:
    failures = ROWS[: next(place for place, row in enumerate(ROWS) if row.startswith("| topic "))]
    assert len(failures) > 80
    assert [row for row in failures if row.count("|") != 6 or ("::" not in row.rsplit("|", 2)[1])] == []


def test_no_error_code_of_the_service_is_missing() -> None:
    given = {text for text in texts("service") if CODE.fullmatch(text)} - settings() - NO_CODES
    assert sorted((given | _EXIT_CODES.keys() | _STATUS.keys()) - NAMED) == []


def test_every_code_that_is_named_can_be_given() -> None:
    named = {name for name in NAMED if CODE.fullmatch(name)}
    assert sorted(named - texts("service") - texts("spark_jobs") - settings()) == []


def test_exit_codes_are_those_of_the_command() -> None:
    said = set(re.findall(r"`([A-Z_]+)` \(exit (\d+)\)", PAGE))
    assert len(said) > 50
    assert sorted((code, number) for code, number in said if exit_code(code) != int(number)) == []


def test_metrics_and_log_events_that_are_named_exist() -> None:
    # That page is held against the code by a test of its own.
    listed = (ROOT / "docs" / "metrics.md").read_text()
    metrics = {name.partition("{")[0] for name in NAMED if name.startswith("dxr_ingest_")} - {"dxr_ingest_log"}
    assert len(metrics) > 4
    assert [name for name in sorted(metrics) if f"| `{name}` |" not in listed] == []
    events = {
        name for cell in re.findall(r"log ((?:`[a-z_]+`(?:, )?)+)", PAGE) for name in re.findall(r"`(.+?)`", cell)
    }
    assert len(events) > 8
    assert sorted(events - texts("service")) == []


def classes(module: str) -> set[str]:
    """The public classes of a simulator's module that are more than a base of others."""
    tree = ast.parse((ROOT / "tests" / "simulators" / f"{module.replace('.', '/')}.py").read_text())
    found = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    bases = {ast.unparse(base) for node in found for base in node.bases}
    return {f"{module}.{node.name}" for node in found if node.name not in bases and "Protocol" not in ast.unparse(node)}


def test_every_switch_of_the_simulators_is_named() -> None:
    modules = ("dxr.faults", "dxr.hostile", "dxr.classifier_faults", "databricks.faults")
    assert sorted(set().union(*map(classes, modules)) - NAMED - {"dxr.classifier_faults.Subject"}) == []


def test_every_switch_that_is_named_exists() -> None:
    named = {name for name in NAMED if re.fullmatch(r"(dxr|databricks)\.\w+\.[A-Z]\w+", name)}
    assert len(named) > 40
    assert sorted(named - set().union(*(classes(name.rpartition(".")[0]) for name in named))) == []
