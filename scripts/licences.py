"""Writes docs/licences.md: the licence of every package that the image brings along, or a local Spark.

The image holds what requirements/service.txt locks; each package's own metadata says the licence.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = Path(__file__).parents[1]
DOCUMENT: Final = ROOT / "docs" / "licences.md"
NAME: Final = re.compile(r"[\w.-]+")
TEXT: Final = """\
# Licences

Made by `make licences` from the packages' own metadata; a test holds it to be current. `make sbom` lists the same
packages with versions and hashes.

## The service and its image (requirements/service.txt)

{service}

## A local Spark (the extra `spark`)

On Databricks the Spark job brings nothing along: the plain wheel has no dependencies.

{spark}
"""


# What a package's metadata leaves out and its LICENSE file says.
READ_BY_HAND: Final = {"pysimdjson": "MIT"}


def document() -> str:
    """The whole page."""
    return TEXT.format(service=_table(_locked()), spark=_table(_with_dependencies(_extra_spark())))


def licence(package: str) -> str:
    """What a package says of itself: best as an expression, else in its own words."""
    said = metadata(package)
    words = [line.rpartition(" :: ")[2] for line in said.get_all("Classifier", []) if line.startswith("License ::")]
    found = said["License-Expression"] or (said["License"] or "").partition("\n")[0] or " or ".join(words)
    found = found or READ_BY_HAND.get(package)
    if not found:
        raise LookupError(f"{package} does not say its licence: look at its LICENSE file")
    return found


def _locked() -> list[str]:
    """The packages of the image; one that only another system needs is not installed here."""
    found: list[str] = []
    for line in (ROOT / "requirements" / "service.txt").read_text().splitlines():
        name, _, rest = line.partition("==")
        if not rest:
            continue
        try:
            metadata(name)
        except PackageNotFoundError:
            if ";" not in rest:
                raise
            continue
        found.append(name)
    return found


def _extra_spark() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["optional-dependencies"]["spark"]


def _with_dependencies(wanted: Iterable[str]) -> list[str]:
    found: list[str] = []
    for requirement in wanted:
        if "extra ==" in requirement:
            continue
        name = NAME.match(requirement)[0]  # pyright: ignore[reportOptionalSubscript]
        found += [name, *_with_dependencies(requires(name) or ())]
    return found


def _table(packages: Iterable[str]) -> str:
    rows = (f"| {name} | {licence(name)} |" for name in sorted(set(packages), key=str.lower))
    return "\n".join(["| package | licence |", "|---|---|", *rows])


if __name__ == "__main__":
    DOCUMENT.write_text(document())
