"""Views for people over the tables, made on request: typed columns, newest state, what changed, what is sensitive.

Nothing of the job reads them. Each is one `CREATE OR REPLACE VIEW`, so making them again changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from spark_jobs.errors import TableMismatch
from spark_jobs.receipts import read_receipt
from spark_jobs.schemas import CLASSIFICATION, SNAPSHOT, Column
from spark_jobs.tables import ensure_table, literal, run_sql

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql import SparkSession

    from spark_jobs.landing import Landing
    from spark_jobs.settings import Settings
    from spark_jobs.tables import Table

ACCOUNT: Final = (
    "STRUCT<id: STRING, accountType: STRING, realmAccountId: STRING, realmKey: STRING, accountSubType: STRING, "
    "name: STRING, email: STRING>"
)
ANNOTATION: Final = "STRUCT<phrase: STRING, locations: ARRAY<STRUCT<start: BIGINT, `end`: BIGINT>>>"
NAMED: Final = "STRUCT<id: STRING, name: STRING>"
# What the API serves in each field. A field that is not of this form is null, and its text stays beside it.
TYPES: Final = {
    "datasource": (
        "STRUCT<id: STRING, name: STRING, "
        "connector: STRUCT<type: STRING, userId: STRING, siteId: STRING, siteUrl: STRING>>"
    ),
    "labels": f"ARRAY<{NAMED}>",
    "extractedMetadata": "ARRAY<STRUCT<id: STRING, name: STRING, value: STRING, type: STRING>>",
    "entitlements": f"STRUCT<whoCanAccess: ARRAY<{ACCOUNT}>>",
    "dlpLabels": "ARRAY<STRUCT<id: STRING, dlpSystem: STRING, name: STRING, type: STRING>>",
    "annotators": (
        f"ARRAY<STRUCT<id: STRING, name: STRING, domain: {NAMED}, uniquePhrases: BIGINT, "
        f"annotations: ARRAY<{ANNOTATION}>>>"
    ),
    "owner": ACCOUNT,
    "createdBy": ACCOUNT,
    "modifiedBy": ACCOUNT,
    "categories": "ARRAY<STRING>",
    "coordinates": "STRUCT<lat: DOUBLE, lon: DOUBLE, mapDatum: STRING, alt: DOUBLE, altRef: STRING>",
}
SENSITIVE: Final = ("labels_json", "annotators_json", "dlpLabels_json")
# What a file is marked with: of which column it is read, and its name in words.
MARKS: Final = {
    "labels": ("labels_json", "labels"),
    "annotators": ("annotators_json", "annotators"),
    "categories": ("categories_json", "categories"),
    "dlp_labels": ("dlpLabels_json", "labels of data loss prevention systems"),
}
# An older day is no yesterday.
DAYS_BACK_MAX: Final = 31
TIMES: Final = {"created_at": "created_time", "last_modified_at": "last_modified_time"}
DATASOURCE_NAME: Final = "get_json_object(datasource_json, '$.name')"
NO_NAMES: Final = "CAST(array() AS ARRAY<STRING>)"


class ViewColumn(NamedTuple):
    """A column of a view: its name, the SQL of its value, and what it is."""

    name: str
    value: str
    comment: str


@dataclass(frozen=True, slots=True)
class View:
    """What a view is called (after its table), what it is, its columns, and where they come from.

    `source` is SQL from FROM on; `before` is what its query begins with.
    """

    suffix: str
    comment: str
    columns: tuple[ViewColumn, ...]
    source: str
    before: str = ""

    def of(self, table: Table) -> Table:
        """It as a name beside its table."""
        return table.beside(f"{table.label.rpartition('.')[2]}_{self.suffix}")

    def statement(self, table: Table) -> str:
        """The SQL that makes it, or brings it up to date."""
        columns = ", ".join(f"`{column.name}` COMMENT {literal(column.comment)}" for column in self.columns)
        values = ", ".join(f"{column.value} AS `{column.name}`" for column in self.columns)
        query = f"{self.before}SELECT {values} {self.source}"
        return f"CREATE OR REPLACE VIEW {self.of(table).sql} ({columns}) COMMENT {literal(self.comment)} AS {query}"


def create_views(spark: SparkSession, settings: Settings, landing: Landing) -> list[str]:
    """Make the views of every dataset, and its table if it is not there yet; says of each that could not be made why.

    One that fails keeps only those of its dataset from being made. Tables keep what they hold in any case.
    """
    problems: list[str] = []
    for dataset in sorted(_datasets(settings, landing)):
        table = settings.table_of(dataset)
        is_classification = dataset == settings.classification_dataset
        made: Table = table
        try:
            ensure_table(spark, table, CLASSIFICATION if is_classification else SNAPSHOT)
            for view in classification_views(table) if is_classification else snapshot_views(table):
                made = view.of(table)
                run_sql(spark, view.statement(table))
        except TableMismatch as mismatch:
            problems.append(str(mismatch))
        except Exception as error:  # noqa: BLE001 (whatever it is, commits are to be ingested)
            problems.append(_problem(made, error))
    return problems


def snapshot_views(table: Table) -> list[View]:
    """The views of a snapshot table, each after those that it reads."""
    newest_day = f"(SELECT max(ingestion_date) FROM {table.sql})"  # noqa: S608 - our own names, quoted
    typed = _typed(table)
    newest = View(
        "newest",
        "Every file of the newest day, with typed columns",
        _as_they_are(typed.columns),
        f"FROM {typed.of(table).sql} WHERE ingestion_date = {newest_day}",
    )
    return [typed, newest, _sensitive(newest.of(table)), _changes(table, newest_day)]


def classification_views(table: Table) -> list[View]:
    """The views of the classification table, each after those that it reads."""
    columns = tuple(ViewColumn(column.name, f"`{column.name}`", column.comment) for column in CLASSIFICATION.columns)
    there = View(
        "newest",
        "Every classified file that is still there",
        columns,
        f"FROM {table.sql} WHERE coalesce(status, '') <> 'DELETED'",
    )
    sensitive = View(
        "sensitive",
        "Sensitive files that are still there. A file is sensitive if labels or tags is not empty, whatever they are "
        "called",
        columns,
        f"FROM {there.of(table).sql} WHERE cardinality(labels) > 0 OR cardinality(tags) > 0",
    )
    return [there, sensitive]


def _as_they_are(columns: Iterable[ViewColumn]) -> tuple[ViewColumn, ...]:
    return tuple(column._replace(value=f"`{column.name}`") for column in columns)


def _typed(table: Table) -> View:
    columns: list[ViewColumn] = []
    for column in SNAPSHOT.columns:
        columns.append(ViewColumn(column.name, f"`{column.name}`", column.comment))
        if column.field in TYPES:
            columns.append(ViewColumn(column.field, _typed_value(column.name, column.field), _typed_comment(column)))
        elif column.name in TIMES:
            comment = f"{column.comment.removesuffix(' as served')}; null if {column.name} is no time"
            columns.append(ViewColumn(TIMES[column.name], f"try_cast(`{column.name}` AS TIMESTAMP)", comment))
    return View(
        "typed",
        "Every file of every day: the columns of the table, and beside its JSON texts what they say as arrays and "
        "structs",
        tuple(columns),
        f"FROM {table.sql}",
    )


def _typed_comment(column: Column) -> str:
    return f"{column.comment.removesuffix(', as JSON text')}; null if {column.name} is not of this form"


def _typed_value(name: str, field: str) -> str:
    value = f"from_json(`{name}`, '{TYPES[field]}')"
    # A category is a text or an object that has a name.
    named = f"transform({value}, item -> coalesce(get_json_object(item, '$.name'), item))"
    return named if field == "categories" else value


def _sensitive(newest: Table) -> View:
    columns = (
        ViewColumn("datasource_id", "datasource.id", "Identifier of the data source that holds the file"),
        ViewColumn("datasource_name", "datasource.name", "Name of that data source"),
        ViewColumn("connector", "datasource.connector.type", "Kind of that data source"),
        ViewColumn("file_id", "file_id", "Identifier of the file in Data X-Ray"),
        ViewColumn("file_name", "file_name", "Name of the file"),
        ViewColumn("path", "path", "Path of the file in its data source"),
        ViewColumn("size", "size", "Size in bytes"),
        ViewColumn("labels", _names("labels_json"), "Names of its labels"),
        ViewColumn("annotators", _names("annotators_json"), "Names of the annotators that found something"),
        ViewColumn("domains", _domains("annotators_json"), "Domains of these annotators, such as PII"),
        ViewColumn("dlp_labels", _names("dlpLabels_json"), "Names of its labels of data loss prevention systems"),
        ViewColumn(
            "owner", "coalesce(owner.name, owner.email, owner.id)", "Owner: name, else address, else identifier"
        ),
        ViewColumn("who_can_access", "cardinality(entitlements.whoCanAccess)", "Number of accounts that have access"),
        ViewColumn("ingestion_date", "ingestion_date", "The newest day"),
    )
    # Of the texts: what cannot be read as names is not nothing.
    some = " OR ".join(f"coalesce(`{name}`, '') NOT IN ('', '[]', '{{}}', '\"\"')" for name in SENSITIVE)
    return View(
        "sensitive",
        "Sensitive files of the newest day. A file is sensitive if labels, annotators or dlpLabels is not empty, "
        "whatever they are called",
        columns,
        f"FROM {newest.sql} WHERE {some}",
    )


def _changes(table: Table, newest_day: str) -> View:
    # Delta knows the newest day by itself, but for this one every file's footer is read: so not of all days.
    span = f"ingestion_date >= date_sub({newest_day}, {DAYS_BACK_MAX}) AND ingestion_date < {newest_day}"
    day_before = f"(SELECT max(ingestion_date) FROM {table.sql} WHERE {span})"  # noqa: S608 - our own names, quoted
    marks = ", ".join(f"'{name}', {_names(column)}" for name, (column, _) in MARKS.items())
    state = f"named_struct('file_name', file_name, 'path', path, 'datasource', {DATASOURCE_NAME}, {marks})"
    differ = " OR ".join(f"now.{name} <> was.{name}" for name in MARKS)
    change = f"CASE WHEN was IS NULL THEN 'new' WHEN now IS NULL THEN 'gone' WHEN {differ} THEN 'relabelled' END"
    columns = (
        ViewColumn(
            "change",
            "change",
            "new: not there the day before; gone: no longer there; relabelled: other names of labels, annotators, "
            "categories or labels of data loss prevention systems",
        ),
        ViewColumn("file_id", "file_id", "Identifier of the file in Data X-Ray"),
        ViewColumn("file_name", "coalesce(now.file_name, was.file_name)", "Name of the file"),
        ViewColumn("path", "coalesce(now.path, was.path)", "Path of the file in its data source"),
        ViewColumn("datasource_name", "coalesce(now.datasource, was.datasource)", "Name of its data source"),
        *(column for name, (_, words) in MARKS.items() for column in _difference(name, words)),
        ViewColumn("ingestion_date", newest_day, "The newest day"),
        ViewColumn("previous_date", day_before, "The newest day before that"),
    )
    # Both days in one pass, and a file that was served twice is still one file. Nothing lies between these days, so
    # without an earlier one there is nothing to compare, and nothing is new.
    files = (
        f"SELECT file_id, ingestion_date = {newest_day} AS is_now, {state} AS state FROM {table.sql} "  # noqa: S608 - our own names, quoted
        f"WHERE ingestion_date >= {day_before} AND file_id IS NOT NULL"
    )
    compared = (
        "SELECT file_id, max(state) FILTER (WHERE is_now) AS now, max(state) FILTER (WHERE NOT is_now) AS was "
        "FROM files GROUP BY file_id"
    )
    return View(
        "changes",
        f"What is new, gone or relabelled on the newest day against the one before, at most {DAYS_BACK_MAX} days older",
        columns,
        "FROM changed WHERE change IS NOT NULL",
        f"WITH files AS ({files}), compared AS ({compared}), changed AS (SELECT *, {change} AS change FROM compared) ",  # noqa: S608 - our own names, quoted
    )


def _difference(name: str, words: str) -> tuple[ViewColumn, ViewColumn]:
    now, was = (f"coalesce({state}.{name}, {NO_NAMES})" for state in ("now", "was"))
    return (
        ViewColumn(f"{name}_added", f"array_except({now}, {was})", f"Names of {words} that it did not have before"),
        ViewColumn(f"{name}_removed", f"array_except({was}, {now})", f"Names of {words} that it has no more"),
    )


def _names(column: str) -> str:
    """SQL for the sorted names, or else identifiers, in a JSON list of things that have them, or of plain texts."""
    if column == "categories_json":
        found = _typed_value(column, "categories")
    else:
        found = f"transform(from_json(`{column}`, 'ARRAY<{NAMED}>'), item -> coalesce(item.name, item.id))"
    return _set_of(found)


def _domains(column: str) -> str:
    domains = f"from_json(`{column}`, 'ARRAY<STRUCT<domain: {NAMED}>>')"
    return _set_of(f"transform({domains}, item -> coalesce(item.domain.name, item.domain.id))")


def _set_of(names: str) -> str:
    return f"coalesce(array_sort(array_distinct(array_compact({names}))), {NO_NAMES})"


def _datasets(settings: Settings, landing: Landing) -> set[str]:
    """The two that are configured, and every other that the landing has an ingested commit of."""
    found = {settings.snapshot_dataset, settings.classification_dataset}
    for name in sorted(landing.commit_names(), reverse=True):
        if name.dataset not in found:
            receipt = read_receipt(landing, name.run_id)
            found |= {name.dataset} if receipt and receipt.state == "ingested" else set()
    return found


def _problem(made: Table, error: Exception) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    return (
        f"{made.label} cannot be made ({first_line}), nor views that read it; the tables keep what was ingested. "
        "Who runs the job needs CREATE TABLE on the schema and must own a view of that name; or leave CREATE_VIEWS out"
    )
