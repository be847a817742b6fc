"""What the gauges of `/metrics` say: looked up when somebody scrapes, without waiting for the landing."""

from __future__ import annotations

import datetime as dt

from service.observability.metrics import Standing
from service.runs.receipts import overdue
from service.wiring import Service


async def standing(service: Service) -> Standing:
    """How things stand. Raises `StoreError`."""
    store, datasets, now = service.store, service.datasets, service.clock.now()
    waiting = await store.waiting_for_receipt()
    ages = {
        name: None if since is None else (now - dt.datetime.fromisoformat(since)).total_seconds()
        for name, since in datasets.fresh_since.items()
    }
    seen_at = datasets.landing_seen_at
    return Standing(
        runs_by_state=await store.count_by_state(),
        receipts_overdue=overdue(waiting, service.clock.now_text()),
        lanes=len(service.settings.datasource_ids),
        lanes_busy=await store.busy_datasources(),
        freshness_s=ages,
        landing_up=seen_at is not None and datasets.landing_error is None,
        landing_seen_s=dt.datetime.fromisoformat(seen_at).timestamp() if seen_at else 0.0,
        event_streams=service.watch.followers,
    )
