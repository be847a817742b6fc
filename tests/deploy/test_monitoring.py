"""Alert rules and dashboard ask for what the service has, parse, and lead to a page that says what to do."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import promql_parser as promql
import pytest
import yaml

from scripts.deploy_check import KUBERNETES, ROOT, problems, render
from service.observability.metrics import Metrics
from service.runs.model import Kind, State

RULES = KUBERNETES / "components" / "prometheusrule" / "prometheus-rule.yaml"
RULE_TESTS = Path(__file__).with_name("alerts.test.yaml")
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dxr-ingest.json").read_text())
RUNBOOK = ROOT / "docs" / "runbook.md"
SPEC = yaml.safe_load(RULES.read_text())["spec"]
ALERTS = {rule["alert"]: rule for group in SPEC["groups"] for rule in group["rules"]}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# What Prometheus adds to every series of a target that a ServiceMonitor names.
OF_TARGETS = {"namespace", "job", "pod", "instance"}
OF_PROMETHEUS = {"up": set()}
PROMTOOL = shutil.which("promtool")


@dataclass(frozen=True)
class Query:
    """An expression and where it stands; `shown` are the labels that its result is told by."""

    place: str
    text: str
    shown: frozenset[str]

    def __str__(self) -> str:
        return self.place


def queries() -> Iterator[Query]:
    for name, rule in ALERTS.items():
        shown = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
        yield Query(name, rule["expr"], frozenset(shown))
    for panel in PANELS:
        for target in panel["targets"]:
            shown = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            yield Query(f"{panel['title']}-{target['refId']}", target["expr"], frozenset(shown))


def metrics() -> dict[str, set[str]]:
    """The labels of everything that the service shows, by the names that a query has for it."""
    registry = Metrics()._registry
    # A registry also knows the families, whose samples have longer names.
    named = {
        name: set(one._labelnames)
        for name, one in registry._names_to_collectors.items()
        if one._type == "gauge" or name != one._name
    }
    found = named | {sample.name: set(sample.labels) for family in registry.collect() for sample in family.samples}
    buckets = {name: labels | {"le"} for name, labels in found.items() if name.endswith("_bucket")}
    return found | buckets | OF_PROMETHEUS


def nodes(text: str) -> list[promql.Expr]:
    found: list[promql.Expr] = []
    promql.walk(promql.parse(text), found.append)
    return found


def known_values(label: str) -> set[str] | None:
    """The values of a label, if they are known beforehand."""
    sources = [file.read_text() for file in (ROOT / "service").rglob("*.py")] if label == "reason" else []
    codes = {code for source in sources for code in re.findall(r'"([A-Z][A-Z_]+)"', source)}
    return {"state": {state.value for state in State}, "kind": {kind.value for kind in Kind}, "reason": codes}.get(
        label
    )


def complaints(query: Query) -> Iterator[str]:
    """What a query asks for that is not there."""
    known = metrics()
    asked = [node for node in nodes(query.text) if isinstance(node, promql.VectorSelector)]
    grouped = [node.modifier for node in nodes(query.text) if isinstance(node, promql.AggregateExpr) and node.modifier]
    every = OF_TARGETS.union(*(known.get(one.name, ()) for one in asked))
    for one in asked:
        if one.name not in known:
            yield f"no metric {one.name}"
            continue
        for matcher in one.matchers.matchers:
            if matcher.name not in known[one.name] | OF_TARGETS:
                yield f"{one.name} has no label {matcher.name}"
            elif wrong := set(matcher.value.split("|")) - (known_values(matcher.name) or set(matcher.value.split("|"))):
                yield f"{matcher.name} is never {wrong}"
    if wrong := set().union(*(modifier.labels for modifier in grouped)) - every:
        yield f"nothing has the labels {wrong}"
    # Of an aggregation only the labels are left that it is made by.
    if wrong := set(query.shown) - (set(grouped[0].labels) if grouped else every):
        yield f"the result has no labels {wrong}"


@pytest.mark.parametrize("query", list(queries()), ids=str)
def test_a_query_asks_for_metrics_labels_and_values_that_are_there(query):
    assert list(complaints(query)) == []


@pytest.mark.parametrize(
    ("text", "shown", "said"),
    [
        ("max(dxr_ingest_run)", "", "no metric dxr_ingest_run"),
        ("increase(dxr_ingest_rows[1d])", "", "no metric dxr_ingest_rows"),
        ('dxr_ingest_runs{dataset="x"}', "", "dxr_ingest_runs has no label dataset"),
        ('dxr_ingest_runs offset 1h unless dxr_ingest_runs{state="broken"}', "", "state is never {'broken'}"),
        ('dxr_ingest_attempt_failures_total{reason=~"STREAM_CUT|NONE_SUCH"}', "", "reason is never {'NONE_SUCH'}"),
        ("sum by (dataset) (dxr_ingest_runs)", "", "nothing has the labels {'dataset'}"),
        ("max by (state) (dxr_ingest_runs) > 0", "pod", "the result has no labels {'pod'}"),
        ("dxr_ingest_lanes", "state", "the result has no labels {'state'}"),
    ],
)
def test_a_wrong_query_is_found(text, shown, said):
    assert list(complaints(Query("here", text, frozenset(shown.split())))) == [said]


def test_what_does_not_parse_is_found():
    with pytest.raises(ValueError, match="invalid promql"):
        list(complaints(Query("here", "sum by dataset (dxr_ingest_runs)", frozenset())))


def headings(document: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", list(ALERTS))
def test_an_alert_says_how_bad_it_is_and_where_the_way_out_is(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "runbook"}
    assert promql.parse_duration(rule.get("for", "1s")).total_seconds() <= 3600
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    assert name.lower() in headings(RUNBOOK)
    entry = RUNBOOK.read_text().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert "**Means.**" in entry
    assert "**Do.**" in entry


def test_the_runbook_and_the_dashboard_name_no_alert_that_is_not_there():
    texts = [RUNBOOK.read_text(), *(panel["description"] for panel in PANELS)]
    assert set(re.findall(r"\bDxrIngest\w+", " ".join(texts))) == set(ALERTS)
    for page, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)", RUNBOOK.read_text()):
        target = (RUNBOOK.parent / page).resolve() if page else RUNBOOK
        assert target.exists()
        assert not anchor or anchor in headings(target)


def test_every_alert_is_seen_firing_and_every_rule_test_is_about_one():
    cases = [case for test in yaml.safe_load(RULE_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(ALERTS)
    for case in cases:
        for alert in case["exp_alerts"]:
            assert alert["exp_labels"]["severity"] == ALERTS[case["alertname"]]["labels"]["severity"]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on the PATH; the other tests parse every expression")
def test_prometheus_itself_evaluates_the_rules(tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(SPEC))
    shutil.copy(RULE_TESTS, tmp_path)
    for words in (["check", "rules", "rules.yaml"], ["test", "rules", RULE_TESTS.name]):
        done = subprocess.run([PROMTOOL, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_with_a_field_that_is_none_is_found(tmp_path):
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    rules = tmp_path / "kubernetes" / RULES.relative_to(KUBERNETES)
    (tmp_path / "kustomization.yaml").write_text(
        "namespace: dxr-ingest\nresources: [kubernetes/overlays/single]\n"
        "components: [kubernetes/components/cronjob-pods, kubernetes/components/prometheusrule]\n"
    )
    assert problems(render(tmp_path)) == []
    rules.write_text(rules.read_text().replace("for: 10m", "four: 10m"))
    assert problems(render(tmp_path)) == ["PrometheusRule dxr-ingest: unknown fields ['four']"]


def test_the_dashboard_is_whole():
    assert DASHBOARD["schemaVersion"] >= 39
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)\}?", json.dumps(DASHBOARD))) <= variables | {"__all"}
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_no_panel_lies_on_another():
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in DASHBOARD["panels"])
