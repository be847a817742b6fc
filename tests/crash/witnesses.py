"""How the simulators and the landing folder tell of their moments. The simulators stay as they are."""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.crash.points import LANDING_POINTS
from tests.simulators.databricks import faults as databricks_faults
from tests.simulators.dxr import GeneratedFiles
from tests.simulators.dxr import classifier_faults as odc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from tests.crash.points import Moments, Point
    from tests.simulators.databricks import DatabricksSimulator
    from tests.simulators.dxr import Classifier, DxrSimulator
    from tests.simulators.dxr.sources import RowBlocks
    from tests.simulators.dxr.wire import Wire

USER_AGENT: Final = "User-Agent"
_ROWS_A_STEP: Final = 50
_LOOK_S: Final = 0.02
_UNFINISHED: Final = re.compile(r"\.?(.+?)(?:\.[0-9a-f]{32})?(?:\.tmp)?")
_LOOK_CLOSELY_S: Final = 0.0005


@dataclass
class Revisions:
    """A tenant that changes with every look: no stream is served twice, so rows of two attempts cannot be mixed up."""

    rows: int
    seed: int
    given: int = -1

    @property
    def count(self) -> int:
        return self.rows

    def blocks(self) -> Iterator[bytes]:
        self.given += 1
        return self.revision(self.given).blocks()

    def revision(self, number: int) -> GeneratedFiles:
        """What the n-th stream was made of."""
        return GeneratedFiles(self.rows, self.seed, revision=number, mean_bytes=1000)


@dataclass(frozen=True)
class StreamWitness:
    """Serves whole streams, a few rows at a time, and tells how far it is."""

    moments: Moments
    dxr: DxrSimulator
    revisions: Revisions
    datasets: dict[str | None, str]  # by query

    async def answer(self, wire: Wire, rows: RowBlocks) -> None:
        request = self.dxr.requests[-1]  # nothing was awaited since it was recorded
        who, dataset = request.headers[USER_AGENT], self.datasets[request.query.get("q")]
        revision = self.revisions.given
        await self.moments.reached("stream asked", who, dataset, revision=revision)
        await wire.head()
        while block := b"".join(rows.take_rows(_ROWS_A_STEP)):
            await wire.body(block)
            await self.moments.reached("rows served", who, dataset, rows=wire.served.rows)
        await self.moments.reached("stream ending", who, dataset)
        await wire.end()
        served = {"revision": revision, "rows": wire.served.rows, "sha256": wire.served.sha256}
        await self.moments.reached("stream ended", who, dataset, **served)


def watch_classifier(classifier: Classifier, moments: Moments, dataset: str) -> None:
    """Tell of every request to the classifier."""
    for at in ("upload", "submit", "poll", "search", "index status"):
        classifier.faults.always(_RequestWitness(at, classifier=classifier, moments=moments, dataset=dataset))


@dataclass(frozen=True, slots=True)
class _RequestWitness(odc.Hold):
    """No fault at all: the request is answered as it should be, with a word before and after."""

    classifier: Any = field(kw_only=True)
    moments: Any = field(kw_only=True)
    dataset: str = field(kw_only=True)

    async def answer(self, request: web.Request, properly: odc.Properly) -> web.StreamResponse:
        before, after = _AROUND[self.at]
        about = await self._about(request)
        if before == "submit begun":
            request[_BEGUN] = len(self.moments.journal)
        await self._tell(before, request, about)
        done = await properly()
        if after:
            await self._tell(after, request, about | self._outcome(request, done, about))
        return done

    async def _tell(self, point: Point, request: web.Request, facts: dict[str, Any]) -> None:
        await self.moments.reached(point, request.headers[USER_AGENT], self.dataset, **facts)

    async def _about(self, request: web.Request) -> dict[str, Any]:
        match self.at:
            case "poll":
                return {"datasource": request.match_info["datasource_id"], "job": int(request.match_info["job_id"])}
            case "search":
                asked = await request.json()
                looked_for = {
                    item["parameter"].partition("#")[2]: item["value"] for item in asked["filter"]["query_items"]
                }
                return looked_for | {"page": asked["pageNumber"]}
            case _:
                return {"datasource": request.match_info["datasource_id"]}

    def _outcome(self, request: web.Request, done: web.StreamResponse, about: dict[str, Any]) -> dict[str, Any]:
        answer: Any = json.loads(done.body) if done.status < 300 else {}  # type: ignore[attr-defined]
        match self.at:
            case "submit":
                job = self.classifier.jobs[-1]  # nothing was awaited since it was taken
                contents = {file.sha256 for file in job.files}
                before = [
                    (one.id, one.state) for one in self.classifier.jobs[:-1] if contents & {f.sha256 for f in one.files}
                ]
                return {"job": job.id, "begun": request[_BEGUN], "before": before}
            case "poll":
                return {"state": answer.get("state")}
            case "search":
                name = about.get("file_name") if about["page"] == 0 else None
                hits = len(answer["hits"]["hits"])
                unfinished = any(
                    not job.ended and any(file.name == name for file in job.files) for job in self.classifier.jobs
                )
                return {"hits": hits, "proves_nothing_there": bool(name) and not hits and not unfinished}
            case "index status":
                return {"active": answer["items"][0]["crawl_active"] if answer else None}
            case _:
                return {}


_BEGUN: Final = "begun"
_AROUND: Final[dict[str, tuple[Point, Point | None]]] = {
    "upload": ("submit begun", None),
    "submit": ("submit asked", "submit taken"),
    "poll": ("poll asked", "poll answered"),
    "search": ("search asked", "search answered"),
    "index status": ("status asked", "status answered"),
}


def watch_volume(databricks: DatabricksSimulator, moments: Moments) -> None:
    """Tell of every file that is put into the landing."""
    databricks.faults.always(_PutWitness(moments), on=databricks_faults.uploads)


@dataclass(frozen=True, slots=True)
class _PutWitness(databricks_faults.Fault):
    """No fault at all: the file is put as it should be, with a word before and after."""

    name = "witness"
    moments: Any

    async def answer(self, request: web.Request, properly: databricks_faults.Properly) -> web.StreamResponse:
        who = request.headers[USER_AGENT]
        found = _landed(Path(request.path))
        if found is None:
            return await properly()
        what, dataset = found
        await self.moments.reached(f"{what} begun", who, dataset)
        done = await properly()
        await self.moments.reached(f"{what} there", who, dataset)
        return done


class FolderWatch:
    """Tells of new names in a landing folder; within a millisecond or so while a deed waits for one."""

    def __init__(self, root: Path, moments: Moments) -> None:
        self._root = root
        self._moments = moments
        self._told = set[tuple[Any, str]]()
        self._ended = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="landing watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_CLOSELY_S if self._moments.waits_for(LANDING_POINTS) else _LOOK_S):
            self.look()

    def look(self) -> None:
        """Tell of whatever is new by now."""
        with self._looking:
            for path in self._paths():
                self._look_at(Path(path))

    def _paths(self) -> Iterator[str]:
        """The commits, and whatever the active runs have begun."""
        yield from _below(str(self._root / "commits"))
        for dataset, run_id in list(self._moments.active.items()):
            for date in _below(str(self._root / "chunks" / dataset)):
                for attempt in _below(f"{date}/run_id={run_id}"):
                    yield from _below(attempt)

    def _look_at(self, path: Path) -> None:
        if (found := _landed(path)) is None:
            return
        what, dataset = found
        name = str(path.parent / _UNFINISHED.fullmatch(path.name)[1])
        # Of a short beginning perhaps nobody saw anything but the end.
        points: list[Any] = [f"{what} begun"] if path.name.startswith(".") else [f"{what} begun", f"{what} there"]
        for point in points:
            if (point, name) not in self._told:
                self._told.add((point, name))
                self._moments.tell(point, self._moments.worker(dataset), dataset)


def _below(folder: str) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(folder)]
    except FileNotFoundError:
        return []


def _landed(path: Path) -> tuple[str, str] | None:
    """What a file of the landing is, "part" or "commit", and of which dataset."""
    if path.parent.name == "commits":
        return "commit", path.name.lstrip(".").partition(".")[0]
    parts = path.parts
    return ("part", parts[parts.index("chunks") + 1]) if "chunks" in parts else None
