"""Each fault does on the wire what its docstring says, and the plan strikes whom it should."""

import asyncio

import aiohttp
import pytest

from tests.simulators.databricks import DatabricksSimulator, FaultPlan, faults
from tests.simulators.databricks.client import RawClient

LANDING = "/Volumes/main/dxr/landing"
X = f"{LANDING}/x"
CONTENT = bytes(range(256)) * 4000


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


async def read_until_the_end(workspace, target):
    """Return the head and whatever of the body came, and whether the connection was reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(workspace.url.rpartition(":")[2]))
    head = f"GET {target} HTTP/1.1\r\nHost: w\r\nAuthorization: Bearer {workspace.pat}\r\n\r\n"
    writer.write(head.encode())
    came, was_reset = bytearray(), False
    try:
        while piece := await reader.read(1 << 20):
            came += piece
    except ConnectionResetError:
        was_reset = True
    writer.close()
    head, _, body = bytes(came).partition(b"\r\n\r\n")
    return head.decode(), body, was_reset


async def test_status(client, workspace, landing):
    workspace.faults.next(
        faults.status(503, retry_after=7),
        faults.status(429, retry_after="soon", error_code="RESOURCE_EXHAUSTED"),
        faults.status(502, body=b"<pre>bad gateway</pre>"),
        faults.status(500),
    )
    answers = [await client.put(X, b"1") for _ in range(3)]
    assert [(answer.status, answer.headers.get("Retry-After")) for answer in answers] == [
        (503, "7"),
        (429, "soon"),
        (502, None),
    ]
    assert [answer.error_code for answer in answers[:2]] == ["TEMPORARILY_UNAVAILABLE", "RESOURCE_EXHAUSTED"]
    assert (answers[2].body, answers[2].headers["Content-Type"]) == (b"<pre>bad gateway</pre>", "text/html")
    head = await client.file("HEAD", X)
    assert (head.status, head.body) == (500, b"")
    assert list(landing.iterdir()) == []
    assert [request.fault for request in workspace.requests] == ["status"] * 4


@pytest.mark.parametrize(
    ("fault", "stored", "read"),
    [
        (faults.reset_before(), None, 0),
        (faults.reset_during(1000), None, 1000),
        (faults.reset_after(), CONTENT, len(CONTENT)),
    ],
)
async def test_a_reset_upload_may_have_stored_its_file(client, workspace, landing, fault, stored, read):
    workspace.faults.next(fault)
    with pytest.raises(aiohttp.ClientOSError):
        await client.put(X, CONTENT)
    await workspace.idle()
    assert ((landing / "x").read_bytes() if (landing / "x").exists() else None) == stored
    (request,) = workspace.requests
    assert (request.status, request.fault) == (None, fault.name)
    assert request.body_bytes >= read
    assert (await client.put(X, CONTENT)).status == (204 if stored is None else 409)


async def test_what_else_may_have_happened_before_a_reset(client, workspace, landing):
    await client.put(X)
    workspace.faults.next(faults.reset_after(), times=5)
    for method, target in (
        ("PUT", f"/api/2.0/fs/directories{LANDING}/d"),
        ("PUT", f"/api/2.0/fs/files{X}?overwrite=false"),
        ("DELETE", f"/api/2.0/fs/files{X}"),
        ("GET", f"/api/2.0/fs/directories{LANDING}"),
        ("POST", "/api/2.2/jobs/run-now"),
    ):
        with pytest.raises(aiohttp.ClientOSError):
            await client.ask(method, target, data=b'{"job_id": 7}')
    assert [path.name for path in landing.iterdir()] == ["d"]
    assert len(workspace.runs) == 1


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("count", [0, 1, 300_000, len(CONTENT) - 1, len(CONTENT)])
async def test_cut_body_of_a_file(workspace, landing, count, reset):
    (landing / "x").write_bytes(CONTENT)
    workspace.faults.next(faults.cut_body(count, reset=reset))
    head, body, was_reset = await read_until_the_end(workspace, f"/api/2.0/fs/files{X}")
    assert f"Content-Length: {len(CONTENT)}" in head
    expected = CONTENT[: min(count, len(CONTENT) - 1)]
    assert expected.startswith(body) if reset else body == expected
    assert was_reset == reset
    assert workspace.requests[0].fault == "cut_body"


async def test_cut_body_of_a_range_of_a_listing_and_of_nothing(client, workspace, landing):
    (landing / "x").write_bytes(b"0123456789")
    workspace.faults.next(faults.cut_body(2), times=3)
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.file("GET", X, headers={"Range": "bytes=5-"})
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.directory("GET", LANDING)
    await client.put(f"{LANDING}/empty")
    assert (await client.file("GET", f"{LANDING}/empty")).body == b""
    assert workspace.faults.waiting == 0


async def test_a_fault_waits_for_a_request_that_it_fits(client, workspace, landing):
    workspace.faults.next(faults.cut_body(0), faults.stored_empty(), faults.bad_page_token)
    assert (await client.directory("PUT", f"{LANDING}/d")).status == 204
    assert [(await client.put(X, b"1", overwrite=True)).status for _ in range(2)] == [204, 204]
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.file("GET", X)
    assert [request.fault for request in workspace.requests] == [None, "stored_empty", None, "cut_body"]
    assert workspace.faults.waiting == 1


async def test_stall(client, workspace, landing):
    stall = faults.stall()
    workspace.faults.next(stall)
    upload = asyncio.create_task(client.put(X, b"1"))
    await stall.reached()
    assert (await client.file("GET", X)).status == 404
    upload.cancel()
    await asyncio.wait([upload])
    await workspace.idle()
    assert list(landing.iterdir()) == []
    assert [request.status for request in workspace.requests] == [None, 404]


async def test_stall_in_the_middle(client, workspace, landing):
    (landing / "x").write_bytes(CONTENT)
    stall = faults.stall(after_bytes=5)
    workspace.faults.next(stall)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(workspace.url.rpartition(":")[2]))
    writer.write(
        f"GET /api/2.0/fs/files{X} HTTP/1.1\r\nHost: w\r\nAuthorization: Bearer {workspace.pat}\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(5) == CONTENT[:5]
    await stall.reached()
    assert not reader.at_eof()
    writer.close()
    await writer.wait_closed()
    await workspace.idle()


@pytest.mark.parametrize("work_first", [False, True])
async def test_hold(client, workspace, landing, work_first):
    hold = faults.hold(work_first=work_first)
    workspace.faults.next(hold)
    upload = asyncio.create_task(client.put(X, b"1"))
    await hold.reached()
    assert (landing / "x").exists() == work_first
    assert not upload.done()
    hold.open()
    assert (await upload).status == 204
    assert (landing / "x").read_bytes() == b"1"


async def test_html_login_and_redirect(client, workspace, landing):
    workspace.faults.next(
        faults.html_login(), faults.redirect("/login.html?error=x"), faults.redirect("http://o/", 307)
    )
    page = await client.put(X, b"1")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"Sign in" in page.body
    for code, location in ((302, "/login.html?error=x"), (307, "http://o/")):
        answer = await client.put(X, b"1")
        assert (answer.status, answer.headers["Location"]) == (code, location)
    assert list(landing.iterdir()) == []
    assert (await client.ask("GET", "/login.html?error=x")).body == page.body


async def test_stored_empty(client, workspace, landing):
    workspace.faults.next(faults.stored_empty())
    assert (await client.put(X, CONTENT)).status == 204
    assert (landing / "x").read_bytes() == b""
    assert workspace.requests[0].body_bytes == len(CONTENT)


async def test_token_expired(client, workspace):
    headers = {"Authorization": aiohttp.encode_basic_auth(workspace.client_id, workspace.client_secret)}
    form = {"grant_type": "client_credentials"}
    issued = await client.ask("POST", "/oidc/v1/token", data=form, headers=headers)
    workspace.faults.next(faults.token_expired(), faults.token_expired())
    assert [(await client.directory("GET", LANDING)).status for _ in range(2)] == [401, 401]
    assert (await client.directory("GET", LANDING)).status == 200
    workspace.faults.next(faults.token_expired())
    client.token = issued.json["access_token"]
    assert [(await client.directory("GET", LANDING)).status for _ in range(3)] == [401] * 3


async def test_bad_page_token(client, workspace, landing):
    for n in range(30):
        (landing / str(n)).touch()
    workspace.faults.next(faults.bad_page_token)
    page = await client.directory("GET", LANDING)
    assert len(page.json["contents"]) == 20
    for _ in range(2):
        refused = await client.directory("GET", LANDING, f"?page_token={page.json['next_page_token']}")
        assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert len(await client.names(LANDING)) == 30


async def test_refused_requests_use_up_no_fault(client, workspace):
    workspace.faults.next(faults.status(500))
    assert (await client.file("GET", X, headers={"Authorization": "Bearer wrong"})).status == 401
    assert (await client.file("GET", X)).status == 500


def test_the_plan_asks_who_may_be_struck_and_keeps_the_order():
    plan = FaultPlan(lambda method, path: path != "/never")
    plan.next(faults.status(500), faults.status(501), on=faults.uploads)
    plan.next(faults.status(502), times=2)
    plan.always(faults.status(599), on=faults.listings)
    file, directory = "/api/2.0/fs/files/Volumes/c/s/v/x", "/api/2.0/fs/directories/Volumes/c/s/v"
    asked = [("GET", "/never"), ("GET", file), ("PUT", file), ("PUT", file), ("PUT", file), ("GET", directory)]
    taken = [plan.take(*request) for request in asked]
    assert [fault and fault.code for fault in taken] == [None, 502, 500, 501, 502, 599]
    assert plan.take("DELETE", file) is None
    plan.next(faults.html_login)
    plan.clear()
    assert plan.take("GET", directory) is None


def test_chance_strikes_a_share_of_the_requests_by_its_seed():
    def names(seed):
        plan = FaultPlan(lambda method, path: True)
        kinds = [faults.reset_before, faults.reset_after(), faults.status(503), faults.cut_body(3)]
        plan.randomly(0.1, seed, kinds, on=faults.uploads)
        return [(fault := plan.take("PUT", "/api/2.0/fs/files/x")) and fault.name for _ in range(2000)]

    struck = [name for name in names(1) if name]
    assert 150 < len(struck) < 250
    assert {*struck} == {"reset_before", "reset_after", "status"}
    assert names(1) == names(1) != names(2)
    plan = FaultPlan(lambda method, path: True)
    plan.randomly(1, 1, [faults.reset_before], on=faults.uploads)
    assert plan.take("GET", "/api/2.0/fs/files/x") is None


async def test_a_tenth_of_all_requests_fails_and_a_client_that_tries_again_gets_there(client, workspace, landing):
    workspace.faults.randomly(0.1, 3, [faults.reset_before, faults.reset_after, faults.status(503)])
    for n in range(100):
        while True:
            try:
                if (await client.put(f"{LANDING}/{n}", b"%d" % n, overwrite=True)).status == 204:
                    break
            except aiohttp.ClientOSError:
                continue
    assert {path.name: path.read_bytes() for path in landing.iterdir()} == {str(n): b"%d" % n for n in range(100)}
    assert {request.fault for request in workspace.requests} == {None, "reset_before", "reset_after", "status"}
