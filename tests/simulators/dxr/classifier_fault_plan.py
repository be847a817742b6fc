"""Which fault of the classifier strikes what."""

from collections import Counter

from tests.simulators.dxr.classifier_faults import AnyFault, Point, Subject


class ClassifierFaultPlan:
    """Queued faults first, each used up by what it first strikes; then the lasting ones, in the order given."""

    def __init__(self) -> None:
        self._queue: list[tuple[AnyFault, int]] = []
        self._lasting: list[AnyFault] = []
        self._struck: Counter[tuple[object, ...]] = Counter()

    def next(self, fault: AnyFault, *, times: int = 1) -> None:
        """Put a fault at the end of the queue, to strike `times` times (or `fault.times` times that)."""
        self._queue.append((fault, times * (fault.times or 1)))

    def always(self, fault: AnyFault) -> None:
        """Add a lasting fault; with `fault.times` it strikes each subject so often and then lets it pass."""
        self._lasting.append(fault)

    def clear(self) -> None:
        """Forget all faults; a job keeps its fate."""
        self._queue.clear()
        self._lasting.clear()
        self._struck.clear()

    def take(self, point: Point, subject: Subject) -> AnyFault | None:
        """Return what strikes this subject now, or None."""
        for place, (fault, left) in enumerate(self._queue):
            if fault.at == point and fault.meets(subject):
                self._queue[place : place + 1] = [(fault, left - 1)] if left > 1 else []
                return fault
        for place, fault in enumerate(self._lasting):
            if fault.at != point or not fault.meets(subject):
                continue
            struck = (place, subject.key)
            if fault.times is not None and self._struck[struck] >= fault.times:
                continue
            self._struck[struck] += 1
            return fault
        return None
