"""A classification whose volume is not mounted here: scanned and read over the Files API."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from service import wiring
from service.classification.remote import RemoteVolume
from service.classification.volume import Unreadable
from service.databricks.files import Files
from service.errors import CredentialError, RefusedError
from service.runs.model import State
from tests.integration.test_classification import classify, expected_labels, files_of, records, tenant
from tests.simulators.databricks import DatabricksSimulator, faults
from tests.simulators.dxr import classifier_faults as odc
from tests.workspaces import PASSING, connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service.wiring import Service
    from tests.conftest import MakeSettings
    from tests.simulators.dxr import DxrSimulator

ROOT = "/Volumes/main/legal/contracts"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Twelve files, pairs of the same name in different folders, some of which have to be escaped in a URL."""
    folder = tmp_path / "volumes" / "main" / "legal" / "contracts"
    for number in range(6):
        for side in ("a b", "ü=1/50%"):
            path = folder / side / f"report #{number}.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"label: {side[0]}{number}\nmail {side[0]}{number}@example.com\n" * 5000)
    return folder


@contextlib.asynccontextmanager
async def reading_from(
    databricks: DatabricksSimulator, dxr: DxrSimulator, make: MakeSettings, dxr_max_files_per_job: int = 4
) -> AsyncIterator[Service]:
    settings = make(
        dxr_base_url=dxr.url,
        volume_catalog="main",
        volume_schema="legal",
        volume_name="contracts",
        databricks_host=databricks.url,
        databricks_token=databricks.pat,
        dxr_datasource_id="11,12",
        dxr_poll_interval_seconds=0.005,
        dxr_settle_seconds=0.5,
        dxr_max_files_per_job=dxr_max_files_per_job,
    )
    async with wiring.opened(settings) as service:
        yield service


@pytest.mark.parametrize("fail", [False, True])
async def test_every_file_gets_its_own_labels(
    fail: bool, tmp_path: Path, volume: Path, make_settings: MakeSettings
) -> None:
    async with tenant() as dxr, DatabricksSimulator(tmp_path / "volumes") as databricks:
        databricks.page_size_max = 4
        databricks.ragged_pages = True
        if fail:
            kinds = [*PASSING, faults.cut_body(30_000), faults.cut_body(0)]
            databricks.faults.randomly(0.1, 7, [kind for kind in kinds if kind != faults.token_expired()])
        async with reading_from(databricks, dxr, make_settings) as service:
            run = await classify(service)
            assert (run.state, run.counts["labelled"]) == (State.LANDED, 12)
            found = records(service)
            for relative, path in files_of(volume):
                assert found[relative]["labels"] == expected_labels(dxr, path), relative
                assert found[relative]["file_path"] == f"{ROOT}/{relative}"
                assert found[relative]["file_size"] == path.stat().st_size
            (volume / "a b" / "report #0.html").unlink()
            again = await classify(service)
            assert (again.counts["unchanged"], again.counts["deleted"]) == (11, 1)
        assert databricks.in_flight_max <= 5


async def test_a_closed_folder_and_a_closed_file_are_reasons_and_nothing_below_is_called_deleted(
    tmp_path: Path, volume: Path, make_settings: MakeSettings
) -> None:
    async with (
        tenant() as dxr,
        DatabricksSimulator(tmp_path / "volumes") as databricks,
        reading_from(databricks, dxr, make_settings) as service,
    ):
        assert (await classify(service)).state is State.LANDED
        databricks.unreadable |= {f"{ROOT}/ü=1/50%", f"{ROOT}/a b/report #1.html"}
        run = await classify(service, full=True)
        assert run.state is State.PARTIAL
        assert (run.counts["reasons"], run.counts["deleted"]) == ({"UNREADABLE": 2}, 0)
        assert run.counts["labelled"] == 5
        assert "permitted" in records(service)["a b/report #1.html"]["reason"]


async def test_a_volume_that_is_away_while_files_are_sent_is_no_reason_against_a_file(
    tmp_path: Path, volume: Path, make_settings: MakeSettings
) -> None:
    async with tenant() as dxr, DatabricksSimulator(tmp_path / "volumes") as databricks:
        databricks.faults.always(faults.status(503), on=lambda method, path: method == "GET" and "/fs/files/" in path)
        async with reading_from(databricks, dxr, make_settings) as service:
            run = await classify(service)
        assert run.state is State.FAILED
        assert run.error is not None
        assert run.error.code == "DATABRICKS_UNAVAILABLE"
        assert dxr.classifier.jobs == []


async def test_downloads_for_uploads_that_break_off_give_their_places_back(
    tmp_path: Path, volume: Path, make_settings: MakeSettings
) -> None:
    for _, path in files_of(volume):
        path.write_bytes(bytes(8 << 20))
    async with tenant() as dxr, DatabricksSimulator(tmp_path / "volumes") as databricks:
        dxr.classifier.faults.always(odc.Refuse("upload", 413))
        async with reading_from(databricks, dxr, make_settings, dxr_max_files_per_job=1) as service:
            run = await classify(service)
            assert (run.state, run.counts["reasons"]) == (State.PARTIAL, {"DXR_TOO_LARGE": 12})
            dxr.classifier.faults.clear()
            assert (await classify(service)).counts["labelled"] == 12
        assert databricks.in_flight_max <= 5


async def test_a_root_that_is_missing_or_closed_is_an_error(tmp_path: Path) -> None:
    async with DatabricksSimulator(tmp_path) as databricks, connected(databricks) as workspace:
        databricks.volume("main", "legal", "contracts")
        there = RemoteVolume(ROOT, Files(workspace))
        assert await pages(there, "") == []
        with pytest.raises(RefusedError) as caught:
            await pages(there, "nowhere")
        assert caught.value.code == "VOLUME_UNAVAILABLE"
        databricks.unreadable.add(ROOT)
        with pytest.raises(CredentialError):
            await pages(there, "")


async def pages(volume: RemoteVolume, prefix: str) -> list[Any]:
    found = [one async for page in volume.scan(prefix).pages() for one in page]
    assert not any(isinstance(one, Unreadable) for one in found)
    return found
