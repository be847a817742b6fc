"""What is remembered of a volume's files between runs, and of a run's batches between processes, in the run store."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import sqlalchemy as sa

from service.classification.memory import Batch, Told
from service.classification.records import DELETED, LABELLED
from service.classification.volume import VolumeFile
from service.landing.documents import Chunk
from service.runs.database import whole
from service.runs.model import State
from service.runs.schema import batches, chunks, files, runs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from service.classification.volume import Found
    from service.runs.claims import Claim
    from service.runs.database import Database

_PAGE: Final = 1000
_LANDED: Final = (State.LANDED.value, State.PARTIAL.value, State.INGESTED.value)


@dataclass(frozen=True, slots=True)
class FileMemory:
    """The memory of one volume, as one claimed run uses it."""

    claim: Claim
    volume: str

    @whole
    async def unchanged(self, found: Sequence[VolumeFile]) -> set[str]:
        """Paths of files that a landed run labelled as they are now (path, size, modification time)."""
        paths = [file.relative_path for file in found]
        query = sa.select(files.c.path, files.c.size_bytes, files.c.modified_ms).where(
            files.c.volume == self.volume, files.c.path.in_(paths), files.c.labelled_run.in_(_landed_runs())
        )
        async with self._database.statement() as connection:
            known = {path: (size, modified) for path, size, modified in await connection.execute(query)}
        return {
            file.relative_path for file in found if known.get(file.relative_path) == (file.size_bytes, file.modified_ms)
        }

    @whole
    async def seen(self, found: Sequence[Found]) -> None:
        """This run has met these files. One that was told to be gone has to be labelled anew."""
        rows = [{**self._key(file.relative_path), "size_bytes": 0, "modified_ms": 0} for file in found]
        again = {
            "seen_run": self._run_id,
            "labelled_run": sa.case((files.c.deleted_run.is_(None), files.c.labelled_run), else_=sa.null()),
            "deleted_run": sa.null(),
        }
        async with self.claim.writing() as connection:
            await self._upsert(connection, [{**row, "seen_run": self._run_id} for row in rows], again)

    async def missing(self, prefix: str) -> AsyncIterator[list[str]]:
        """Page by page, in the order of the paths."""
        after = ""
        while page := await self._missing_page(prefix, after):
            after = page[-1]
            yield page

    @whole
    async def _missing_page(self, prefix: str, after: str) -> list[str]:
        query = (
            sa.select(files.c.path)
            .where(files.c.volume == self.volume, files.c.seen_run != self._run_id, files.c.path > after)
            .where(files.c.deleted_run.is_(None) | files.c.deleted_run.not_in(_landed_runs()))
            .where(files.c.told_run.is_(None) | (files.c.told_run != self._run_id))
            .order_by(files.c.path)
            .limit(_PAGE)
        )
        if prefix:
            # "0" follows "/" in ASCII: everything between the two is below the folder.
            query = query.where(files.c.path >= f"{prefix}/", files.c.path < f"{prefix}0")
        async with self._database.statement() as connection:
            return list((await connection.scalars(query)).all())

    @whole
    async def told(self, found: Sequence[Found]) -> set[str]:
        """Paths of files of which a published chunk of this run has a record."""
        paths = [file.relative_path for file in found]
        async with self._database.statement() as connection:
            return {str(path) for path in await connection.scalars(self._told.where(files.c.path.in_(paths)))}

    @whole
    async def tally(self) -> Counter[str]:
        """How many files this run has told, by status."""
        query = sa.select(files.c.told, sa.func.count()).where(
            files.c.volume == self.volume, files.c.told_run == self._run_id
        )
        async with self._database.statement() as connection:
            rows = await connection.execute(query.group_by(files.c.told))
            return Counter({status: count for status, count in rows})  # noqa: C416 - a row is no pair to the type checker

    @whole
    async def register(self, chunk: Chunk, told: Sequence[Told]) -> None:
        """The chunk and its files, in one transaction: a chunk that is not registered is nobody's."""
        async with self.claim.writing() as connection:
            await connection.execute(chunks.insert().values(run_id=self._run_id, **msgspec.structs.asdict(chunk)))
            for status in {one.status for one in told}:
                values = {"seen_run": self._run_id, "told_run": self._run_id, "told": status}
                if status == LABELLED:
                    values["labelled_run"] = self._run_id
                if status == DELETED:
                    values["deleted_run"] = self._run_id
                rows = [self._row(one.file) | values for one in told if one.status == status]
                # A file that is gone has no size any more: the one that it was labelled with stays.
                sized = ("size_bytes", "modified_ms") if status == LABELLED else ()
                for start in range(0, len(rows), _PAGE):
                    await self._upsert(connection, rows[start : start + _PAGE], dict(values), excluded=sized)

    @whole
    async def chunks(self) -> list[Chunk]:
        """Every registered chunk of this run."""
        wanted = (chunks.c.path, chunks.c.rows, chunks.c.raw_bytes, chunks.c.stored_bytes, chunks.c.sha256)
        query = sa.select(*wanted).where(chunks.c.run_id == self._run_id).order_by(chunks.c.path)
        async with self._database.statement() as connection:
            return [Chunk(**row) for row in (await connection.execute(query)).mappings()]

    @whole
    async def save(self, batch: Batch) -> None:
        """Write it down."""
        known: dict[str, Any] = {
            "datasource_id": batch.datasource_id,
            "state": batch.state,
            "job_id": batch.job_id,
            "scan_id": batch.scan_id,
            "uploads": [
                [name, file.relative_path, file.size_bytes, file.modified_ms] for name, file in batch.uploads.items()
            ],
        }
        insert = self._database.upsert(batches).values(run_id=self._run_id, number=batch.number, **known)
        async with self.claim.writing() as connection:
            await connection.execute(
                insert.on_conflict_do_update(index_elements=[batches.c.run_id, batches.c.number], set_=known)
            )

    @whole
    async def left(self) -> list[Batch]:
        """Every batch of which not all files are told."""
        query = sa.select(batches).where(batches.c.run_id == self._run_id).order_by(batches.c.number)
        async with self._database.statement() as connection:
            rows = (await connection.execute(query)).mappings().all()
            done = {str(path) for path in await connection.scalars(self._told)} if rows else set[str]()
        return [batch for row in rows if (batch := _batch(row, done)).uploads]

    async def occupy(self, datasource_id: str) -> bool:
        """Take a datasource for this run's jobs; False while another run has it."""
        return await self.claim.occupy(datasource_id)

    @property
    def _database(self) -> Database:
        return self.claim.claims.database

    @property
    def _run_id(self) -> str:
        return self.claim.run.id

    @property
    def _told(self) -> sa.Select[tuple[str]]:
        return sa.select(files.c.path).where(files.c.volume == self.volume, files.c.told_run == self._run_id)

    def _key(self, path: str) -> dict[str, Any]:
        return {"volume": self.volume, "path": path}

    def _row(self, file: VolumeFile) -> dict[str, Any]:
        return {**self._key(file.relative_path), "size_bytes": file.size_bytes, "modified_ms": file.modified_ms}

    async def _upsert(
        self,
        connection: AsyncConnection,
        rows: list[dict[str, Any]],
        values: dict[str, Any],
        excluded: tuple[str, ...] = (),
    ) -> None:
        if rows:
            insert = self._database.upsert(files)
            changed = {**values, **{name: insert.excluded[name] for name in excluded}}
            await connection.execute(
                insert.on_conflict_do_update(index_elements=[files.c.volume, files.c.path], set_=changed), rows
            )


def _batch(row: sa.RowMapping, done: set[str]) -> Batch:
    uploads = {name: VolumeFile(path, size, modified) for name, path, size, modified in row["uploads"]}
    left = {name: file for name, file in uploads.items() if file.relative_path not in done}
    return Batch(row["number"], row["datasource_id"], row["state"], left, row["job_id"], row["scan_id"])


def _landed_runs() -> sa.Select[tuple[str]]:
    return sa.select(runs.c.id).where(runs.c.state.in_(_LANDED))
