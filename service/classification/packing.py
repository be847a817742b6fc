"""Files → jobs within the budgets of one job. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.classification.volume import VolumeFile


@dataclass(frozen=True, slots=True)
class Budget:
    """`DXR_MAX_BYTES_PER_JOB` and `DXR_MAX_FILES_PER_JOB`."""

    bytes_max: int
    files_max: int

    def too_large(self, file: VolumeFile) -> bool:
        """Whether the file fits into no job at all."""
        return file.size_bytes > self.bytes_max


@dataclass(slots=True)
class Packer:
    """Fills one job after another in the order of the files; a job is never empty and never above its budget."""

    budget: Budget
    _open: list[VolumeFile] = field(default_factory=list["VolumeFile"])
    _open_bytes: int = 0

    def add(self, file: VolumeFile) -> list[VolumeFile] | None:
        """Put a file that is not too large into the open job; the job before, when the file did not fit into it."""
        full = None
        fits = self._open_bytes + file.size_bytes <= self.budget.bytes_max and len(self._open) < self.budget.files_max
        if self._open and not fits:
            full = self.close()
        self._open.append(file)
        self._open_bytes += file.size_bytes
        return full

    def close(self) -> list[VolumeFile] | None:
        """The open job, if there is one."""
        files, self._open, self._open_bytes = self._open, [], 0
        return files or None
