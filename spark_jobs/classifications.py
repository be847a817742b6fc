"""Classification commits become rows of one table: lines are parsed, then one MERGE keeps the newest news of each file.

Newest is decided by the rows themselves, `(_sequence, _run_id)` of a row against those of the table, so commits may
come in any order, together or apart, or again. A full scan also tells what it did not see: its mark covers every row
under its prefix that is older than it. A row that it did see is not older, so nothing needs to be compared with it.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from spark_jobs.chunks import chunk_lines
from spark_jobs.lines import NO_ROW, options_sql, row_expression, row_generator
from spark_jobs.schemas import CLASSIFICATION, Column
from spark_jobs.tables import ensure_table, latest_version, literal, noting, run_sql

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pyspark.sql import DataFrame, SparkSession

    from spark_jobs.commits import ClassificationCommit
    from spark_jobs.landing import Landing
    from spark_jobs.tables import Table

NO_FILE_PATH: Final = "NO_FILE_PATH: no text file_path"
FIELDS: Final = tuple(column.field for column in CLASSIFICATION.columns if column.field)
# Read once more and as lists, because the JSON text of a list does not tell it from a text that looks like it.
LISTS: Final = ", ".join(
    f"{column.field}: {column.type.upper()}" for column in CLASSIFICATION.columns if column.type.startswith("array")
)
# The parser gives a number, a word or an object as text, too; then the line must show that it was in quotes.
HAS_FILE_PATH: Final = (
    r"row.file_path <> '' AND (NOT row.file_path RLIKE r'\A(?:true\z|false\z|[-0-9\[{])' "
    r"""OR value RLIKE r'"file_path"\s*+:\s*+"')"""
)
# Spark's cast also takes a bare year, and a bare time as one of today.
DATED: Final = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}"
MARK_TYPE: Final = (
    "STRUCT<sequence: BIGINT, run_id: STRING, at: TIMESTAMP, "
    "catalog_name: STRING, schema_name: STRING, volume_name: STRING, prefix: STRING>"
)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Volume(NamedTuple):
    """A volume by its names."""

    catalog: str
    schema: str
    name: str


class Mark(NamedTuple):
    """What a full scan says of older rows under a prefix of a volume: their files are gone."""

    sequence: int
    run_id: str
    at: datetime
    volume: Volume
    prefix: str


@dataclass(frozen=True, slots=True)
class Merged:
    """The version of the table that shows the commits, and how many rows each run offered to it."""

    version: int
    rows: Counter[str]


def problem_expression() -> str:
    """SQL for the reason why the line `value` is no row of the table; null if it is one."""
    reason = f"CASE WHEN row IS NULL THEN '{NO_ROW}' WHEN NOT coalesce({HAS_FILE_PATH}, false) THEN '{NO_FILE_PATH}'"
    return f"get(transform(array({row_expression(FIELDS)}), row -> {reason} END), 0)"


def merge_classifications(
    spark: SparkSession, landing: Landing, table: Table, commits: list[ClassificationCommit]
) -> Merged:
    """Bring the table up to the commits in one MERGE; if they hold nothing new it makes no version."""
    ensure_table(spark, table, CLASSIFICATION)
    offered = rows_of(spark, landing, commits)
    seen = offered.groupBy("_run_id", "catalog_name", "schema_name", "volume_name").count().collect()
    rows, volumes = Counter[str](), dict[str, set[Volume]]()
    for row in seen:
        rows[row["_run_id"]] += row["count"]
        volume = Volume(row["catalog_name"], row["schema_name"], row["volume_name"])
        if all(volume):
            volumes.setdefault(row["_run_id"], set()).add(volume)
    if rows:
        marks = marks_of(commits, volumes)
        with noting(spark, [commit.run_id for commit in commits]):
            _merge(spark, newest_rows(offered, marks), table, marks)
    return Merged(latest_version(spark, table), rows)


def rows_of(spark: SparkSession, landing: Landing, commits: Collection[ClassificationCommit]) -> DataFrame:
    """The rows that commits offer to the table, each with its run and its place; other lines are left out."""
    lines = chunk_lines(spark, landing, tuple(chunk for commit in commits for chunk in commit.chunks))
    parsed = lines.selectExpr("value", "chunk", "monotonically_increasing_id() AS place", row_generator(FIELDS))
    run_id = "substring_index(substring_index(chunk, '/run_id=', -1), '/', 1) AS _run_id"
    typed = (f"{_value(column)} AS `{column.name}`" for column in CLASSIFICATION.columns if column.field)
    lists = f"from_json(value, 'STRUCT<{LISTS}>', {options_sql()}) AS lists"
    rows = parsed.where(HAS_FILE_PATH).selectExpr("*", lists).selectExpr(*typed, run_id, "chunk", "place")
    sequences = ", ".join(f"('{commit.run_id}', {commit.sequence}L)" for commit in commits)
    return rows.join(run_sql(spark, f"FROM VALUES {sequences} AS runs(_run_id, _sequence)"), "_run_id")


def marks_of(commits: Iterable[ClassificationCommit], volumes: Mapping[str, set[Volume]]) -> list[Mark]:
    """What the full scans among commits say, newest first, each for the volumes of its rows; `volumes` is by run.

    A scan without rows does not tell of which volume it speaks, and marks nothing.
    """
    marks = dict[tuple[Volume, str], Mark]()
    for commit in sorted(commits, key=lambda commit: commit.is_newer_than, reverse=True):
        if scan := commit.full_scan:
            for volume in sorted(volumes.get(commit.run_id, ())):
                mark = Mark(commit.sequence, commit.run_id, scan.completed_at, volume, scan.prefix)
                # Of scans of equal reach the newest has the last word.
                marks.setdefault((volume, scan.prefix), mark)
    return list(marks.values())


def newest_rows(offered: DataFrame, marks: list[Mark]) -> DataFrame:
    """One row for each file as the table should hold it: the newest, and of one run the last; a mark on it is applied.

    `held_sequence` and `held_run_id` say which run the row is from, also where a mark takes their place.
    """
    from pyspark.sql import functions as F  # noqa: N812

    held = [column.name for column in CLASSIFICATION.columns if column.name != "_ingested_at"]
    newest = f"max_by(struct({', '.join(held)}), struct(_sequence, _run_id, collected_at, chunk, place)) AS newest"
    rows = offered.groupBy("file_path").agg(F.expr(newest)).select("newest.*")
    own = {"deleted_at": "CASE WHEN status = 'DELETED' THEN deleted_at END", "_ingested_at": "current_timestamp()"}
    gone = _gone("mark")
    return rows.selectExpr("*", f"{_mark_over(marks, '')} AS mark").selectExpr(
        *(
            f"CASE WHEN mark IS NULL THEN {own.get(column.name, column.name)} "
            f"ELSE {gone.get(column.name, column.name)} END AS {column.name}"
            for column in CLASSIFICATION.columns
        ),
        "_sequence AS held_sequence",
        "_run_id AS held_run_id",
    )


def _merge(spark: SparkSession, source: DataFrame, table: Table, marks: list[Mark]) -> None:
    names = [column.name for column in CLASSIFICATION.columns]
    newer = _is_newer("s.held_sequence", "s.held_run_id", "t.")
    clauses = [
        f"WHEN MATCHED AND ({newer}) THEN UPDATE SET {', '.join(f't.{name} = s.{name}' for name in names)}",
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) VALUES ({', '.join(f's.{name}' for name in names)})",  # noqa: S608 - our columns
    ]
    if marks:
        # Only then, because such a clause makes the MERGE read the whole table.
        mark = _mark_over(marks, "t.")
        update = f"UPDATE SET {', '.join(f't.{name} = {value}' for name, value in _gone(mark).items())}"
        clauses.insert(1, f"WHEN MATCHED AND {mark} IS NOT NULL THEN {update}")
        clauses.append(f"WHEN NOT MATCHED BY SOURCE AND {mark} IS NOT NULL THEN {update}")
    view = f"dxr_{secrets.token_hex(16)}"
    source.createTempView(view)
    try:
        on = f"MERGE INTO {table.sql} AS t USING {view} AS s ON t.file_path = s.file_path"
        run_sql(spark, " ".join([on, *clauses]))
    finally:
        spark.catalog.dropTempView(view)


def _gone(mark: str) -> dict[str, str]:
    """SQL for what a mark changes of a row; what was known of the file stays."""
    return {
        "status": "'DELETED'",
        "reason": "NULL",
        "deleted_at": f"{mark}.at",
        "_run_id": f"{mark}.run_id",
        "_sequence": f"{mark}.sequence",
        "_ingested_at": "current_timestamp()",
    }


def _mark_over(marks: list[Mark], row: str) -> str:
    """SQL for the newest mark over a row, whose columns begin with `row`; null if there is none."""
    if not marks:
        return f"CAST(NULL AS {MARK_TYPE})"
    under = f"m.prefix = '' OR {row}relative_path = m.prefix OR startswith({row}relative_path, concat(m.prefix, '/'))"
    volume = " AND ".join(f"{row}{name} = m.{name}" for name in ("catalog_name", "schema_name", "volume_name"))
    covers = f"({_is_newer('m.sequence', 'm.run_id', row)}) AND {volume} AND ({under})"
    return f"get(filter(array({', '.join(map(_mark_sql, marks))}), m -> {covers}), 0)"


def _mark_sql(mark: Mark) -> str:
    at = f"timestamp_micros({(mark.at - EPOCH) // timedelta(microseconds=1)}L)"
    texts = [literal(text) for text in (*mark.volume, mark.prefix)]
    names = ("'catalog_name'", "'schema_name'", "'volume_name'", "'prefix'")
    place = ", ".join(f"{name}, {text}" for name, text in zip(names, texts, strict=True))
    return f"named_struct('sequence', {mark.sequence}L, 'run_id', '{mark.run_id}', 'at', {at}, {place})"


def _is_newer(sequence: str, run_id: str, row: str) -> str:
    """SQL for whether a run is newer than that of a row; a row of the seed, which knew no runs, is older than any."""
    return (
        f"{sequence} > coalesce({row}_sequence, -1) "
        f"OR ({sequence} = {row}_sequence AND {run_id} > coalesce({row}_run_id, ''))"
    )


def _value(column: Column) -> str:
    text = f"row.`{column.field}`"
    if column.type == "timestamp":
        return f"CASE WHEN {text} RLIKE r'{DATED}' THEN try_cast({text} AS timestamp) END"
    if column.type.startswith("array"):
        return f"lists.`{column.field}`"
    return f"try_cast({text} AS bigint)" if column.type == "bigint" else text
