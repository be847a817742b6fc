"""Files as the Files API keeps them, seen by a client that hides nothing."""

import asyncio

import aiohttp
import pytest

from tests.simulators.databricks import DatabricksSimulator, faults
from tests.simulators.databricks.client import RawClient

LANDING = "/Volumes/main/dxr/landing"
NAMES = [
    "a b",
    "date=2026-11-22",
    "a#b",
    "100%",
    "50%25",
    "Müßig-數據",
    'it\'s "quoted"',
    "a+b&c;d",
    "?x",
    "a\\b",
    "x" * 255,
]


@pytest.fixture
async def workspace(tmp_path):
    async with DatabricksSimulator(tmp_path / "volumes") as workspace:
        yield workspace


@pytest.fixture
def landing(workspace):
    return workspace.volume("main", "dxr", "landing")


@pytest.fixture
async def client(workspace, landing):
    async with RawClient(workspace) as client:
        yield client


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


async def test_a_file_is_stored_read_described_and_deleted(client, landing):
    put = await client.put(f"{LANDING}/x.gz", b"content")
    assert (put.status, put.body, (landing / "x.gz").read_bytes()) == (204, b"", b"content")
    got = await client.file("GET", f"{LANDING}/x.gz")
    assert (got.status, got.body) == (200, b"content")
    head = await client.file("HEAD", f"{LANDING}/x.gz")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "7")
    assert head.headers["Content-Type"] == "application/octet-stream"
    assert head.headers["Last-Modified"] == got.headers["Last-Modified"]
    assert (await client.file("DELETE", f"{LANDING}/x.gz")).status == 204
    assert tree(landing) == []
    for method in ("GET", "DELETE"):
        assert (await client.file(method, f"{LANDING}/x.gz")).error_code == "NOT_FOUND"


async def test_a_request_is_recorded_with_its_status_and_size(client, workspace):
    await client.file("PUT", f"{LANDING}/a b", "?overwrite=true", data=b"12345", headers={"X-Mark": "m"})
    await client.file("GET", f"{LANDING}/missing")
    put, get = workspace.requests
    assert (put.method, put.path, put.query) == ("PUT", f"/api/2.0/fs/files{LANDING}/a b", {"overwrite": "true"})
    assert (put.headers["x-mark"], put.status, put.body_bytes, put.fault) == ("m", 204, 5, None)
    assert (get.method, get.status, get.body_bytes) == ("GET", 404, 0)


async def test_a_head_that_fails_has_no_body(client, workspace):
    workspace.unreadable.add(f"{LANDING}/secret")
    for path, status in (("missing", 404), ("secret", 403)):
        answer = await client.file("HEAD", f"{LANDING}/{path}")
        assert (answer.status, answer.body, answer.headers["Content-Length"]) == (status, b"", "0")


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_can_be_escaped(client, landing, name):
    assert (await client.put(f"{LANDING}/{name}", name.encode())).status == 204
    assert tree(landing) == [name]
    assert (await client.file("GET", f"{LANDING}/{name}")).body == name.encode()
    assert await client.names(LANDING) == [name]


async def test_what_may_stand_in_a_path_as_it_is_need_not_be_escaped(client, landing):
    for raw in ("date=1", "it's", "a+b", "a;b"):
        assert (await client.ask("PUT", f"/api/2.0/fs/files{LANDING}/{raw}", data=b"")).status == 204
    assert tree(landing) == ["a+b", "a;b", "date=1", "it's"]


@pytest.mark.parametrize(
    "path",
    [
        f"{LANDING}/../x",
        f"{LANDING}/%2e%2e/x",
        f"{LANDING}/./x",
        f"{LANDING}/a%2Fb",
        f"{LANDING}/a%00b",
        f"{LANDING}/%ff",
        f"{LANDING}//x",
        f"{LANDING}/x/",
        f"{LANDING}/{'x' * 256}",
        "/Volumes/main/dxr",
        "/Volumes/main/dxr/..",
        "/dbfs/main/dxr/landing/x",
        "/",
    ],
)
async def test_a_path_that_is_no_place_in_a_volume_is_refused(client, workspace, tmp_path, path):
    before = tree(tmp_path)
    for method in ("PUT", "GET", "DELETE"):
        answer = await client.ask(method, f"/api/2.0/fs/files{path}")
        assert answer.status == 400, method
    assert tree(tmp_path) == before


async def test_a_volume_must_exist(client, workspace, tmp_path):
    hidden = next(path.name for path in (tmp_path / "volumes").iterdir() if path.name.startswith("."))
    for volume in ("/Volumes/main/dxr/other", f"/Volumes/{hidden}/a/b"):
        for method in ("PUT", "GET", "DELETE"):
            assert (await client.file(method, f"{volume}/x")).status == 404
            assert (await client.directory(method, f"{volume}/x")).status == 404
    workspace.volume("main", "dxr", "other")
    assert (await client.put("/Volumes/main/dxr/other/x")).status == 204


async def test_overwriting_is_what_happens_unless_it_is_forbidden(client, landing):
    path, file = f"{LANDING}/x", landing / "x"
    assert (await client.put(path, b"1")).status == 204
    refused = await client.put(path, b"2")
    assert (refused.status, refused.error_code, file.read_bytes()) == (409, "ALREADY_EXISTS", b"1")
    assert refused.json["details"] == []
    assert (await client.put(path, b"3", overwrite=True)).status == 204
    assert file.read_bytes() == b"3"
    assert (await client.file("PUT", path, data=b"4")).status == 204
    assert file.read_bytes() == b"4"
    assert (await client.file("PUT", path, "?overwrite=maybe", data=b"5")).status == 400


async def test_some_stores_say_conflict_in_another_way(client, workspace):
    workspace.conflict_status = 412
    assert [(await client.put(f"{LANDING}/x")).status for _ in range(2)] == [204, 412]


async def test_of_writers_that_race_exactly_one_wins(client, workspace, landing):
    everyone_waits = asyncio.Barrier(8)

    async def slowly(content):
        await everyone_waits.wait()
        yield content
        yield content

    answers = await asyncio.gather(*(client.put(f"{LANDING}/x", slowly(b"%d" % n)) for n in range(8)))
    assert sorted(answer.status for answer in answers) == [204] + [409] * 7
    winner = next(n for n, answer in enumerate(answers) if answer.status == 204)
    assert (landing / "x").read_bytes() == b"%d" % winner * 2
    assert workspace.in_flight_max == 8


async def test_a_file_is_invisible_until_its_last_byte(client, landing):
    seen_before = []

    async def content():
        yield b"first"
        seen_before.append((tree(landing), (await client.file("GET", f"{LANDING}/x")).status))
        yield b" last"

    await client.put(f"{LANDING}/x", content())
    assert seen_before == [([], 404)]
    assert (landing / "x").read_bytes() == b"first last"


async def test_an_upload_that_is_cut_stores_nothing_and_leaves_nothing(client, workspace, landing, tmp_path):
    (landing / "x").write_bytes(b"old")
    before = tree(tmp_path)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(workspace.url.rpartition(":")[2]))
    head = (
        f"PUT /api/2.0/fs/files{LANDING}/x?overwrite=true HTTP/1.1\r\nHost: w\r\n"
        f"Authorization: Bearer {workspace.pat}\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    )
    writer.write(head.encode())
    assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"12345")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await workspace.idle()
    assert (tree(tmp_path), (landing / "x").read_bytes()) == (before, b"old")
    assert [request.status for request in workspace.requests] == [None]


async def test_the_directory_of_a_file_must_exist_unless_the_workspace_makes_it(client, workspace, landing):
    refused = await client.put(f"{LANDING}/a/b/x", b"1")
    assert (refused.status, refused.error_code) == (404, "NOT_FOUND")
    workspace.implicit_parents = True
    assert (await client.put(f"{LANDING}/a/b/x", b"1")).status == 204
    assert tree(landing) == ["a", "a/b", "a/b/x"]


async def test_files_and_directories_do_not_stand_in_for_each_other(client, landing):
    (landing / "d").mkdir()
    (landing / "f").touch()
    assert (await client.put(f"{LANDING}/d", overwrite=True)).status == 409
    assert (await client.directory("PUT", f"{LANDING}/f")).status == 409
    assert (await client.directory("PUT", f"{LANDING}/f/below")).status == 409
    assert (await client.put(f"{LANDING}/f/below")).status == 404
    assert [(await client.file(method, f"{LANDING}/d")).status for method in ("GET", "HEAD", "DELETE")] == [404] * 3
    assert [(await client.directory(method, f"{LANDING}/f")).status for method in ("GET", "HEAD", "DELETE")] == [
        404
    ] * 3
    assert tree(landing) == ["d", "f"]


async def test_directories_are_made_with_those_above_and_deleted_when_empty(client, landing):
    assert [(await client.directory("PUT", f"{LANDING}/a/b{end}")).status for end in ("", "", "/")] == [204] * 3
    assert (await client.directory("HEAD", f"{LANDING}/a/b/")).status == 200
    refused = await client.directory("DELETE", f"{LANDING}/a")
    assert refused.status == 400
    assert [detail["reason"] for detail in refused.json["details"]] == ["FILES_API_DIRECTORY_IS_NOT_EMPTY"]
    assert [(await client.directory("DELETE", f"{LANDING}/{path}")).status for path in ("a/b", "a", "a")] == [
        204,
        204,
        404,
    ]
    assert (await client.directory("DELETE", LANDING)).status == 400
    assert landing.is_dir()


@pytest.mark.parametrize(
    ("header", "status", "body", "content_range"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=0-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("bytes=4-2", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
async def test_a_range_of_a_file(client, landing, header, status, body, content_range):
    (landing / "x").write_bytes(b"0123456789")
    answer = await client.file("GET", f"{LANDING}/x", headers={"Range": header})
    assert (answer.status, answer.body, answer.headers.get("Content-Range")) == (status, body, content_range)


async def test_a_range_behind_the_end(client, landing):
    (landing / "x").write_bytes(b"0123456789")
    answer = await client.file("GET", f"{LANDING}/x", headers={"Range": "bytes=10-"})
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */10")


async def test_a_file_that_was_modified_is_not_read_on(client, landing):
    (landing / "x").write_bytes(b"1")
    modified = (await client.file("HEAD", f"{LANDING}/x")).headers["Last-Modified"]
    for limit, status in ((modified, 200), ("Thu, 01 Jan 1970 00:00:00 GMT", 412), ("no date", 200)):
        answer = await client.file("GET", f"{LANDING}/x", headers={"If-Unmodified-Since": limit})
        assert answer.status == status


async def test_an_empty_file(client):
    await client.put(f"{LANDING}/x", b"")
    assert (await client.file("GET", f"{LANDING}/x")).body == b""
    assert (await client.file("HEAD", f"{LANDING}/x")).headers["Content-Length"] == "0"


async def test_content_is_stored_as_it_came(client, landing):
    await client.file("PUT", f"{LANDING}/x.gz", data=b"\x1f\x8b no gzip at all", headers={"Content-Encoding": "gzip"})
    assert (landing / "x.gz").read_bytes() == b"\x1f\x8b no gzip at all"


async def test_links_do_not_exist(client, landing, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_bytes(b"secret")
    (landing / "folder").symlink_to(tmp_path / "outside")
    (landing / "file").symlink_to(tmp_path / "outside" / "x")
    for path in ("file", "folder/x"):
        assert (await client.file("GET", f"{LANDING}/{path}")).status == 404
        assert (await client.file("DELETE", f"{LANDING}/{path}")).status == 404
    assert (await client.directory("GET", f"{LANDING}/folder")).status == 404
    assert (await client.put(f"{LANDING}/folder/y")).status == 404
    assert await client.names(LANDING) == []
    assert (await client.put(f"{LANDING}/file", b"mine", overwrite=True)).status == 204
    assert (tmp_path / "outside" / "x").read_bytes() == b"secret"
    assert await client.names(LANDING) == ["file"]


async def test_a_volume_that_is_read_only(client, workspace, landing):
    (landing / "x").write_bytes(b"1")
    workspace.read_only.add(LANDING)
    refusals = [
        await client.put(f"{LANDING}/y"),
        await client.file("DELETE", f"{LANDING}/x"),
        await client.directory("PUT", f"{LANDING}/d"),
        await client.directory("DELETE", f"{LANDING}/d"),
        await client.file("POST", f"{LANDING}/y", "?action=initiate-upload"),
    ]
    assert [(answer.status, answer.error_code) for answer in refusals] == [(403, "PERMISSION_DENIED")] * 5
    assert (await client.file("GET", f"{LANDING}/x")).body == b"1"
    assert await client.names(LANDING) == ["x"]
    workspace.volume("main", "dxr", "other")
    assert (await client.put("/Volumes/main/dxr/other/x")).status == 204


async def test_what_is_unreadable_with_all_that_is_below(client, workspace, landing):
    (landing / "d").mkdir()
    (landing / "d" / "x").touch()
    (landing / "y").touch()
    workspace.unreadable |= {f"{LANDING}/d", f"{LANDING}/y"}
    assert (await client.file("GET", f"{LANDING}/d/x")).error_code == "PERMISSION_DENIED"
    assert (await client.file("GET", f"{LANDING}/y")).status == 403
    assert (await client.directory("GET", f"{LANDING}/d")).status == 403
    assert (await client.put(f"{LANDING}/d/new")).status == 204
    assert await client.names(LANDING) == ["d", "y"]


async def test_too_many_requests_at_once(client, workspace):
    workspace.concurrent_max = 2
    holds = [faults.hold(), faults.hold()]
    workspace.faults.next(*holds)
    uploads = [asyncio.create_task(client.put(f"{LANDING}/{n}")) for n in range(2)]
    for hold in holds:
        await hold.reached()
    refused = await client.put(f"{LANDING}/3")
    for hold in holds:
        hold.open()
    assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
    assert [(await upload).status for upload in uploads] == [204, 204]
    assert workspace.in_flight_max == 3
    assert (await client.put(f"{LANDING}/3")).status == 204


async def test_a_request_that_is_seen_to_end_is_no_longer_in_flight(client, workspace, landing):
    (landing / "x").write_bytes(bytes(5_000_000))

    async def worker():
        for _ in range(10):
            assert len((await client.file("GET", f"{LANDING}/x")).body) == 5_000_000

    await asyncio.gather(*(worker() for _ in range(3)))
    assert workspace.in_flight_max == 3


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/2.0/fs/endpoints"), ("PATCH", f"/api/2.0/fs/files{LANDING}/x")]
)
async def test_what_no_api_knows(client, method, path):
    answer = await client.ask(method, path)
    assert (answer.status, answer.error_code) == (404, "ENDPOINT_NOT_FOUND")


async def test_it_stops_with_requests_that_never_end_and_clients_that_are_still_there(tmp_path):
    workspace, never = DatabricksSimulator(tmp_path / "volumes"), asyncio.Event()
    stall = faults.stall()

    async def content():
        yield b"1"
        await never.wait()

    async with workspace:
        workspace.volume("main", "dxr", "landing")
        client = RawClient(workspace)
        workspace.faults.next(stall)
        requests = [asyncio.create_task(client.put(f"{LANDING}/{name}", content())) for name in "xy"]
        await stall.reached()
        assert (await client.file("GET", f"{LANDING}/z")).status == 404
    ends = await asyncio.gather(*requests, return_exceptions=True)
    assert [isinstance(end, aiohttp.ClientError) for end in ends] == [True, True]
    await client.__aexit__(None, None, None)
    assert tree(tmp_path) == ["volumes", "volumes/main", "volumes/main/dxr", "volumes/main/dxr/landing"]
