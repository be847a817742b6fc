"""A snapshot commit becomes a day of its table: lines are parsed, then one Delta transaction replaces the day.

Whether a line is a row is decided by the JVM's JSON parser alone. The line is parsed as the first of two elements of an
array, `[<line>,{"<nonce>":1}]`; only if exactly those two come out was the line exactly one object: what follows an
object would otherwise be ignored, and nothing in a line can stand for a nonce that was drawn after it was written.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final
from uuid import UUID

from spark_jobs.chunks import chunk_lines
from spark_jobs.schemas import SNAPSHOT, Column
from spark_jobs.tables import Written, ensure_table, history, replace

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_jobs.commits import SnapshotCommit
    from spark_jobs.landing import Landing
    from spark_jobs.tables import Table

FIELDS: Final = tuple(column for column in SNAPSHOT.columns if column.field)
# Spark's defaults take single quotes and NaN, and fail on long strings and numbers.
JSON_OPTIONS: Final = {
    "mode": "PERMISSIVE",
    "allowSingleQuotes": "false",
    "allowNonNumericNumbers": "false",
    "allowUnquotedControlChars": "false",
    "maxStringLen": "2000000000",
    "maxNumLen": "2000000000",
    "maxNestingDepth": "1001",  # the contract's 500, with room for what another producer may call its depth
}
# Jackson refuses longer names and Spark has no option for it, so they are shortened for the decision alone.
NAME_CHARACTERS_MAX: Final = 50_000
NAME_PATTERN: Final = r'"(?:[^"\\]++|\\.)*+"(?=\s*+:)'
JSON_LITERAL: Final = r"\A(?:true|false|-?[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)\z"
# Whether any string of the line begins like an array or an object; asked once a line, because looking costs time.
MAY_QUOTE_JSON: Final = r"""(contains(value, '"[') OR contains(value, '"{') OR contains(value, r'"\u00'))"""
# Enough to find the run of a write that has just been made, whoever else writes.
RECENT_VERSIONS: Final = 100


def row_expression(nonce: str) -> str:
    """SQL for the fields of the line `value` as a struct of strings; null if it is not one JSON object in valid UTF-8.

    `nonce` is drawn for each use. Lambdas bind the parsed pair, so that a line is parsed once however often it is
    looked at. SQL text instead of columns: a tree of this size costs the driver seconds of calls into the JVM.
    """
    names = [f"`{column.field}`" for column in FIELDS]
    kept = ", ".join(f"get(p, 0).{name} AS {name}" for name in names)
    lost = ", ".join(f"CAST(NULL AS STRING) AS {name}" for name in names)
    # Only names beyond Jackson's limit leave a legal row unread; its columns stay null, raw_json holds it.
    shortened = f"regexp_replace(value, r'{NAME_PATTERN}', '\"\"')"
    return (
        f"CASE WHEN is_valid_utf8(value) THEN coalesce({_only_object('value', names, nonce, kept)}, "
        f"CASE WHEN length(value) > {NAME_CHARACTERS_MAX} THEN {_only_object(shortened, [], nonce, lost)} END) END"
    )


def rows_of(lines: DataFrame, commit: SnapshotCommit) -> DataFrame:
    """The rows of the table for the lines that are rows; other lines are left out."""
    # A generator drops the lines that are none, and no optimizer rule moves a second parse below it.
    row = f"explode(array_compact(array({row_expression(new_nonce())}))) AS row"
    parsed = lines.selectExpr("value", "chunk", f"{MAY_QUOTE_JSON} AS may_quote_json", row)
    own = {
        "raw_json": "value",
        "ingestion_date": f"DATE'{commit.ingestion_date}'",
        "_run_id": f"'{commit.run_id}'",
        "_sequence": f"{commit.sequence}L",
        "_chunk": "chunk",
        "_ingested_at": "current_timestamp()",
    }
    return parsed.selectExpr(
        *(f"{own.get(column.name) or _value(column)} AS `{column.name}`" for column in SNAPSHOT.columns)
    )


def new_nonce() -> str:
    """A name that no landed line can hold."""
    return f"n{secrets.token_hex(16)}"


def _only_object(line: str, names: list[str], nonce: str, fields: str) -> str:
    struct = ", ".join(f"{name} STRING" for name in [*names, nonce])
    options = ", ".join(f"'{name}', '{value}'" for name, value in JSON_OPTIONS.items())
    pair = f"from_json(concat('[', {line}, ',{{\"{nonce}\":1}}]'), 'ARRAY<STRUCT<{struct}>>', map({options}))"
    is_row = f"size(p) = 2 AND get(p, 0) IS NOT NULL AND get(p, 1).{nonce} IS NOT NULL"
    return f"get(transform(filter(array({pair}), p -> {is_row}), p -> struct({fields})), 0)"


def write_snapshot(spark: SparkSession, landing: Landing, table: Table, commit: SnapshotCommit) -> Written | None:
    """Replace the commit's day; None if the table holds a newer snapshot of it, which then stays.

    The guard is the table's own: a transaction of the same application and no higher version is skipped, without an
    error, so the history is asked whether it happened.
    """
    ensure_table(spark, table, SNAPSHOT)
    app = f"dxr-ingest:{commit.dataset}:{commit.ingestion_date}"
    rows = rows_of(chunk_lines(spark, landing, commit.chunks), commit)
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
    replace(rows, table, where, {"txnAppId": app, "txnVersion": str(version), "userMetadata": commit.run_id})


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
    # its first character, and one that begins like an object by its quote in the line.
    quoted = f"substr(to_json(array({text})), 2, length(to_json(array({text}))) - 2)"
    is_string = rf"""may_quote_json AND value RLIKE r'"{field}"\s*:\s*"[\[{{\\]'"""
    is_container = f"(startswith({text}, '{{') OR startswith({text}, '['))"
    is_json = f"CASE WHEN {is_container} THEN NOT ({is_string}) ELSE {text} RLIKE r'{JSON_LITERAL}' END"
    return f"CASE WHEN {text} IS NULL OR {is_json} THEN {text} ELSE {quoted} END"
