"""What the index says of one file of a job: a search hit with the fields of a real one."""

import mimetypes
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tests.simulators.dxr.folder import identifier
from tests.simulators.dxr.jobs import Job
from tests.simulators.dxr.truth import Truth, number

Json = dict[str, Any]
TagForm = Literal["number", "text", "name"]

_FIRST_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def moment(order: int) -> str:
    """The time of the n-th event: made up, so that the same answers come again."""
    return (_FIRST_MOMENT + timedelta(seconds=order)).isoformat().replace("+00:00", "Z")


def hit_of(job: Job, place: int, truth: Truth, tag_form: TagForm) -> Json:
    """Write the hit for the job's file at `place`."""
    return {
        "_index": f"datasource-{job.datasource_id}",
        "_id": identifier(f"hit {job.scan_id} {place}"),
        "_score": 1.0,
        "_source": _source(job, place, truth, tag_form),
    }


def _source(job: Job, place: int, truth: Truth, tag_form: TagForm) -> Json:
    file = job.files[place]
    mime_type, _ = mimetypes.guess_type(file.name)
    source: Json = {
        "ds#file_name": file.name,
        "ds#file_path": f"/{job.id}/{file.name}",
        "ds#parent_folder_paths": ["/", f"/{job.id}"],
        "dxr#file_id": identifier(f"file {job.scan_id} {place}"),
        "object_id": identifier(f"object {job.scan_id} {place}"),
        "folder_id": identifier(f"folder {job.id}"),
        "dxr#datasource_scan_id": job.scan_id,
        "dxr#mime_type": mime_type or "application/octet-stream",
        "dxr#indexed_date": moment(job.order),
        "dxr#sha_256_hash": file.sha256,
        "dxr#sha_256_hash_file_meta": identifier(f"meta {file.name} {file.size}"),
        "dxr#doc_lang": "en",
        "dxr#composite_type": "NONE",
        "dxr#is_processed": True,
        "dxr#document_status": "PROCESSED",
        "dxr#text_extraction_status": "SUCCESS",
        "dxr#metadata_extraction_status": "SUCCESS",
        "dxr#tags": _tags(truth, tag_form),
        "dxr#manually_removed_tags": [],
        "dxr#ocr_used": False,
        # Both forms are real; which one comes must not depend on anything but the content.
        "ai#category": truth.category if int(file.sha256[0], 16) % 2 else [truth.category],
        "annotations": "".join(
            f"[{phrase}, {start}, {end}, {found.id}]"
            for found in truth.annotators
            for phrase, start, end in found.places
        ),
        "metadata#MODIFIED_DATE": moment(job.order),
        "metadata#binary_hash": file.sha256,
    }
    for found in truth.annotators:
        source[f"annotation.{found.id}"] = list(found.phrases)
        source[f"annotation_stats#count.{found.id}"] = str(found.unique_phrases)
    for extractor, value in truth.extracted:
        source[f"extracted_metadata#{number('EXTRACTOR', extractor)}"] = value
    return source


def _tags(truth: Truth, form: TagForm) -> list[Any]:
    if form == "name":
        return list(truth.labels)
    return [str(tag) if form == "text" else tag for tag in truth.tags]
