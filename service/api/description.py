"""The OpenAPI description: what FastAPI knows of the routes, what all have in common, and what is configured."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from fastapi.openapi.utils import get_openapi

from service.api.headers import REQUEST_ID_PATTERN
from service.api.models import Problem
from service.api.problems import MEDIA_TYPE, document
from service.landing.layout import RESERVED_DATASETS

if TYPE_CHECKING:
    from collections.abc import Collection

    from fastapi import FastAPI

    from service.settings import Settings

Responses = dict[int | str, dict[str, Any]]
_RUN_ID: Final = "01a202e6-4fb4-77e4-a088-2c935f55c4b6"
RUN_EXAMPLE: Final = {
    "id": _RUN_ID,
    "kind": "snapshot",
    "dataset": "file_metadata",
    "ingestion_date": "2026-11-22",
    "query": None,
    "record_cap": None,
    "state": "landed",
    "attempt": 1,
    "trigger": "api:ops",
    "created_at": "2026-11-22T03:00:00.000000Z",
    "started_at": "2026-11-22T03:00:00.100000Z",
    "ended_at": "2026-11-22T03:04:11.500000Z",
    "progress": {"rows": 1000000, "raw_bytes": 2500000000, "chunks": 38},
    "counts": {"served_lines": 1000000, "rows": 1000000, "rejected_rows": 0, "blank_lines": 0, "chunks": 38},
    "error": None,
    "commit": f"commits/file_metadata.00001795316400000000.{_RUN_ID}.json",
    "receipt": None,
}
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-Id": {"schema": {"type": "string", "pattern": REQUEST_ID_PATTERN}, "example": _RUN_ID},
    "Location": {"schema": {"type": "string"}, "example": f"/v1/runs/{_RUN_ID}"},
    "Link": {"schema": {"type": "string"}, "example": f'</v1/runs?cursor={_RUN_ID}>; rel="next"'},
    "Retry-After": {"schema": {"type": "integer", "minimum": 1}, "example": 5},
    "WWW-Authenticate": {"schema": {"type": "string"}, "example": "Bearer"},
}
_PROBLEMS: Final = {
    400: ("MALFORMED", "The body is not a JSON document (RFC 8259, UTF-8).", ()),
    401: ("UNAUTHORIZED", "A valid API token is needed.", ("WWW-Authenticate",)),
    403: ("FORBIDDEN", "This token may not trigger.", ()),
    404: ("NOT_FOUND", f"There is no run {_RUN_ID}.", ()),
    408: ("REQUEST_TIMEOUT", "The request did not come in time.", ()),
    409: ("ALREADY_ACTIVE", f"Dataset file_metadata already has an active run, {_RUN_ID}.", ()),
    413: ("BODY_TOO_LARGE", "The body is longer than 65536 bytes.", ()),
    414: ("TARGET_TOO_LONG", "Path and query are longer than 8192 bytes.", ()),
    415: ("UNSUPPORTED_MEDIA_TYPE", "The body is not declared as JSON.", ()),
    422: ("UNPROCESSABLE", "The request is not what this route takes.", ()),
    429: ("TOO_MANY_RUNS", "There are 100 active runs already.", ("Retry-After",)),
    431: ("HEAD_TOO_LARGE", "The headers are longer than 16384 bytes.", ()),
    500: ("INTERNAL", "The service met a problem it does not know.", ()),
    503: ("STORE_UNAVAILABLE", "The run store does not answer.", ("Retry-After",)),
}
_EVERYWHERE: Final = (400, 408, 413, 414, 415, 431, 500, 503)


def problems(*statuses: int) -> Responses:
    """The answers of a route by problem documents, beside those that every route has."""
    return {status: _problem(status) for status in statuses}


def answer(example: object, *headers: str, description: str, media_type: str = "application/json") -> dict[str, Any]:
    """An answer of a route with an example; its schema comes from the route's model."""
    # As text, since FastAPI takes everything that is null out of examples.
    content: dict[str, Any] = {"example": json.dumps(example)}
    if media_type not in {"application/json", "text/event-stream"}:  # of these FastAPI knows the schema
        content["schema"] = {"type": "string"}
    shown = {name: {**_HEADERS[name], "required": name != "Link"} for name in headers}
    return {"description": description, "content": {media_type: content}, "headers": shown}


def describe(app: FastAPI, settings: Settings, open_paths: Collection[str], *, secured: bool) -> dict[str, Any]:
    """The whole document; `open_paths` need no token, and none does when the service is not `secured`."""
    told = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = told["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which is never sent
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
    schemas["SnapshotBody"] = _snapshot_body(schemas["SnapshotBody"], settings)
    classified = schemas["ClassificationBody"]["properties"]["dataset"]
    classified["anyOf"] = [{"enum": [settings.classification_dataset]}, {"type": "null"}]
    for path, operations in told["paths"].items():
        for method, operation in operations.items():
            needs_token = secured and path not in open_paths
            if not needs_token:
                operation.pop("security", None)
            _complete(operation, writes=method != "get", needs_token=needs_token)
    return _with_integers(told)


def _with_integers(part: Any) -> Any:
    """FastAPI writes bounds of integers as 1.0, and who makes up requests by them sends that."""
    if isinstance(part, dict):
        return {name: _with_integers(value) for name, value in cast("dict[str, Any]", part).items()}
    if isinstance(part, list):
        return [_with_integers(value) for value in cast("list[Any]", part)]
    return int(part) if isinstance(part, float) and part.is_integer() else part


def _complete(operation: dict[str, Any], *, writes: bool, needs_token: bool) -> None:
    """Add what every route may answer, and the header that every answer has."""
    answers = operation["responses"]
    for own in answers.values():
        for content in own["content"].values():
            if isinstance(content.get("example"), str):
                content["example"] = json.loads(content["example"])
    common = (*_EVERYWHERE, *((401,) if needs_token else ()), *((403,) if needs_token and writes else ()))
    if "422" in answers:
        common = (*common, 422)
    for status in common:
        answers[str(status)] = _problem(status)
    for one in answers.values():
        one.setdefault("headers", {})["X-Request-Id"] = {**_HEADERS["X-Request-Id"], "required": True}
    operation["responses"] = dict(sorted(answers.items()))


def _problem(status: int) -> dict[str, Any]:
    code, detail, headers = _PROBLEMS[status]
    example = document(code, detail, "What to do next.", _RUN_ID)
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
        "headers": {name: {**_HEADERS[name], "required": True} for name in headers},
    }


def _snapshot_body(body: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Either a dataset that is configured, whose query is configured too, or one of its own with its own query."""
    fields = body["properties"]
    configured = sorted({settings.snapshot_dataset, *settings.datasets})
    taken = sorted({*configured, *RESERVED_DATASETS, settings.classification_dataset})
    known = {"dataset": fields["dataset"] | {"anyOf": [{"enum": configured}, {"type": "null"}]}}
    known["query"] = {"type": "null", "description": "that of the configuration"}
    dataset, query = (fields[name]["anyOf"][0] for name in ("dataset", "query"))
    own = {"dataset": {**dataset, "not": {"enum": taken}}, "query": query}
    return {
        "title": body["title"],
        "description": body["description"],
        "anyOf": [
            {**body, "title": "Of a configured dataset", "properties": {**fields, **known}},
            {**body, "title": "Of its own query", "properties": {**fields, **own}, "required": ["dataset", "query"]},
        ],
    }
