"""Names of places in volumes: read from a URL, with everything refused that must never reach the disk."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote_to_bytes

from tests.simulators.databricks.errors import ApiError

LEVELS = 3  # catalog, schema, volume


@dataclass(frozen=True, slots=True)
class VolumePath:
    """A place in a volume, or the volume itself; `parts` begin with catalog, schema and volume."""

    parts: tuple[str, ...]

    @classmethod
    def escaped(cls, raw: str, *, directory: bool) -> Self:
        """Read the path part of a URL as it was sent; a slash at the end is right for directories alone.

        Raises `ApiError` 400 unless it is /Volumes/catalog/schema/volume/… in plain segments.
        """
        first, *segments = raw.split("/")
        if directory and segments and not segments[-1]:
            segments.pop()
        names = [_name(segment) for segment in segments]
        if first or len(names) <= LEVELS or names[0] != "Volumes":
            raise _invalid("the path is not below /Volumes/<catalog>/<schema>/<volume>")
        return cls(tuple(names[1:]))

    def __str__(self) -> str:
        return "/".join(("/Volumes", *self.parts))

    @property
    def volume(self) -> "VolumePath":
        """The volume this is in."""
        return VolumePath(self.parts[:LEVELS])

    @property
    def parent(self) -> "VolumePath":
        """The directory this is in; of a volume, something that is no place in a volume."""
        return VolumePath(self.parts[:-1])

    def within(self, places: set[str]) -> bool:
        """Whether this is one of these places, or below one of them."""
        return any(str(VolumePath(self.parts[:length])) in places for length in range(1, len(self.parts) + 1))


def _name(segment: str) -> str:
    try:
        name = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise _invalid("the path is not UTF-8") from None
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise _invalid(f"the path has a segment that is no name: {segment!r}")
    return name


def _invalid(message: str) -> ApiError:
    return ApiError(400, message, error_code="INVALID_PARAMETER_VALUE")
