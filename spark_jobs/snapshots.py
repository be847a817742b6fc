"""A snapshot commit becomes a day of its table: lines are parsed, then one Delta transaction replaces the day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from spark_jobs.chunks import chunk_lines
from spark_jobs.lines import NO_ROW, row_expression, row_generator
from spark_jobs.schemas import SNAPSHOT, Column
from spark_jobs.tables import Written, ensure_table, history, replace

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_jobs.commits import SnapshotCommit
    from spark_jobs.landing import Landing
    from spark_jobs.tables import Table

FIELDS: Final = tuple(column.field for column in SNAPSHOT.columns if column.field)
JSON_LITERAL: Final = r"\A(?:true|false|-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)\z"
# Whether any string of the line may begin like an array or an object and hold a quote. Such a line has a backslash, and
# that is asked first: to look for what begins with a quote costs five times as much.
MAY_QUOTE_JSON: Final = (
    r"""(contains(value, r'\') AND (contains(value, '"[') OR contains(value, '"{') OR contains(value, r'\u00')))"""
)
# Enough to find the run of a write that has just been made, whoever else writes.
RECENT_VERSIONS: Final = 100


def problem_expression() -> str:
    """SQL for the reason why the line `value` is no row of a snapshot; null if it is one."""
    return f"CASE WHEN {row_expression(FIELDS)} IS NULL THEN '{NO_ROW}' END"


def rows_of(lines: DataFrame, commit: SnapshotCommit, *, proven_utf8: bool) -> DataFrame:
    """The rows of the table for the lines that are rows; other lines are left out."""
    constants = {
        "ingestion_date": f"DATE'{commit.ingestion_date}'",
        "_run_id": f"'{commit.run_id}'",
        "_sequence": f"{commit.sequence}L",
        "_ingested_at": "current_timestamp()",
    }
    rows = row_generator(FIELDS, constants, proven_utf8=proven_utf8)
    parsed = lines.selectExpr("value", "chunk", f"{MAY_QUOTE_JSON} AS may_quote_json", rows)
    own = {name: f"row.`{name}`" for name in constants} | {"raw_json": "value", "_chunk": "chunk"}
    return parsed.selectExpr(
        *(f"{own.get(column.name) or _value(column)} AS `{column.name}`" for column in SNAPSHOT.columns)
    )


def write_snapshot(
    spark: SparkSession, landing: Landing, table: Table, commit: SnapshotCommit, *, proven_utf8: bool
) -> Written | None:
    """Replace the commit's day; None if the table holds a newer snapshot of it, which then stays.

    `proven_utf8` says that the check of the chunks found nothing in them that is not.

    The guard is the table's own: a transaction of the same application and no higher version is skipped, without an
    error, so the history is asked whether it happened.
    """
    ensure_table(spark, table, SNAPSHOT)
    app = f"dxr-ingest:{commit.dataset}:{commit.ingestion_date}"
    rows = rows_of(chunk_lines(spark, landing, commit.chunks), commit, proven_utf8=proven_utf8)
    _replace_day(rows, table, commit, app, commit.sequence)
    recent = history(spark, table, RECENT_VERSIONS)
    if not _was_written(recent, commit) and _wins_tie(recent, landing, commit):
        # Equal sequences come only from two run stores. Among them the run id decides, under a guard of their own;
        # the upper bits of a UUID are its order.
        _replace_day(rows, table, commit, f"{app}:{commit.sequence}", UUID(commit.run_id).int >> 65)
        recent = history(spark, table, RECENT_VERSIONS)
    return _was_written(recent, commit)


def _replace_day(rows: DataFrame, table: Table, commit: SnapshotCommit, app: str, version: int) -> None:
    where = f"ingestion_date = DATE'{commit.ingestion_date}'"
    replace(rows, table, where, commit.run_id, txnAppId=app, txnVersion=str(version))


def _was_written(recent: list[Written], commit: SnapshotCommit) -> Written | None:
    return next((written for written in recent if written.run_id == commit.run_id), None)


def _wins_tie(recent: list[Written], landing: Landing, commit: SnapshotCommit) -> bool:
    day = commit.ingestion_date.isoformat()
    holder = next((written.run_id for written in recent if day in written.predicate and written.run_id), None)
    if holder is None or holder >= commit.run_id:
        return False
    rival = (commit.dataset, commit.sequence, holder)
    return any((name.dataset, name.sequence, name.run_id) == rival for name in landing.commit_names())


def _value(column: Column) -> str:
    text = f"row.`{column.field}`"
    if column.type != "string":
        return f"try_cast({text} AS {column.type})"
    return _json_text(text, str(column.field)) if column.as_json else text


def _json_text(text: str, field: str) -> str:
    # The parser gives objects and arrays as JSON but a string without its quotes. A string is told from an object by
    # its first character, and one that begins like an object by its quote in the line. Only where no cheaper question
    # says no: without a backslash a string holds no quote, and stands in the line as it is, with a quote behind it.
    # A lambda is run as it is: inlined for every field, this rare case made the row's code too long for the JVM to
    # compile (8,000 bytes).
    quoted = f"get(transform(array(to_json(array({text}))), q -> substr(q, 2, length(q) - 2)), 0)"
    may_be_string = f"""may_quote_json OR (NOT contains({text}, '"') AND contains(value, concat({text}, '"')))"""
    is_string = rf"""({may_be_string}) AND value RLIKE r'"{field}"\s*:\s*"[\[{{\\]'"""
    is_container = f"(startswith({text}, '{{') OR startswith({text}, '['))"
    is_json = f"CASE WHEN {is_container} THEN NOT ({is_string}) ELSE {text} RLIKE r'{JSON_LITERAL}' END"
    return f"CASE WHEN {text} IS NULL OR {is_json} THEN {text} ELSE {quoted} END"
