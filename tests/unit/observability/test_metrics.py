"""The metrics and their page say the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from service import __version__
from service.errors import UpstreamError
from service.observability.metrics import Metrics, Standing

NOTHING = Standing(
    {}, 0, 2, 1, {"file_metadata": None, "pii": 60.0}, landing_up=True, landing_seen_s=5.0, event_streams=3
)
PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def scraped(metrics: Metrics, standing: Standing = NOTHING) -> dict[str, tuple[str, str, set[str]]]:
    """Of each metric: its type, its help, the names of its labels."""
    text = metrics.scrape(standing).decode()
    return {
        family.name: (family.type, family.documentation, {name for one in family.samples for name in one.labels})
        for family in text_string_to_metric_families(text)
    }


def told(metrics: Metrics) -> Metrics:
    """With a value for each label, so that every metric shows."""
    error = UpstreamError("DXR_UNAVAILABLE", "It is away.")
    metrics.attempt_failed("DXR_UNAVAILABLE")
    metrics.databricks_request_failed(error)
    metrics.retried("dxr", error)
    for counter in (metrics._rows, metrics._rejected, metrics._bytes):
        counter.labels("file_metadata").inc()
    metrics._durations.labels("snapshot", "landed").observe(1)
    return metrics


def test_the_page_lists_every_metric_with_its_type_and_labels() -> None:
    rows = re.findall(r"^\| `(dxr_ingest_\w+)` \| (\w+)[^|]*\|([^|]*)\|([^|]+)\|$", PAGE.read_text(), re.MULTILINE)
    documented = {
        name.removesuffix("_total") if kind == "counter" else name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, _ in rows
    }
    found = {
        name: (kind, labels - {"le"})
        for name, (kind, _, labels) in scraped(told(Metrics())).items()
        if name.startswith("dxr_ingest_") and not name.endswith("_created")
    }
    assert documented == found


def test_every_metric_has_help_and_a_unit_of_prometheus() -> None:
    for name, (kind, help_text, _) in scraped(told(Metrics())).items():
        assert help_text, name
        if kind == "histogram":
            assert name.endswith("_seconds")
        assert not re.search(r"_(ms|minutes|hours|days|mb|kb)$", name)


def test_freshness_is_the_age_or_infinite() -> None:
    text = Metrics().scrape(NOTHING).decode()
    assert 'dxr_ingest_dataset_freshness_seconds{dataset="file_metadata"} +Inf' in text
    assert 'dxr_ingest_dataset_freshness_seconds{dataset="pii"} 60.0' in text


def test_what_is_looked_up() -> None:
    text = Metrics().scrape(replace(NOTHING, runs_by_state={"landed": 4}, receipts_overdue=1)).decode()
    for line in (
        'dxr_ingest_runs{state="landed"} 4.0',
        'dxr_ingest_runs{state="failed"} 0.0',
        "dxr_ingest_receipts_overdue 1.0",
        "dxr_ingest_lanes 2.0",
        "dxr_ingest_lanes_busy 1.0",
        "dxr_ingest_landing_up 1.0",
        "dxr_ingest_landing_last_success_timestamp_seconds 5.0",
        "dxr_ingest_event_streams 3.0",
        f'dxr_ingest_build_info{{version="{__version__}"}} 1.0',
    ):
        assert line in text
    assert "process_start_time_seconds" in text
