"""The description as a page for people: made here, without a script and without anything from elsewhere.

The web page keeps a token where scripts of this origin can read it: the fewer scripts there are, the better.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any, Final

STYLE: Final = """\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h2 { border-top: 1px solid #8888; padding-top: 1.5rem; }
code, pre { font: 0.875rem/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: #8881; overflow-x: auto; padding: 0.75rem; white-space: pre-wrap; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #8884; padding: 0.25rem 0.75rem 0.25rem 0; text-align: left; vertical-align: top; }
"""


def page(told: dict[str, Any]) -> str:
    """HTML of an OpenAPI document."""
    operations = [
        _operation(method, path, operation, told)
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
    ]
    title = escape(f"{told['info']['title']} {told['info']['version']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/docs.css"></head>'
        f"<body><main><h1>{title}</h1><p>{escape(told['info']['description'])} "
        'The same for machines: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{''.join(operations)}</main></body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any], told: dict[str, Any]) -> str:
    needs = "Needs a token." if operation.get("security") else "Open."
    parts = [
        f'<h2 id="{escape(operation["operationId"])}"><code>{method.upper()} {escape(path)}</code></h2>',
        f"<p>{escape(operation['description'])} {needs}</p>",
        _parameters(operation.get("parameters", [])),
    ]
    if body := operation.get("requestBody"):
        parts.append(_details("Body", _resolved(body["content"]["application/json"]["schema"], told)))
    answers = "".join(_answer(status, answer) for status, answer in operation["responses"].items())
    return "".join((*parts, f"<h3>Answers</h3>{answers}"))


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td>"
        f"<td>{escape(one.get('description', ''))}</td><td><code>{escape(json.dumps(one['schema']))}</code></td></tr>"
        for one in parameters
    )
    head = "<tr><th>Name</th><th>In</th><th>What</th><th>Schema</th></tr>"
    return f"<h3>Parameters</h3><table>{head}{rows}</table>" if rows else ""


def _answer(status: str, answer: dict[str, Any]) -> str:
    examples = [content.get("example") for content in answer["content"].values()]
    return _details(f"{status} {answer['description']}", examples[0])


def _details(summary: str, value: object) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, indent=2)
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(shown)}</pre></details>"


def _resolved(schema: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return told["components"]["schemas"][name] if name else schema
