"""Delta tables: how they are addressed, made, brought up to date and written, and what their history says."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, cast

from spark_jobs.errors import TableMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from pyspark.sql import DataFrame, Row, SparkSession
    from pyspark.sql.types import StructType

    from spark_jobs.schemas import Column, TableSchema

Result = TypeVar("Result")

NAME_PART: Final = re.compile(r"[\w-]+")
WRITE_ATTEMPTS_MAX: Final = 8
LOST_RACE: Final = (
    "DELTA_CONCURRENT_",
    "DELTA_METADATA_CHANGED",
    "DELTA_PROTOCOL_CHANGED",
    # What the first of two that make a table looks like to the second, until its log is there.
    "DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION",
)
METADATA_SETTING: Final = "spark.databricks.delta.commitInfo.userMetadata"
ABSENT: Final = (
    "DELTA_MISSING_DELTA_TABLE",
    "DELTA_PATH_DOES_NOT_EXIST",
    # Another one has begun to make it; to make it too either finds it, or is a lost race.
    "DELTA_TABLE_NOT_FOUND",
    "TABLE_OR_VIEW_NOT_FOUND",
    "PATH_NOT_FOUND",
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table by name, by path, or an external one by both."""

    name: tuple[str, ...] | None
    path: str | None

    @classmethod
    def of(cls, name: str | None, path: str | None) -> Table:
        """The table of a name such as `main.dxr.files` and a path, either of which may be absent.

        Raises:
            ValueError: says what a name may be.
        """
        parts = tuple(part.strip("`") for part in name.split(".")) if name else None
        if parts is not None and (len(parts) > 3 or not all(NAME_PART.fullmatch(part) for part in parts)):
            raise ValueError("[[catalog.]schema.]table of letters, digits, _ and -")
        return cls(parts, path.rstrip("/") if path else None)

    def beside(self, name: str) -> Table:
        """The table of another name in the same schema, or the sibling folder."""
        return Table(
            (*self.name[:-1], name) if self.name else None,
            f"{self.path.rpartition('/')[0]}/{name}" if self.path else None,
        )

    @property
    def label(self) -> str:
        """What people call it: its name, else its path."""
        return ".".join(self.name) if self.name else str(self.path)

    @property
    def sql(self) -> str:
        """It in a SQL statement."""
        return ".".join(f"`{part}`" for part in self.name) if self.name else self.path_sql

    @property
    def path_sql(self) -> str:
        """Its path in a SQL statement."""
        return f"delta.`{str(self.path).replace('`', '``')}`"


@dataclass(frozen=True, slots=True)
class Written:
    """An entry of a table's history that the job wrote: the run, what it replaced, and how much it put there."""

    version: int
    run_id: str | None
    predicate: str
    rows: int


def run_sql(spark: SparkSession, statement: str) -> DataFrame:
    """The one door to SQL text: every name and literal in it is checked or quoted by its caller."""
    return spark.sql(statement)  # pyright: ignore[reportUnknownMemberType]


def literal(text: str) -> str:
    """A text in a SQL statement."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def ensure_table(spark: SparkSession, table: Table, schema: TableSchema) -> None:
    """Make the table, register it, or add the columns that it lacks.

    Raises:
        TableMismatch: a column has another type; nothing was changed.
    """
    table = located(spark, table)
    existing = _schema(spark, table.path_sql if table.path else table.sql)
    if existing is None:
        run_sql(spark, _create_statement(table, schema))
        return
    missing = missing_columns(table, schema, {field.name: field.dataType.simpleString() for field in existing.fields})
    if table.name and table.path:
        run_sql(spark, f"CREATE TABLE IF NOT EXISTS {table.sql} USING delta LOCATION {literal(table.path)}")
    if missing:
        run_sql(spark, f"ALTER TABLE {table.sql} ADD COLUMNS ({', '.join(_declaration(column) for column in missing)})")


def missing_columns(table: Table, schema: TableSchema, existing: dict[str, str]) -> list[Column]:
    """The declared columns that a table of these columns and types lacks; names compare as Delta compares them.

    Raises:
        TableMismatch: names the column, both types and the way out.
    """
    types = {name.lower(): found for name, found in existing.items()}
    for column in schema.columns:
        found = types.get(column.name.lower(), column.type)
        if found != column.type:
            raise TableMismatch(
                f"{table.label}: column {column.name} is {found.upper()}, the job writes {column.type.upper()}. "
                f"Rename that column or the table (ALTER TABLE … RENAME), or let the job write another table; "
                "the commits stay pending and are ingested by the next run"
            )
    return [column for column in schema.columns if column.name.lower() not in types]


def located(spark: SparkSession, table: Table) -> Table:
    """The table with its path where only the job can know it.

    A local session forgets its catalog when it ends, and Delta does not take up a managed table again from its folder
    (DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION), so there the warehouse's folder is named. A catalog that persists
    (Databricks, three-part names) is left to itself.
    """
    if table.path or table.name is None or len(table.name) > 2 or not _forgetful(spark):
        return table
    schema, name = ("default", *table.name)[-2:]
    run_sql(spark, f"CREATE SCHEMA IF NOT EXISTS `{schema}`")
    folder = name if schema == "default" else f"{schema}.db/{name}"
    warehouse = str(spark.conf.get("spark.sql.warehouse.dir")).rstrip("/").removeprefix("file:")
    return Table(table.name, f"{warehouse}/{folder}")


def replace(rows: DataFrame, table: Table, where: str, run_id: str, **options: str) -> None:
    """Replace what matches the predicate in one transaction; with `txnAppId` and `txnVersion` perhaps silently not."""
    writer = rows.write.format("delta").mode("overwrite").option("replaceWhere", where).options(**options)
    writer = writer.option("userMetadata", run_id)
    writer.saveAsTable(table.sql) if table.name else writer.save(table.path)


def append(rows: DataFrame, table: Table, run_ids: Iterable[str]) -> None:
    """Add rows; for reports only, since nothing keeps an append from happening twice."""
    writer = rows.write.format("delta").mode("append").option("userMetadata", ",".join(run_ids))
    writer.saveAsTable(table.sql) if table.name else writer.save(table.path)


@contextmanager
def noting(spark: SparkSession, run_ids: Iterable[str]) -> Generator[None, None, None]:
    """What SQL statements write within has these runs as its `userMetadata`, as far as the session allows it.

    A statement has no option for it, and serverless compute not the setting; the rows name their runs in any case.
    """
    from pyspark.errors import PySparkException

    with suppress(PySparkException):
        spark.conf.set(METADATA_SETTING, ",".join(run_ids))
    try:
        yield
    finally:
        with suppress(PySparkException):
            spark.conf.unset(METADATA_SETTING)


def history(spark: SparkSession, table: Table, last: int | None = None) -> list[Written]:
    """What was written to a table, newest first; nothing if it does not exist."""
    if _schema(spark, table.sql) is None:
        return []
    limit = f" LIMIT {last}" if last else ""
    entries = run_sql(spark, f"DESCRIBE HISTORY {table.sql}{limit}")
    # Sorted out here: to filter and to order a few entries, Spark would plan a query and run three jobs.
    held = entries.select("version", "operation", "operationParameters", "operationMetrics", "userMetadata").collect()
    written = [_written(entry) for entry in held if entry["operation"] == "WRITE"]
    return sorted(written, key=lambda entry: entry.version, reverse=True)


def latest_version(spark: SparkSession, table: Table) -> int:
    """The version that readers of a table see now."""
    return int(run_sql(spark, f"DESCRIBE HISTORY {table.sql} LIMIT 1").collect()[0]["version"])


def retrying(write: Callable[[], Result], sleep: Callable[[float], object], jitter: Callable[[], float]) -> Result:
    """Do a write again that lost a race against another writer (also one that made or altered the table), nothing else.

    Every write of the job may be repeated: it replaces what it wrote before, or the table's own guard skips it.
    """
    for attempt in range(WRITE_ATTEMPTS_MAX - 1):
        try:
            return write()
        except Exception as error:
            if not any(condition in str(error) for condition in LOST_RACE):
                raise
            sleep(min(30.0, 0.5 * 2**attempt) * (0.5 + jitter()))
    return write()


def _written(entry: Row) -> Written:
    parameters = cast("dict[str, str]", entry["operationParameters"] or {})
    metrics = cast("dict[str, str]", entry["operationMetrics"] or {})
    # A write of no rows has no metrics at all.
    rows = int(metrics.get("numOutputRows", 0))
    return Written(entry["version"], entry["userMetadata"], parameters.get("predicate", ""), rows)


def _schema(spark: SparkSession, sql: str) -> StructType | None:
    from pyspark.errors import AnalysisException

    try:
        return spark.table(sql).schema
    except AnalysisException as error:
        if any(condition in str(error) for condition in ABSENT):
            return None
        raise


def _forgetful(spark: SparkSession) -> bool:
    from pyspark.errors import PySparkException

    try:
        return spark.conf.get("spark.sql.catalogImplementation") == "in-memory"
    except PySparkException:  # serverless does not show it; its catalog is Unity
        return False


def _create_statement(table: Table, schema: TableSchema) -> str:
    columns = ", ".join(_declaration(column) for column in schema.columns)
    location = f" LOCATION {literal(table.path)}" if table.name and table.path else ""
    layout = (
        f"CLUSTER BY ({schema.clustered_by})" if schema.clustered_by else f"PARTITIONED BY ({schema.partitioned_by})"
    )
    # A merge would rewrite whole files for a few rows. Elsewhere nothing would be gained, and readers on pyarrow refuse
    # tables with deletion vectors.
    deletion_vectors = "true" if schema.clustered_by else "false"
    return (
        f"CREATE TABLE IF NOT EXISTS {table.sql} ({columns}) USING delta {layout}"
        f"{location} COMMENT {literal(schema.comment)}"
        f" TBLPROPERTIES ('delta.enableDeletionVectors' = '{deletion_vectors}', "
        f"'delta.dataSkippingStatsColumns' = '{','.join(schema.statistics)}')"
    )


def _declaration(column: Column) -> str:
    return f"`{column.name}` {column.type} COMMENT {literal(column.comment)}"
