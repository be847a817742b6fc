"""Names for the ids of tags and annotators, asked for once each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from service.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.dxr.session import DxrSession

_ALL: Final = "/api/v1/classifications"
# Older deployments know only one of the later forms.
_FORMS: Final = ("tags", "metadata-extractors", "data-classes")


class Names:
    """A cache for the time of a run. An id without a name stays itself, so that no label is lost."""

    def __init__(self, session: DxrSession, prefix: str) -> None:
        self._session = session
        self._prefix = prefix.rstrip("/")
        self._known: dict[str, str] | None = None

    async def of(self, ids: Iterable[str]) -> dict[str, str]:
        """The name of each id."""
        if self._known is None:
            self._known = await self._listed()
        return {one: await self._name(one, self._known) for one in ids}

    async def _listed(self) -> dict[str, str]:
        try:
            answer = await self._session.call("GET", _ALL)
        except UpstreamError:
            return {}  # each id is asked for by itself then
        data = cast("dict[str, Any]", answer).get("data") if isinstance(answer, dict) else None
        entries = [cast("dict[str, Any]", entry) for entry in cast("list[Any]", data or []) if isinstance(entry, dict)]
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
            try:
                answer = await self._session.call("GET", f"{self._prefix}/{form}/{one}")
            except UpstreamError:
                continue
            if isinstance(answer, dict) and cast("dict[str, Any]", answer).get("name"):
                return str(cast("dict[str, Any]", answer)["name"])
        return None
