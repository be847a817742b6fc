"""What the service stores of every golden answer, the job must place: the same files hold both sides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.spark.landing_builder import run_id

if TYPE_CHECKING:
    from tests.spark.conftest import House

ANSWERS = Path(__file__).parents[1] / "golden" / "answers"


def test_every_row_that_the_service_stores_is_a_row_of_the_table(house: House) -> None:
    names = [
        name for name, expected in json.loads((ANSWERS / "expected.json").read_text()).items() if "rows" in expected
    ]
    stored = {name: (ANSWERS / f"{name}.rows").read_bytes().split(b"\n")[:-1] for name in names}
    filled = [name for name in names if stored[name]]
    commit = house.landing.commit(1, [stored[name] for name in filled])
    house.ingest()
    receipt = house.landing.receipt(1)
    assert receipt is not None
    assert (receipt["state"], receipt["quarantined_rows"]) == ("ingested", 0)
    assert receipt["table_rows"] == sum(map(len, stored.values()))
    found: dict[str, list[bytes]] = {}
    for row in house.table().selectExpr("_chunk", "_run_id", "CAST(raw_json AS BINARY) AS raw").collect():
        assert row["_run_id"] == run_id(1)
        found.setdefault(row["_chunk"], []).append(bytes(row["raw"]))
    for name, chunk in zip(filled, commit["chunks"], strict=True):
        assert sorted(found[chunk["path"]]) == sorted(stored[name]), name
