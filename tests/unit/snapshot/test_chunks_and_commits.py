"""Lines in chunks of any size, and commits of any content that the Spark job reads as the service wrote them."""

from __future__ import annotations

import gzip
import hashlib
import tempfile
import zlib
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.landing.chunks import ChunkWriter
from service.landing.documents import Chunk, Commit, decode_commit, encode
from service.landing.folder import FolderLanding
from service.landing.layout import CommitName, attempt_folder, chunk_name
from spark_jobs import commits as spark_commits
from spark_jobs.documents import parse_document, parse_snapshot
from tests.simulators.dxr import GeneratedFiles

RUN_ID = "01a202f8-192e-72ad-935a-56a1fba81e3a"
FOLDER = attempt_folder("file_metadata", "2026-01-01", RUN_ID, 1)
BATCHES = st.lists(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))), max_size=6)


@given(BATCHES, st.integers(1, 120))
def test_lines_are_in_chunks_in_their_order_and_no_chunk_is_above_its_size(
    batches: list[list[bytes]], chunk_bytes_max: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = ChunkWriter(FolderLanding(Path(folder)), FOLDER, "part", chunk_bytes_max)
        sealed = [
            one for batch in batches for one in writer.write(b"".join(line + b"\n" for line in batch), len(batch))
        ]
        sealed += writer.close()
        files = sorted(Path(folder).rglob("*.tmp"), key=lambda file: (len(file.name), file.name))
        stored = [file.read_bytes() for file in files]
        for one in sealed:
            one.part.discard()
    raw = [gzip.decompress(content) for content in stored]
    assert b"".join(raw) == b"".join(line + b"\n" for batch in batches for line in batch)
    assert [one.chunk for one in sealed] == [
        Chunk(
            f"{FOLDER}/{chunk_name('part', number)}",
            lines.count(b"\n"),
            len(lines),
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
        for number, (lines, content) in enumerate(zip(raw, stored, strict=True))
    ]
    assert all(one.chunk.raw_bytes <= chunk_bytes_max or one.chunk.rows == 1 for one in sealed)
    assert all(one.chunk.rows for one in sealed)
    first_of_next = [lines.index(b"\n") + 1 for lines in raw[1:]]
    full = [one.chunk.raw_bytes for one in sealed[:-1]]
    assert all(size + following > chunk_bytes_max for size, following in zip(full, first_of_next, strict=True))


@pytest.mark.parametrize("alike", [True, False], ids=["compresses", "does not compress"])
def test_lines_of_all_lengths_are_read_as_they_were_by_who_knows_gzip(alike: bool, tmp_path: Path) -> None:
    """Also those that are many blocks, and blocks that become longer than they were."""
    random = Random(7)
    lengths = [1, 0, (1 << 18) - 2, 3, (1 << 18) - 1, 1 << 18, 5, 7_000_000, 100, (1 << 21) - 1, 1 << 21, 9]
    lines = [(b"y" * length if alike else random.randbytes(length).replace(b"\n", b"x")) + b"\n" for length in lengths]
    writer = ChunkWriter(FolderLanding(tmp_path), FOLDER, "part", 1 << 30)
    for line in lines:
        assert list(writer.write(line, 1)) == []
    [sealed] = writer.close()
    stored = next(tmp_path.rglob("*.tmp")).read_bytes()
    sealed.part.discard()
    assert gzip.decompress(stored) == b"".join(lines)
    assert zlib.decompressobj(31).decompress(stored) == b"".join(lines), "one member: also for who stops after it"
    assert (sealed.chunk.rows, sealed.chunk.raw_bytes) == (len(lines), sum(map(len, lines)))
    assert (sealed.chunk.stored_bytes, sealed.chunk.sha256) == (len(stored), hashlib.sha256(stored).hexdigest())


def test_lines_one_by_one_take_hardly_more_room_than_together(tmp_path: Path) -> None:
    """Small blocks compress badly, and a stream may drip."""
    body = b"".join(GeneratedFiles(500, seed=5).blocks())
    sizes: list[int] = []
    for number, pieces in enumerate(([body], body.splitlines(keepends=True))):
        writer = ChunkWriter(FolderLanding(tmp_path), f"{FOLDER}{number}", "part", 1 << 30)
        for piece in pieces:
            list(writer.write(piece, piece.count(b"\n")))
        [sealed] = writer.close()
        sealed.part.discard()
        sizes.append(sealed.chunk.stored_bytes)
    assert sizes[1] < 1.05 * sizes[0]


COUNTS = st.integers(0, 2**29)  # stored bytes above that are refused
SHA256 = st.binary(min_size=32, max_size=32).map(bytes.hex)


def chunks(stem: str) -> st.SearchStrategy[list[Chunk]]:
    figures = st.lists(st.tuples(COUNTS, COUNTS, COUNTS.filter(bool), SHA256), max_size=4)
    return figures.map(
        lambda found: [Chunk(f"{FOLDER}/{chunk_name(stem, number)}", *figures) for number, figures in enumerate(found)]
    )


@given(
    chunks("part"),
    chunks("rejects"),
    st.integers(1, 2**63 - 1),
    st.none() | st.text(st.characters(codec="utf-8")),
    st.none() | st.integers(1, 2**31),
    st.booleans(),
)
def test_a_commit_is_read_as_it_was_written(
    parts: list[Chunk],
    rejects: list[Chunk],
    sequence: int,
    query: str | None,
    cap: int | None,
    unproven: bool,
) -> None:
    commit = Commit(
        format=1,
        kind="snapshot",
        dataset="file_metadata",
        run_id=RUN_ID,
        sequence=sequence,
        ingestion_date="2026-01-01",
        query=query,
        record_cap=cap,
        source="https://dxr.example.com",
        unproven=unproven,
        started_at="2026-01-01T00:00:00.000000Z",
        completed_at="2026-01-01T00:00:01.000000Z",
        rows=sum(chunk.rows for chunk in parts),
        rejected_rows=sum(chunk.rows for chunk in rejects),
        raw_bytes=sum(chunk.raw_bytes for chunk in parts),
        chunks=parts,
        rejects=rejects,
    )
    content = encode(commit)
    assert decode_commit(content, "here") == commit
    assert CommitName.parse(CommitName(sequence, RUN_ID, "file_metadata").path) is not None
    name = spark_commits.CommitName("file_metadata", sequence, RUN_ID)
    read = parse_snapshot(name, parse_document(name, content))
    assert (read.rows, read.rejected_rows, read.capped) == (commit.rows, commit.rejected_rows, cap is not None)
    for written, found in ((parts, read.chunks), (rejects, read.rejects)):
        assert [(one.path, one.rows, one.raw_bytes, one.stored_bytes, one.sha256) for one in found] == [
            (one.path, one.rows, one.raw_bytes, one.stored_bytes, one.sha256) for one in written
        ]
