"""The place that everything is written to: whatever it does, a run lands whole or fails with a name and the way out."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from service import wiring
from service.databricks import workspace as databricks_requests
from service.databricks.files import Files
from service.databricks.identity import Identity
from service.errors import DxrIngestError, exit_code
from service.runs.model import State
from tests.integration.runs import commits, commits_below, lines_below, root, snapshot
from tests.integration.test_api import served, until
from tests.simulators.databricks import DatabricksSimulator, faults
from tests.simulators.dxr.hostile import Lines
from tests.workspaces import connected, service_principal

if TYPE_CHECKING:
    from pathlib import Path

    from service.wiring import Service
    from tests.conftest import MakeSettings
    from tests.simulators.dxr import DxrSimulator

LANDING = "/Volumes/main/dxr/landing"
BODY = b'{"fileId":"a"}\n' * 3


@pytest.fixture(autouse=True)
def _small(dxr: DxrSimulator) -> None:
    dxr.source = Lines(BODY)


def chunk_put(method: str, path: str) -> bool:
    return method == "PUT" and "/fs/files/" in path and "/chunks/" in path


FOR_GOOD: dict[str, tuple[Any, str, bool]] = {
    "400": (faults.status(400), "DATABRICKS_REJECTED", False),
    "403": (faults.status(403), "DATABRICKS_FORBIDDEN", False),
    "429": (faults.status(429, retry_after=0), "DATABRICKS_THROTTLED", True),
    "500": (faults.status(500), "DATABRICKS_UNAVAILABLE", True),
    "503": (faults.status(503, retry_after=86_400), "DATABRICKS_UNAVAILABLE", True),
    "a token that is always refused": (faults.token_expired(), "DATABRICKS_UNAUTHORIZED", False),
    "a login page": (faults.html_login(), "DATABRICKS_NO_API", True),
    "a redirect": (faults.redirect("/login.html"), "DATABRICKS_NO_API", True),
    "an empty file for a success": (faults.stored_empty(), "DATABRICKS_SIZE", True),
    "a reset before": (faults.reset_before(), "DATABRICKS_CUT", True),
    "a reset in the middle": (faults.reset_during(10), "DATABRICKS_CUT", True),
    "a reset after": (faults.reset_after(), "DATABRICKS_CUT", True),
}


@pytest.mark.parametrize(("fault", "code", "retryable"), FOR_GOOD.values(), ids=FOR_GOOD)
async def test_volume_that_takes_no_chunk_fails_the_run_until_it_does(
    fault: Any, code: str, retryable: bool, tmp_path: Path, dxr: DxrSimulator, make_settings: MakeSettings
) -> None:
    async with DatabricksSimulator(tmp_path / "volumes") as databricks:
        volume = databricks.volume("main", "dxr", "landing")
        settings = make_settings(
            dxr_base_url=dxr.url,
            landing_path=LANDING,
            databricks_host=databricks.url,
            databricks_client_id=databricks.client_id,
            databricks_client_secret=databricks.client_secret,
        )
        async with wiring.opened(settings) as service:
            databricks.faults.always(fault, on=chunk_put)
            run = await snapshot(service)
            assert run.error is not None
            assert (run.state, run.error.code, run.error.retryable) == (State.FAILED, code, retryable)
            assert run.error.hint
            assert databricks.client_secret not in run.error.message + run.error.hint
            assert commits_below(volume) == []
            databricks.faults.clear()
            assert (await snapshot(service)).state is State.LANDED
        [commit] = commits_below(volume)
        assert lines_below(volume, commit["chunks"]) == BODY


async def test_workspace_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databricks_requests, "_CALL_TIMEOUT_S", 0.3)
    async with DatabricksSimulator(tmp_path) as databricks:
        databricks.volume("main", "dxr", "landing")
        databricks.faults.always(faults.stall())
        async with connected(databricks, tries_max=1) as workspace:
            with pytest.raises(DxrIngestError) as caught:
                await Files(workspace).read(f"{LANDING}/a")
    assert (caught.value.code, exit_code(caught.value.code)) == ("DATABRICKS_TIMEOUT", 5)


async def test_token_endpoint_that_answers_with_something_else_is_told(tmp_path: Path) -> None:
    async with DatabricksSimulator(tmp_path) as databricks:
        databricks.token_faults.always(faults.status(200, body=b"{}", content_type="application/json"))
        with pytest.raises(DxrIngestError) as caught:
            await Identity(service_principal(databricks)).access()
    assert (caught.value.code, exit_code(caught.value.code)) == ("DATABRICKS_AUTHENTICATION", 5)
    assert "DATABRICKS_HOST" in caught.value.hint


async def test_folder_without_hard_links_is_refused_before_a_commit_could_be_written_twice(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As mounted object stores do; no file system here is one."""

    def refuse(source: object, target: object) -> None:
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(os, "link", refuse)
    run = await snapshot(service)
    assert run.error is not None
    assert (run.error.code, exit_code(run.error.code)) == ("LANDING_NO_LINKS", 1)
    assert commits(service) == []
    assert list(root(service).rglob("*.tmp")) == []


async def test_service_stays_ready_while_its_landing_is_away(dxr: DxrSimulator, make_settings: MakeSettings) -> None:
    settings = make_settings(dxr_base_url=dxr.url, landing_path="/proc/no-such-place")
    async with wiring.opened(settings) as service, served(service) as api:
        asked = await api.post("/v1/snapshots", json={})
        run = await until(api, asked.json()["id"], "failed")
        assert run["error"]["code"] == "LANDING_UNAVAILABLE"
        assert (await api.get("/readyz")).status_code == 200
        text = (await api.get("/metrics")).text
        assert 'dxr_ingest_attempt_failures_total{reason="LANDING_UNAVAILABLE"} 1.0' in text


async def test_chunk_that_lost_bytes_on_its_way_to_the_disk_is_in_no_commit(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = os.fsync

    def lose(handle: int) -> None:
        synced(handle)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            os.ftruncate(handle, 5)

    monkeypatch.setattr(os, "fsync", lose)
    run = await snapshot(service)
    assert run.error is not None
    assert (run.error.code, run.error.retryable) == ("LANDING_SIZE", True)
    assert commits(service) == []
