"""Hits → the records of a classification chunk, with the columns of docs/tables.md. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.classification.volume import VolumeFile

LABELLED: Final = "LABELLED"
DELETED: Final = "DELETED"
_ANNOTATION: Final = "annotation."
_ANNOTATION_COUNT: Final = "annotation_stats#count."


@dataclass(frozen=True, slots=True)
class Volume:
    """A Unity Catalog volume by its names; tables know it by these, whatever path it is mounted at."""

    catalog: str
    schema: str
    name: str

    def path_of(self, relative_path: str) -> str:
        """The key of the table."""
        return f"/Volumes/{self.catalog}/{self.schema}/{self.name}/{relative_path}"


@dataclass(frozen=True, slots=True)
class Origin:
    """The job in which a file was classified."""

    datasource_id: str
    job_id: str
    scan_id: int | None


def labelled(
    volume: Volume, file: VolumeFile, origin: Origin, hit: Mapping[str, Any], names: Mapping[str, str], at: str
) -> dict[str, Any]:
    """A file with its hit; `names` has a name for every id of `ids_of(hit)`, `at` is ISO 8601."""
    source = source_of(hit)
    return {
        **_file(volume, file),
        "datasource_id": origin.datasource_id,
        "datasource_scan_id": origin.scan_id,
        "job_id": origin.job_id,
        "labels": list(dict.fromkeys(_encodable(names[one]) for one in ids_of(hit))),
        "tags": _texts(source.get("dxr#tags")),
        "categories": _texts(source.get("ai#category")),
        "raw_metadata": _json(source),
        "collected_at": at,
        "object_id": _text(source.get("object_id")) or _text(source.get("dxr#file_id")),
        "mime_type": _text(source.get("dxr#mime_type")),
        "sha256": _text(source.get("dxr#sha_256_hash")),
        "status": LABELLED,
        "reason": None,
    }


def unlabelled(volume: Volume, file: VolumeFile, code: str, reason: str, at: str) -> dict[str, Any]:
    """A file without labels, with the code and the sentence why not."""
    return {**_file(volume, file), "collected_at": at, "status": code, "reason": reason}


def deleted(volume: Volume, relative_path: str, at: str) -> dict[str, Any]:
    """A file that is gone."""
    return {**_place(volume, relative_path), "collected_at": at, "status": DELETED, "deleted_at": at}


def source_of(hit: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a hit."""
    source = hit.get("_source")
    return cast("dict[str, Any]", source) if isinstance(source, dict) else {}


def ids_of(hit: Mapping[str, Any]) -> list[str]:
    """The ids of a hit's tags, then of the annotators that found something."""
    source = source_of(hit)
    annotators = [
        _encodable(key.removeprefix(prefix))
        for prefix in (_ANNOTATION, _ANNOTATION_COUNT)
        for key, value in source.items()
        if key.startswith(prefix) and _found_something(value)
    ]
    return list(dict.fromkeys([*_texts(source.get("dxr#tags")), *annotators]))


def _found_something(value: object) -> bool:
    """Phrases, or a count, which is often text."""
    return value not in (None, "", "0", 0) and value != []


def _file(volume: Volume, file: VolumeFile) -> dict[str, Any]:
    place = _place(volume, file.relative_path)
    return {**place, "file_size": file.size_bytes, "modification_time": file.modified_ms}


def _place(volume: Volume, relative_path: str) -> dict[str, Any]:
    return {
        "file_path": volume.path_of(relative_path),
        "relative_path": relative_path,
        "file_name": relative_path.rpartition("/")[2],
        "catalog_name": volume.catalog,
        "schema_name": volume.schema,
        "volume_name": volume.name,
    }


def _texts(value: object) -> list[str]:
    """A text or a list of them, as DXR sends both; what is neither text nor number stays as JSON."""
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [_encodable(one) if isinstance(one, str) else _json(one) for one in values if one is not None]


def _text(value: object) -> str | None:
    return _encodable(value) if isinstance(value, str) else None


def _json(value: object) -> str:
    """JSON text, with letters as they are, or escaped where UTF-8 has none for them (lone surrogates)."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def _encodable(text: str) -> str:
    r"""The text with `\ud800` written out for what UTF-8 cannot hold: DXR may send it, no chunk can."""
    return text.encode("utf-8", "backslashreplace").decode()
