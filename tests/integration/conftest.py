"""What tests over HTTP share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from service import wiring
from tests.integration.serving import FULL, READ_ONLY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.wiring import Service
    from tests.conftest import MakeSettings
    from tests.simulators.dxr import DxrSimulator


@pytest_asyncio.fixture
async def opened(dxr: DxrSimulator, make_settings: MakeSettings) -> AsyncIterator[Service]:
    settings = make_settings(dxr_base_url=dxr.url, service_api_tokens=f"ops:{FULL};board:{READ_ONLY}:read")
    async with wiring.opened(settings) as service:
        yield service
