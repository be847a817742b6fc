"""Prometheus metrics; names and labels are part of what operators see, none carries data of a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from service import __version__
from service.errors import DxrIngestError
from service.runs.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.runs.model import Run

_DURATION_BUCKETS_S: Final = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is looked up when somebody scrapes: it is the store's and the landing's, not this process's alone."""

    runs_by_state: Mapping[str, int]
    receipts_overdue: int
    lanes: int
    lanes_busy: int
    # Of each dataset that is expected every day; None: nothing of it is complete.
    freshness_s: Mapping[str, float | None]
    landing_up: bool
    landing_seen_s: float
    event_streams: int


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
        self._retries = Counter(
            "dxr_ingest_retries",
            "Attempts and requests that followed a failed one, by whom they asked and what had failed.",
            ["target", "reason"],
            registry=self._registry,
        )
        self._overdue = self._gauge("receipts_overdue", "Landed runs without a receipt for more than six hours.")
        self._lanes = self._gauge("lanes", "Classifier datasources that are configured.")
        self._lanes_busy = self._gauge("lanes_busy", "Classifier datasources that a run holds now.")
        self._freshness = Gauge(
            "dxr_ingest_dataset_freshness_seconds",
            "Age of the data in the table of a dataset: since its newest complete run began. +Inf: there is none.",
            ["dataset"],
            registry=self._registry,
        )
        self._landing_up = self._gauge("landing_up", "1 if the last look at the landing succeeded, else 0.")
        self._landing_seen = self._gauge(
            "landing_last_success_timestamp_seconds", "When a look at the landing succeeded last; 0: it never did."
        )
        self._streams = self._gauge("event_streams", "Open streams of events of this process.")
        self._stale_tokens = self._gauge(
            "api_tokens_stale", "1 while SERVICE_API_TOKENS_FILE cannot be used and the tokens from before count."
        )
        Info("dxr_ingest_build", "The version that runs.", registry=self._registry).info({"version": __version__})
        ProcessCollector(registry=self._registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"dxr_ingest_{name}", meaning, registry=self._registry)

    def follow_api_tokens(self, stale: Callable[[], bool]) -> None:
        """Show what `stale` says whenever metrics are read."""
        self._stale_tokens.set_function(stale)

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

    def retried(self, target: str, error: Exception) -> None:
        """Count a try that follows a failed one; `target` is `dxr` or `databricks`."""
        self._retries.labels(target, error.code if isinstance(error, DxrIngestError) else "INTERNAL").inc()

    def scrape(self, now: Standing) -> bytes:
        """The exposition text."""
        for state in State:
            self._runs.labels(state.value).set(now.runs_by_state.get(state.value, 0))
        self._overdue.set(now.receipts_overdue)
        self._lanes.set(now.lanes)
        self._lanes_busy.set(now.lanes_busy)
        for dataset, age_s in now.freshness_s.items():
            self._freshness.labels(dataset).set(math.inf if age_s is None else age_s)
        self._landing_up.set(now.landing_up)
        self._landing_seen.set(now.landing_seen_s)
        self._streams.set(now.event_streams)
        return generate_latest(self._registry)
