"""The shell without a browser: open, the same for everybody, within its policy, and in the wheel."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from service import errors
from service.api import problems

if TYPE_CHECKING:
    from tests.browser.conftest import OpenTab
    from tests.browser.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT: Final = Path(__file__).parents[2]
STATIC: Final = ROOT / "service" / "api" / "page" / "static"
FILES: Final = sorted(path.name for path in STATIC.iterdir())


async def test_the_shell_is_open_and_everything_else_is_not(there: World) -> None:
    for path in ["/", *(f"/static/{name}" for name in FILES)]:
        answer = await there.api.get(path, headers={"Authorization": ""})
        assert answer.status_code == 200, path
        assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert (await there.api.get("/", headers={"Authorization": ""})).headers[
        "content-type"
    ] == "text/html; charset=utf-8"
    for path in ("/static/", "/static/x.js", "/static/../__init__.py", "/index.html"):
        assert (await there.api.get(path, headers={"Authorization": ""})).status_code == 401, path
        assert (await there.api.get(path)).status_code == 404, path


@pytest.mark.parametrize("name", FILES)
async def test_no_file_names_another_host_or_writes_markup(name: str) -> None:
    text = (STATIC / name).read_text()
    hosts = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text))
    assert hosts <= {"http://www.w3.org"}
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|style=|onclick=", text
    )


async def test_whatever_the_service_says_is_somebodys(open_tab: OpenTab) -> None:
    page_ = await (await open_tab()).go()
    told = await page_.evaluate(
        "async (codes) => { const { blame } = await import('/static/blame.js');"
        " return codes.filter((code) => blame(code) === null); }",
        sorted(codes()),
    )
    assert told == []
    assert await page_.evaluate("async () => (await import('/static/blame.js')).blame('NOBODYS')") is None


def codes() -> set[str]:
    """Every code that the service raises, by its source, and those of its tables."""
    found = set(errors._EXIT_CODES) | set(problems._STATUS)
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            if getattr(node.func, "id", getattr(node.func, "attr", "")).endswith(("Error", "Report")):
                said = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "code")]
                values = [str(one.value) for one in said if isinstance(one, ast.Constant)]
                found |= {one for one in values if re.fullmatch("[A-Z]+(_[A-Z]+)*", one)}
    assert {"STREAM_CUT", "DXR_UNAVAILABLE", "LANDING_NO_LINKS", "INGEST_REFUSED"} <= found
    return found - {"INCOMPLETE"}  # what `status` ends with: no run and no answer has it


async def test_the_wheel_brings_the_page_along(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: ASYNC221
    wheel = zipfile.ZipFile(next(tmp_path.glob("*.whl")))
    for name in FILES:
        assert wheel.read(f"service/api/page/static/{name}") == (STATIC / name).read_bytes()
