"""Writes docs/configuration.md, cli.md and api.md from what they describe; a test holds them to be current."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.cli import get_docs_for_click

from scripts import reference_api
from service.cli.main import app
from service.settings import Settings
from spark_jobs.settings import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS: Final = Path(__file__).parents[1] / "docs"
_CONFIGURATION: Final = """\
# Configuration

Made by `make reference` from the settings themselves; a test holds it to be current.

Flags come before the environment, that before `.env`, that before `dxr-ingest.yaml` (or the file of `--config`; the
keys there are the names in lower case), that before the default. Each variable may also be given as `NAME_FILE`, the
path of a file that holds its value; both at once are refused. Sizes take `kB`, `MB` (10⁶), `KiB`, `MiB` (2²⁰); a bare
number is bytes.
`dxr-ingest config show` prints what is in force, with secrets masked.

## The service and its command line

{service}

## The Spark job (`dxr-ingest-tables`)

Each is also a flag: `LANDING_PATH` is `--landing-path`.

{spark}
"""
_KINDS: Final = {
    "string": "text",
    "password": "secret",  # pragma: allowlist secret
    "object": "YAML",
    "boolean": "`true`, `false`",
}
_CLI: Final = """\
# Commands

Made by `make reference` from the commands themselves; a test holds it to be current.

Exit codes: 0 done · 1 run failed · 2 usage · 3 configuration · 4 authentication or permission · 5 upstream unavailable
(a retry helps) · 6 partial · 7 already running · 130/143 interrupted.

{commands}
"""


def documents() -> dict[Path, str]:
    """Each page's path and text."""
    click = typer.main.get_command(app)
    context = typer.Context(click, info_name="dxr-ingest")
    commands = get_docs_for_click(obj=click, ctx=context, name="dxr-ingest")
    return {
        DOCS / "configuration.md": _CONFIGURATION.format(
            service="\n".join(_rows(Settings.model_json_schema())),
            spark="\n".join(
                [
                    "| variable | what it is |",
                    "|---|---|",
                    *(_row(f"`{name}`", text) for name, text in VARIABLES.items()),
                ]
            ),
        ),
        DOCS / "cli.md": _CLI.format(commands=commands.partition("\n")[2].strip()),
        DOCS / "api.md": reference_api.page(),
    }


def _rows(schema: dict[str, Any]) -> Iterator[str]:
    yield "| variable | what it is | takes | default |"
    yield "|---|---|---|---|"
    for name, field in schema["properties"].items():
        if name in schema.get("required", ()):
            default = "**needed**"
        else:
            default = "" if field.get("default") in (None, "", {}) else f"`{_text(field['default'])}`"
        yield _row(f"`{name.upper()}`", field.get("description", ""), _taken(field), default)


def _taken(field: dict[str, Any]) -> str:
    parts = [part for part in field.get("anyOf", [field]) if part.get("type") != "null"]
    if field.get("enum"):
        return ", ".join(f"`{value}`" for value in field["enum"])
    kinds = (_KINDS.get(part.get("format") or part["type"], part.get("format") or part["type"]) for part in parts)
    return " or ".join(dict.fromkeys(kinds))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text)
