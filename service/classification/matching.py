"""Which hit belongs to which upload: by the unique name that it was sent under, and by nothing else. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.classification.records import source_of
from service.dxr.classifier import FILE_NAME, SCAN_ID
from service.dxr.jobs import scan_id_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_FILE_PATH = "ds#file_path"
_TAGS = "dxr#tags"


def match(
    hits: Iterable[Mapping[str, Any]], names: Collection[str], scan_id: int | None
) -> dict[str, Mapping[str, Any]]:
    """The hit of each upload that has one. Hits of other scans and of files that we did not send are left out.

    Of several hits of one upload the one that was indexed last stands, so that the order of pages decides nothing.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for hit in sorted(hits, key=_age):
        source = source_of(hit)
        if scan_id is not None and scan_id_in(source.get(SCAN_ID)) not in {scan_id, None}:
            continue
        name = _upload_name(source)
        if name in names:
            found[name] = hit
    return found


def is_settled(matched: Mapping[str, Mapping[str, Any]], names: Collection[str]) -> bool:
    """Whether every upload has its hit, and every hit its tags: the index lags behind the job in both."""
    return len(matched) == len(names) and all(_TAGS in source_of(hit) for hit in matched.values())


def scan_id_of(hits: Iterable[Mapping[str, Any]]) -> int | None:
    """The scan that hits say they belong to."""
    found = (scan_id_in(source_of(hit).get(SCAN_ID)) for hit in hits)
    return next((scan_id for scan_id in found if scan_id is not None), None)


def _upload_name(source: Mapping[str, Any]) -> str:
    name = source.get(FILE_NAME) or source.get(_FILE_PATH)
    return name.rpartition("/")[2] if isinstance(name, str) else ""


def _age(hit: Mapping[str, Any]) -> tuple[str, str]:
    return str(source_of(hit).get("dxr#indexed_date", "")), str(hit.get("_id", ""))
