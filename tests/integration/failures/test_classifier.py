"""The On-Demand Classifier at its worst: every file ends with its own labels or with one row that says why not."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from service import wiring
from service.dxr.session import DxrSession
from service.dxr.token import BearerToken
from service.errors import RefusedError
from service.runs.model import State
from tests.conftest import TOKEN
from tests.integration.failures.test_memory import LIMIT_MIB, MIB, measured_command
from tests.integration.runs import commits
from tests.integration.test_classification import (
    LANES,
    balances,
    classify,
    expected_labels,
    files_of,
    records,
    tenant,
)
from tests.simulators.dxr import EVERY_WAY
from tests.simulators.dxr import classifier_faults as odc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from service.runs.model import Run
    from tests.simulators.dxr import DxrSimulator

HTML = b"<html>sign in</html>"
DEEP = b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def all_labelled(run: Run, found: dict[str, Any], dxr: DxrSimulator, folder: Path) -> None:
    assert (run.state, run.error, run.counts["labelled"]) == (State.LANDED, None, 12)
    for relative, path in files_of(folder):
        assert found[relative]["labels"] == expected_labels(dxr, path), relative
    assert dxr.classifier.overlaps == []


@pytest.mark.parametrize(
    "raw",
    [HTML, b"", b"{}", b"[]", b"null", b'{"id":null}', b'{"id":""}', b'{"id":"\\ud800"}', b'{"id":[7]}', DEEP],
    ids=lambda raw: repr(raw[:16]),
)
@pytest.mark.parametrize("lost", [False, True], ids=["garbage", "and the next one is lost"])
async def test_submit_whose_answer_names_no_job_makes_no_second_job(
    raw: bytes, lost: bool, volume: Path, settings: Any
) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_settle_seconds=5)) as service:
        dxr.classifier.faults.next(odc.Body("submit", raw))
        if lost:
            dxr.classifier.faults.next(odc.LoseAnswer())
        run = await classify(service)
        all_labelled(run, records(service), dxr, volume)
        assert len(dxr.classifier.jobs) == 3
        assert run.counts["resubmitted_unconfirmed"] == 0


async def test_file_that_is_too_large_for_the_tenant_costs_no_other_file_its_labels(
    volume: Path, settings: Any
) -> None:
    for name, size in (("a/huge.bin", 5_000), ("b/huge.bin", 5_000), ("a/large.bin", 4_000)):
        (volume / name).write_bytes(b"x" * size)
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_max_files_per_job=8)) as service:
        dxr.classifier.faults.always(odc.Refuse("submit", 413, when=odc.containing(larger_than=1_000)))
        run = await classify(service)
        assert (run.state, run.counts["labelled"], run.counts["reasons"]) == (State.PARTIAL, 12, {"DXR_TOO_LARGE": 3})
        assert balances(run)
        found = records(service)
        assert {path for path, record in found.items() if record["status"] == "DXR_TOO_LARGE"} == {
            "a/huge.bin",
            "b/huge.bin",
            "a/large.bin",
        }
        assert len(found) == 15


@pytest.mark.parametrize("size", [30, 3 * MIB], ids=["whole", "within the upload"])
async def test_tenant_that_takes_no_upload_at_all(size: int, volume: Path, settings: Any) -> None:
    for _, path in files_of(volume):
        path.write_bytes(bytes(size))
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.always(odc.Refuse("upload", 413))
        run = await classify(service)
        assert (run.state, run.counts["reasons"]) == (State.PARTIAL, {"DXR_TOO_LARGE": 12})
        assert {record["status"] for record in records(service).values()} == {"DXR_TOO_LARGE"}
        assert open_files(volume) == []


async def test_datasource_that_the_tenant_does_not_know_is_named(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_datasource_id="99")) as service:
        run = await classify(service)
        assert (run.state, run.counts["reasons"]) == (State.PARTIAL, {"DXR_REJECTED": 12})
        assert all("datasource 99" in record["reason"] for record in records(service).values())
        assert dxr.classifier.jobs == []


def open_files(folder: Path) -> list[str]:
    return [file.path for file in psutil.Process().open_files() if file.path.startswith(str(folder))]


async def token() -> str:
    return TOKEN


@pytest.mark.parametrize("within", ["a read", "a write"])
async def test_body_that_is_given_up_is_closed_before_anything_else_happens(within: str) -> None:
    reading, closed = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncGenerator[bytes]:
        try:
            yield bytes(MIB)
            while within == "a write":
                yield bytes(MIB)
            reading.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # closing takes its moment
            closed.set()

    class Refused(odc.Refuse):
        async def answer(self, request: Any, properly: Any) -> Any:
            if within == "a read":
                await reading.wait()
            return await super().answer(request, properly)

    async with tenant() as dxr:
        session = DxrSession(dxr.url, BearerToken("DXR_BEARER_TOKEN", token), "test", tls=False)
        dxr.classifier.faults.next(Refused("upload", 413))
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(1 << 40)}
        with pytest.raises(RefusedError) as caught:
            await session.upload(f"/api/on-demand-classifiers/{LANES[0]}/jobs", body(), headers)
        assert closed.is_set()
        assert caught.value.code == "DXR_TOO_LARGE"
        await session.close()


@pytest.mark.parametrize("after_bytes", [0, MIB])
async def test_connection_that_is_lost_while_files_are_sent(after_bytes: int, volume: Path, settings: Any) -> None:
    for relative, path in files_of(volume):
        path.write_bytes(f"label: {relative[0]}\n".encode() + bytes(3 * MIB))
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_retry_attempts=3)) as service:
        dxr.classifier.faults.next(odc.HangUp(after_bytes=after_bytes), times=2)
        all_labelled(await classify(service), records(service), dxr, volume)
        assert len(dxr.classifier.jobs) == 3
        assert open_files(volume) == []


@pytest.mark.parametrize("after", [0, 1])
async def test_job_that_vanishes_is_a_reason_and_its_files_are_sent_again_next_time(
    after: int, volume: Path, settings: Any
) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.next(odc.VanishJob(after=after))
        run = await classify(service)
        assert run.counts["reasons"] == {"JOB_VANISHED": 4}
        assert balances(run)
        assert (await classify(service)).counts["labelled"] == 4


async def test_cancelled_jobs_on_every_lane(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.always(odc.CancelJob())
        run = await classify(service)
        assert (run.state, run.counts["reasons"]) == (State.PARTIAL, {"JOB_CANCELLED": 12})
        assert len(records(service)) == 12


@pytest.mark.parametrize(
    "fault",
    [
        odc.OddState(),
        odc.OddState(word="\u0394\U0001f600", polls=3),
        odc.OddState(word="", polls=2),
        odc.OddState(word="finishing"),
    ],
    ids=lambda fault: repr(fault.word),
)
async def test_state_never_seen_before_is_waited_for(fault: Any, volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.always(fault)
        all_labelled(await classify(service), records(service), dxr, volume)


async def test_state_never_seen_before_that_never_ends_has_a_deadline(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_job_timeout_seconds=0.2)) as service:
        dxr.classifier.faults.next(odc.NeverEnd(word="QUARANTINED"))
        run = await classify(service)
        assert run.counts["reasons"] == {"JOB_TIMEOUT": 4}
        assert balances(run)


async def test_jobs_written_in_every_way_with_ids_of_changing_types(volume: Path, settings: Any) -> None:
    async with tenant(answers=EVERY_WAY) as dxr, wiring.opened(settings(dxr, dxr_max_files_per_job=1)) as service:
        all_labelled(await classify(service), records(service), dxr, volume)


@pytest.mark.parametrize(
    "scan_id", ["40001x", "9" * 5000, 10**30, -1, 1.5, True, [], {"x": 1}], ids=lambda one: str(one)[:12]
)
async def test_scan_id_that_is_none_is_no_scan_id(scan_id: Any, volume: Path, settings: Any) -> None:
    def spoilt(job: dict[str, Any]) -> dict[str, Any]:
        return job | {"datasourceScanId": scan_id}

    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        for at in ("submit", "poll"):
            dxr.classifier.faults.always(odc.Rewrite(at, spoilt))
        all_labelled(await classify(service), records(service), dxr, volume)


def foreign(document: dict[str, Any]) -> dict[str, Any]:
    """Each hit comes with one of another scan that says the same name and other labels, and with one of nobody."""
    hits = document["hits"]["hits"]
    others = [
        {"_id": f"other {hit['_id']}", "_source": hit["_source"] | {"dxr#datasource_scan_id": 1, "dxr#tags": ["Wrong"]}}
        for hit in hits
    ]
    return {"hits": {"hits": [*others, *hits, {"_id": "x", "_source": None}, {"_id": ["y"]}, 5, None, {}]}}


def doubled(document: dict[str, Any]) -> dict[str, Any]:
    """Every hit twice, without ids."""
    hits = [{"_source": hit["_source"]} for hit in document["hits"]["hits"]]
    return {"hits": {"hits": hits * 2}}


@pytest.mark.parametrize("change", [foreign, doubled], ids=lambda change: change.__name__)
async def test_hits_doubled_or_of_other_scans_label_nothing_wrongly(
    change: Callable[[Any], Any], volume: Path, settings: Any
) -> None:
    pages: list[int] = []

    def first_page_only(document: dict[str, Any]) -> dict[str, Any]:
        pages.append(len(document["hits"]["hits"]))
        return change(document) if document["hits"]["hits"] else document

    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.always(odc.Rewrite("search", first_page_only))
        all_labelled(await classify(service), records(service), dxr, volume)


async def test_search_that_knows_no_pages_is_not_asked_for_ever(volume: Path, settings: Any) -> None:
    first: dict[str, Any] = {}

    def always_the_first(document: dict[str, Any]) -> dict[str, Any]:
        hits = document["hits"]["hits"]
        first["hits"] = hits or first.get("hits", [])
        return {"hits": {"hits": first["hits"]}}

    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_datasource_id="11")) as service:
        dxr.classifier.faults.always(odc.Rewrite("search", always_the_first))
        all_labelled(await classify(service), records(service), dxr, volume)
        assert dxr.classifier.asked["search"] < 30


async def test_search_that_knows_neither_pages_nor_ids_is_not_asked_for_ever(volume: Path, settings: Any) -> None:
    served: list[Any] = []

    def always_all_without_ids(document: dict[str, Any]) -> dict[str, Any]:
        served.extend({"_source": hit["_source"]} for hit in document["hits"]["hits"])
        return {"hits": {"hits": served}}

    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.always(odc.Rewrite("search", always_all_without_ids))
        all_labelled(await classify(service), records(service), dxr, volume)
        assert dxr.classifier.asked["search"] < 30


def without_scans(document: dict[str, Any]) -> dict[str, Any]:
    for hit in document["hits"]["hits"]:
        del hit["_source"]["dxr#datasource_scan_id"]
    return document


def with_others(document: dict[str, Any]) -> dict[str, Any]:
    """As where a name is searched for by its parts."""
    other = {"ds#file_name": "report-0.txt", "dxr#datasource_scan_id": 1, "dxr#tags": ["Wrong"]}
    return {"hits": {"hits": [{"_id": "other", "_source": other}, *document["hits"]["hits"]]}}


@pytest.mark.parametrize("change", [with_others, without_scans], ids=lambda change: change.__name__)
async def test_job_whose_answer_was_lost_is_found_by_its_own_hits(
    change: Callable[[Any], Any], volume: Path, settings: Any
) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.next(odc.LoseAnswer())
        dxr.classifier.faults.always(odc.Rewrite("search", change))
        all_labelled(await classify(service), records(service), dxr, volume)
        assert len(dxr.classifier.jobs) == 3


async def test_job_whose_answer_was_lost_is_found_though_one_file_never_gets_a_hit(volume: Path, settings: Any) -> None:
    asked_first: list[str] = []

    def is_the_first(files: odc.Files) -> bool:
        asked_first.extend(file.sha256 for file in files if not asked_first)
        return files[0].sha256 in asked_first

    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_datasource_id="11")) as service:
        dxr.classifier.faults.next(odc.LoseAnswer())
        dxr.classifier.faults.always(odc.MissHit(when=is_the_first))
        run = await classify(service)
        assert (run.counts["labelled"], run.counts["reasons"]) == (11, {"NO_HIT": 1})
        assert len(dxr.classifier.jobs) == 3


async def test_index_that_lags_beyond_the_deadline_is_a_reason(volume: Path, settings: Any) -> None:
    async with tenant(index_lag=10**6) as dxr, wiring.opened(settings(dxr, dxr_settle_seconds=0.1)) as service:
        run = await classify(service)
        assert (run.counts["reasons"], run.counts["labelled"]) == ({"NO_HIT": 6}, 6)
        assert balances(run)
        dxr.classifier.index_lag = 0
        assert (await classify(service)).counts["labelled"] == 6


async def test_storm_of_429_over_all_lanes_passes(volume: Path, settings: Any) -> None:
    async with tenant() as dxr:
        for at in ("submit", "poll", "search", "classifications", "names", "index status"):
            dxr.classifier.faults.always(odc.Refuse(at, 429, retry_after="30", times=3))
        async with wiring.opened(settings(dxr, dxr_retry_attempts=5, dxr_settle_seconds=10)) as service:
            all_labelled(await classify(service), records(service), dxr, volume)
            assert len(dxr.classifier.jobs) == 3
            assert {job.datasource_id for job in dxr.classifier.jobs} == set(LANES)


@pytest.mark.parametrize("at", ["submit", "poll", "search"])
async def test_storm_of_429_without_end_fails_the_run_and_commits_nothing(
    at: odc.RequestPoint, volume: Path, settings: Any
) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_retry_attempts=3)) as service:
        dxr.classifier.faults.always(odc.Refuse(at, 429, retry_after="86400"))
        run = await classify(service)
        assert run.error is not None
        assert (run.error.code, run.error.retryable) == ("DXR_THROTTLED", True)
        assert "86400 seconds" in run.error.message
        assert commits(service) == []
        assert dxr.classifier.asked[at] <= 3 * len(LANES)


@pytest.mark.parametrize("raw", [HTML, b"[]", b"", b"5", DEEP, b'{"hits":{"hits":{}}}'], ids=lambda raw: repr(raw[:16]))
@pytest.mark.parametrize("at", ["poll", "search"])
async def test_answers_that_are_none_fail_the_run_and_pass_with_time(
    at: odc.RequestPoint, raw: bytes, volume: Path, settings: Any
) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_retry_attempts=3)) as service:
        dxr.classifier.faults.next(odc.Body(at, raw), times=2)
        all_labelled(await classify(service), records(service), dxr, volume)
        if raw == b'{"hits":{"hits":{}}}' and at == "poll":
            return  # an object without a state is a job that goes on
        dxr.classifier.faults.always(odc.Body(at, raw))
        run = await classify(service, full=True)
        assert run.error is not None
        assert (run.error.code, run.error.retryable) == ("DXR_UNAVAILABLE", True)
        assert "sign in" not in run.error.message
        assert len(commits(service)) == 1


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_answer_far_too_large_is_not_taken_in(coding: str, volume: Path, settings: Any) -> None:
    raw = b'{"hits":{"hits":[' + b" " * 65 * MIB + b"]}}"
    body = gzip.compress(raw, 1) if coding else raw
    headers = (("Content-Encoding", coding),) if coding else ()
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_datasource_id="11")) as service:
        dxr.classifier.faults.always(odc.Rewrite("search", lambda _: body, headers))
        run = await classify(service)
        assert run.error is not None
        assert "far too much" in run.error.message


def heavy(document: dict[str, Any]) -> bytes:
    for hit in document["hits"]["hits"]:
        hit["_source"]["annotations"] = "[\N{GRINNING FACE}, 1, 2, 3]" * (5 * MIB // 15)
    return json.dumps(document, ensure_ascii=False).encode()


def bomb(_: Any) -> bytes:
    blocks = gzip.compress(b" " * 64 * MIB)
    return gzip.compress(b'{"hits":{"hits":[') + blocks * 16 + gzip.compress(b"]}}")


HEAVY = {
    "hits of 5 MiB": (odc.Rewrite("search", heavy), "landed"),
    "a gzip bomb of 1 GiB": (odc.Rewrite("search", bomb, (("Content-Encoding", "gzip"),)), "failed"),
}


@pytest.mark.parametrize(("fault", "state"), HEAVY.values(), ids=HEAVY)
async def test_heavy_answers_stay_within_the_memory(
    fault: odc.RequestFault, state: str, volume: Path, tmp_path: Path
) -> None:
    catalog, schema, name = volume.parts[-3:]
    variables = {
        "VOLUME_CATALOG": catalog,
        "VOLUME_SCHEMA": schema,
        "VOLUME_NAME": name,
        "VOLUME_BASE_PATH": str(volume.parents[2]),
        "DXR_DATASOURCE_ID": ",".join(LANES),
        "DXR_POLL_INTERVAL_SECONDS": "0.01",
        "DXR_MAX_FILES_PER_JOB": "4",
    }
    async with tenant() as dxr:
        dxr.classifier.faults.always(fault)
        ended = await measured_command("classify", dxr, tmp_path, variables)
    assert ended.run["state"] == state
    assert ended.peak_mib <= LIMIT_MIB


async def test_coded_answer_that_is_cut_is_no_answer(volume: Path, settings: Any) -> None:
    def cut(document: Any) -> bytes:
        return gzip.compress(json.dumps(document).encode())[:-1]

    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_retry_attempts=2)) as service:
        dxr.classifier.faults.next(odc.Rewrite("search", cut, (("Content-Encoding", "gzip"),)))
        all_labelled(await classify(service), records(service), dxr, volume)


@pytest.mark.parametrize("at", ["submit", "poll", "index status"])
async def test_redirects_of_the_classifier_fail_the_run(at: odc.RequestPoint, volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.always(odc.Refuse(at, 307))
        run = await classify(service)
        assert run.error is not None
        assert run.error.code == "DXR_REDIRECTED"
        assert commits(service) == []


NAMELESS: dict[str, tuple[odc.RequestFault, ...]] = {
    "forgotten": (),
    "401": (odc.Refuse("classifications", 401), odc.Refuse("names", 401)),
    "403": (odc.Refuse("classifications", 403), odc.Refuse("names", 403)),
    "400": (odc.Refuse("classifications", 400), odc.Refuse("names", 400)),
    "500": (odc.Refuse("classifications", 500), odc.Refuse("names", 500)),
    "a page": (odc.Body("classifications", HTML), odc.Body("names", HTML)),
    "no list": (odc.Body("classifications", b'{"data":5}'), odc.Body("names", b'{"name":null}')),
    "other things": (odc.Body("classifications", b'{"data":[1,{"id":null},{"id":[]}]}'), odc.Body("names", b"[]")),
    "lost": (odc.LoseAnswer("classifications"), odc.LoseAnswer("names")),
}


@pytest.mark.parametrize("lasting", NAMELESS.values(), ids=NAMELESS)
async def test_labels_whose_names_cannot_be_told_keep_their_ids(
    lasting: tuple[odc.RequestFault, ...], volume: Path, settings: Any
) -> None:
    async with tenant(names_at=() if not lasting else ("tags", "classifications")) as dxr:
        for fault in lasting:
            dxr.classifier.faults.always(fault)
        async with wiring.opened(settings(dxr)) as service:
            run = await classify(service)
            assert (run.state, run.counts["labelled"]) == (State.LANDED, 12)
            for relative, path in files_of(volume):
                record = records(service)[relative]
                assert len(record["labels"]) == len(expected_labels(dxr, path))
                assert record["labels"][: len(record["tags"])] == record["tags"]


@pytest.mark.parametrize(
    "passing",
    [odc.Refuse("names", 429, times=4), odc.Refuse("classifications", 503, times=4), odc.HangUp("names", times=4)],
    ids=lambda fault: type(fault).__name__ + " " + fault.at,
)
async def test_names_that_cannot_be_told_for_a_while_are_waited_for(
    passing: odc.RequestFault, volume: Path, settings: Any
) -> None:
    by_id = ("tags", "metadata-extractors", "data-classes")
    one_job = {"dxr_datasource_id": "11", "dxr_max_files_per_job": 12}
    async with tenant(names_at=(passing.at,) if passing.at == "classifications" else by_id) as dxr:
        dxr.classifier.faults.always(passing)
        async with wiring.opened(settings(dxr, dxr_retry_attempts=5, **one_job)) as service:
            all_labelled(await classify(service), records(service), dxr, volume)


async def test_address_of_names_that_never_delivers_is_left_alone(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_retry_attempts=3)) as service:
        for at in ("names", "classifications"):
            dxr.classifier.faults.always(odc.Refuse(at, 500))
        assert (await classify(service)).state is State.LANDED
        forms, lanes = 3, len(LANES)  # a lane may be on its way to an address that the other one finds away
        assert dxr.classifier.asked["names"] <= 3 * forms * lanes
        assert dxr.classifier.asked["classifications"] <= 3 * lanes


async def test_one_name_that_is_forgotten_costs_no_other(volume: Path, settings: Any) -> None:
    async with tenant(names_at=("metadata-extractors", "data-classes")) as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.always(odc.ForgetName("A0"))
        await classify(service)
        for relative, path in files_of(volume):
            expected = expected_labels(dxr, path)
            found = records(service)[relative]
            kept = [found["tags"][place] if label == "A0" else label for place, label in enumerate(expected)]
            assert found["labels"] == kept, relative


ODD: dict[str, Any] = {
    "dxr#tags": [7, "Legal", {"id": 9, "name": "PII"}, None, True, "\ud800", "nul\0", "../../admin", "a/b?c#d"],
    "ai#category": {"name": "contract"},
    "annotation.\udfff": ["x"],
    "annotation.12": "x",
    "annotation_stats#count.13": 1e400,
    "object_id": 5,
    "dxr#mime_type": ["text/plain"],
    "dxr#sha_256_hash": "\udc00",
    "number": float("nan"),
    "huge": 10**4000,
    "beyond huge": "7" * 5000,
    "deep": json.loads("[" * 300 + "]" * 300),
    "": None,
    "Case": 1,
    "case": 2,
}


async def test_hit_of_odd_types_loses_nothing(volume: Path, settings: Any) -> None:
    def odd(document: dict[str, Any]) -> bytes:
        for hit in document["hits"]["hits"]:
            hit["_source"] |= ODD
        text = json.dumps(document)
        return text.replace('"' + ODD["beyond huge"] + '"', ODD["beyond huge"]).encode()

    async with tenant() as dxr, wiring.opened(settings(dxr)) as service:
        dxr.classifier.faults.always(odc.Rewrite("search", odd))
        run = await classify(service)
        assert (run.state, run.counts["labelled"]) == (State.LANDED, 12)
        for record in records(service).values():
            tags = ["7", "Legal", '{"id":9,"name":"PII"}', "true", "\\ud800", "nul\0", "../../admin", "a/b?c#d"]
            assert record["tags"] == tags
            assert record["labels"][: len(tags)] == tags
            assert {"\\udfff", "12", "13"} < set(record["labels"])
            assert record["categories"] == ['{"name":"contract"}']
            assert (record["mime_type"], record["sha256"]) == (None, "\\udc00")
            raw = json.loads(record["raw_metadata"], parse_constant=pytest.fail)
            assert raw.items() > (ODD | {"number": "NaN", "annotation_stats#count.13": "Infinity"}).items()


async def test_token_that_is_renewed_while_files_are_sent(volume: Path, settings: Any, tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with tenant() as dxr:
        dxr.tokens = (dxr.token, "the-token-after-the-rotation-of-it")
        file.write_text(dxr.tokens[0])
        flags = {"dxr_bearer_token": None, "dxr_bearer_token_file": str(file), "dxr_retry_attempts": 2}
        dxr.classifier.faults.next(odc.Refuse("submit", 401))

        def rotate(document: Any) -> Any:
            file.write_text(dxr.tokens[1])
            return document

        dxr.classifier.faults.next(odc.Rewrite("index status", rotate))
        async with wiring.opened(settings(dxr, **flags).model_copy(update={"dxr_bearer_token": None})) as service:
            all_labelled(await classify(service), records(service), dxr, volume)
            assert len(dxr.classifier.jobs) == 3


async def test_token_that_is_refused_fails_the_run_and_is_named(volume: Path, settings: Any) -> None:
    async with tenant() as dxr, wiring.opened(settings(dxr, dxr_retry_attempts=5)) as service:
        dxr.classifier.faults.always(odc.Refuse("poll", 403))
        run = await classify(service)
        assert run.error is not None
        assert run.error.code == "DXR_FORBIDDEN"
        assert "DXR_BEARER_TOKEN" in run.error.message
        assert commits(service) == []
