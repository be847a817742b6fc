"""Proves that the chunks of a commit are the ones that it names, before anything is written.

Each stored file is read once, by the tasks of a Spark job, for its checksum, its rows, its raw bytes, and whether they
are UTF-8.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from spark_jobs.errors import CommitRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pyspark.sql import Column, DataFrame, SparkSession

    from spark_jobs.commits import Chunk, Commit
    from spark_jobs.landing import Landing

BLOCK_BYTES: Final = 1024 * 1024
READ_OPTIONS: Final = {"recursiveFileLookup": "true"}


class Measure(NamedTuple):
    """What a stored file really holds; `rows` is None where its gzip is cut or damaged."""

    sha256: str
    rows: int | None
    raw_bytes: int
    is_utf8: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of commits: why some are refused, by run, and the runs of which every byte is valid UTF-8."""

    refused: dict[str, CommitRefused]
    utf8: frozenset[str]


def checked(spark: SparkSession, landing: Landing, commits: Collection[Commit]) -> Checked:
    """Refuse the commits of which a chunk is missing, cut, altered or miscounted; all are read by one Spark job."""
    refused: dict[str, CommitRefused] = {}
    there: list[Chunk] = []
    for commit in commits:
        try:
            _check_sizes(landing, commit.chunks + commit.rejects)
            there += commit.chunks + commit.rejects
        except CommitRefused as refusal:
            refused[commit.run_id] = refusal
    measures = _measures(spark, landing, tuple(there))
    for commit in commits:
        try:
            for chunk in commit.chunks + commit.rejects if commit.run_id not in refused else ():
                # Spark's reader passes over a file without bytes.
                compare(chunk, measures.get(chunk.path) or Measure(*measurer()(b"")))
        except CommitRefused as refusal:
            refused[commit.run_id] = refusal
    utf8 = frozenset(
        commit.run_id
        for commit in commits
        if all(chunk.path in measures and measures[chunk.path].is_utf8 for chunk in commit.chunks)
    )
    return Checked(refused, utf8)


def compare(chunk: Chunk, found: Measure) -> None:
    """Return only if the measure is the one that the commit announces.

    Raises:
        CommitRefused: says in what they differ.
    """
    if found.sha256 != chunk.sha256:
        raise CommitRefused("CHUNK_ALTERED", f"{chunk.path} has another sha256 than the commit says")
    if found.rows is None:
        raise CommitRefused("CHUNK_DAMAGED", f"{chunk.path} is not whole gzip")
    if found.rows != chunk.rows:
        raise CommitRefused("CHUNK_MISCOUNTED", f"{chunk.path} has {found.rows} rows, the commit says {chunk.rows}")
    if found.raw_bytes != chunk.raw_bytes:
        raise CommitRefused(
            "CHUNK_MISCOUNTED", f"{chunk.path} has {found.raw_bytes} raw bytes, the commit says {chunk.raw_bytes}"
        )


def measurer() -> Callable[[bytes], tuple[str, int | None, int, bool]]:
    """A function that measures a stored gzip file of one or more members, in blocks.

    It is made here so that it travels to Spark's workers as code. A function of a module travels as its name, and the
    workers of shared and serverless compute need not have this package.
    """

    def decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False) -> bool:
        try:
            decoder.decode(block, final)
        except UnicodeDecodeError:
            return False
        return True

    def measure(stored: bytes) -> tuple[str, int | None, int, bool]:
        digest = hashlib.sha256(stored).hexdigest()
        rows, raw_bytes, last, is_utf8 = 0, 0, b"\n", True
        if not stored:
            return digest, None, 0, is_utf8
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(stored)) as file:
                while block := file.read(BLOCK_BYTES):
                    rows, raw_bytes, last = rows + block.count(b"\n"), raw_bytes + len(block), block
                    is_utf8 = is_utf8 and decodes(decoder, block)
        except (EOFError, OSError, zlib.error):
            return digest, None, raw_bytes, False
        # Spark reads an unfinished last line as a line, too.
        return digest, rows + (not last.endswith(b"\n")), raw_bytes, is_utf8 and decodes(decoder, b"", final=True)

    return measure


def chunk_lines(spark: SparkSession, landing: Landing, chunks: tuple[Chunk, ...]) -> DataFrame:
    """The lines of chunks as `value` (their bytes, whatever they are) and `chunk`, the path under the landing."""
    from pyspark.sql import functions as F  # noqa: N812

    if not chunks:
        return spark.range(0).selectExpr("CAST(id AS STRING) AS value", "CAST(id AS STRING) AS chunk")
    # Without lineSep Spark also splits at a bare carriage return, which JSON allows between tokens.
    lines = spark.read.options(**READ_OPTIONS, lineSep="\n").text(landing.paths_of(chunks))
    return lines.select("value", _relative(F.col("_metadata.file_path")).alias("chunk"))


def _check_sizes(landing: Landing, chunks: tuple[Chunk, ...]) -> None:
    for chunk in chunks:
        size = landing.stored_bytes(chunk)
        if size is None:
            raise CommitRefused("CHUNK_MISSING", chunk.path)
        if size != chunk.stored_bytes:
            raise CommitRefused("CHUNK_CUT", f"{chunk.path} has {size} bytes, the commit says {chunk.stored_bytes}")


def _measures(spark: SparkSession, landing: Landing, chunks: tuple[Chunk, ...]) -> dict[str, Measure]:
    from pyspark.sql import functions as F  # noqa: N812

    if not chunks:
        return {}
    # The file is read by Spark and handed over, because user functions need not see a mounted volume.
    fields = "sha256 STRING, rows BIGINT, raw_bytes BIGINT, is_utf8 BOOLEAN"
    measured = F.udf(measurer(), fields, useArrow=False)(F.col("content"))
    files = spark.read.format("binaryFile").options(**READ_OPTIONS).load(landing.paths_of(chunks))
    found = files.select(_relative(F.col("path")).alias("path"), measured.alias("measure")).collect()
    return {row["path"]: Measure(*row["measure"]) for row in found}


def _relative(path: Column) -> Column:
    from pyspark.sql import functions as F  # noqa: N812

    # chunks/<dataset>/ingestion_date=…/run_id=…/attempt=…/<file>, whatever scheme and root stand before it.
    return F.substring_index(path, "/", -6)
