"""Which fault meets which request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tests.simulators.databricks.faults import Fault, On

# A fault, or what makes one: `faults.reset_after()` and `faults.reset_after` both say it.
FaultLike = Fault | Callable[[], Fault]


@dataclass(slots=True)
class _Lottery:
    ratio: float
    random: Random
    kinds: Sequence[FaultLike]
    on: On

    def draw(self, method: str, path: str) -> Fault | None:
        """Draw for every request that it is on, so that the luck of one does not depend on what fits another."""
        if not self.on(method, path):
            return None
        luck, place = self.random.random(), self.random.random()
        fitting = [fault for fault in map(_made, self.kinds) if fault.fits(method, path)]
        return fitting[int(place * len(fitting))] if luck < self.ratio and fitting else None


class FaultPlan:
    """Queued faults first, each used up by the request it strikes; then chance; then the lasting faults in order.

    `on` is asked with method and path (without escapes) and says which requests a fault may strike; where none is
    given, the plan's own does. A fault that does not fit a request, such as a cut body a PUT, lets it pass and waits.
    """

    def __init__(self, on: On) -> None:
        self._on = on
        self._queue: list[tuple[Fault, On]] = []
        self._lotteries: list[_Lottery] = []
        self._lasting: list[tuple[Fault, On]] = []

    @property
    def waiting(self) -> int:
        """How many queued faults have not struck."""
        return len(self._queue)

    def next(self, *faults: FaultLike, on: On | None = None, times: int = 1) -> None:
        """Let these strike the next requests in this order, the whole of it `times` times."""
        self._queue.extend((_made(fault), on or self._on) for _ in range(times) for fault in faults)

    def randomly(self, ratio: float, seed: int, kinds: Sequence[FaultLike], *, on: On | None = None) -> None:
        """Let one of these kinds, chosen at random, strike this share of the requests; the seed decides both."""
        self._lotteries.append(_Lottery(ratio, Random(seed), list(kinds), on or self._on))

    def always(self, fault: FaultLike, *, on: On | None = None) -> None:
        """Let this strike whatever nothing else does."""
        self._lasting.append((_made(fault), on or self._on))

    def clear(self) -> None:
        """Forget all faults that have not struck."""
        self._queue.clear()
        self._lotteries.clear()
        self._lasting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return what strikes this request, if anything."""
        for place, (fault, on) in enumerate(self._queue):
            if on(method, path) and fault.fits(method, path):
                del self._queue[place]
                return fault
        drawn = [fault for lottery in self._lotteries if (fault := lottery.draw(method, path)) is not None]
        if drawn:
            return drawn[0]
        return next((fault for fault, on in self._lasting if on(method, path) and fault.fits(method, path)), None)


def _made(fault: FaultLike) -> Fault:
    return fault if isinstance(fault, Fault) else fault()
