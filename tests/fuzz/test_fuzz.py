"""A few hundred made-up requests against the real service: no answer that the description does not promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.__main__ import fuzzed
from tests.fuzz.world import served

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_service_answers_as_it_is_described(tmp_path: Path) -> None:
    async with served(tmp_path) as address:
        found = await fuzzed(address, tmp_path, examples=10, seed=20261122)
    assert found.findings == 0, found.output
    assert found.cases > 300
    assert found.report["operations"]["tested"] == found.report["operations"]["total"] >= 8
    assert '"event": "request_crashed"' not in (tmp_path / "service.log").read_text()
