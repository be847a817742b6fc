"""The one retry loop of the service: which errors are tried again, how long it waits, when it gives up."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import stamina

from service.errors import LandingError, LeaseLostError, StoreError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


# So that lanes which were sent away together do not come back together.
_JITTER_S: Final = 1.0
# A full disk or a missing right needs a person; only these may pass by themselves.
_PASSING: Final = frozenset({"LANDING_UNAVAILABLE", "LANDING_SIZE"})


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Retrying:
    """So many tries in all, at most `wait_s_max` apart, with jitter: together they bound the time that is waited.

    A `Retry-After` is honoured up to that cap; one of no time at all waits as if there were none. `on_error` is told
    what ended each attempt, `on_retry` what ended one that is followed by another.
    """

    attempts_max: int
    wait_s_max: float
    on_error: Callable[[Exception], None]
    on_retry: Callable[[Exception], None] = lambda _error: None

    def attempts(self, used: int = 0) -> AsyncIterator[stamina.Attempt]:
        """`async for attempt in …: with attempt: …` leaves on success, or raises the last error.

        `used` attempts were made before; one is always left.
        """
        tries = _Tries(self)
        context = stamina.retry_context(
            on=tries.decide,
            attempts=max(1, self.attempts_max - used),
            timeout=None,
            wait_initial=1.0,
            wait_max=self.wait_s_max,
            wait_jitter=_JITTER_S,
        )
        tries.inner = aiter(context)
        return tries

    async def call(self, work: Callable[[], Awaitable[_T]], used: int = 0) -> _T:
        """What `work` gives, tried again as often as allowed. Raises the last error."""
        async for attempt in self.attempts(used):
            with attempt:
                return await work()
        raise AssertionError  # the loop returns or raises

    def decide(self, error: BaseException) -> bool | float:
        """Whether it is tried again, or after how many seconds."""
        if not isinstance(error, Exception) or isinstance(error, StoreError | LeaseLostError):
            return False  # a cancel, or the run is not ours: nothing that DXR or Databricks did
        self.on_error(error)
        if isinstance(error, LandingError):
            return error.code in _PASSING
        if not isinstance(error, UpstreamError):
            return False
        if error.retry_after_s:
            return min(error.retry_after_s + random.uniform(0, _JITTER_S), self.wait_s_max)  # noqa: S311 - no secret
        return True


class _Tries:
    """The attempts of one call; tells of each that follows another."""

    inner: AsyncIterator[stamina.Attempt]

    def __init__(self, retrying: Retrying) -> None:
        self._retrying = retrying
        self._ended: Exception | None = None

    def decide(self, error: BaseException) -> bool | float:
        self._ended = error if isinstance(error, Exception) else None
        return self._retrying.decide(error)

    def __aiter__(self) -> _Tries:
        return self

    async def __anext__(self) -> stamina.Attempt:
        attempt = await anext(self.inner)
        if self._ended is not None:
            self._retrying.on_retry(self._ended)
            self._ended = None
        return attempt
