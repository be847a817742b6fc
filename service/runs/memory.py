"""What is remembered of a volume's files between runs, in the run store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from service.runs.model import State
from service.runs.schema import batches, files, runs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from service.classification.volume import Unreadable, VolumeFile
    from service.runs.store import RunStore

_PAGE: Final = 1000
_LANDED: Final = (State.LANDED.value, State.PARTIAL.value, State.INGESTED.value)


@dataclass(frozen=True, slots=True)
class FileMemory:
    """The memory of one volume, as one run uses it. All methods raise `StoreError`."""

    store: RunStore
    run_id: str
    volume: str

    async def unchanged(self, found: Sequence[VolumeFile]) -> set[str]:
        """Paths of files that a landed run labelled as they are now (path, size, modification time)."""
        paths = [file.relative_path for file in found]
        query = sa.select(files.c.path, files.c.size_bytes, files.c.modified_ms).where(
            files.c.volume == self.volume, files.c.path.in_(paths), files.c.labelled_run.in_(_landed_runs())
        )
        async with self.store.begin() as connection:
            known = {path: (size, modified) for path, size, modified in await connection.execute(query)}
        return {
            file.relative_path for file in found if known.get(file.relative_path) == (file.size_bytes, file.modified_ms)
        }

    async def seen(self, found: Sequence[VolumeFile | Unreadable]) -> None:
        """This run has met these files. One that was told to be gone has to be labelled anew."""
        rows = [{**self._key(file.relative_path), "size_bytes": 0, "modified_ms": 0} for file in found]
        again = {
            "seen_run": self.run_id,
            "labelled_run": sa.case((files.c.deleted_run.is_(None), files.c.labelled_run), else_=sa.null()),
            "deleted_run": sa.null(),
        }
        await self._upsert([{**row, "seen_run": self.run_id} for row in rows], again)

    async def labelled(self, found: Sequence[VolumeFile]) -> None:
        """This run has labelled these files; it counts once the run has landed."""
        told = {"size_bytes": "size_bytes", "modified_ms": "modified_ms", "labelled_run": "labelled_run"}
        rows = [
            {
                **self._key(file.relative_path),
                "size_bytes": file.size_bytes,
                "modified_ms": file.modified_ms,
                "seen_run": self.run_id,
                "labelled_run": self.run_id,
            }
            for file in found
        ]
        await self._upsert(rows, {}, excluded=tuple(told))

    async def deleted(self, paths: Sequence[str]) -> None:
        """This run tells that these files are gone; it counts once the run has landed."""
        if paths:
            gone = (files.c.volume == self.volume) & files.c.path.in_(list(paths))
            async with self.store.begin() as connection:
                await connection.execute(files.update().where(gone).values(deleted_run=self.run_id))

    async def missing(self, prefix: str) -> AsyncIterator[list[str]]:
        """Paths below the prefix that earlier runs met, this one did not, and no landed run has told to be gone."""
        after = ""
        while True:
            query = (
                sa.select(files.c.path)
                .where(files.c.volume == self.volume, files.c.seen_run != self.run_id, files.c.path > after)
                .where(files.c.deleted_run.is_(None) | files.c.deleted_run.not_in(_landed_runs()))
                .order_by(files.c.path)
                .limit(_PAGE)
            )
            if prefix:
                # "0" follows "/" in ASCII: everything between the two is below the folder.
                query = query.where(files.c.path >= f"{prefix}/", files.c.path < f"{prefix}0")
            async with self.store.begin() as connection:
                page = list((await connection.scalars(query)).all())
            if not page:
                return
            after = page[-1]
            yield page

    def steps(self, batch: int, datasource_id: str, count: int) -> BatchSteps:
        """Where a batch is written down."""
        return BatchSteps(self.store, self.run_id, batch, datasource_id, count)

    def _key(self, path: str) -> dict[str, Any]:
        return {"volume": self.volume, "path": path}

    async def _upsert(self, rows: list[dict[str, Any]], values: dict[str, Any], excluded: tuple[str, ...] = ()) -> None:
        if not rows:
            return
        insert = self.store.upsert(files)
        changed = {**values, **{name: insert.excluded[name] for name in excluded}}
        async with self.store.begin() as connection:
            await connection.execute(
                insert.on_conflict_do_update(index_elements=[files.c.volume, files.c.path], set_=changed), rows
            )


@dataclass(frozen=True, slots=True)
class BatchSteps:
    """One batch of a run, written down before each step that could be lost."""

    store: RunStore
    run_id: str
    number: int
    datasource_id: str
    files: int

    async def save(self, state: str, job_id: str | None, scan_id: int | None, chunk: str | None = None) -> None:
        """Write it down."""
        known = {"state": state, "job_id": job_id, "scan_id": scan_id, "chunk": chunk}
        row = {
            "run_id": self.run_id,
            "number": self.number,
            "datasource_id": self.datasource_id,
            "files": self.files,
            **known,
        }
        insert = self.store.upsert(batches).values(row)
        async with self.store.begin() as connection:
            await connection.execute(
                insert.on_conflict_do_update(index_elements=[batches.c.run_id, batches.c.number], set_=known)
            )


def _landed_runs() -> sa.Select[tuple[str]]:
    return sa.select(runs.c.id).where(runs.c.state.in_(_LANDED))
