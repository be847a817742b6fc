"""`make demo`: a simulated tenant, the real service, the real Spark job, and tables that balance (else exit code 1).

Three snapshots: one of a real folder (this checkout) and generated files; one of the same date with changes, which
replaces the first; one of the next date with lines that are no rows, which end in quarantine. Then a classification of
a volume with this project's own files.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import os
import re
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from deltalake import DeltaTable, QueryBuilder
from rich.console import Console
from rich.table import Table

from tests.simulators.databricks import DatabricksSimulator
from tests.simulators.dxr import BadLines, Classifier, DxrSimulator, FolderFiles, GeneratedFiles, Source, Together

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

CHECKOUT: Final = Path(__file__).parents[1]
DEMO: Final = CHECKOUT / ".demo"
TABLES: Final = DEMO / "tables"
VOLUMES: Final = DEMO / "volumes"
VOLUME: Final = VOLUMES / "main" / "demo" / "documents"
DATASOURCES: Final = ("11", "12")
BIN: Final = Path(sys.prefix) / "bin"
TOKEN: Final = "the-token-of-the-simulated-tenant"
API_TOKEN: Final = "demo-token-that-only-lives-for-this-demo"
GENERATED_ROWS: Final = 45_000
ROWS_MIN: Final = 50_000
RUN_TIMEOUT_S: Final = 300
STOP_TIMEOUT_S: Final = 30
TOLD: Final = {
    "rows": "rows",
    "rejected_rows": "rejected",
    "chunks": "chunks",
    "scanned": "files scanned",
    "labelled": "labelled",
}
LINES: Final = ("rows", "rejected_rows", "blank_lines")
FIGURES: Final = ("served", "rows", "rejected", "blank", "in table", "in quarantine")

say = Console(highlight=False)
ended_early: list[str] = []


class Recorded:
    """A source whose blocks were made once: scanning a folder costs more than serving it."""

    def __init__(self, source: Source) -> None:
        self._blocks = list(source.blocks())
        self.count = sum(block.count(b"\n") for block in self._blocks)

    def blocks(self) -> Iterator[bytes]:
        return iter(self._blocks)


@dataclass(frozen=True)
class Taken:
    """A run of the demo and what the tenant says that it served for it."""

    title: str
    run: dict[str, Any]
    served_lines: int


async def demo(landing: str) -> bool:
    """Whether everything balances."""
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir()
    say.rule("[bold]dxr-ingest: from Data X-Ray to Delta, on this machine")
    today = dt.datetime.now(dt.UTC).date()
    with say.status("scanning this checkout: these are the tenant's real files"):
        folder = Recorded(FolderFiles(CHECKOUT, datasource_name="checkout", leave_out=frozenset({".demo", ".git"})))
    say.print(f"tenant   {folder.count:,} real files of this checkout and {GENERATED_ROWS:,} generated ones")
    first, changed = (Together(folder, GeneratedFiles(GENERATED_ROWS, seed=1, revision=n)) for n in (0, 1))
    bad = BadLines(changed, every=1000)
    steps = [
        ("first snapshot", first, today),
        ("same date, with changes", changed, today),
        ("next date, with bad lines", bad, today + dt.timedelta(days=1)),
    ]
    taken: list[Taken] = []
    volume_files = copied_into_a_volume()
    async with (
        DxrSimulator(first, tokens=(TOKEN,), classifier=Classifier(datasources=DATASOURCES)) as dxr,
        landing_in(landing) as (folder_of_landing, variables),
        serving(dxr.url, variables) as address,
        ingesting(folder_of_landing),
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_TOKEN}"}) as http,
    ):
        for title, source, date in steps:
            dxr.source = source
            run = await carried_out(http, address, title, "/v1/snapshots", {"ingestion_date": date.isoformat()})
            taken.append(Taken(title, run, dxr.served[-1].rows + dxr.served[-1].blank_lines))
            if run["state"] != "ingested":
                return False
        title = f"classification of a volume with {volume_files} real files"
        classified = await carried_out(http, address, title, "/v1/classifications", {})
    balanced = reconciled(taken) and classification_balances(classified)
    show_tables()
    if balanced:
        what_next(folder_of_landing)
    return balanced


def copied_into_a_volume() -> int:
    """This project's own files as a Unity Catalog volume, with one file that is too large for a job."""
    for name in ("service", "spark_jobs", "docs", "tests/golden"):
        shutil.copytree(CHECKOUT / name, VOLUME / name, ignore=shutil.ignore_patterns("__pycache__"))
    (VOLUME / "customers.csv").write_text("name,mail,iban\nJane Roe,jane.roe@example.com,DE89370400440532013000\n" * 20)
    (VOLUME / "too-large.bin").write_bytes(bytes(31_000_000))
    return sum(1 for path in VOLUME.rglob("*") if path.is_file())


async def carried_out(
    http: aiohttp.ClientSession, address: str, title: str, route: str, body: dict[str, Any]
) -> dict[str, Any]:
    """Trigger over HTTP and watch until the Spark job has spoken."""
    async with http.post(f"{address}{route}", json=body) as response:
        run = await response.json()
        if response.status != 202:
            raise RuntimeError(run)
    with say.status(title) as status:
        async with asyncio.timeout(RUN_TIMEOUT_S):
            while not (run["receipt"] or run["error"] or ended_early):
                await asyncio.sleep(0.3)
                async with http.get(f"{address}/v1/runs/{run['id']}") as response:
                    run = await response.json()
                told = [f"{value:,} {name}" for name, value in run["progress"].items() if name in TOLD]
                status.update(f"{title}: {run['state']}, {', '.join(told)}")
    counts = {name: value for name, value in run["counts"].items() if name in TOLD and value}
    figures = ", ".join(f"{value:,} {TOLD[name]}" for name, value in counts.items())
    say.print(f"run      {title}: [bold]{run['state']}[/], {figures}", soft_wrap=True)
    if run["error"]:
        say.print(f"         [red]{run['error']['code']}: {run['error']['message']}")
    return run


@contextlib.asynccontextmanager
async def started(name: str, *command: str, **variables: str) -> AsyncIterator[Path]:
    """A process in a group of its own, its output in a file that is yielded; gone afterwards, with all its children."""
    log = DEMO / f"{name}.log"
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("DXR_", "SERVICE_", "LANDING_", "DATABRICKS_"))
    }
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=DEMO, env=inherited | variables, stdout=out, stderr=out, start_new_session=True
        )
    watcher = asyncio.create_task(noted_when_ended(name, process, log))
    try:
        yield log
    finally:
        watcher.cancel()
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            process.terminate()
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def noted_when_ended(name: str, process: asyncio.subprocess.Process, log: Path) -> None:
    """A process of the demo that ends before it is stopped has failed: say so instead of waiting for it."""
    await process.wait()
    ended_early.append(name)
    say.print(f"[red]{name} ended with {process.returncode}; the last of {log.relative_to(CHECKOUT)}:[/]")
    say.print((await asyncio.to_thread(log.read_text))[-1500:], markup=False)


@contextlib.asynccontextmanager
async def landing_in(kind: str) -> AsyncIterator[tuple[Path, dict[str, str]]]:
    """Where the landing lies: its folder for the Spark job, and what the service must know to reach it."""
    mounted = {"VOLUME_BASE_PATH": str(VOLUMES)}
    if kind == "folder":
        yield DEMO / "landing", {"LANDING_PATH": str(DEMO / "landing"), **mounted}
        return
    async with DatabricksSimulator(VOLUMES) as databricks:
        say.print(f"volume   {databricks.url} plays a Databricks workspace: landing and documents over its Files API")
        yield (
            databricks.volume("main", "dxr", "landing"),
            {
                "LANDING_PATH": "/Volumes/main/dxr/landing",
                "DATABRICKS_HOST": databricks.url,
                "DATABRICKS_CLIENT_ID": databricks.client_id,
                "DATABRICKS_CLIENT_SECRET": databricks.client_secret,
            },
        )


@contextlib.asynccontextmanager
async def serving(dxr_url: str, landing: dict[str, str]) -> AsyncIterator[str]:
    """The real service; yields its address."""
    variables = {
        "DXR_BASE_URL": dxr_url,
        "DXR_BEARER_TOKEN": TOKEN,
        **landing,
        "STATE_DIR": str(DEMO / "state"),
        "SERVICE_API_TOKENS": f"demo:{API_TOKEN}",
        "SERVICE_PORT": "0",
        "RECEIPT_POLL_SECONDS": "0.5",
        **dict(zip(("VOLUME_CATALOG", "VOLUME_SCHEMA", "VOLUME_NAME"), VOLUME.parts[-3:], strict=True)),
        "DXR_DATASOURCE_ID": ",".join(DATASOURCES),
        "DXR_POLL_INTERVAL_SECONDS": "0.2",
    }
    async with started("service", str(BIN / "dxr-ingest"), "serve", **variables) as log:
        address = await found_in(log, r'"address": "([^"]+)"')
        say.print(f"service  {address}, landing in {landing['LANDING_PATH'].removeprefix(f'{CHECKOUT}/')}/")
        yield address


@contextlib.asynccontextmanager
async def ingesting(landing: Path) -> AsyncIterator[None]:
    """The real Spark job, going on until it is stopped."""
    variables = {
        "LANDING_PATH": str(landing),
        "CHECKPOINT_PATH": str(DEMO / "checkpoint"),
        "DXR_DELTA_PATH": str(TABLES / "file_metadata"),
        "INGEST_TRIGGER": "continuous",
    }
    async with started("spark", str(BIN / "dxr-ingest-tables"), **variables) as log:
        say.print(f"spark    the table job is starting; it writes {log.relative_to(CHECKOUT)}")
        yield


async def found_in(log: Path, pattern: str) -> str:
    """What `pattern` finds in a growing log."""
    async with asyncio.timeout(60):
        while not (found := re.search(pattern, await asyncio.to_thread(log.read_text))):  # noqa: ASYNC110 - a log
            await asyncio.sleep(0.1)
    return found[1]


def query(table: str, sql: str) -> list[dict[str, Any]]:
    """Rows of a query, read by delta-rs: not by the program that wrote the table."""
    builder = QueryBuilder().register(table, DeltaTable(TABLES / table))
    import pyarrow as pa

    return pa.table(builder.execute(sql)).to_pylist()


def counted(table: str, column: str) -> dict[str, int]:
    """Rows of a table by the values of a column."""
    rows = query(table, f"SELECT {column} AS value, count(*) AS n FROM {table} GROUP BY 1")
    return {row["value"]: row["n"] for row in rows}


def reconciled(taken: list[Taken]) -> bool:
    """Print what was served, landed and ingested for each run, and whether it balances."""
    in_table, quarantined = counted("file_metadata", "_run_id"), counted("dxr_quarantine", "run_id")
    newest = {one.run["ingestion_date"]: one.run["id"] for one in taken}
    grid = Table("run", *FIGURES, "", box=None)
    total, good = 0, True
    for number, one in enumerate(taken, 1):
        run, counts = one.run, one.run["counts"]
        stands = newest[run["ingestion_date"]] == run["id"]
        balanced = (
            one.served_lines == counts["served_lines"] == sum(counts[name] for name in LINES)
            and counts["rows"] + counts["rejected_rows"] == counts["table_rows"] + counts["quarantined_rows"]
            and in_table.get(run["id"], 0) == (counts["table_rows"] if stands else 0)
            and quarantined.get(run["id"], 0) == counts["quarantined_rows"]
        )
        good, total = good and balanced, total + counts["rows"]
        figures = [one.served_lines, *(counts[name] for name in (*LINES, "table_rows", "quarantined_rows"))]
        note = "[green]balances[/]" if balanced else "[red]DOES NOT BALANCE[/]"
        grid.add_row(str(number), *(f"{figure:,}" for figure in figures), note)
    say.rule("[bold]reconciliation")
    say.print("served = rows + rejected + blank; rows + rejected = in table + in quarantine")
    say.print(grid)
    for number, one in enumerate(taken, 1):
        held = in_table.get(one.run["id"], 0)
        say.print(f"of run {number} ({one.run['ingestion_date']}) the table holds {held:,} rows now")
    enough = total >= ROWS_MIN and sum(quarantined.values()) > 0
    if not enough:
        say.print(f"[red]too little came through: {total:,} rows, {sum(quarantined.values())} lines in quarantine")
    return good and enough


def classification_balances(run: dict[str, Any]) -> bool:
    """Whether every scanned file is one row of the merged table: labelled, or with the reason why not."""
    counts = run["counts"]
    rows = {
        row["status"]: row["n"]
        for row in query(
            "dxr_metadata", f"SELECT status, count(*) AS n FROM dxr_metadata WHERE _run_id = '{run['id']}' GROUP BY 1"
        )
    }
    expected = {"LABELLED": counts["labelled"], **counts["reasons"]}
    balanced = (
        rows == expected
        and counts["scanned"] == counts["unchanged"] + sum(expected.values())
        and counts["table_rows"] == sum(rows.values())
    )
    told = ", ".join(f"{count} {status}" for status, count in rows.items())
    note = "[green]balances[/]" if balanced else "[red]DOES NOT BALANCE[/]"
    say.print(f"classification: {counts['scanned']} files scanned = {told}: {note}")
    return balanced


def show_tables() -> None:
    """What a person would ask the tables first."""
    say.rule("[bold]what is in Delta now")
    sensitive = Table("datasource", "files", "with sensitive data", "GB")
    rows = query(
        "file_metadata",
        """SELECT datasource_json, count(*) AS files, count(annotators_json) AS sensitive, sum(size) / 1e9 AS gb
           FROM file_metadata WHERE ingestion_date = (SELECT max(ingestion_date) FROM file_metadata)
           GROUP BY 1 ORDER BY 2 DESC LIMIT 6""",
    )
    for row in rows:
        name = re.search(r'"name":"([^"]*)"', row["datasource_json"])
        cells = (name[1] if name else "?", f"{row['files']:,}", f"{row['sensitive']:,}", f"{row['gb']:.1f}")
        sensitive.add_row(*cells)
    say.print(sensitive)
    labels = Table("label", "files of the volume")
    counted_labels = "SELECT label, count(*) AS n FROM (SELECT unnest(labels) AS label FROM dxr_metadata) GROUP BY 1"
    for row in query("dxr_metadata", f"{counted_labels} ORDER BY 2 DESC LIMIT 6"):
        labels.add_row(row["label"], str(row["n"]))
    say.print(labels)
    reasons = Table("quarantine: reason", "lines")
    for row in query("dxr_quarantine", "SELECT reason, count(*) AS n FROM dxr_quarantine GROUP BY 1 ORDER BY 2 DESC"):
        reasons.add_row(row["reason"], str(row["n"]))
    say.print(reasons)


def what_next(landing: Path) -> None:
    say.rule("[bold]look around")
    commits = f"{landing.relative_to(CHECKOUT)}/commits/"
    wide = max(31, len(commits))
    say.print(
        f"""  {commits:<{wide}} one file per run: what it landed, with check sums
  {".demo/tables/file_metadata/":<{wide}} the Delta table; any reader will do, for instance
      .venv/bin/python -c "from deltalake import DeltaTable; print(DeltaTable('.demo/tables/file_metadata').history(3))"
  {".demo/service.log, spark.log":<{wide}} what both said
next: point it at your own tenant, see "Your own tenant" in README.md""",
        markup=False,
        soft_wrap=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landing", choices=("folder", "volume"), default="folder", help="where the service lands")
    try:
        return 0 if asyncio.run(demo(parser.parse_args().landing)) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
