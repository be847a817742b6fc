"""`dxr-ingest cleanup`: removes in this process what the landing keeps for nobody, and says what and why."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import typer

from service import wiring
from service.clock import SystemClock
from service.landing.cleanup import clean
from service.landing.retention import Reason
from service.observability.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Collection

    from service.landing.cleanup import Report, Tally
    from service.settings import Settings

# `-o json` shows all.
_LINES_MAX: Final = 20
_MEANINGS: Final = {
    Reason.ORPHANED: "no commit names it, and its run is over or nobody's",
    Reason.INGESTED: "in its table for long enough",
    Reason.SUPERSEDED: "replaced by a newer commit for long enough",
    Reason.ACTIVE: "its run is under way",
    Reason.RECENT: "no commit names it, but its run may be another store's",
    Reason.UNREADABLE: "its commit cannot be read",
    Reason.AWAITED: "its commit has no receipt yet",
    Reason.REFUSED: "its commit was refused",
    Reason.RETAINED: "its receipt is too young",
    Reason.FOREIGN: "not of this program",
}


async def cleaned(settings: Settings, *, dry_run: bool) -> Report:
    """Clean up; only a rehearsal may do so beside a process that works on the run store.

    Raises `ConfigurationError` with `STORE_IN_USE`, and what the landing and the store raise.
    """
    async with contextlib.AsyncExitStack() as stack:
        if not dry_run:
            stack.enter_context(wiring.held(settings))
        partners = await stack.enter_async_context(wiring.opened_partners(settings, Metrics()))
        states_of = _none_known
        if settings.has_store:
            states_of = (await stack.enter_async_context(wiring.opened_store(settings))).ended
        now = SystemClock().now()
        return await clean(partners.landing, states_of, settings.landing_retention_days, now, dry_run=dry_run)


def render(report: Report) -> None:
    """The sums, why, and the first of the paths."""
    done = "would remove" if report.dry_run else "removed"
    for title, removed in ((done, True), ("kept", False)):
        typer.echo(f"{title} {_figures(report.total(removed=removed))}")
        for reason, tally in report.of(removed=removed).items():
            typer.echo(f"  {reason.value:<10} {_figures(tally)}: {_MEANINGS[reason]}")
    _some([f"{done} {one.path} ({one.reason.value})" for one in report.removed])
    _some([f"cannot be read: {path}" for path in sorted(report.unreadable)], err=True)
    _some([f"error: {one.path} stays. {one.message} ({one.code})" for one in report.failed], err=True)


def _some(lines: list[str], *, err: bool = False) -> None:
    for line in lines[:_LINES_MAX]:
        typer.echo(line, err=err)
    if len(lines) > _LINES_MAX:
        typer.echo(f"… and {len(lines) - _LINES_MAX:,} more (`-o json` shows all)", err=err)


def _figures(tally: Tally) -> str:
    return f"{tally.files:,} {'file' if tally.files == 1 else 'files'}, {tally.bytes:,} bytes"


async def _none_known(_run_ids: Collection[str]) -> dict[str, bool]:
    return {}
