"""Jobs within their budgets, whatever the files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.classification.packing import Budget, Packer
from service.classification.volume import VolumeFile


@given(st.lists(st.integers(0, 100)), st.integers(1, 100), st.integers(1, 6))
def test_every_file_is_in_one_job_in_order(sizes: list[int], bytes_max: int, files_max: int) -> None:
    budget = Budget(bytes_max, files_max)
    files = [VolumeFile(str(number), size, 0) for number, size in enumerate(sizes)]
    packer = Packer(budget)
    fitting = [file for file in files if not budget.too_large(file)]
    jobs = [job for file in fitting if (job := packer.add(file))]
    if last := packer.close():
        jobs.append(last)
    assert [file for job in jobs for file in job] == fitting
    for job in jobs:
        assert 1 <= len(job) <= files_max
        assert sum(file.size_bytes for file in job) <= bytes_max
    assert packer.close() is None


def test_a_file_of_exactly_the_budget_fits() -> None:
    assert not Budget(30_000_000, 25).too_large(VolumeFile("x", 30_000_000, 0))
    assert Budget(30_000_000, 25).too_large(VolumeFile("x", 30_000_001, 0))
