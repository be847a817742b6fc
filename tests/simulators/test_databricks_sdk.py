"""The workspace is close enough to a real one for the real SDK, which knows nothing of simulators."""

import asyncio
import hashlib
import io
import os

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.clock import Clock
from databricks.sdk.core import Config
from databricks.sdk.errors import (
    AlreadyExists,
    BadRequest,
    InternalError,
    InvalidParameterValue,
    NotFound,
    PermissionDenied,
    PrivateLinkValidationError,
    ResourceConflict,
    ResourceDoesNotExist,
    Unauthenticated,
)

from tests.simulators.databricks import DatabricksSimulator, faults

LANDING = "/Volumes/main/dxr/landing"
X = f"{LANDING}/date=2026-11-22/x y%41.gz"
MIB = 1024 * 1024


class NoWaiting(Clock):
    """Time stands still and nobody sleeps: retries come at once."""

    def time(self) -> float:
        return 0

    def sleep(self, seconds: float) -> None:
        pass


@pytest.fixture(autouse=True)
def _only_what_a_test_sets(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("DATABRICKS_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def workspace(tmp_path):
    async with DatabricksSimulator(tmp_path / "volumes") as workspace:
        workspace.volume("main", "dxr", "landing")
        yield workspace


@pytest.fixture
def connect(workspace):
    """Make a client with these settings, in a thread as it asks the workspace about itself."""
    clients = []

    async def connect(**settings):
        def made():
            return WorkspaceClient(config=Config(host=workspace.url, clock=NoWaiting(), **settings))

        clients.append(await asyncio.to_thread(made))
        return clients[-1]

    yield connect
    for client in clients:
        client.api_client._api_client._session.close()
        if client.files._cached_cloud_provider_session is not None:
            client.files._cached_cloud_provider_session.close()


@pytest.fixture
async def client(workspace, connect):
    return await connect(token=workspace.pat)


async def upload(client, path, content, **options):
    await asyncio.to_thread(client.files.upload, path, io.BytesIO(content), **options)


async def download(client, path):
    answer = await asyncio.to_thread(client.files.download, path)
    return await asyncio.to_thread(answer.contents.read)


async def names(client, path):
    return await asyncio.to_thread(lambda: [entry.name for entry in client.files.list_directory_contents(path)])


async def test_it_learns_what_the_workspace_is(client, workspace):
    assert client.config.workspace_id == workspace.workspace_id
    assert client.config.discovery_url == f"{workspace.url}/oidc/.well-known/oauth-authorization-server"


async def test_files_and_directories(client, workspace):
    await asyncio.to_thread(client.files.create_directory, f"{LANDING}/date=2026-11-22")
    await upload(client, X, b"content", overwrite=False)
    assert await download(client, X) == b"content"
    metadata = await asyncio.to_thread(client.files.get_metadata, X)
    assert (metadata.content_length, metadata.content_type) == (7, "application/octet-stream")
    assert metadata.last_modified.endswith("GMT")
    (entry,) = await asyncio.to_thread(lambda: [*client.files.list_directory_contents(f"{LANDING}/date=2026-11-22")])
    assert (entry.path, entry.name, entry.file_size, entry.is_directory) == (X, "x y%41.gz", 7, False)
    await asyncio.to_thread(client.files.get_directory_metadata, f"{LANDING}/date=2026-11-22")
    with pytest.raises(InvalidParameterValue) as refused:
        await asyncio.to_thread(client.files.delete_directory, f"{LANDING}/date=2026-11-22")
    assert [info.reason for info in refused.value.get_error_info()] == ["FILES_API_DIRECTORY_IS_NOT_EMPTY"]
    await asyncio.to_thread(client.files.delete, X)
    await asyncio.to_thread(client.files.delete_directory, f"{LANDING}/date=2026-11-22")
    assert await names(client, LANDING) == []
    assert {request.headers.get("X-Databricks-Workspace-Id") for request in workspace.requests[1:]} >= {
        workspace.workspace_id
    }


async def test_listings_with_many_ragged_pages(client, workspace):
    landing = workspace.volume("main", "dxr", "landing")
    expected = [f"{n:03}" for n in range(100)]
    for name in expected:
        (landing / name).touch()
    assert await names(client, LANDING) == expected
    workspace.ragged_pages = True
    assert await names(client, LANDING) == expected


async def test_refusals_have_their_types(client, workspace, connect):
    await upload(client, f"{LANDING}/x", b"1")
    with pytest.raises(AlreadyExists) as refused:
        await upload(client, f"{LANDING}/x", b"2", overwrite=False)
    assert isinstance(refused.value, ResourceConflict)
    with pytest.raises(NotFound, match="file being accessed is not found"):
        await download(client, f"{LANDING}/missing")
    with pytest.raises(NotFound):
        await asyncio.to_thread(client.files.get_metadata, f"{LANDING}/missing")
    with pytest.raises(NotFound):
        await names(client, f"{LANDING}/missing")
    with pytest.raises(BadRequest):
        await upload(client, "/Volumes/main/x", b"")
    workspace.read_only.add(LANDING)
    with pytest.raises(PermissionDenied):
        await upload(client, f"{LANDING}/y", b"")
    with pytest.raises(Unauthenticated):
        await names(await connect(token="wrong"), LANDING)


async def test_a_large_upload_falls_back_to_a_single_put(client, workspace):
    content = hashlib.sha256(b"seed").digest() * (60 * MIB // 32)
    path, file = f"{LANDING}/large", workspace.volume("main", "dxr", "landing") / "large"
    await upload(client, path, content, overwrite=False)
    assert file.stat().st_size == 60 * MIB
    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(content).digest()
    asked = [
        (request.method, request.path.removeprefix("/api/2.0/fs/"), request.status) for request in workspace.requests
    ]
    assert asked[1:] == [
        ("POST", f"files{path}", 200),
        ("POST", "create-upload-part-urls", 403),
        ("POST", "create-abort-upload-url", 403),
        ("PUT", f"files{path}", 204),
    ]
    assert workspace.requests[-1].body_bytes == 60 * MIB
    with pytest.raises(AlreadyExists):
        await upload(client, path, content, overwrite=False)
    assert workspace.requests[-1].method == "POST"


async def test_downloads_ask_for_a_presigned_url_first(client, workspace):
    await upload(client, f"{LANDING}/x", b"1")
    assert await download(client, f"{LANDING}/x") == b"1"
    assert [(request.method, request.status) for request in workspace.requests[-2:]] == [("POST", 403), ("GET", 200)]


async def test_a_download_that_is_cut_goes_on_where_it_ended(client, workspace):
    content = bytes(range(256)) * 40_000
    await upload(client, f"{LANDING}/x", content)
    workspace.faults.next(faults.cut_body(5 * MIB), on=faults.downloads)
    assert await download(client, f"{LANDING}/x") == content
    again = workspace.requests[-1]
    assert (again.headers["Range"].partition("=")[0], again.status) == ("bytes", 206)
    assert "If-Unmodified-Since" in again.headers


async def test_a_service_principal(workspace, connect):
    client = await connect(client_id=workspace.client_id, client_secret=workspace.client_secret)
    assert client.config.auth_type == "oauth-m2m"
    await upload(client, f"{LANDING}/x", b"1")
    assert await names(client, LANDING) == ["x"]
    assert workspace.tokens_issued == 1
    workspace.expire_tokens()
    with pytest.raises(Unauthenticated):
        await names(client, LANDING)
    assert workspace.tokens_issued == 1


async def test_a_wrong_secret_is_noticed_with_the_first_request(workspace, connect):
    client = await connect(client_id=workspace.client_id, client_secret="wrong")
    with pytest.raises(ValueError, match="invalid_client: Client authentication failed"):
        await names(client, LANDING)


async def test_a_token_about_to_expire_is_never_used_twice(workspace, connect):
    workspace.token_lifetime_s = 40
    client = await connect(client_id=workspace.client_id, client_secret=workspace.client_secret)
    for _ in range(3):
        await names(client, LANDING)
    assert workspace.tokens_issued == 3


async def test_a_federated_workload(workspace, connect, monkeypatch, tmp_path):
    (tmp_path / "token").write_text(workspace.federated_subject_token)
    monkeypatch.setenv("DATABRICKS_OIDC_TOKEN_FILEPATH", str(tmp_path / "token"))
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", workspace.client_id)
    client = await connect(auth_type="file-oidc")
    await upload(client, f"{LANDING}/x", b"1")
    assert await download(client, f"{LANDING}/x") == b"1"
    assert workspace.tokens_issued == 1
    assert workspace.requests[2].path == "/oidc/v1/token"


async def test_a_federated_workload_reads_its_file_for_every_new_token(workspace, connect, tmp_path):
    workspace.token_lifetime_s = 0
    (tmp_path / "token").write_text("of yesterday")
    settings = {"auth_type": "file-oidc", "oidc_token_filepath": str(tmp_path / "token")}
    client = await connect(client_id=workspace.client_id, **settings)
    with pytest.raises(ValueError, match="invalid_grant: No federation policy"):
        await names(client, LANDING)
    (tmp_path / "token").write_text(workspace.federated_subject_token)
    with pytest.raises(Unauthenticated):
        await names(client, LANDING)
    assert workspace.tokens_issued == 1


async def test_it_retries_what_it_takes_for_transient(client, workspace):
    workspace.faults.next(faults.status(429), faults.status(503, retry_after=5), faults.reset_before())
    await upload(client, f"{LANDING}/x", b"1", overwrite=False)
    assert [request.status for request in workspace.requests[1:]] == [429, 503, None, 204]
    workspace.faults.next(faults.status(500))
    with pytest.raises(InternalError):
        await upload(client, f"{LANDING}/y", b"1", overwrite=False)


async def test_it_finds_its_own_file_when_the_answer_was_lost(client, workspace):
    workspace.faults.next(faults.reset_after())
    with pytest.raises(AlreadyExists):
        await upload(client, f"{LANDING}/x", b"mine", overwrite=False)
    assert await download(client, f"{LANDING}/x") == b"mine"


async def test_a_login_page_is_no_answer(client, workspace):
    workspace.faults.next(faults.redirect("/login.html?error=private-link-validation-error"))
    with pytest.raises(PrivateLinkValidationError):
        await names(client, LANDING)
    workspace.faults.next(faults.redirect("/login.html"), faults.html_login())
    for _ in range(2):
        with pytest.raises(ValueError, match="Expecting value"):  # it should have been JSON
            await upload(client, f"{LANDING}/x", b"1")
    assert await names(client, LANDING) == []


async def test_secrets(client, workspace):
    workspace.secrets["dxr", "token"] = b"value"
    assert (await asyncio.to_thread(client.secrets.get_secret, "dxr", "token")).value == "dmFsdWU="
    with pytest.raises(ResourceDoesNotExist):
        await asyncio.to_thread(client.secrets.get_secret, "dxr", "other")
    workspace.secrets_refused = True
    with pytest.raises(BadRequest):
        await asyncio.to_thread(client.secrets.get_secret, "dxr", "token")


async def test_a_run_is_started_once(client, workspace):
    def run():
        return client.jobs.run_now(7, idempotency_token="t", job_parameters={"date": "2026-11-22"})

    first, second = [await asyncio.to_thread(run) for _ in range(2)]
    assert first.response.run_id == second.response.run_id
    assert len(workspace.runs) == 1
    done = await asyncio.to_thread(first.result)
    assert (done.job_id, done.state.result_state.value) == (7, "SUCCESS")
    assert {parameter.name: parameter.value for parameter in done.job_parameters} == {"date": "2026-11-22"}
    with pytest.raises(ResourceDoesNotExist):
        await asyncio.to_thread(client.jobs.get_run, 99)
