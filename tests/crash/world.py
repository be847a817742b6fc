"""A tenant, a landing, a run store and the replicas that work on them: everything that a scenario may touch."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.crash.judge import Asked, Judge
from tests.crash.points import Moments
from tests.crash.replicas import Fleet
from tests.crash.witnesses import FolderWatch, Revisions, StreamWitness, watch_classifier, watch_volume
from tests.simulators.databricks import DatabricksSimulator
from tests.simulators.dxr import Classifier, DxrSimulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.crash.deeds import Deed
    from tests.crash.points import At, Strike
    from tests.crash.replicas import Answer
    from tests.postgres import Postgres

LEASE_S: Final = 1.0
TOKEN: Final = "a-token-of-the-simulated-tenant-0"
# A tenant, and what of it: three datasets that may run side by side.
DATASETS: Final[dict[str, str | None]] = {
    "file_metadata": None,
    "small_files": "size < 65536",
    "large_files": "size >= 65536",
}
CLASSIFIED: Final = "dxr_metadata"
LANES: Final = ("11", "12")
ROWS: Final = 400
FILES: Final = 24
FILES_A_JOB: Final = 4
_END_TIMEOUT_S: Final = 60
_TOO_MANY: Final = {"rows served", "part begun", "poll asked", "search asked", "status asked"}


@dataclass(frozen=True)
class Place:
    """Where the runs are kept and by how many replicas, and where they land."""

    database: str = "sqlite"
    replicas: int = 1
    landing: str = "folder"

    def __str__(self) -> str:
        return f"{self.database}-{self.replicas}-{self.landing}"


class NeverEndedError(AssertionError):
    """A run that did not come to its end."""


@dataclass
class World:
    """An opened world. Ask for runs, say what shall befall whom and when, wait for the ends, call the judge."""

    place: Place
    folder: Path
    dxr: DxrSimulator
    moments: Moments
    fleet: Fleet
    judge: Judge
    postgres: Postgres | None
    database_url: str | None
    watch: FolderWatch | None
    known: dict[str, Asked] = field(default_factory=dict[str, Asked])
    broken: bool = False
    _generation: int = 0

    def at(self, at: At, deed: Deed) -> Strike:
        """Do this deed at that moment, to the process whose moment it is."""
        return self.moments.at(at, deed)

    async def snapshot(self, dataset: str = "file_metadata") -> Asked:
        """Ask for a snapshot, as often as it takes to hear that it runs."""
        query = DATASETS[dataset]
        body = {"dataset": dataset} if query is None else {"dataset": dataset, "query": query}
        return self._now_active(
            Asked(await self._triggered("/v1/snapshots", dataset, body), "snapshot", dataset, query)
        )

    async def classification(self) -> Asked:
        """Ask for a classification of a volume in which every file is new."""
        files = self._write_volume()
        run_id = await self._triggered("/v1/classifications", CLASSIFIED, {})
        return self._now_active(Asked(run_id, "classification", CLASSIFIED, None, files))

    async def ended(self, *asked: Asked) -> list[dict[str, Any]]:
        """The runs once they are over and judged, and all replicas are back at work."""
        runs = [await self._end_of(one) for one in asked]
        await self.moments.quiet()
        for one, run in zip(asked, runs, strict=True):
            self.judge.run(one, run)
        return runs

    async def settled(self) -> None:
        """Wait until nobody does anything any more: whoever woke up late has done what it had to do."""
        self.moments.forget()
        await self.moments.quiet()
        if not self.moments.somebody_thawed:
            return
        for replica in self.fleet.all:
            if replica.up:
                await self.fleet.ask("GET", "/readyz", of=replica)
        async with asyncio.timeout(_END_TIMEOUT_S):
            await self.dxr.idle()
        await asyncio.sleep(LEASE_S / 2)
        self.moments.somebody_thawed = False

    def story(self, since: int = 0) -> str:
        """What happened since that step, for people: the last of it, and where the logs are."""
        told = [str(moment) for moment in self.moments.journal[since:] if moment.point not in _TOO_MANY]
        return "\n".join([*told[-60:], f"logs and landing: {self.folder}"])

    def commits_of(self, asked: Asked) -> list[Path]:
        """The commits of a run that can be seen now."""
        return list((self.judge.root / "commits").glob(f"*.{asked.run_id}.json"))

    async def runs(self) -> list[dict[str, Any]]:
        """The newest runs of the store."""
        return (await self.fleet.ask("GET", "/v1/runs?limit=200")).body

    async def show(self, asked: Asked) -> dict[str, Any]:
        """The run as the service tells it."""
        return (await self._when_the_store_answers("GET", f"/v1/runs/{asked.run_id}")).body

    async def _end_of(self, asked: Asked) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                while (run := await self.show(asked))["state"] in {"queued", "running"}:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                if self.watch is not None:
                    self.watch.look()  # a run may be over before the watching thread has had its turn
                self.moments.ended(asked.dataset)
                return run
        except TimeoutError:
            self.broken = True
            self.moments.ended(asked.dataset)
            raise NeverEndedError(f"{asked} did not end.\n{self.story()}") from None

    async def _triggered(self, route: str, dataset: str, body: dict[str, Any]) -> str:
        answer = await self._when_the_store_answers("POST", route, body)
        match answer.status:
            case 202:
                return answer.body["id"]
            case 409 if answer.body["run_id"] not in self.known:  # the answer to an earlier try was lost
                return answer.body["run_id"]
            case _:
                self.broken = True
                raise AssertionError(f"{route} {body}: {answer.status} {answer.body}")

    async def _when_the_store_answers(self, method: str, path: str, body: Any = None) -> Answer:
        async with asyncio.timeout(_END_TIMEOUT_S):
            while (answer := await self.fleet.ask(method, path, body)).status == 503:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            return answer

    def _now_active(self, asked: Asked) -> Asked:
        self.known[asked.run_id] = asked
        self.moments.active[asked.dataset] = asked.run_id
        return asked

    def _write_volume(self) -> dict[str, str]:
        self._generation += 1
        files: dict[str, str] = {}
        for number in range(FILES):
            relative = f"{'ab'[number % 2]}/report-{number // 2}.txt"
            path = self.folder / "volumes" / "main" / "legal" / "contracts" / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            content = f"label: R{self._generation}-{number}\nmail {number}@example.com\n".encode()
            path.write_bytes(content)
            files[relative] = hashlib.sha256(content).hexdigest()
        return files


@contextlib.asynccontextmanager
async def opened_world(
    folder: Path, place: Place, postgres: Postgres | None = None, seed: int = 0
) -> AsyncIterator[World]:
    """The world of that place; at its end every process is gone."""
    moments, revisions = Moments(LEASE_S), Revisions(ROWS, seed)
    classifier = Classifier(datasources=LANES, polls_until_done=3)
    watch_classifier(classifier, moments, CLASSIFIED)
    async with contextlib.AsyncExitStack() as stack:
        dxr = await stack.enter_async_context(DxrSimulator(revisions, tokens=(TOKEN,), classifier=classifier))
        names = {query: dataset for dataset, query in DATASETS.items()}
        dxr.faults.always(StreamWitness(moments, dxr, revisions, names))
        variables = _variables(dxr, folder)
        database_url = None
        if place.database == "postgres":
            assert postgres is not None
            database_url = variables["DATABASE_URL"] = postgres.new_database()
        root = folder / "landing"
        watch = None
        if place.landing == "volume":
            databricks = await stack.enter_async_context(DatabricksSimulator(folder / "workspace"))
            root = databricks.volume("main", "dxr", "landing")
            watch_volume(databricks, moments)
            variables |= {
                "LANDING_PATH": "/Volumes/main/dxr/landing",
                "DATABRICKS_HOST": databricks.url,
                "DATABRICKS_TOKEN": databricks.pat,
            }
        else:
            watch = stack.enter_context(FolderWatch(root, moments))
        fleet = Fleet(place.replicas, folder / "replicas", variables)
        moments.fleet = await stack.enter_async_context(fleet)
        judge = Judge(root, moments, classifier, revisions)
        world = World(place, folder, dxr, moments, fleet, judge, postgres, database_url, watch)
        try:
            yield world
        finally:
            for replica in fleet.all:
                replica.send(signal.SIGKILL)
            await moments.quiet()


def _variables(dxr: DxrSimulator, folder: Path) -> dict[str, str]:
    return {
        "DXR_BASE_URL": dxr.url,
        "DXR_BEARER_TOKEN": TOKEN,
        "DXR_RETRY_MAX_WAIT_SECONDS": "0.2",
        "LANDING_PATH": str(folder / "landing"),
        "LANDING_CHUNK_BYTES": "64kB",
        "VOLUME_CATALOG": "main",
        "VOLUME_SCHEMA": "legal",
        "VOLUME_NAME": "contracts",
        "VOLUME_BASE_PATH": str(folder / "volumes"),
        "DXR_DATASOURCE_ID": ",".join(LANES),
        "DXR_POLL_INTERVAL_SECONDS": "0.05",
        "DXR_SETTLE_SECONDS": "0.5",
        "DXR_MAX_FILES_PER_JOB": str(FILES_A_JOB),
        "SERVICE_LEASE_SECONDS": f"{LEASE_S:g}",
        "SERVICE_DRAIN_SECONDS": "2",
    }
