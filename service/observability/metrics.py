"""Prometheus metrics; names and labels are part of what operators see, none carries data of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.errors import DxrIngestError
from service.runs.model import State

if TYPE_CHECKING:
    from service.runs.model import Run

_DURATION_BUCKETS_S: Final = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800)


class Metrics:
    """One registry per service, so that two in a process (tests) do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._runs = Gauge("dxr_ingest_runs", "Runs in the store by state.", ["state"], registry=self._registry)
        self._rows = Counter("dxr_ingest_rows", "Rows landed.", ["dataset"], registry=self._registry)
        self._rejected = Counter(
            "dxr_ingest_rejected_rows", "Lines landed as rejects.", ["dataset"], registry=self._registry
        )
        self._bytes = Counter("dxr_ingest_raw_bytes", "Bytes of rows landed.", ["dataset"], registry=self._registry)
        self._durations = Histogram(
            "dxr_ingest_run_duration_seconds",
            "Time from the start of a run in this process to its end.",
            ["kind", "state"],
            buckets=_DURATION_BUCKETS_S,
            registry=self._registry,
        )
        self._failed_attempts = Counter(
            "dxr_ingest_attempt_failures",
            "Attempts that ended without a commit, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self._databricks = Counter(
            "dxr_ingest_databricks_request_failures",
            "Requests to Databricks that failed; those that can be are tried again.",
            ["reason"],
            registry=self._registry,
        )
        self._overdue = Gauge(
            "dxr_ingest_receipts_overdue", "Landed runs whose receipt is missing for too long.", registry=self._registry
        )

    def run_ended(self, run: Run, seconds: float) -> None:
        """Count a run that this process carried out."""
        self._durations.labels(run.request.kind.value, run.state.value).observe(seconds)
        if run.commit is not None:
            dataset = run.request.dataset
            self._rows.labels(dataset).inc(run.counts.get("rows", 0))
            self._rejected.labels(dataset).inc(run.counts.get("rejected_rows", 0))
            self._bytes.labels(dataset).inc(run.counts.get("raw_bytes", 0))

    def attempt_failed(self, reason: str) -> None:
        """Count an attempt that will be repeated or that ended its run."""
        self._failed_attempts.labels(reason).inc()

    def databricks_request_failed(self, error: Exception) -> None:
        """Count one try of a request."""
        self._databricks.labels(error.code if isinstance(error, DxrIngestError) else "INTERNAL").inc()

    def scrape(self, runs_by_state: dict[str, int], receipts_overdue: int) -> bytes:
        """The exposition text, with what the store says now."""
        for state in State:
            self._runs.labels(state.value).set(runs_by_state.get(state.value, 0))
        self._overdue.set(receipts_overdue)
        return generate_latest(self._registry)
