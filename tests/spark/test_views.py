"""The views that the command makes on request, and every query of docs/tables.md on tables that it made."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spark_jobs.ingest import main
from spark_jobs.schemas import CLASSIFICATION, INGEST_LOG, QUARANTINE, SNAPSHOT
from spark_jobs.tables import Table
from spark_jobs.views import classification_views, snapshot_views
from tests.spark.landing_builder import LandingBuilder, reject, rows, run_id

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).parents[2] / "docs" / "tables.md"
LONG_AGO, MISSING, BEFORE, NEWEST = date(2025, 12, 1), date(2026, 1, 29), date(2026, 1, 30), date(2026, 1, 31)
TABLES = {
    "file_metadata": SNAPSHOT,
    "dxr_metadata": CLASSIFICATION,
    "dxr_quarantine": QUARANTINE,
    "dxr_ingest_log": INGEST_LOG,
}
LEGAL = {"id": "1", "name": "Legal", "connector": {"type": "BOX", "userId": "u"}}
HR = {"id": "2", "name": "HR", "connector": {"type": "AMAZON_S3"}}
ANNA = {"id": "a", "accountType": "USER", "name": "Anna", "email": "anna@x.example"}
STAFF = {"id": "s", "accountType": "GROUP", "name": "Staff"}
CONFIDENTIAL, INTERNAL, PUBLIC = ({"id": name[0], "name": name} for name in ("Confidential", "Internal", "Public"))


def annotator(name: str, domain: str, phrases: int) -> dict:
    found = [{"phrase": "x", "locations": [{"start": 1, "end": 2}]}]
    return {"id": name, "name": name, "domain": {"id": domain, "name": domain}, "uniquePhrases": phrases,
            "annotations": found}  # fmt: skip


def row(file_id: str, datasource: dict, **fields: object) -> bytes:
    known = {"fileId": file_id, "fileName": f"{file_id}.pdf", "path": f"/{file_id}.pdf", "size": 5, "labels": []}
    return json.dumps({**known, "datasource": datasource, "annotators": [], **fields}).encode()


def news(path: str, **fields: object) -> bytes:
    place = {"catalog_name": "c", "schema_name": "s", "volume_name": "v", "relative_path": path}
    line = {"file_path": f"/Volumes/c/s/v/{path}", **place, "file_size": 10, "collected_at": "2026-01-31T00:00:00Z"}
    return json.dumps({**line, **fields}).encode()


@dataclass(frozen=True)
class Governance:
    """The landing, the flags of the command, and the session in the schema of the tables."""

    spark: object
    landing: LandingBuilder
    flags: list[str]

    def sql(self, query: str):
        return self.spark.sql(query)


@pytest.fixture(scope="module")
def governance(spark, tmp_path_factory):
    """The tables and views of four snapshots and a classification, made by the command, their schema being current."""
    root = tmp_path_factory.mktemp("governance")
    landing = LandingBuilder(root / "landing")
    for number, day in enumerate((LONG_AGO, NEWEST)):
        landing.commit(7 + number, [rows(1)], dataset="contracts", day=str(day))
    lost = landing.commit(2, [rows(1)], day=str(MISSING))
    (landing.root / lost["chunks"][0]["path"]).unlink()
    landing.commit(3, [[
        row("contract", LEGAL, labels=[INTERNAL], categories=["Contract", {"name": "Old"}]),
        row("same", LEGAL, labels=[PUBLIC, INTERNAL], annotators=[annotator("E-mail", "PII", 2)]),
        row("gone", HR, labels=[CONFIDENTIAL]),
        row("plain", HR),
    ]], day=str(BEFORE))  # fmt: skip
    landing.commit(4, [[
        row("contract", LEGAL, labels=[CONFIDENTIAL], categories=[{"name": "Old"}, "Contract"], size=6, owner=ANNA,
            createdAt="2026-01-02T03:04:05Z", entitlements={"whoCanAccess": [ANNA, STAFF]}, coordinates={"lat": 1}),
        # The other order and more phrases are no other names, and twice is once.
        *[row("same", LEGAL, labels=[INTERNAL, PUBLIC], annotators=[annotator("E-mail", "PII", 9)])] * 2,
        row("plain", HR, path=None, fileName="moved.pdf"),
        row("new", HR, annotators=[annotator("IBAN", "Financial", 1), annotator("Phone", "PII", 3)],
            dlpLabels=[{"id": "d", "dlpSystem": "PURVIEW", "type": "APPLIED"}]),
        row("odd", HR, labels={"unexpected": "form"}, createdAt="yesterday"),
        b'{"size":1}',
        b"no row",
    ]], day=str(NEWEST), rejects=[reject(7, b"\xffbytes", "not UTF-8")])  # fmt: skip
    landing.commit(6, [[
        news("a", status="LABELLED", labels=["Invoice", "PII"]),
        news("b", status="LABELLED", labels=[], tags=["7"]),
        news("c", status="TOO_LARGE", reason="the file is too large"),
        news("d", status="DELETED", labels=["Invoice"], deleted_at="2026-01-31T00:00:00Z"),
    ]], dataset="dxr_metadata", kind="classification")  # fmt: skip
    flags = [f"--landing-path={landing.root}", f"--checkpoint-path={root / 'cp'}", "--create-views"]
    flags += ["--dxr-delta-table=governance.file_metadata"]
    assert main(flags) == 0
    spark.catalog.setCurrentDatabase("governance")
    yield Governance(spark, landing, flags)
    spark.catalog.setCurrentDatabase("default")


def found(governance: Governance, query: str) -> list[tuple]:
    return [tuple(row) for row in governance.sql(query).collect()]


@contextmanager
def unreadable(governance: Governance, table: str, *days: date) -> Iterator[None]:
    """The files of these days are not there, so a query that reads them fails."""
    location = governance.sql(f"DESCRIBE DETAIL {table}").first().location
    folders = [Path(location.removeprefix("file:")) / f"ingestion_date={day}" for day in days]
    for folder in folders:
        folder.rename(folder.with_name(f"hidden-{folder.name}"))
    try:
        yield
    finally:
        for folder in folders:
            folder.with_name(f"hidden-{folder.name}").rename(folder)


def test_every_view_says_what_it_is_and_what_its_columns_are(governance):
    made = {row.viewName for row in governance.sql("SHOW VIEWS").collect()}
    views = {
        view.of(Table.of(name, None)).label: view
        for name in ("file_metadata", "contracts", "dxr_metadata")
        for view in (classification_views if name == "dxr_metadata" else snapshot_views)(Table.of(name, None))
    }
    assert made == set(views)
    for name, view in views.items():
        lines = governance.sql(f"DESCRIBE EXTENDED {name}").collect()
        described = {line.col_name: line for line in lines}
        assert described["Comment"].data_type == view.comment
        assert [(line.col_name, line.comment) for line in lines[: len(view.columns)]] == [
            (column.name, column.comment) for column in view.columns
        ]


def test_typed_columns_stand_beside_the_texts_that_they_are_of(governance):
    query = "SELECT * FROM file_metadata_typed WHERE ingestion_date = DATE'2026-01-31'"
    query = f"{query} AND file_id IN ('contract', 'new', 'odd') ORDER BY file_id"
    [contract, new, odd] = governance.sql(query).collect()
    assert (contract.labels[0].name, contract.labels_json) == (
        "Confidential",
        json.dumps([CONFIDENTIAL]).replace(" ", ""),
    )
    assert contract.datasource.connector.userId == "u"
    assert (contract.owner.email, contract.categories) == ("anna@x.example", ["Old", "Contract"])
    assert [account.name for account in contract.entitlements.whoCanAccess] == ["Anna", "Staff"]
    assert (contract.coordinates.lat, contract.coordinates.alt) == (1.0, None)
    assert contract.created_at == "2026-01-02T03:04:05Z"
    assert contract.created_time.astimezone(UTC) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (odd.labels, odd.labels_json, odd.created_time) == ([(None, None)], '{"unexpected":"form"}', None)
    assert '"unexpected"' in odd.raw_json
    iban = new.annotators[0]
    assert (iban.domain.name, iban.uniquePhrases, iban.annotations[0].locations) == ("Financial", 1, [(1, 2)])
    assert new.dlpLabels == [("d", "PURVIEW", None, "APPLIED")]


def test_the_newest_state_reads_the_newest_day_alone(governance):
    with unreadable(governance, "file_metadata", BEFORE):
        newest = found(governance, "SELECT file_id, ingestion_date, size FROM file_metadata_newest ORDER BY file_id")
        sensitive = found(governance, "SELECT file_id FROM file_metadata_sensitive ORDER BY file_id")
        with pytest.raises(Exception, match=f"ingestion_date={BEFORE}|FILE_NOT_EXIST|DELTA_FILE_NOT_FOUND"):
            found(governance, "SELECT file_id, size FROM file_metadata_typed")
    names = [None, "contract", "new", "odd", "plain", "same", "same"]
    assert [(name, day) for name, day, _ in newest] == [(name, NEWEST) for name in names]
    assert sensitive == [("contract",), ("new",), ("odd",), ("same",), ("same",)]


def test_what_changed_is_told_once_a_file_and_by_names(governance):
    changes = {row.file_id: row for row in governance.sql("SELECT * FROM file_metadata_changes").collect()}
    assert {name: row.change for name, row in changes.items()} == {
        "contract": "relabelled",
        "gone": "gone",
        "new": "new",
        "odd": "new",
    }
    assert {(row.previous_date, row.ingestion_date) for row in changes.values()} == {(BEFORE, NEWEST)}
    contract, gone, new = (changes[name] for name in ("contract", "gone", "new"))
    assert (contract.labels_added, contract.labels_removed) == (["Confidential"], ["Internal"])
    assert (contract.categories_added, contract.categories_removed) == ([], [])
    assert (gone.labels_removed, gone.datasource_name, gone.path) == (["Confidential"], "HR", "/gone.pdf")
    assert (new.annotators_added, new.dlp_labels_added) == (["IBAN", "Phone"], ["d"])
    # Without a recent day nothing is known to be new, and no old one is read.
    with unreadable(governance, "contracts", LONG_AGO):
        assert found(governance, "SELECT * FROM contracts_changes") == []


RUN, FOLDER = run_id(4), f"chunks/file_metadata/ingestion_date={NEWEST}/run_id={run_id(4)}/attempt=1"
FRESHNESS = "Which day is incomplete"
NO_ROW = "not exactly one JSON object in valid UTF-8"
LOST = f"chunks/file_metadata/ingestion_date={MISSING}/run_id={run_id(2)}/attempt=1/part-00000.jsonl.gz"
ANSWERS = {
    "Which files hold X": [
        [("Legal", "/same.pdf", "E-mail", 9), ("HR", "/new.pdf", "Phone", 3)],
        [("/contract.pdf", "Anna", "Anna", "USER"), ("/contract.pdf", "Anna", "Staff", "GROUP")],
    ],
    "Where are the sensitive files": [[("HR", 3, 2, Decimal("66.7")), ("Legal", 2, 2, Decimal("100.0"))]],
    "What became sensitive since yesterday": [
        [
            ("relabelled", "Legal", "/contract.pdf", ["Confidential"], [], []),
            ("new", "HR", "/new.pdf", [], ["IBAN", "Phone"], ["d"]),
        ]
    ],
    "What changed since yesterday": [
        [(BEFORE, NEWEST, "gone", 1), (BEFORE, NEWEST, "new", 2), (BEFORE, NEWEST, "relabelled", 1)]
    ],
    "What was a file on a day": [
        [(BEFORE, "/contract.pdf", 5, ["Internal"]), (NEWEST, "/contract.pdf", 6, ["Confidential"])]
    ],
    "Which classified files of a volume have which label": [
        [("Invoice", 1, 10), ("PII", 1, 10)],
        [("TOO_LARGE", "the file is too large", 1)],
    ],
    FRESHNESS: [
        [(MISSING, "missing", None, [f"CHUNK_MISSING: {LOST}"]), (NEWEST, "lines in quarantine", 2, None)],
        [("contracts", NEWEST, "AGE"), ("file_metadata", NEWEST, "AGE")],
    ],
    "What is in the quarantine, and why": [
        [
            ("file_metadata", NEWEST, "not UTF-8", 1, f"{FOLDER}/rejects-00000.jsonl.gz", 7),
            ("file_metadata", NEWEST, NO_ROW, 1, f"{FOLDER}/part-00000.jsonl.gz", 8),
        ],
        [
            (RUN, f"{FOLDER}/part-00000.jsonl.gz", 8, NO_ROW, "no row"),
            (RUN, f"{FOLDER}/rejects-00000.jsonl.gz", 7, "not UTF-8", None),
        ],
    ],
    "Does it balance": [[]],
}


def queries() -> dict[str, list[str]]:
    """The queries of the document by the heading that they stand under."""
    part = DOCUMENT.read_text().partition("\n## Queries\n")[2]
    sections = re.split(r"^### (.+)$", part, flags=re.MULTILINE)[1:]
    texts = zip(sections[::2], sections[1::2], strict=True)
    return {heading: re.findall(r"```sql\n(.*?)```", text, re.DOTALL) for heading, text in texts}


def test_every_query_of_the_document_answers_its_question(governance):
    [[today]] = found(governance, "SELECT current_date()")
    answers = {heading: [found(governance, query) for query in asked] for heading, asked in queries().items()}
    [[tomorrow]] = found(governance, "SELECT current_date()")
    ages = {(day - NEWEST).days for day in (today, tomorrow)}
    freshness = [(dataset, day, "AGE" if age in ages else age) for dataset, day, age in answers[FRESHNESS][1]]
    answers[FRESHNESS][1] = sorted(freshness)
    assert answers == ANSWERS


def test_the_document_has_every_column():
    text = DOCUMENT.read_text()
    for name, schema in TABLES.items():
        part = text.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]
        expected = [f"| `{column.name}` | {column.type.upper()} | {column.comment} |" for column in schema.columns]
        assert [line for line in part.splitlines() if line.startswith("| `")] == expected
    own = {column.name for column in SNAPSHOT.columns}
    for view in snapshot_views(Table.of("file_metadata", None)):
        part = re.split(rf"\n### .*`<table>_{view.suffix}`", text)[1].partition("\n##")[0]
        columns = [
            column for column in view.columns if view.suffix not in ("typed", "newest") or column.name not in own
        ]
        expected = [f"| `{column.name}` | {column.comment} |" for column in columns]
        assert [line for line in part.splitlines() if line.startswith("| `")] == expected


def test_a_view_that_cannot_be_made_is_named_and_undoes_nothing(governance, capfd):
    landing, flags = governance.landing, governance.flags
    governance.sql("DROP VIEW contracts_newest")
    governance.sql("CREATE TABLE contracts_newest (mine INT) USING delta")
    governance.sql("DROP VIEW file_metadata_typed")
    landing.commit(9, [rows(3)], dataset="contracts", day="2026-02-01")
    assert main(flags) == 1
    out, err = capfd.readouterr()
    assert "dxr-ingest-tables: governance.contracts_newest cannot be made ([" in err
    assert len(re.findall(r"cannot be made", err)) == 1
    assert out.endswith("done: 1 ingested, 0 superseded, 0 refused; 3 rows, 0 quarantined, 0 commits pending\n")
    assert found(governance, "SELECT count(*) FROM contracts_typed WHERE ingestion_date = DATE'2026-02-01'") == [(3,)]
    assert found(governance, "SELECT count(*) FROM file_metadata_newest") == [(7,)]
