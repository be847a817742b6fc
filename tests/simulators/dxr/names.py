"""The names behind the classifier's ids, and which address knows which of them."""

from collections.abc import Iterable
from typing import Any, Literal

from tests.simulators.dxr.findings import KINDS, LABELS
from tests.simulators.dxr.truth import EXTRACTORS, Kind, Truth, number

Json = dict[str, Any]
NamesAt = Literal["tags", "metadata-extractors", "data-classes", "classifications"]

# The older forms knew the labels too.
NAMED_AT: dict[str, frozenset[Kind]] = {
    "tags": frozenset({"LABEL"}),
    "metadata-extractors": frozenset({"LABEL", "EXTRACTOR"}),
    "data-classes": frozenset({"LABEL", "ANNOTATOR"}),
}


class Names:
    """All that can be found, from the start; planted labels once a file has one."""

    def __init__(self) -> None:
        self._names: dict[tuple[Kind, int], str] = {}
        self._add("EXTRACTOR", EXTRACTORS)
        self._add("ANNOTATOR", (name for name, _, _, _ in KINDS))
        self._add("ANNOTATOR_DOMAIN", (domain for _, domain, _, _ in KINDS))
        self._add("LABEL", LABELS.values())

    def learn(self, truths: dict[str, Truth]) -> None:
        """Add the labels of these truths."""
        for truth in truths.values():
            self._add("LABEL", truth.labels)

    def find(self, form: str, wanted: str) -> str | None:
        """Return the name that the address of this form has for an id, or None."""
        found = (self._names.get((kind, int(wanted))) for kind in NAMED_AT[form] if wanted.isdecimal())
        return next(filter(None, found), None)

    def classifications(self) -> list[Json]:
        """List them all, as `/api/v1/classifications` does."""
        names = self._names.items()
        return [{"id": str(id_), "name": name, "type": kind, "subtype": None} for (kind, id_), name in names]

    def _add(self, kind: Kind, names: Iterable[str]) -> None:
        self._names |= {(kind, number(kind, name)): name for name in names}
