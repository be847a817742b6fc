"""DXR's bearer token: from a value, or from a file that is read again when DXR refuses what it held before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


class BearerToken:
    """Never shows itself in a `repr`."""

    def __init__(self, value: str | None, file: Path | None) -> None:
        self._value = value
        self._file = file

    @property
    def setting(self) -> str:
        """The setting that a person has to look at."""
        return "DXR_BEARER_TOKEN_FILE" if self._file else "DXR_BEARER_TOKEN"

    def read(self) -> str:
        """The token. Raises `ConfigurationError` when its file cannot be read or is empty."""
        if self._value is None and self._file:
            try:
                self._value = self._file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    f"DXR_BEARER_TOKEN_FILE names {self._file}, which cannot be read ({type(error).__name__}).",
                    "Mount the secret there, readable for this process.",
                ) from error
        if not self._value:
            raise ConfigurationError(
                "No DXR token is set.", "Set DXR_BEARER_TOKEN, or DXR_BEARER_TOKEN_FILE to a mounted secret."
            )
        return self._value

    def reread(self) -> bool:
        """Read the file once more; whether the token is another one now. Rotation needs no restart."""
        if not self._file:
            return False
        before, self._value = self._value, None
        return self.read() != before
