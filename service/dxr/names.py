"""Names for the ids of tags and annotators, asked for once each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

from service.errors import CredentialError, RefusedError, UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.dxr.session import DxrSession
    from service.retrying import Retrying

_ALL: Final = "/api/v1/classifications"
# Older deployments know only one of the later forms.
_FORMS: Final = ("tags", "metadata-extractors", "data-classes")


class Names:
    """A cache for the time of a run. An id without a name stays itself, so that no label is lost.

    An address that did not deliver, however often it was tried, is left alone from then on.
    """

    def __init__(self, session: DxrSession, prefix: str, retrying: Retrying) -> None:
        self._session = session
        self._prefix = prefix.rstrip("/")
        self._retrying = retrying
        self._known: dict[str, str] | None = None
        self._away: set[str] = set()

    async def of(self, ids: Iterable[str]) -> dict[str, str]:
        """The name of each id."""
        if self._known is None:
            self._known = await self._listed()
        return {one: await self._name(one, self._known) for one in ids}

    async def _listed(self) -> dict[str, str]:
        data = (await self._told(_ALL)).get("data")
        listed = cast("list[Any]", data) if isinstance(data, list) else []
        entries = [cast("dict[str, Any]", entry) for entry in listed if isinstance(entry, dict)]
        return {
            str(entry["id"]): str(entry["name"])
            for entry in entries
            if entry.get("id") is not None and entry.get("name")
        }

    async def _name(self, one: str, known: dict[str, str]) -> str:
        if one not in known:
            known[one] = await self._asked(one) or one
        return known[one]

    async def _asked(self, one: str) -> str | None:
        for form in _FORMS:
            if name := (await self._told(f"{self._prefix}/{form}", f"/{quote(one, safe='')}")).get("name"):
                return str(name)
        return None

    async def _told(self, address: str, one: str = "") -> dict[str, Any]:
        """What DXR tells there; nothing when it does not."""
        if address in self._away:
            return {}
        try:
            answer = await self._retrying.call(lambda: self._session.call("GET", address + one))
        except UpstreamError:
            self._away.add(address)
            return {}
        except (CredentialError, RefusedError):
            return {}
        return cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
