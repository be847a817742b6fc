"""The on-demand classifier as its clients know it: submits, jobs and their shapes, and nothing that depends on time."""

import asyncio
import hashlib
import sys
import tracemalloc

import aiohttp
import pytest
import requests

from tests.simulators.classifier_client import Asking, names
from tests.simulators.dxr import EVERY_WAY, Classifier, DxrSimulator, JobAnswers, UploadedFile
from tests.simulators.dxr.job_answers import DONE_WORDS, SHAPES
from tests.simulators.dxr.jobs import Overlap

TOKEN = "t" * 32
MAIL = b"label: Board papers\r\nwrite to anna@example.org, anna@example.org and bo@example.org\n"
PLAIN = b"nothing to see"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
async def dxr():
    async with DxrSimulator(tokens=(TOKEN,), classifier=Classifier(datasources=("11", "12"))) as dxr:
        yield dxr


@pytest.fixture
async def client(dxr):
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        yield Asking(dxr, session)


async def test_a_job_from_submit_to_hits(dxr, client):
    status, job = await client.submit({"a.txt": MAIL, "b.pdf": PLAIN})
    assert status == 202
    assert job["state"] == "SUBMITTED"
    assert job.keys() >= {"id", "datasourceId", "submittedAt", "timeToLive", "recrawlDispatchFailures"}
    assert "datasourceScanId" not in job
    assert await client.states(job["id"], 3) == ["RUNNING", "FINISHED", "FINISHED"]
    (taken,) = dxr.classifier.jobs
    assert (taken.id, taken.datasource_id, taken.order, taken.state) == (job["id"], "11", 0, "FINISHED")
    assert taken.files == (
        UploadedFile("a.txt", len(MAIL), sha256(MAIL)),
        UploadedFile("b.pdf", len(PLAIN), sha256(PLAIN)),
    )
    hits = await client.found(scan=taken.scan_id)
    assert names(hits) == ["a.txt", "b.pdf"]
    assert [hit["_source"]["dxr#sha_256_hash"] for hit in hits] == [sha256(MAIL), sha256(PLAIN)]
    assert dxr.classifier.overlaps == []


async def test_another_client_uploads_odd_names(dxr):
    contents = {"Übersicht.csv": MAIL, "a/b c.txt": PLAIN, 'quote"d': b"", "100%25.txt": b"\0" * 70_000}
    url = f"{dxr.url}/api/on-demand-classifiers/12/jobs"
    files = [("files", (name, content)) for name, content in contents.items()]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = await asyncio.to_thread(requests.post, url, headers=headers, files=files, timeout=30)
    assert answer.status_code == 202
    (job,) = dxr.classifier.jobs
    assert [(file.size, file.sha256) for file in job.files] == [(len(c), sha256(c)) for c in contents.values()]
    assert [file.name for file in job.files][:2] == ["Übersicht.csv", "a/b c.txt"]


async def test_a_big_body_is_not_kept(dxr, client):
    async def body():
        for _ in range(64):
            yield b"x" * (1 << 20)

    form = aiohttp.FormData()
    form.add_field("files", body(), filename="big.bin")
    tracemalloc.start()
    status, _ = await client.ask("POST", "/on-demand-classifiers/11/jobs", data=form)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (status, dxr.classifier.jobs[0].files[0].size) == (202, 64 << 20)
    assert peak < 16 << 20


async def test_submits_that_are_none(dxr, client):
    async def status_of(**body):
        return (await client.ask("POST", "/on-demand-classifiers/11/jobs", **body))[0]

    unnamed = aiohttp.FormData()
    unnamed.add_field("file", b"x", filename="x")
    fileless = aiohttp.FormData()
    fileless.add_field("files", "x", content_type="text/plain")
    cut = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nhalf'
    assert await status_of(json={}) == 400
    assert await status_of(data=unnamed) == 400
    assert await status_of(data=fileless) == 400
    assert await status_of(data=b"--b--\r\n", headers={"Content-Type": "multipart/form-data; boundary=b"}) == 400
    assert await status_of(data=cut, headers={"Content-Type": "multipart/form-data; boundary=b"}) == 400
    assert (await client.submit({"a": b""}, "13"))[0] == 404
    assert dxr.classifier.jobs == []


async def test_the_tenants_tokens_count_here_too(dxr):
    dxr.tokens_without_permission = ("p" * 32,)
    url = f"{dxr.url}/api/on-demand-classifiers/11/jobs/7001"
    statuses = dict[str, int]()
    for token in ("wrong", "p" * 32, TOKEN):
        async with aiohttp.request("GET", url, headers={"Authorization": f"Bearer {token}"}) as answer:
            statuses[token[0]] = answer.status
    assert statuses == {"w": 401, "p": 403, "t": 404}
    assert [entry.token_ok for entry in dxr.requests] == [False, False, True]
    assert not dxr.classifier.asked


async def test_a_second_job_waits_for_the_first_and_is_held_against_the_client(dxr, client):
    _, one = await client.submit({"a": PLAIN})
    _, other = await client.submit({"b": PLAIN}, "12")
    assert dxr.classifier.overlaps == []
    _, two = await client.submit({"c": PLAIN})
    assert dxr.classifier.overlaps == [Overlap("11", two["id"], one["id"])]
    # Its polls move the first job on, so that nobody waits for ever.
    assert await client.states(two["id"], 4) == ["SUBMITTED", "SUBMITTED", "RUNNING", "FINISHED"]
    assert [job.state for job in dxr.classifier.jobs] == ["FINISHED", "SUBMITTED", "FINISHED"]
    assert (await client.poll(other["id"]))[0] == 404
    assert (await client.poll("nonsense"))[0] == 404
    assert [job.polls for job in dxr.classifier.jobs] == [0, 0, 4]
    await client.submit({"d": PLAIN})
    assert len(dxr.classifier.overlaps) == 1


async def test_longer_jobs_have_more_states(dxr, client):
    dxr.classifier.polls_until_done = 5
    _, job = await client.submit({"a": PLAIN})
    assert await client.states(job["id"], 5) == [
        "RUNNING", "PROCESSING", "AWAITING_RECRAWL_TO_COMPLETE", "AWAITING_RECRAWL_TO_COMPLETE", "FINISHED",
    ]  # fmt: skip


async def test_index_status_tells_and_moves(dxr, client):
    _, job = await client.submit({"a": PLAIN})
    path = "/datasources/ingester/{}/index/status"
    seen = [(await client.ask("GET", path.format(11)))[1]["items"][0] for _ in range(2)]
    assert seen == [{"crawl_active": active, "datasource_id": 11} for active in (True, False)]
    assert await client.states(job["id"], 1) == ["FINISHED"]
    assert (await client.ask("GET", path.format(13)))[0] == 404
    dxr.classifier.index_status = False
    assert (await client.ask("GET", path.format(11)))[0] == 404


SHAPED = {
    "flat": {"state": "FINISHED", "datasourceScanId": 40_001},
    "nested": {"state": {"value": "FINISHED", "datasourceScanId": 40_001}},
    "job": {"job": {"id": 7001, "state": "FINISHED", "datasourceScanId": 40_001}},
    "status": {"status": "FINISHED", "state.datasourceScanId": 40_001},
    "jobState": {"jobState": "FINISHED", "datasourceScanId": 40_001},
    "flat key": {"state": "FINISHED", "state.datasourceScanId": 40_001},
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_jobs_come_in_every_shape(dxr, client, shape):
    dxr.classifier.answers = JobAnswers(shapes=(shape,))
    dxr.classifier.polls_until_done = 1
    _, job = await client.submit({"a": PLAIN})
    assert job["id"] == 7001
    assert await client.poll(7001) == (200, {"id": 7001, "datasourceId": 11} | SHAPED[shape])


async def test_words_cases_and_ids_take_turns(dxr, client):
    dxr.classifier.answers = JobAnswers(cases=("upper", "lower"), done=DONE_WORDS, ids=("text",))
    dxr.classifier.polls_until_done = 0
    _, job = await client.submit({"a": PLAIN})
    assert (job["id"], job["datasourceId"], job["datasourceScanId"]) == ("7001", "11", "40001")
    words = set(await client.states("7001", 8))
    assert words == {*DONE_WORDS, *(word.lower() for word in DONE_WORDS)}


async def test_all_combinations_come_in_turn_and_the_shapes_first(dxr, client):
    dxr.classifier.answers, dxr.classifier.polls_until_done = EVERY_WAY, 0
    await client.submit({"a": PLAIN})
    answers = [(await client.poll(7001))[1] for _ in range(len(SHAPES) * 2 * len(DONE_WORDS) * 2)]
    assert len({frozenset(answer) for answer in answers[: len(SHAPES)]}) == len(SHAPES)
    assert len({str(answer) for answer in answers}) == len(answers)


async def test_the_prefix_may_be_empty():
    classifier = Classifier(datasources=("11",), api_prefix="")
    async with (
        DxrSimulator(tokens=(TOKEN,), classifier=classifier) as dxr,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
    ):
        client = Asking(dxr, session)
        assert names(await client.classified({"a": PLAIN})) == ["a"]
        assert (await client.ask("GET", "/api/v1/classifications"))[0] == 200
        assert (await client.ask("GET", "/api/on-demand-classifiers/11/jobs/7001"))[0] == 404


async def test_many_lanes_at_once(dxr, client):
    dxr.classifier.datasources = tuple(str(number) for number in range(20))
    found = await asyncio.gather(*(client.classified({f"{lane}": MAIL}, lane) for lane in dxr.classifier.datasources))
    assert [names(hits) for hits in found] == [[lane] for lane in dxr.classifier.datasources]
    assert dxr.classifier.overlaps == []
    assert dxr.classifier.asked["submit"] == 20


async def test_the_command_has_datasources_when_told():
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.simulators.dxr", "--rows", "1", "--datasources", "11,12", "--token", TOKEN),
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdout is not None
    url = (await server.stdout.readline()).decode().split()[-1]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.request("GET", f"{url}/api/datasources/ingester/12/index/status", headers=headers) as answer:
        assert (await answer.json())["items"][0]["crawl_active"] is False
    server.terminate()
    await server.communicate()
    assert server.returncode == 0
