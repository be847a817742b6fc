"""Each fault of the classifier does what its docstring says, to what it is meant for and to nothing else."""

import asyncio
import hashlib

import aiohttp
import pytest

from tests.simulators.classifier_client import Asking, names
from tests.simulators.dxr import Classifier, DxrSimulator, UploadedFile
from tests.simulators.dxr.classifier_faults import (
    Body,
    CancelJob,
    FailJob,
    ForgetName,
    HangUp,
    Hold,
    LoseAnswer,
    MissHit,
    NeverEnd,
    OddState,
    Refuse,
    Rewrite,
    VanishJob,
    containing,
)

TOKEN = "t" * 32
MAIL = b"label: Board papers\nanna@example.org"
PLAIN = b"nothing to see"


@pytest.fixture
async def dxr():
    async with DxrSimulator(tokens=(TOKEN,), classifier=Classifier(datasources=("11", "12"))) as dxr:
        yield dxr


@pytest.fixture
def faults(dxr):
    return dxr.classifier.faults


@pytest.fixture
async def client(dxr):
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        yield Asking(dxr, session)


async def end_of(client, files, polls=2):
    """How a job of these files ends."""
    _, job = await client.submit(files)
    return (await client.states(job["id"], polls))[-1]


async def test_refused_submits_make_no_job(dxr, client, faults):
    faults.next(Refuse("submit", 503), times=2)
    faults.next(Refuse("submit", 429, retry_after="7", body=b'{"error":"slow down"}'))
    form = aiohttp.FormData()
    form.add_field("files", PLAIN, filename="a")
    assert [(await client.submit({"a": PLAIN}))[0] for _ in range(2)] == [503, 503]
    url = f"{dxr.url}/api/on-demand-classifiers/11/jobs"
    async with client.session.post(url, data=form) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
        assert await answer.json() == {"error": "slow down"}
    assert dxr.classifier.jobs == []
    assert (await client.submit({"a": PLAIN}))[0] == 202
    assert dxr.classifier.asked["submit"] == 4


async def test_a_submit_may_be_refused_for_what_it_holds(client, faults):
    faults.always(Refuse("submit", 413, when=containing(larger_than=100)))
    assert (await client.submit({"small": PLAIN, "big": b"x" * 101}))[0] == 413
    assert (await client.submit({"small": PLAIN, "other": b"x" * 100}))[0] == 202


async def test_an_upload_may_be_refused_before_its_body_is_read(dxr, client, faults):
    faults.next(Refuse("upload", 413))
    assert (await client.submit({"a": PLAIN}))[0] == 413
    assert dxr.classifier.asked["submit"] == 0
    assert (await client.submit({"a": PLAIN}))[0] == 202


async def test_a_lost_answer_leaves_a_job_behind(dxr, client, faults):
    faults.next(LoseAnswer())
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.submit({"unique": MAIL})
    (orphan,) = dxr.classifier.jobs
    assert (orphan.state, orphan.polls) == ("SUBMITTED", 0)
    assert hashlib.sha256(MAIL).hexdigest() in dxr.classifier.truth
    status = "/datasources/ingester/11/index/status"
    active = [(await client.ask("GET", status))[1]["items"][0]["crawl_active"] for _ in range(2)]
    assert active == [True, False]
    assert names(await client.found(name="unique")) == ["unique"]
    assert dxr.classifier.overlaps == []


@pytest.mark.parametrize("after_bytes", [0, 1_000])
async def test_a_connection_that_is_reset_makes_no_job(dxr, client, faults, after_bytes):
    faults.next(HangUp(after_bytes=after_bytes))
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.submit({"a": b"x" * 100_000})
    assert dxr.classifier.jobs == []
    assert (await client.submit({"a": PLAIN}))[0] == 202


async def test_a_document_is_changed_on_its_way(dxr, client, faults):
    faults.next(Rewrite("submit", lambda job: job | {"id": [job["id"]]}))
    _, job = await client.submit({"a": PLAIN})
    assert job["id"] == [dxr.classifier.jobs[0].id]
    faults.next(Rewrite("poll", lambda _: b"\xff", headers=(("X-Odd", "1"),)))
    async with client.session.get(f"{dxr.url}/api/on-demand-classifiers/11/jobs/{job['id'][0]}") as answer:
        assert (answer.status, answer.headers["X-Odd"], await answer.read()) == (200, "1", b"\xff")


@pytest.mark.parametrize("point", ["poll", "search", "index status", "classifications"])
async def test_any_request_may_lose_its_answer_or_be_refused(client, faults, point):
    _, job = await client.submit({"a": PLAIN})

    async def ask():
        if point == "poll":
            return await client.poll(job["id"])
        if point == "search":
            return await client.search(scan=40_001)
        path = "/v1/classifications" if point == "classifications" else "/datasources/ingester/11/index/status"
        return await client.ask("GET", path)

    faults.next(Refuse(point, 502, body=b"{}"), times=2)
    assert [(await ask())[0] for _ in range(3)] == [502, 502, 200]
    # aiohttp repeats a GET once by itself when its answer is lost, and never a POST.
    faults.next(LoseAnswer(point), times=1 if point == "search" else 2)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await ask()
    faults.next(Body(point, b"[]"))
    assert [await ask() == (200, []) for _ in range(2)] == [True, False]


async def test_a_refused_poll_does_not_move_the_job(client, faults):
    faults.always(Refuse("poll", 500, body=b"{}", times=1))
    for datasource_id in ("11", "12"):
        _, job = await client.submit({"a": PLAIN}, datasource_id)
        assert await client.states(job["id"], 3, datasource_id) == ["500", "RUNNING", "FINISHED"]


async def test_each_search_may_be_refused_so_often(client, faults):
    await client.classified({"a": PLAIN})
    faults.always(Refuse("search", 503, body=b"{}", times=2))
    assert [(await client.search(scan=40_001))[0] for _ in range(3)] == [503, 503, 200]
    assert [(await client.search(name="a"))[0] for _ in range(3)] == [503, 503, 200]


async def test_jobs_fail_so_often_then_succeed(client, faults):
    faults.next(FailJob(times=2))
    assert [await end_of(client, {f"a{attempt}": PLAIN}) for attempt in range(3)] == ["FAILED", "FAILED", "FINISHED"]


async def test_the_same_contents_fail_so_often_under_whatever_names(client, faults):
    faults.always(FailJob(times=1))
    assert [await end_of(client, {f"a{attempt}": PLAIN}) for attempt in range(2)] == ["FAILED", "FINISHED"]
    assert [await end_of(client, {f"b{attempt}": MAIL}) for attempt in range(2)] == ["FAILED", "FINISHED"]


async def test_jobs_with_a_certain_file_always_fail(client, faults):
    faults.always(FailJob(when=containing(sha256=hashlib.sha256(MAIL).hexdigest()), error="cannot read a mail"))
    assert await end_of(client, {"a": PLAIN, "b": MAIL}) == "FAILED"
    assert await end_of(client, {"a": PLAIN}) == "FINISHED"
    assert await end_of(client, {"c": MAIL}) == "FAILED"
    assert await client.found(name="c") == []
    assert (await client.poll(7003))[1]["errorMessage"] == "cannot read a mail"
    assert "errorMessage" not in (await client.poll(7002))[1]


def test_predicates_want_one_file_that_meets_all():
    files = (UploadedFile("s", 3, "ab"), UploadedFile("b", 9, "cd"))
    assert containing(name="b", larger_than=8, sha256="cd")(files)
    assert not containing(name="s", larger_than=8)(files)
    assert not containing(sha256="ef")(files)


async def test_cancelled_jobs(client, faults):
    faults.next(CancelJob())
    assert await end_of(client, {"a": PLAIN}) == "CANCELLED"
    assert await client.found(scan=40_001) == []


async def test_endless_jobs_hold_up_others_only_if_told_to(dxr, client, faults):
    faults.next(NeverEnd())
    assert await end_of(client, {"a": PLAIN}, polls=9) == "RUNNING"
    assert await end_of(client, {"b": PLAIN}) == "FINISHED"
    assert dxr.classifier.overlaps == []
    faults.next(NeverEnd(word="PROCESSING", blocks=True))
    assert await end_of(client, {"c": PLAIN}, polls=9) == "PROCESSING"
    assert await end_of(client, {"d": PLAIN}, polls=9) == "SUBMITTED"
    assert len(dxr.classifier.overlaps) == 1


async def test_odd_states_pass(client, faults):
    faults.next(OddState(word="REHYDRATING", polls=2))
    _, job = await client.submit({"a": PLAIN})
    assert await client.states(job["id"], 4) == ["REHYDRATING", "REHYDRATING", "RUNNING", "FINISHED"]


@pytest.mark.parametrize("indexed", [False, True])
async def test_vanished_jobs_may_have_left_their_files_in_the_index(client, faults, indexed):
    faults.next(VanishJob(after=1, indexed=indexed))
    _, job = await client.submit({"a": PLAIN})
    assert await client.states(job["id"], 3) == ["RUNNING", "404", "404"]
    assert bool(await client.found(name="a")) == indexed
    assert await end_of(client, {"b": PLAIN}) == "FINISHED"


async def test_missing_hits_are_missing_on_every_page(client, faults):
    faults.next(MissHit(when=containing(name="b")))
    await client.classified(dict.fromkeys("abcd", PLAIN))
    faults.next(MissHit(when=containing(name="b")))
    pages = [names(await client.found(page, 2, scan=40_001)) for page in range(3)]
    assert pages == [["a", "c"], ["d"], []]
    assert names(await client.found(scan=40_001)) == ["a", "b", "c", "d"]
    faults.always(MissHit(when=containing(name="a"), times=1))
    assert [len(await client.found(scan=40_001)) for _ in range(2)] == [3, 4]
    faults.always(MissHit(when=containing(name="c")))
    assert [(await client.search(scan=40_001))[1]["hits"]["total"]["value"] for _ in range(2)] == [3, 3]


async def test_forgotten_names(client, faults):
    faults.always(ForgetName("Board papers"))
    (hit,) = await client.classified({"a": MAIL})
    statuses = [(await client.ask("GET", f"/tags/{tag}"))[0] for tag in hit["_source"]["dxr#tags"]]
    assert statuses == [200, 404]


@pytest.mark.parametrize("work_first", [False, True])
async def test_a_held_request_waits_for_the_test(dxr, client, faults, work_first):
    hold = Hold("submit", work_first=work_first)
    faults.next(hold)
    submitting = asyncio.create_task(client.submit({"a": PLAIN}))
    await hold.reached()
    assert len(dxr.classifier.jobs) == work_first
    assert await client.search(name="a")  # everything else goes on
    hold.open()
    assert (await submitting)[0] == 202
    assert len(dxr.classifier.jobs) == 1


async def test_a_tenant_that_stops_ends_what_it_holds(dxr, client, faults):
    hold = Hold("search")
    faults.next(hold)
    searching = asyncio.create_task(client.search())
    await hold.reached()
    await dxr.__aexit__(None, None, None)
    with pytest.raises(aiohttp.ClientError):
        await searching


async def test_queued_faults_come_before_lasting_ones_and_can_be_forgotten(client, faults):
    faults.always(Refuse("poll", 500, body=b"{}"))
    faults.next(Refuse("search", 503, body=b"{}"))
    faults.next(Refuse("poll", 502, body=b"{}"))
    faults.next(Refuse("poll", 504, body=b"{}"))
    _, job = await client.submit({"a": PLAIN})
    assert await client.states(job["id"], 3) == ["502", "504", "500"]
    assert (await client.search())[0] == 503
    faults.clear()
    assert await client.states(job["id"], 2) == ["RUNNING", "FINISHED"]


async def test_a_request_that_is_turned_away_uses_no_fault_up(dxr, client, faults):
    faults.next(Refuse("poll", 500, body=b"{}"))
    _, job = await client.submit({"a": PLAIN})
    url = f"{dxr.url}/api/on-demand-classifiers/11/jobs/{job['id']}"
    async with aiohttp.request("GET", url) as answer:
        assert answer.status == 401
    assert (await client.poll(999))[0] == 404
    assert (await client.poll(job["id"]))[0] == 500


async def test_a_client_that_goes_while_uploading_leaves_no_job(dxr):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(dxr.url.rpartition(":")[2]))
    writer.write(
        b"POST /api/on-demand-classifiers/11/jobs HTTP/1.1\r\nHost: dxr\r\nContent-Length: 9999\r\n"
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b'Expect: 100-continue\r\n\r\n--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nhalf'
    )
    await reader.readuntil(b"100 Continue\r\n\r\n")  # now it reads the body
    writer.close()
    await dxr.idle()
    assert dxr.classifier.jobs == []
