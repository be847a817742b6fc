"""Of every golden answer the job places what the service stores and keeps what it rejects: the same files hold both."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.spark.landing_builder import reject, run_id

if TYPE_CHECKING:
    from tests.spark.conftest import House

ANSWERS = Path(__file__).parents[1] / "golden" / "answers"


def stored(name: str) -> list[bytes]:
    return (ANSWERS / f"{name}.rows").read_bytes().split(b"\n")[:-1]


def rejected(name: str, expected: dict[str, Any]) -> list[tuple[int, bytes | None, str]]:
    """The rejects of an answer: number, the line unless it is too long to be kept, and the reason."""
    lines = (ANSWERS / f"{name}.ndjson").read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [
        (number, None if reason == "TOO_LONG" else lines[number - 1], reason) for number, reason in expected["rejects"]
    ]


def test_every_row_is_placed_and_every_reject_is_in_the_quarantine(house: House) -> None:
    answers = {
        name: expected
        for name, expected in json.loads((ANSWERS / "expected.json").read_text()).items()
        if "rows" in expected
    }
    filled = [name for name in answers if stored(name)]
    rejects = [one for name, expected in answers.items() for one in rejected(name, expected)]
    assert len(rejects) > 20
    commit = house.landing.commit(1, [stored(name) for name in filled], rejects=[reject(*one) for one in rejects])
    house.ingest()
    receipt = house.landing.receipt(1)
    assert receipt is not None
    assert (receipt["state"], receipt["quarantined_rows"]) == ("ingested", len(rejects))
    assert receipt["table_rows"] == sum(len(stored(name)) for name in filled)
    found: dict[str, list[bytes]] = {}
    for row in house.table().selectExpr("_chunk", "_run_id", "CAST(raw_json AS BINARY) AS raw").collect():
        assert row["_run_id"] == run_id(1)
        found.setdefault(row["_chunk"], []).append(bytes(row["raw"]))
    for name, chunk in zip(filled, commit["chunks"], strict=True):
        assert sorted(found[chunk["path"]]) == sorted(stored(name)), name
    kept = house.table("dxr_quarantine").select("line_number", "raw", "reason").collect()
    assert Counter((number, raw and bytes(raw), reason) for number, raw, reason in kept) == Counter(rejects)
