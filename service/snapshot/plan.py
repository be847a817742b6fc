"""The rules that decide whether a snapshot may be taken and whether it may be published. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import RefusedError

if TYPE_CHECKING:
    from service.landing.documents import Commit


@dataclass(frozen=True, slots=True)
class SnapshotPlan:
    """What one run is asked to land. Attempts never change it."""

    run_id: str
    dataset: str
    ingestion_date: str
    query: str | None
    record_cap: int | None
    accept_shrunken: bool


@dataclass(frozen=True, slots=True)
class SnapshotRules:
    """`SNAPSHOT_ALLOW_EMPTY` and `SNAPSHOT_MIN_ROWS_RATIO`."""

    allow_empty: bool
    rows_ratio_min: float


def refuse_capped_over_full(plan: SnapshotPlan, full: Commit | None) -> None:
    """A capped snapshot never replaces the full one of its date."""
    if plan.record_cap is not None and full is not None:
        raise RefusedError(
            "CAPPED_OVER_FULL",
            f"{plan.dataset} of {plan.ingestion_date} is landed whole already (run {full.run_id}); "
            f"a snapshot capped at {plan.record_cap} rows must not replace it.",
            "Leave the cap out, or give the capped snapshot a dataset name of its own.",
        )


def refuse_empty_or_shrunken(plan: SnapshotPlan, rules: SnapshotRules, rows: int, before: Commit | None) -> None:
    """A snapshot that lost its rows is held back; `before` is the newest uncapped commit of the dataset.

    A capped snapshot is held to nothing.
    """
    if plan.record_cap is not None or before is None or before.rows == 0:
        return
    if rows == 0 and not rules.allow_empty:
        raise RefusedError(
            "EMPTY_SNAPSHOT",
            f"DXR served no row for {plan.dataset}; the snapshot before (run {before.run_id}) has {before.rows}.",
            "Check the query and the token's rights; if there really are no files, set SNAPSHOT_ALLOW_EMPTY=true.",
        )
    if 0 < rows < before.rows * rules.rows_ratio_min and not plan.accept_shrunken:
        raise RefusedError(
            "SHRUNKEN_SNAPSHOT",
            f"DXR served {rows} rows for {plan.dataset}; the snapshot before (run {before.run_id}) has {before.rows}.",
            "Check the query and the token's rights; if it is true, start the run again with accept_shrunken.",
        )
