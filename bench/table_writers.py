"""Those who bring chunks into a Delta table: this project's Spark job, the seed's way, delta-rs, DuckDB with delta-rs.

`python -m bench.table_writers NAME [CORES]` does one job for each line of its input, so that each after the first finds
it warm: a line names a landing, the folder of the tables and a day, and the answer says how many rows are there then.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import sys
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spark_jobs.schemas import SNAPSHOT, Column
from spark_jobs.views import TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from pyspark.sql import SparkSession

Job = dict[str, str]
HEAP: Final = "2g"
JSON_FIELDS: Final = tuple(str(column.field) for column in SNAPSHOT.columns if column.as_json)
TEXT_FIELDS: Final = tuple(
    str(column.field) for column in SNAPSHOT.columns if column.field and column.type == "string" and not column.as_json
)
ARROW_ROWS: Final = 16_384  # a batch that is handed over


def session(cores: str, **settings: str) -> SparkSession:
    """A local session like the job's own, with a heap of 2 GB and as many cores as are asked for."""
    from pyspark.sql import SparkSession

    from spark_jobs.session import DELTA_JARS, LOCAL_SETTINGS

    os.environ["PYSPARK_PYTHON"] = sys.executable
    jars = ",".join(str(jar) for jar in sorted(DELTA_JARS.glob("*.jar")))
    own = {**LOCAL_SETTINGS, "spark.jars": jars, "spark.driver.memory": HEAP, **settings}
    return SparkSession.builder.master(f"local[{cores}]").config(map=own).getOrCreate()


def spark_job(cores: str) -> Callable[[Job], int]:
    """The job of this project, in a session that stays open."""
    from spark_jobs.batch import ingest_commits
    from spark_jobs.settings import load_settings

    spark = session(cores)

    def run(job: Job) -> int:
        places = {
            "LANDING_PATH": job["landing"],
            "CHECKPOINT_PATH": f"{job['tables']}/checkpoint",
            "DXR_DELTA_PATH": f"{job['tables']}/file_metadata",
        }
        (Path(job["landing"]) / "receipts").mkdir(exist_ok=True)
        ingest_commits(spark, load_settings({}, places))
        receipts = [json.loads(file.read_bytes()) for file in (Path(job["landing"]) / "receipts").glob("*.json")]
        return sum(receipt["table_rows"] for receipt in receipts)

    return run


def seed(cores: str) -> Callable[[Job], int]:
    """Rows as dictionaries in the driver, a DataFrame of them, and the day replaced.

    Written anew from the description of what the project replaces. Its schema is declared: inferred, it fails on a
    field that is null in every row. It keeps the fields that it knows and checks neither a hash nor a count.
    """
    from pyspark.sql import functions as F  # noqa: N812
    from pyspark.sql.types import StructType

    spark = session(cores)
    texts = ", ".join(f"{field} STRING" for field in TEXT_FIELDS)
    nested = ", ".join(f"{field} {TYPES[field]}" for field in JSON_FIELDS)
    schema = StructType.fromDDL(f"{texts}, size BIGINT, {nested}")

    def run(job: Job) -> int:
        lines = (line for path, _ in chunks_of(job) for line in gzip.decompress(path.read_bytes()).splitlines())
        records = [json.loads(line) for line in lines]
        rows = [{name: record.get(name) for name in schema.names} for record in records]
        frame = spark.createDataFrame(rows, schema).withColumn("ingestion_date", F.lit(job["day"]).cast("date"))
        writer = frame.write.format("delta").mode("overwrite").partitionBy("ingestion_date")
        path = f"{job['tables']}/file_metadata"
        writer.option("replaceWhere", f"ingestion_date = '{job['day']}'").save(path)
        return len(rows)

    return run


def delta_rs(_cores: str) -> Callable[[Job], int]:
    """`deltalake` on one core, fed as one writes it: `json`, dictionaries, Arrow batches of them."""
    import pyarrow as pa

    one_core()

    def value_of(record: dict[str, Any], column: Column) -> object:
        value = record.get(str(column.field))
        if column.as_json:
            return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return value

    def batches(job: Job) -> Iterator[pa.RecordBatch]:
        for chunk, lines in batches_of_lines(job):
            own = own_values(job, chunk)
            rows = [
                {column.name: value_of(record, column) for column in SNAPSHOT.columns if column.field}
                | own
                | {"raw_json": line.decode()}
                for line in lines
                for record in (json.loads(line),)
            ]
            yield pa.RecordBatch.from_pylist(rows, arrow_schema())

    return lambda job: written_by_delta_rs(job, pa.RecordBatchReader.from_batches(arrow_schema(), batches(job)))


def delta_rs_at_its_best(_cores: str) -> Callable[[Job], int]:
    """`deltalake` on one core, fed by the fastest parser there is, which leaves nested fields as they lie."""
    import msgspec
    import pyarrow as pa

    one_core()
    fields = [(field, Any) for field in (*TEXT_FIELDS, "size")] + [(field, msgspec.Raw) for field in JSON_FIELDS]
    row_type = msgspec.defstruct("Row", [(name, kind, None) for name, kind in fields])
    decode = msgspec.json.Decoder(row_type).decode

    def value_of(value: Any, column: Column) -> object:
        if column.as_json:
            return bytes(value).decode() if value is not None and bytes(value) != b"null" else None
        return value

    def batches(job: Job) -> Iterator[pa.RecordBatch]:
        for chunk, lines in batches_of_lines(job):
            rows = [decode(line) for line in lines]
            own = {name: [value] * len(lines) for name, value in own_values(job, chunk).items()}
            own["raw_json"] = [line.decode() for line in lines]
            columns = [
                own.get(column.name) or [value_of(getattr(row, str(column.field)), column) for row in rows]
                for column in SNAPSHOT.columns
            ]
            schema = arrow_schema()
            arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            yield pa.record_batch(arrays, schema=schema)

    return lambda job: written_by_delta_rs(job, pa.RecordBatchReader.from_batches(arrow_schema(), batches(job)))


def duckdb(cores: str) -> Callable[[Job], int]:
    """DuckDB on one core reads and parses the same files, `deltalake` writes what it hands over."""
    import duckdb as engine

    one_core()
    engine.execute(f"SET threads = {cores}")
    engine.execute("SET preserve_insertion_order = false")

    def run(job: Job) -> int:
        paths = {str(path): chunk for path, chunk in chunks_of(job)}
        for path, chunk in paths.items():
            check(Path(path).read_bytes(), chunk)
        own = {
            "raw_json": "value",
            "ingestion_date": f"DATE '{job['day']}'",
            "_run_id": f"'{job['run_id']}'",
            "_sequence": f"{job['sequence']}::BIGINT",
            "_chunk": "chunk",
            "_ingested_at": "now()::TIMESTAMPTZ",
        }
        extracted = ", ".join(f"'$.{column.field}'" for column in SNAPSHOT.columns if column.field)
        places = {column.name: place for place, column in enumerate((c for c in SNAPSHOT.columns if c.field), start=1)}
        selected = ", ".join(
            f"{own.get(column.name) or duckdb_value(column, places[column.name])} AS {column.name}"
            for column in SNAPSHOT.columns
        )
        # No line holds the delimiter: each is one column.
        source = (
            f"read_csv({list(paths)}, header = false, columns = {{'value': 'VARCHAR'}}, delim = '\x01', quote = '', "
            "escape = '', filename = true, max_line_size = 100000000, compression = 'gzip', auto_detect = false)"
        )
        found = engine.sql(
            f"SELECT {selected} FROM (SELECT value, filename AS chunk, json_extract(value, [{extracted}]) AS j "
            f"FROM {source})"
        )
        return written_by_delta_rs(job, found.to_arrow_reader(ARROW_ROWS).cast(arrow_schema()))

    return run


def duckdb_value(column: Column, place: int) -> str:
    if column.as_json:
        return f"nullif(j[{place}]::VARCHAR, 'null')"
    return f"TRY_CAST(j[{place}] ->> '$' AS {'BIGINT' if column.type == 'bigint' else 'VARCHAR'})"


def arrow_schema() -> pa.Schema:
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "bigint": pa.int64(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", tz="UTC"),
    }
    return pa.schema([(column.name, types[column.type]) for column in SNAPSHOT.columns])


def one_core() -> None:
    """Stay on one core, whatever threads a library starts."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def own_values(job: Job, chunk: str) -> dict[str, object]:
    """What the columns hold that say where rows come from."""
    return {
        "ingestion_date": date.fromisoformat(job["day"]),
        "_run_id": job["run_id"],
        "_sequence": int(job["sequence"]),
        "_chunk": chunk,
        "_ingested_at": datetime.now(UTC),
    }


def chunks_of(job: Job) -> list[tuple[Path, dict[str, Any]]]:
    """The chunks of the day's commit, and what it says of each."""
    for file in (Path(job["landing"]) / "commits").iterdir():
        commit = json.loads(file.read_bytes())
        if commit["ingestion_date"] == job["day"]:
            job |= {"run_id": commit["run_id"], "sequence": str(commit["sequence"])}
            return [(Path(job["landing"]) / chunk["path"], chunk) for chunk in commit["chunks"]]
    raise LookupError(job["day"])


def check(stored: bytes, chunk: dict[str, Any]) -> bytes:
    """The lines of a chunk, if its hash and its rows are what its commit says."""
    if hashlib.sha256(stored).hexdigest() != chunk["sha256"]:
        raise ValueError(chunk["path"])
    lines = gzip.decompress(stored)
    if lines.count(b"\n") != chunk["rows"]:
        raise ValueError(chunk["path"])
    return lines


def batches_of_lines(job: Job) -> Iterator[tuple[str, list[bytes]]]:
    """The lines of the day's commit, as many at a time as become an Arrow batch, with their chunk."""
    for path, chunk in chunks_of(job):
        lines = (line.rstrip(b"\n") for line in io.BytesIO(check(path.read_bytes(), chunk)))
        while held := list(islice(lines, ARROW_ROWS)):
            yield chunk["path"], held


def written_by_delta_rs(job: Job, batches: pa.RecordBatchReader) -> int:
    """The day replaced by `deltalake`, compressed as the Spark job compresses; the rows that are there then."""
    import pyarrow.dataset as ds
    from deltalake import DeltaTable, WriterProperties, write_deltalake

    path = f"{job['tables']}/file_metadata"
    there = {"predicate": f"ingestion_date = '{job['day']}'"} if DeltaTable.is_deltatable(path) else {}
    write_deltalake(
        path,
        batches,
        mode="overwrite",
        partition_by=["ingestion_date"],
        writer_properties=WriterProperties(compression="ZSTD", compression_level=3),
        configuration={"delta.dataSkippingStatsColumns": ",".join(SNAPSHOT.statistics)},
        **there,
    )
    table = DeltaTable(path)
    files = table.file_uris([("ingestion_date", "=", job["day"])])
    return sum(ds.dataset(file).count_rows() for file in files)


WRITERS: Final = {
    "spark": spark_job,
    "seed": seed,
    "delta-rs": delta_rs,
    "delta-rs-best": delta_rs_at_its_best,
    "duckdb": duckdb,
}


def main() -> None:
    """Do what each line asks for; what libraries print does not count as an answer."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    run = WRITERS[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else "1")
    for line in sys.stdin:
        rows = run(json.loads(line))
        with contextlib.suppress(BrokenPipeError):
            answers.write(f"{json.dumps({'rows': rows})}\n")


if __name__ == "__main__":
    main()
