"""Listings come in pages, and a page proves nothing but that its entries exist."""

from urllib.parse import quote

import pytest

from tests.simulators.databricks import DatabricksSimulator
from tests.simulators.databricks.client import RawClient

LANDING = "/Volumes/main/dxr/landing"


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


def fill(folder, count):
    names = [f"file-{n:03}" for n in range(count)]
    for name in names:
        (folder / name).touch()
    return names


async def pages(client, query=""):
    """Return the names on each page."""
    found, token = [], ""
    while True:
        page = (await client.directory("GET", LANDING, f"?{query}{token}")).json
        found.append([entry["name"] for entry in page.get("contents", [])])
        if "next_page_token" not in page:
            return found
        token = f"&page_token={quote(page['next_page_token'])}"


async def test_what_is_said_of_files_and_directories(client, landing):
    await client.put(f"{LANDING}/a b", b"123")
    await client.directory("PUT", f"{LANDING}/d")
    file, directory = (await client.directory("GET", f"{LANDING}/")).json["contents"]
    assert (file["name"], file["path"], file["is_directory"], file["file_size"]) == ("a b", f"{LANDING}/a b", False, 3)
    assert file["last_modified"] == (landing / "a b").stat().st_mtime_ns // 1_000_000
    assert (directory["name"], directory["path"], directory["is_directory"]) == ("d", f"{LANDING}/d", True)
    assert "file_size" not in directory


async def test_an_empty_directory_has_no_contents_at_all(client):
    assert (await client.directory("GET", LANDING)).json == {}


@pytest.mark.parametrize(
    ("count", "query", "sizes"),
    [
        (45, "", [20, 20, 5]),
        (40, "", [20, 20]),
        (45, "page_size=30&", [20, 20, 5]),
        (7, "page_size=3&", [3, 3, 1]),
        (7, "page_size=0&", [7]),
    ],
)
async def test_pages_are_as_large_as_the_client_and_the_workspace_allow(client, landing, count, query, sizes):
    names = fill(landing, count)
    found = await pages(client, query)
    assert [len(page) for page in found] == sizes
    assert [name for page in found for name in page] == names


async def test_a_workspace_of_large_pages_still_ends_them_at_a_thousand(client, workspace, landing):
    workspace.page_size_max = 5000
    fill(landing, 1001)
    assert [len(page) for page in await pages(client, "page_size=4000&")] == [1000, 1]


@pytest.mark.parametrize("count", [0, 1, 3, 30])
async def test_ragged_pages_are_short_or_empty_on_the_way_and_at_the_end(client, workspace, landing, count):
    workspace.ragged_pages = True
    names = fill(landing, count)
    found = await pages(client)
    assert found[0] == []
    assert found[-1] == []
    assert len(found) > 1
    assert [name for page in found for name in page] == names


async def test_a_listing_goes_on_from_where_it_was(client, landing):
    fill(landing, 30)
    page = (await client.directory("GET", LANDING)).json
    (landing / "file-000").unlink()
    (landing / "file-000-late").touch()
    (landing / "file-029-late").touch()
    rest = (await client.directory("GET", LANDING, f"?page_token={page['next_page_token']}")).json
    assert [entry["name"] for entry in rest["contents"]] == [*(f"file-{n:03}" for n in range(20, 30)), "file-029-late"]


async def test_a_page_token_is_for_the_same_request_alone(client, landing):
    fill(landing, 30)
    (landing / "d").mkdir()
    token = (await client.directory("GET", LANDING, "?page_size=5")).json["next_page_token"]
    for path, query in (
        (LANDING, f"?page_size=6&page_token={token}"),
        (f"{LANDING}/d", f"?page_size=5&page_token={token}"),
        (LANDING, "?page_token=MQ=="),
        (LANDING, "?page_token=nonsense!"),
        (LANDING, "?page_size=many"),
        (LANDING, "?page_size=-1"),
    ):
        answer = await client.directory("GET", path, query)
        assert (answer.status, answer.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert (await client.directory("GET", LANDING, f"?page_size=5&page_token={token}")).status == 200


async def test_what_is_missing_is_not_empty(client):
    answer = await client.directory("GET", f"{LANDING}/missing")
    assert (answer.status, answer.error_code) == (404, "NOT_FOUND")
    assert [detail["reason"] for detail in answer.json["details"]] == ["FILES_API_DIRECTORY_IS_NOT_FOUND"]
