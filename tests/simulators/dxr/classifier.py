"""The on-demand classifier of a simulated tenant: jobs, the index that they fill, and the names behind its ids.

Nothing here looks at a clock. A job moves one step with each poll of it (a waiting one moves the one before it), with
each index status of its datasource, and with each search for one of its upload names.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from tests.simulators.dxr import search as searching
from tests.simulators.dxr.classifier_fault_plan import ClassifierFaultPlan
from tests.simulators.dxr.classifier_faults import (
    Files,
    JobFault,
    Properly,
    RequestFault,
    RequestPoint,
    Subject,
)
from tests.simulators.dxr.hits import TagForm, hit_of, moment
from tests.simulators.dxr.job_answers import JobAnswers
from tests.simulators.dxr.jobs import GONE, Job, Jobs, Overlap, Plain
from tests.simulators.dxr.names import NAMED_AT, Names, NamesAt
from tests.simulators.dxr.truth import Truth
from tests.simulators.dxr.uploads import taken_in

Json = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(eq=False)
class Classifier:
    """The ODC side of a tenant; all but `api_prefix` may be replaced at any time and count from the next request.

    `polls_until_done` counts steps of a job and is fixed when it is submitted. The first `index_lag` searches of a
    scan (each with all its pages) lack every other hit, the first one included, or all `dxr#tags`. `minimal_answers`
    leaves searches nothing but `hits.hits`. `names_at` are the addresses that know names; all others are a 404.

    `jobs`, `overlaps` and `truth` (by hash of content) only grow. `asked` counts requests with a good token by point
    and, for names, by address (`tags/123`).
    """

    datasources: tuple[str, ...] = ()
    api_prefix: str = "/api"
    polls_until_done: int = 2
    answers: JobAnswers = field(default_factory=JobAnswers)
    index_lag: int = 0
    lagging: Literal["hits", "tags"] = "hits"
    duplicate_hits: bool = False
    minimal_answers: bool = False
    tag_form: TagForm = "number"
    names_at: tuple[NamesAt, ...] = ("tags", "classifications")
    index_status: bool = True
    faults: ClassifierFaultPlan = field(default_factory=ClassifierFaultPlan, init=False)
    truth: dict[str, Truth] = field(default_factory=dict[str, Truth], init=False)
    asked: Counter[str] = field(default_factory=Counter[str], init=False)
    _jobs: Jobs = field(default_factory=Jobs, init=False)
    _names: Names = field(default_factory=Names, init=False)
    _searches: Counter[int] = field(default_factory=Counter[int], init=False)  # by scan
    _missed: dict[Hashable, set[str]] = field(default_factory=dict[Hashable, set[str]], init=False)  # ids, by search
    _answered: int = field(default=0, init=False)

    @property
    def jobs(self) -> list[Job]:
        """All jobs, in the order in which they were taken."""
        return self._jobs.taken

    @property
    def overlaps(self) -> list[Overlap]:
        """The submits that came while their datasource had a job."""
        return self._jobs.overlaps

    def routes(self, guarded: Callable[[Handler], Handler]) -> list[web.RouteDef]:
        """All addresses; `guarded` turns requests without a good token away."""
        jobs = f"{self.api_prefix}/on-demand-classifiers/{{datasource_id}}/jobs"
        status = f"{self.api_prefix}/datasources/ingester/{{datasource_id}}/index/status"
        routes = [
            web.post(jobs, guarded(self._submit)),
            web.get(jobs + "/{job_id}", guarded(self._poll), allow_head=False),
            web.post(f"{self.api_prefix}/indexed-files/search", guarded(self._search)),
            web.get(status, guarded(self._index_status), allow_head=False),
            web.get("/api/v1/classifications", guarded(self._classifications), allow_head=False),
        ]
        names = (f"{self.api_prefix}/{form}/{{id}}" for form in NAMED_AT)
        return routes + [web.get(address, guarded(self._name), allow_head=False) for address in names]

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        datasource_id = self._datasource(request)

        async def after_reading() -> web.StreamResponse:
            try:
                files, truths = await taken_in(request)
            except ValueError as error:
                raise web.HTTPBadRequest(reason=str(error)) from None

            async def accept() -> web.StreamResponse:
                self.truth |= truths
                self._names.learn(truths)
                return web.json_response(self._accepted(datasource_id, files), status=202)

            return await self._at("submit", request, accept, Subject(files, key=_contents(files)))

        return await self._at("upload", request, after_reading, Subject())

    def _accepted(self, datasource_id: str, files: Files) -> Json:
        fault = self.faults.take("job", Subject(files, key=_contents(files)))
        fate = fault if isinstance(fault, JobFault) else Plain()
        job = self._jobs.take(datasource_id, files, fate, self.polls_until_done)
        about = {
            "submittedAt": moment(job.order),
            "timeToLive": 86_400,
            "submittedByUserId": 17,
            "organizationalUnitId": None,
            "recrawlDispatchFailures": 0,
        }
        return self._written(job) | about

    async def _poll(self, request: web.Request) -> web.StreamResponse:
        datasource_id, job_id = self._datasource(request), request.match_info["job_id"]
        job = self._jobs.numbered(int(job_id)) if job_id.isdecimal() else None
        if job is None or job.datasource_id != datasource_id:
            raise web.HTTPNotFound

        async def answer() -> web.StreamResponse:
            self._jobs.poll(job)
            if job.state == GONE:
                raise web.HTTPNotFound
            return web.json_response(self._written(job))

        return await self._at("poll", request, answer, Subject(job.files, key=job.order))

    async def _search(self, request: web.Request) -> web.StreamResponse:
        try:
            search = searching.parse(await request.json())
        except ValueError as error:
            raise web.HTTPBadRequest(reason=str(error)) from None
        jobs = self._candidates(search)

        async def answer() -> web.StreamResponse:
            return web.json_response(self._found(search, jobs))

        files = tuple(file for job in jobs for file in job.files)
        return await self._at("search", request, answer, Subject(files, key=search.key))

    def _candidates(self, search: searching.Search) -> list[Job]:
        """Jobs that the filter may mean; asking for an upload name moves its datasource on."""
        scans, names = search.values_of(searching.SCAN_ID), search.values_of(searching.FILE_NAME)
        if scans:
            jobs = [job for scan in scans if scan.isdecimal() for job in self._jobs.scanned(int(scan))]
        elif names:
            jobs = [job for name in names for job in self._jobs.holding(name)]
        else:
            jobs = self.jobs
        return list(dict.fromkeys(jobs))

    def _found(self, search: searching.Search, jobs: list[Job]) -> Json:
        if search.values_of(searching.FILE_NAME):
            for datasource_id in dict.fromkeys(job.datasource_id for job in jobs):
                self._jobs.move(datasource_id)
        missed = self._missed.setdefault(search.key, set())
        if search.page == 0:
            missed.clear()  # what a search misses, it misses on all its pages
        hits = [hit for job in jobs if job.indexed for hit in self._hits(job, search) if hit["_id"] not in missed]
        page = searching.page_of(searching.sorted_hits(hits, search.sort), search, duplicates=self.duplicate_hits)
        if self.minimal_answers:
            return {"hits": {"hits": page}}
        return {
            "took": 1,
            "timed_out": False,
            "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
            "hits": {"total": {"value": len(hits), "relation": "eq"}, "max_score": 1.0 if hits else None, "hits": page},
        }

    def _hits(self, job: Job, search: searching.Search) -> list[Json]:
        if search.datasource_ids and job.datasource_id not in search.datasource_ids:
            return []
        if search.page == 0:
            self._searches[job.scan_id] += 1
        lags = self._searches[job.scan_id] <= self.index_lag
        hits = list[Json]()
        for place, file in enumerate(job.files):
            hit = hit_of(job, place, self.truth[file.sha256], self.tag_form)
            if not search.fits(hit["_source"]) or (lags and self.lagging == "hits" and place % 2 == 0):
                continue
            if search.page == 0 and self.faults.take("hit", Subject((file,), key=hit["_id"])) is not None:
                self._missed[search.key].add(hit["_id"])
            if lags and self.lagging == "tags":
                del hit["_source"]["dxr#tags"]
            hits.append(hit)
        return hits

    async def _name(self, request: web.Request) -> web.StreamResponse:
        form, wanted = request.path.rsplit("/", 2)[1], request.match_info["id"]
        self.asked[f"{form}/{wanted}"] += 1
        name = self._names.find(form, wanted) if form in self.names_at else None

        async def answer() -> web.StreamResponse:
            if name is None:
                raise web.HTTPNotFound
            tag = {"id": int(wanted), "name": name, "description": f"About {name}"}
            return web.json_response(tag | {"hexColor": "E74C3C", "type": "SMART"})

        return await self._at("names", request, answer, Subject(name=name or "", key=wanted))

    async def _classifications(self, request: web.Request) -> web.StreamResponse:
        async def answer() -> web.StreamResponse:
            if "classifications" not in self.names_at:
                raise web.HTTPNotFound
            return web.json_response({"data": self._names.classifications()})

        return await self._at("classifications", request, answer, Subject())

    async def _index_status(self, request: web.Request) -> web.StreamResponse:
        datasource_id = self._datasource(request)

        async def answer() -> web.StreamResponse:
            if not self.index_status:
                raise web.HTTPNotFound
            self._jobs.move(datasource_id)
            active = self._jobs.active(datasource_id) is not None
            id_ = int(datasource_id) if datasource_id.isdecimal() else datasource_id
            return web.json_response({"items": [{"crawl_active": active, "datasource_id": id_}]})

        return await self._at("index status", request, answer, Subject(key=datasource_id))

    async def _at(
        self, point: RequestPoint, request: web.Request, properly: Properly, subject: Subject
    ) -> web.StreamResponse:
        if point != "upload":  # the same request comes here as a submit
            self.asked[point] += 1
        fault = self.faults.take(point, subject)
        return await fault.answer(request, properly) if isinstance(fault, RequestFault) else await properly()

    def _written(self, job: Job) -> Json:
        self._answered += 1
        return self.answers.written(job, self._answered - 1)

    def _datasource(self, request: web.Request) -> str:
        if (datasource_id := request.match_info["datasource_id"]) not in self.datasources:
            raise web.HTTPNotFound
        return datasource_id


def _contents(files: Files) -> Hashable:
    return frozenset(file.sha256 for file in files)
