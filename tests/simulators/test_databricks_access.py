"""Who gets in, with which token, and how they come by one; then secrets and runs of jobs."""

import asyncio
import base64

import aiohttp
import pytest

from tests.simulators.databricks import DatabricksSimulator, faults
from tests.simulators.databricks.client import RawClient

LANDING = "/Volumes/main/dxr/landing"
CLIENT_CREDENTIALS = {"grant_type": "client_credentials", "scope": "all-apis"}
JWT = "urn:ietf:params:oauth:token-type:jwt"
SECRET = "/api/2.0/secrets/get?scope=dxr&key=token"
RUN_NOW = "/api/2.2/jobs/run-now"


@pytest.fixture
async def workspace(tmp_path):
    async with DatabricksSimulator(tmp_path / "volumes") as workspace:
        workspace.volume("main", "dxr", "landing")
        yield workspace


@pytest.fixture
async def client(workspace):
    async with RawClient(workspace) as client:
        yield client


def basic(name, secret):
    return {"Authorization": aiohttp.encode_basic_auth(name, secret)}


async def machine_token(client, workspace):
    headers = basic(workspace.client_id, workspace.client_secret)
    return await client.ask("POST", "/oidc/v1/token", data=CLIENT_CREDENTIALS, headers=headers)


def exchange(workspace, **other):
    return {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": JWT,
        "subject_token": workspace.federated_subject_token,
        "client_id": workspace.client_id,
    } | other


async def status_with(client, token):
    client.token = token
    return (await client.directory("GET", LANDING)).status


async def test_the_way_to_the_token_endpoint_is_told(client, workspace):
    config = (await client.ask("GET", "/.well-known/databricks-config")).json
    assert (config["workspace_id"], config["oidc_endpoint"]) == (workspace.workspace_id, f"{workspace.url}/oidc")
    endpoints = (await client.ask("GET", "/oidc/.well-known/oauth-authorization-server")).json
    assert endpoints["token_endpoint"] == f"{workspace.url}/oidc/v1/token"
    assert workspace.workspace_id.isdigit()


@pytest.mark.parametrize("scheme", ["", "Bearer", "Bearer  ", "Bearer wrong", "Basic wrong"])
async def test_nobody_gets_in_without_a_token_that_counts(client, workspace, scheme):
    for method in ("GET", "PUT", "HEAD"):
        answer = await client.directory(method, f"{LANDING}/x", headers={"Authorization": scheme})
        assert answer.status == 401
        assert method == "HEAD" or answer.error_code == "UNAUTHENTICATED"
    assert await client.names(LANDING) == []


async def test_a_personal_access_token_works_until_it_is_revoked(client, workspace):
    assert await status_with(client, workspace.pat) == 200
    workspace.expire_tokens()
    assert await status_with(client, workspace.pat) == 200
    workspace.revoke_pat()
    assert await status_with(client, workspace.pat) == 401


async def test_a_service_principal_gets_a_token_that_works_until_it_expires(client, workspace):
    issued = (await machine_token(client, workspace)).json
    assert (issued["token_type"], issued["expires_in"]) == ("Bearer", 3600)
    assert await status_with(client, issued["access_token"]) == 200
    workspace.expire_tokens()
    assert await status_with(client, issued["access_token"]) == 401
    again = (await machine_token(client, workspace)).json["access_token"]
    assert again != issued["access_token"]
    assert await status_with(client, again) == 200
    assert workspace.tokens_issued == 2


async def test_a_token_lives_as_long_as_it_says(client, workspace):
    workspace.token_lifetime_s = 0
    issued = (await machine_token(client, workspace)).json
    assert issued["expires_in"] == 0
    assert await status_with(client, issued["access_token"]) == 401


async def test_a_federated_token_is_exchanged(client, workspace):
    workspace.federated_subject_token = "header.payload.signature"
    answer = await client.ask("POST", "/oidc/v1/token", data=exchange(workspace))
    assert await status_with(client, answer.json["access_token"]) == 200


async def test_refusals_of_the_token_endpoint_are_those_of_oauth(client, workspace):
    wrong = [
        (CLIENT_CREDENTIALS, basic(workspace.client_id, "wrong"), 401, "invalid_client"),
        (CLIENT_CREDENTIALS, basic("wrong", workspace.client_secret), 401, "invalid_client"),
        (CLIENT_CREDENTIALS, {"Authorization": "Basic !"}, 401, "invalid_client"),
        (exchange(workspace, subject_token="a.b.c"), {}, 400, "invalid_grant"),
        (exchange(workspace, subject_token_type="other"), {}, 400, "invalid_grant"),
        (exchange(workspace, client_id="wrong"), {}, 401, "invalid_client"),
        ({"grant_type": "password"}, {}, 400, "unsupported_grant_type"),
    ]
    for form, headers, status, error in wrong:
        answer = await client.ask("POST", "/oidc/v1/token", data=form, headers=headers)
        assert (answer.status, answer.json["error"]) == (status, error)
        assert answer.json["error_description"]
    assert workspace.tokens_issued == 0


async def test_the_token_endpoint_has_faults_of_its_own(client, workspace):
    workspace.faults.always(faults.status(500))
    workspace.token_faults.next(faults.status(503, retry_after=2), faults.status(429, error_code="slow_down"))
    assert (await client.ask("GET", "/.well-known/databricks-config")).status == 200
    refused = await machine_token(client, workspace)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
    assert refused.json == {"error": "server_error", "error_description": "A simulated error."}
    assert (await machine_token(client, workspace)).json["error"] == "slow_down"
    assert (await machine_token(client, workspace)).status == 200


async def test_a_token_can_keep_its_client_waiting(client, workspace):
    hold, stall = faults.hold(), faults.stall()
    workspace.token_faults.next(hold, stall, faults.delay(0.001))
    waiting = asyncio.create_task(machine_token(client, workspace))
    await hold.reached()
    assert not waiting.done()
    hold.open()
    assert (await waiting).status == 200
    waiting = asyncio.create_task(machine_token(client, workspace))
    await stall.reached()
    waiting.cancel()
    await asyncio.wait([waiting])
    await workspace.idle()
    assert (await machine_token(client, workspace)).status == 200
    assert workspace.tokens_issued == 2


async def test_discovery_fails_when_it_is_named(client, workspace):
    workspace.token_faults.next(faults.status(404), on=lambda method, path: path.startswith("/.well-known/"))
    assert (await client.ask("GET", "/.well-known/databricks-config")).status == 404
    assert (await client.ask("GET", "/.well-known/databricks-config")).status == 200


async def test_a_secret_is_read(client, workspace):
    workspace.secrets["dxr", "token"] = b"\x00binary"
    assert (await client.ask("GET", SECRET)).json == {
        "key": "token",
        "value": base64.b64encode(b"\x00binary").decode(),
    }
    missing = await client.ask("GET", "/api/2.0/secrets/get?scope=dxr&key=other")
    assert (missing.status, missing.error_code) == (404, "RESOURCE_DOES_NOT_EXIST")
    workspace.secrets_refused = True
    refused = await client.ask("GET", SECRET)
    assert (refused.status, refused.error_code) == (400, "BAD_REQUEST")


async def test_a_run_is_started_once_for_each_token(client, workspace):
    body = {"job_id": 7, "idempotency_token": "t" * 64, "job_parameters": {"date": "2026-11-22"}}
    first, same = [(await client.ask("POST", RUN_NOW, json=body)).json["run_id"] for _ in range(2)]
    other = (await client.ask("POST", RUN_NOW, json=body | {"idempotency_token": "u"})).json["run_id"]
    without = [(await client.ask("POST", RUN_NOW, json={"job_id": 7})).json["run_id"] for _ in range(2)]
    assert first == same
    assert len({first, other, *without}) == 4
    assert [run.idempotency_token for run in workspace.runs] == ["t" * 64, "u", None, None]
    workspace.runs[0].life_cycle_state, workspace.runs[0].result_state = "RUNNING", None
    run = (await client.ask("GET", f"/api/2.2/jobs/runs/get?run_id={first}")).json
    assert (run["job_id"], run["state"]) == (7, {"life_cycle_state": "RUNNING"})
    assert run["job_parameters"] == [{"name": "date", "value": "2026-11-22"}]


async def test_runs_that_cannot_be(client, workspace):
    workspace.missing_jobs.add(8)
    for body in ({"job_id": 8}, {"job_id": 7, "idempotency_token": "t" * 65}):
        answer = await client.ask("POST", RUN_NOW, json=body)
        assert (answer.status, answer.error_code) == (400, "INVALID_PARAMETER_VALUE")
    for raw in (b"{}", b"[]", b"no JSON"):
        assert (await client.ask("POST", RUN_NOW, data=raw)).error_code == "MALFORMED_REQUEST"
    assert (await client.ask("GET", "/api/2.2/jobs/runs/get?run_id=9")).error_code == "INVALID_PARAMETER_VALUE"
    assert workspace.runs == []
