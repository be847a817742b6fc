"""Every error of the service says what to do; none promises what may not follow."""

import ast
import re
from pathlib import Path

import pytest

from service import errors

ROOT = Path(errors.__file__).parent
# Where the hint stands among the arguments; without a code before the message, one place earlier.
HINT = {"ConfigurationError": 1, "NotFoundError": 1}
# These two say their hint themselves.
SAY_IT = {"AlreadyActiveError", "LeaseLostError"}
KINDS = {name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")} - SAY_IT
# An attempt that failed may have been the last one: then nothing of this follows.
PROMISE = re.compile(r"\b(is|are|will be) (repeated|tried|sent|looked for|taken)\b")


def hints(file: Path) -> dict[int, str]:
    """The hints that are written out, by their line."""
    found = {}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
            place = HINT.get(node.func.id, 2)
            written = node.args[place] if len(node.args) > place else None
            starred = any(isinstance(argument, ast.Starred) for argument in node.args)
            if not starred and not isinstance(written, ast.Name | ast.Attribute | ast.Call):
                found[node.lineno] = "" if written is None else ast.unparse(written).strip("'\"f")
    return found


@pytest.mark.parametrize(
    "file",
    [file for file in sorted(ROOT.rglob("*.py")) if file.name != "errors.py" and hints(file)],
    ids=lambda file: file.relative_to(ROOT).as_posix(),
)
def test_every_error_says_what_to_do(file):
    told = hints(file)
    assert {line for line, hint in told.items() if not hint.endswith(".")} == set()
    assert {line: hint for line, hint in told.items() if PROMISE.search(hint)} == {}
