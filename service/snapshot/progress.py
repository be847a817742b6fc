"""What a running snapshot tells: written by the flow, read by whoever looks (store, progress bar, metrics)."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Progress:
    """Counts of the current attempt."""

    served_lines: int = 0
    rows: int = 0
    rejected_rows: int = 0
    blank_lines: int = 0
    wire_bytes: int = 0
    raw_bytes: int = 0
    stored_bytes: int = 0
    chunks: int = 0
    # Of the last whole snapshot of the dataset: DXR tells no total, so this is what comes nearest to one.
    rows_before: int | None = None

    def reset(self, rows_before: int | None) -> None:
        """A new attempt starts from nothing."""
        self.__init__(rows_before=rows_before)

    def as_dict(self) -> dict[str, int | None]:
        """For the run's `progress`."""
        return asdict(self)

    def counts(self) -> dict[str, int]:
        """For the run's `counts`."""
        names = ("served_lines", "rows", "rejected_rows", "blank_lines", "raw_bytes", "stored_bytes", "chunks")
        told = asdict(self)
        return {name: told[name] for name in names}
