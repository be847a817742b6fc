"""Which fault meets which request."""

from collections import deque

from tests.simulators.dxr.faults import Fault, Whole


class FaultPlan:
    """Queued faults first, each used up by one request that was not refused; then the lasting one, if there is one."""

    def __init__(self) -> None:
        self._queue: deque[Fault] = deque()
        self._lasting: Fault | None = None

    def next(self, fault: Fault, *, times: int = 1) -> None:
        """Put a fault at the end of the queue, for `times` requests."""
        self._queue.extend([fault] * times)

    def always(self, fault: Fault) -> None:
        """Answer so whenever the queue is empty."""
        self._lasting = fault

    def clear(self) -> None:
        """Forget all faults that have not begun."""
        self._queue.clear()
        self._lasting = None

    def take(self) -> Fault:
        """Return how to answer now; without any fault, the rows and a proper end."""
        if self._queue:
            return self._queue.popleft()
        return self._lasting or Whole()
