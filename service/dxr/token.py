"""DXR's bearer token: a value, a file or a Databricks secret; the last two are read again when DXR refuses it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


class BearerToken:
    """The token that `fetch` gives, kept until DXR refuses it. `setting` is where a person has to look.

    Never shows itself in a `repr`.
    """

    def __init__(self, setting: str, fetch: Callable[[], Awaitable[str]]) -> None:
        self.setting = setting
        self._fetch = fetch
        self._value: str | None = None

    async def read(self) -> str:
        """The token. Raises `ConfigurationError` when there is none, and what `fetch` raises."""
        if self._value is None:
            self._value = (await self._fetch()).strip()
        if not self._value:
            raise ConfigurationError(f"{self.setting} holds no DXR token.", "Put the token there.")
        if not self._value.isascii() or not self._value.isprintable() or " " in self._value:
            raise ConfigurationError(
                f"{self.setting} holds something that is no token: it has blanks, line ends or letters beyond ASCII.",
                "Put the token there, and nothing else.",
            )
        return self._value

    async def reread(self) -> bool:
        """Fetch it once more; whether the token is another one now. Rotation needs no restart."""
        before, self._value = self._value, None
        return await self.read() != before


async def read_token_file(file: Path) -> str:
    """The content of a mounted secret. Raises `ConfigurationError` when it cannot be read."""
    try:
        return await asyncio.to_thread(file.read_text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # Its name is not shown: people put the token itself there.
        raise ConfigurationError(
            f"DXR_BEARER_TOKEN_FILE names something that cannot be read ({type(error).__name__}).",
            "Mount the secret there, readable for this process.",
        ) from error
