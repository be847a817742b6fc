"""Publishing that a cancel cannot leave half done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.landing.port import Landing


async def put_whole(landing: Landing, path: str, content: bytes) -> None:
    """`put_new` to its end, even when the caller is cancelled meanwhile: the outcome must not stay open."""
    put = asyncio.ensure_future(landing.put_new(path, content))
    try:
        await asyncio.shield(put)
    except asyncio.CancelledError:
        await asyncio.wait([put])
        raise
