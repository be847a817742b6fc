"""What many tests need: a clean environment, retries without waits, settings, a simulated tenant, a service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import hypothesis
import pytest
import pytest_asyncio
import stamina

from tests.postgres import database_url, postgres  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from service.settings import Settings
    from service.wiring import Service
    from tests.simulators.dxr import DxrSimulator

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

TOKEN = "a-token-of-the-simulated-tenant-0"
OURS = (
    "DXR_",
    "SNAPSHOT_",
    "LANDING_",
    "SERVICE_",
    "STATE_DIR",
    "DATABASE_",
    "RECEIPT_",
    "CLASSIFICATION_",
    "VOLUME_",
    "DATABRICKS_",
)


class MakeSettings(Protocol):
    def __call__(self, **flags: Any) -> Settings: ...


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """No variable of the machine and no `.env` of the checkout reaches a test."""
    if "spark" in Path(str(request.node.path)).parts:
        return  # the Spark session of that suite is older than a test's folder
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _retries_do_not_wait() -> Iterator[None]:
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest_asyncio.fixture
async def dxr() -> AsyncIterator[DxrSimulator]:
    """A tenant with 500 files."""
    from tests.simulators.dxr import DxrSimulator, GeneratedFiles

    async with DxrSimulator(GeneratedFiles(rows=500, seed=7), tokens=(TOKEN,)) as simulator:
        yield simulator


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Settings as the command line would load them, with folders below the test's own."""
    from service.settings import Settings, load

    def make(**flags: Any) -> Settings:
        base = {
            "dxr_base_url": "http://127.0.0.1:9",
            "dxr_bearer_token": TOKEN,
            "landing_path": str(tmp_path / "landing"),
            "state_dir": str(tmp_path / "state"),
            "dxr_retry_attempts": 1,
        }
        return load(Settings, base | flags)

    return make


@pytest_asyncio.fixture
async def service(dxr: DxrSimulator, make_settings: MakeSettings) -> AsyncIterator[Service]:
    """An opened service of that tenant; whether its supervisor works is up to the test."""
    from service import wiring

    async with wiring.opened(make_settings(dxr_base_url=dxr.url)) as opened:
        yield opened
