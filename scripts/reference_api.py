"""docs/api.md: the OpenAPI description in words, for whoever reads without a running service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from service.api.app import OPEN_PATHS, with_routes
from service.api.description import describe
from service.api.models import ClassificationBody, SnapshotBody
from service.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, Any]

_PAGE: Final = """\
# HTTP API

Made by `make reference` from the service's own description; a test holds it to be current. A service that runs has the
same under `/openapi.json` and, for people, under `/docs`; there it shows the datasets that are configured.

Bodies are JSON; unknown fields are refused. A token goes into the header `Authorization: Bearer <token>`: with the
scope `read` it may `GET`, with `trigger` the rest. Every answer has an `X-Request-Id`, which is also in the service's
log.

An answer that is an error is a [problem](#problem), whose `code` and `hint` say more than its status. Beside the
statuses that a call names, each may answer {everywhere}.

{calls}

# Documents

{documents}
"""
_BODIES: Final = (SnapshotBody, ClassificationBody)
# In the order in which a reader needs them; all others are told where they are used.
_DOCUMENTS: Final = {
    "RunBody": "Run",
    "RunError": "Error of a run",
    "DatasetBody": "Dataset",
    "DayBody": "Day",
    "Problem": "Problem",
    "Mistake": "Mistake",
    "Health": "Health",
}


def page() -> str:
    """The whole page."""
    settings = load(Settings, {"dxr_base_url": "https://dxr.example.com", "landing_path": "landing"})
    told = describe(with_routes(), settings, OPEN_PATHS, secured=True)
    calls = [(method, path, one) for path, methods in told["paths"].items() for method, one in methods.items()]
    shared = set.intersection(*({status for status in one["responses"] if status >= "4"} for _, _, one in calls))
    # Not as this configuration narrows it.
    schemas = told["components"]["schemas"] | {body.__name__: body.model_json_schema() for body in _BODIES}
    return _PAGE.format(
        everywhere=", ".join(sorted(shared)),
        calls="\n\n".join("\n".join(_call(*one, shared, schemas)) for one in calls),
        documents="\n\n".join("\n".join(_document(name, schemas)) for name in _DOCUMENTS),
    )


def _call(method: str, path: str, call: Schema, shared: set[str], schemas: Schema) -> Iterator[str]:
    yield f"## `{method.upper()} {path}`"
    yield ""
    yield f"{call['description']} {'Needs a token.' if call.get('security') else 'Open.'}"
    if parameters := call.get("parameters"):
        rows = [(f"`{one['name']}` ({one['in']})", one["schema"], one.get("description", "")) for one in parameters]
        yield from _table("parameter", rows, schemas)
    if body := call.get("requestBody"):
        yield from _table("field of the body", _fields(_named(body["content"]["application/json"], schemas)), schemas)
    yield ""
    for status, answer in call["responses"].items():
        if status < "4":
            yield f"- {status} {_answer(answer, schemas)}"
    if own := sorted({status for status in call["responses"] if status >= "4"} - shared):
        yield f"- {', '.join(own)}"


def _named(content: Schema, schemas: Schema) -> Schema:
    return schemas[content["schema"]["$ref"].rpartition("/")[2]]


def _answer(answer: Schema, schemas: Schema) -> str:
    schema = next(iter(answer["content"].values())).get("schema", {})
    shown = f"{_kind(schema, schemas)}: " if "$ref" in schema.get("items", schema) else ""
    return f"{shown}{answer['description']}"


def _document(name: str, schemas: Schema) -> Iterator[str]:
    schema = schemas[name]
    yield f"## {_DOCUMENTS[name]}"
    if text := schema.get("description"):
        yield ""
        yield text
    yield from _table("field", _fields(schema), schemas)


def _fields(schema: Schema) -> list[tuple[str, Schema, str]]:
    return [(f"`{name}`", field, field.get("description", "")) for name, field in schema["properties"].items()]


def _table(first: str, rows: list[tuple[str, Schema, str]], schemas: Schema) -> Iterator[str]:
    yield ""
    yield f"| {first} | takes | what it is |"
    yield "|---|---|---|"
    for name, schema, text in rows:
        default = schema.get("default")
        after = f"default: `{str(default).lower()}`" if default is not None else ""
        yield f"| {name} | {_kind(schema, schemas)} | {'; '.join(filter(None, (text, after)))} |"


def _kind(schema: Schema, schemas: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one, schemas) for one in schema["anyOf"])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in _DOCUMENTS:
            return _kind(schemas[name], schemas)
        return f"[{_DOCUMENTS[name]}](#{_DOCUMENTS[name].lower().replace(' ', '-')})"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_kind(schema['items'], schemas)}"
    low, high = schema.get("minimum"), schema.get("maximum")
    between = f" {low} to {high}" if low is not None and high is not None else ""
    return f"{schema.get('format') or schema.get('type', '')}{between}"
