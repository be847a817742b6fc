"""`dxr-ingest status`: was yesterday complete? For people as a strip of days, for monitors by the exit code."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import typer

from service import wiring
from service.cli.strip import LEGEND, age, strip
from service.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.settings import Settings

# And today.
DAYS_SHOWN: Final = 29


async def looked_up(settings: Settings, days: int) -> list[dict[str, Any]]:
    """What `GET /v1/datasets` answers, from the run store and the landing themselves."""
    async with wiring.opened_datasets(settings) as datasets:
        found = await datasets.of_days(days)
        now = SystemClock().now()
        return [one.as_dict(now, datasets.landing_seen_at) for one in found]


def days_back(date: str) -> int:
    """How many days ago that was; -1 when it is no date (YYYY-MM-DD)."""
    try:
        return (SystemClock().now().date() - dt.date.fromisoformat(date)).days
    except ValueError:
        return -1


def render(datasets: Sequence[dict[str, Any]], lacks: Sequence[str]) -> None:
    """A block for each dataset, the legend, and what is not complete."""
    for one in datasets:
        last = one["last_complete"]
        typer.echo(f"{one['dataset']}  [{strip(one['days'])}]")
        if last:
            rows = "" if last["rows"] is None else f", {last['rows']:,} rows"
            typer.echo(f"  newest complete day {last['date']}{rows}, {age(one['freshness_seconds'])} old")
        else:
            typer.echo("  no complete day yet")
        if one["missing_days"]:
            typer.echo(f"  missing: {', '.join(one['missing_days'])}")
    typer.echo(LEGEND)
    for line in lacks:
        typer.echo(f"not complete: {line}", err=True)
