"""Time, passed in, so that tests decide what time it is."""

from __future__ import annotations

import datetime as dt
import time
from typing import Protocol


class Clock(Protocol):
    """The host's clock."""

    def now(self) -> dt.datetime:
        """Now, in UTC."""
        ...

    def now_text(self) -> str:
        """Now as ISO 8601 with microseconds and `Z`, as it stands in every document."""
        ...

    def monotonic_s(self) -> float:
        """Seconds for measuring spans."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> dt.datetime:
        """Now, in UTC."""
        return dt.datetime.now(dt.UTC)

    def now_text(self) -> str:
        """Now as ISO 8601 with microseconds and `Z`."""
        return as_text(self.now())

    def monotonic_s(self) -> float:
        """Seconds for measuring spans."""
        return time.monotonic()


def as_text(moment: dt.datetime) -> str:
    """ISO 8601 in UTC with microseconds and `Z`: text that sorts as time does."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def microseconds(moment: dt.datetime) -> int:
    """Microseconds since 1970 UTC, exactly."""
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def from_microseconds(microseconds: int) -> dt.datetime:
    """The moment in UTC."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=microseconds)
