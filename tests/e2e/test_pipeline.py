"""Everything at once: tenant, service, landing, Spark job, tables, receipts, and readers that are not Spark."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from tests.conftest import TOKEN
from tests.e2e.commands import Commands
from tests.simulators.dxr import BadLines, GeneratedFiles

if TYPE_CHECKING:
    from tests.simulators.dxr import DxrSimulator

JOB = str(Path(sys.prefix) / "bin" / "dxr-ingest-tables")


async def ingest(folder: Path) -> str:
    """The Spark job as a process, outside the checkout, until it has handled what is there."""
    process = await asyncio.create_subprocess_exec(
        *(JOB, "--landing-path", str(folder / "landing"), "--checkpoint-path", str(folder / "checkpoint")),
        *("--dxr-delta-path", str(folder / "tables" / "file_metadata")),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(240):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-3000:]
    return out.decode()


def read(folder: Path, table: str, sql: str) -> Any:
    builder = QueryBuilder().register(table, DeltaTable(str(folder / "tables" / table)))
    return pa.table(builder.execute(sql))


async def until_ingested(commands: Commands, address: str, run_id: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            run = (await commands.run("runs", "show", run_id, "-o", "json", "--server", address)).json
            if run["receipt"]:
                return run


async def test_from_the_tenant_to_the_tables(tmp_path: Path, dxr: DxrSimulator) -> None:
    commands = Commands(
        tmp_path,
        {
            "DXR_BASE_URL": dxr.url,
            "DXR_BEARER_TOKEN": TOKEN,
            "LANDING_PATH": str(tmp_path / "landing"),
            "RECEIPT_POLL_SECONDS": "0.2",
            "VOLUME_CATALOG": "main",
            "VOLUME_SCHEMA": "legal",
            "VOLUME_NAME": "contracts",
            "VOLUME_BASE_PATH": str(tmp_path / "volumes"),
            "DXR_DATASOURCE_ID": "11,12",
            "DXR_POLL_INTERVAL_SECONDS": "0.01",
            "DXR_MAX_BYTES_PER_JOB": "1kB",
        },
    )
    volume = tmp_path / "volumes" / "main" / "legal" / "contracts"
    for name, content in {"a/x.txt": "label: A\n", "b/x.txt": "label: B\n", "large": "x" * 1001}.items():
        (volume / name).parent.mkdir(parents=True, exist_ok=True)
        (volume / name).write_text(content)
    dxr.classifier.datasources = ("11", "12")
    changed = GeneratedFiles(rows=500, seed=7, revision=1)
    with_bad_lines = BadLines(GeneratedFiles(rows=300, seed=9), every=20)
    async with commands.serving() as (address, _):
        runs: list[dict[str, Any]] = []
        for source, date in ((dxr.source, "2026-11-20"), (changed, "2026-11-20"), (with_bad_lines, "2026-11-21")):
            dxr.source = source
            done = await commands.run("snapshot", "-o", "json", "--server", address, "--ingestion-date", date)
            assert done.code == 0
            runs.append(done.json)
        classified = await commands.run("classify", "-o", "json", "--server", address)
        assert classified.code == 6
        said = await ingest(tmp_path)
        first, second, third = [await until_ingested(commands, address, run["id"]) for run in runs]
        labelled = await until_ingested(commands, address, classified.json["id"])
    assert (labelled["state"], labelled["counts"]["table_rows"]) == ("partial", 3)
    merged = read(
        tmp_path, "dxr_metadata", "SELECT relative_path, labels, status FROM dxr_metadata ORDER BY 1"
    ).to_pylist()
    assert [(row["relative_path"], row["labels"], row["status"]) for row in merged] == [
        ("a/x.txt", ["A"], "LABELLED"),
        ("b/x.txt", ["B"], "LABELLED"),
        ("large", None, "TOO_LARGE"),
    ]
    assert [run["state"] for run in (first, second, third)] == ["landed", "ingested", "ingested"]
    assert first["receipt"]["state"] == "superseded"
    for run in (second, third):
        counts = run["counts"]
        assert counts["rows"] + counts["rejected_rows"] == counts["table_rows"] + counts["quarantined_rows"]
        assert run["id"] in said

    rows = read(tmp_path, "file_metadata", "SELECT * FROM file_metadata")  # noqa: F841 - DuckDB reads it by its name
    by_date = duckdb.sql(
        "SELECT ingestion_date::VARCHAR AS d, count(*) AS n FROM rows GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert by_date == [("2026-11-20", 500), ("2026-11-21", 300)]
    served = sorted(b"".join(changed.blocks()).splitlines())
    day = duckdb.sql("SELECT raw_json FROM rows WHERE ingestion_date = DATE '2026-11-20'").fetchall()
    assert sorted(row[0].encode() for row in day) == served
    assert set(duckdb.sql("SELECT DISTINCT _run_id FROM rows").fetchall()) == {(second["id"],), (third["id"],)}

    quarantined = read(tmp_path, "dxr_quarantine", "SELECT line_number, raw FROM dxr_quarantine").to_pylist()
    [commit] = [json.loads(path.read_text()) for path in (tmp_path / "landing" / "commits").glob(f"*{third['id']}*")]
    rejects = [
        json.loads(line)
        for chunk in commit["rejects"]
        for line in gzip.decompress((tmp_path / "landing" / chunk["path"]).read_bytes()).splitlines()
    ]
    assert len(rejects) == third["counts"]["rejected_rows"] > 5
    assert {(line["line_number"], bytes(line["raw"])) for line in quarantined} == {
        (reject["line_number"], base64.b64decode(reject["raw"])) for reject in rejects
    }
    log = read(tmp_path, "dxr_ingest_log", "SELECT * FROM dxr_ingest_log")
    assert log.num_rows == 4
