"""The declared columns of every table that the job writes: name, type, comment. Nothing is inferred from data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `field` is the JSON field that fills it, `as_json` keeps that field's JSON text.

    `distinct` says that its values hardly repeat, or are too long for those that do to be kept in a dictionary.
    """

    name: str
    type: str
    comment: str
    field: str | None = None
    as_json: bool = False
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The columns of a table, which of them have statistics, what it is, and how it is laid out.

    A table is either partitioned, and its partitions are replaced whole, or clustered, and its rows are merged.
    """

    columns: tuple[Column, ...]
    statistics: tuple[str, ...]
    comment: str
    partitioned_by: str | None = None
    clustered_by: str | None = None


def _text(name: str, field: str, comment: str, *, distinct: bool = False) -> Column:
    return Column(name, "string", comment, field=field, distinct=distinct)


def _json(field: str, comment: str, *, distinct: bool = False) -> Column:
    return Column(f"{field}_json", "string", f"{comment}, as JSON text", field=field, as_json=True, distinct=distinct)


SNAPSHOT: Final = TableSchema(
    columns=(
        _text("file_id", "fileId", "Identifier of the file in Data X-Ray", distinct=True),
        _text("file_name", "fileName", "Name of the file", distinct=True),
        _text("path", "path", "Path of the file in its data source", distinct=True),
        Column(
            "size", "bigint", "Size in bytes; null where the served value is no 64-bit integer", "size", distinct=True
        ),
        _text("mime_type", "mimeType", "Media type"),
        _text("created_at", "createdAt", "Creation time as served"),
        _text("last_modified_at", "lastModifiedAt", "Time of the last change as served", distinct=True),
        _text("content_sha256", "contentSha256", "SHA-256 of the file's content as served", distinct=True),
        _text("scan_depth", "scanDepth", "How deep Data X-Ray scanned the file"),
        _json("datasource", "Data source that holds the file"),
        _json("labels", "Labels of the file"),
        _json("extractedMetadata", "Metadata that extractors found"),
        _json("entitlements", "Who may access the file"),
        _json("dlpLabels", "Labels of data loss prevention systems"),
        _json("annotators", "Annotators and what they found", distinct=True),
        _json("owner", "Owner of the file"),
        _json("createdBy", "Creator of the file"),
        _json("modifiedBy", "Last editor of the file"),
        _text("metadata_extraction_status", "metadataExtractionStatus", "State of the metadata extraction"),
        _json("categories", "Categories of the file"),
        _json("coordinates", "Coordinates of the file"),
        Column(
            "raw_json", "string", "The whole row exactly as served, with every field that has no column", distinct=True
        ),
        Column("ingestion_date", "date", "Day of the snapshot; each day is replaced whole"),
        Column("_run_id", "string", "Run that landed the row"),
        Column("_sequence", "bigint", "Order of the runs of this dataset: the higher one is newer"),
        Column("_chunk", "string", "Landed file that held the row, relative to the landing folder"),
        Column("_ingested_at", "timestamp", "When the row was written to this table"),
    ),
    partitioned_by="ingestion_date",
    # Delta would keep the least and greatest value of whole JSON texts: time, and the largest rows again in memory.
    statistics=("file_id", "path", "size", "_run_id", "_sequence"),
    comment="File metadata of Data X-Ray: one whole snapshot per ingestion_date",
)

CLASSIFICATION: Final = TableSchema(
    columns=(
        _text("file_path", "file_path", "The file: /Volumes/<catalog>/<schema>/<volume>/<relative path>; one row each"),
        _text("relative_path", "relative_path", "Path of the file in its volume"),
        _text("catalog_name", "catalog_name", "Catalog of the volume"),
        _text("schema_name", "schema_name", "Schema of the volume"),
        _text("volume_name", "volume_name", "Name of the volume"),
        Column("file_size", "bigint", "Size in bytes", field="file_size"),
        Column("modification_time", "bigint", "Last change, in milliseconds since 1970 UTC", field="modification_time"),
        _text("datasource_id", "datasource_id", "On-demand data source that classified the file"),
        Column("datasource_scan_id", "bigint", "Scan of that data source", field="datasource_scan_id"),
        _text("job_id", "job_id", "Classification job"),
        Column("labels", "array<string>", "Names of the labels that Data X-Ray found", field="labels"),
        Column("tags", "array<string>", "Tags as served", field="tags"),
        Column("categories", "array<string>", "Categories as served", field="categories"),
        _text("raw_metadata", "raw_metadata", "The whole answer about the file, as JSON text"),
        Column("collected_at", "timestamp", "When the answer was collected", field="collected_at"),
        _text("file_name", "file_name", "Name of the file"),
        _text("object_id", "object_id", "Identifier of the file in Data X-Ray"),
        _text("mime_type", "mime_type", "Media type"),
        _text("sha256", "sha256", "SHA-256 of the file's content"),
        _text("status", "status", "LABELLED, DELETED, or the code of the reason why there are no labels"),
        _text("reason", "reason", "That reason in words"),
        Column("deleted_at", "timestamp", "When a scan last found the file gone; null if it is there", "deleted_at"),
        Column("_run_id", "string", "Run that says so"),
        Column("_sequence", "bigint", "Order of the runs of this dataset: the higher one is newer"),
        Column("_ingested_at", "timestamp", "When the row was written to this table"),
    ),
    clustered_by="file_path",
    statistics=("file_path", "_sequence"),
    comment="Classifications by Data X-Ray: the newest one of each file of a volume",
)

QUARANTINE: Final = TableSchema(
    columns=(
        Column("dataset", "string", "Dataset of the run"),
        Column("run_id", "string", "Run that landed the line"),
        Column("ingestion_date", "date", "Day of the snapshot; null for classifications"),
        Column("chunk", "string", "Landed file that held the line, relative to the landing folder"),
        Column("line_number", "bigint", "Line from 1: in the served stream for rejects, else in the chunk"),
        Column("reason", "string", "Why the line is no row"),
        Column("raw", "binary", "The line byte for byte, without its line feed; null if it was too long to keep"),
        Column("quarantined_at", "timestamp", "When the line was written to this table"),
    ),
    partitioned_by="dataset",
    statistics=("run_id", "ingestion_date"),
    comment="Lines that no table could hold, byte for byte",
)

INGEST_LOG: Final = TableSchema(
    columns=(
        Column("dataset", "string", "Dataset of the commit"),
        Column("run_id", "string", "Run that published it"),
        Column("kind", "string", "snapshot or classification; null if the commit was unreadable"),
        Column("sequence", "bigint", "Order of the runs of this dataset"),
        Column("ingestion_date", "date", "Day that the commit replaces; null if the commit was unreadable"),
        Column("commit_path", "string", "The commit, relative to the landing folder"),
        Column("state", "string", "ingested, superseded or refused"),
        Column("reason", "string", "Why it was not ingested"),
        Column("rows", "bigint", "Rows that the commit announced"),
        Column("rejected_rows", "bigint", "Rejected lines that the commit announced"),
        Column("table_name", "string", "Name or path of the table"),
        Column("table_version", "bigint", "Version of that table which shows the commit"),
        Column("table_rows", "bigint", "Rows written to it"),
        Column("quarantined_rows", "bigint", "Lines written to the quarantine"),
        Column("started_at", "timestamp", "When the job took the commit up"),
        Column("ended_at", "timestamp", "When its verdict stood"),
        Column("seconds", "double", "Time between the two"),
    ),
    partitioned_by="dataset",
    statistics=("run_id", "ingestion_date"),
    comment="One row per commit handled: a report, never used to decide anything",
)
