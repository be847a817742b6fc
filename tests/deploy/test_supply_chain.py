"""What is shipped is known: the lock belongs to pyproject.toml, and security rules are only left out with a reason."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.lock_sum import ROOT, lock_sum


@pytest.fixture
def copy(tmp_path):
    """What the lock is made of."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_lock_belongs_to_pyproject(copy):
    noted = (ROOT / "requirements" / "lock.sha256").read_text()
    assert lock_sum(ROOT) == lock_sum(copy) == noted


@pytest.mark.parametrize(
    ("file", "text", "instead"),
    [
        ("pyproject.toml", '"fastapi>=', '"fastapi>'),
        ("pyproject.toml", '"pytest>=9",', ""),
        ("requirements/service.txt", "fastapi==", "fastapi==1"),
        ("requirements/dev.txt", "sha256:", "sha256:0"),
        ("requirements/uv.in", "uv", "uv[x]"),
    ],
)
def test_a_change_without_make_lock_is_seen(copy, file, text, instead):
    before = (copy / file).read_text()
    assert text in before
    (copy / file).write_text(before.replace(text, instead, 1))
    assert lock_sum(copy) != lock_sum(ROOT)


def test_other_settings_of_the_tools_are_no_change(copy):
    (copy / "pyproject.toml").write_text((copy / "pyproject.toml").read_text() + '\n[tool.some]\nthing = "else"\n')
    assert lock_sum(copy) == lock_sum(ROOT)


def test_everything_that_is_locked_has_hashes_and_an_exact_version():
    for name in ("uv", "service", "dev"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
        lines = text.splitlines()
        assert lines
        for line in lines:
            assert re.match(r"[\w.\[\]-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line[:80]


def test_a_security_rule_is_only_left_out_with_a_reason():
    files = [file for folder in ("service", "spark_jobs", "scripts") for file in (ROOT / folder).rglob("*.py")]
    found = [
        (file.name, line.strip())
        for file in files
        for line in file.read_text().splitlines()
        if re.search(r"# noqa: [A-Z0-9, ]*\bS\d", line)
    ]
    assert found
    assert [one for one in found if not re.search(r"# noqa: [A-Z0-9, ]+ - \w", one[1])] == []


@pytest.mark.parametrize(
    "line",
    [
        'password = "correct-horse-battery"',  # pragma: allowlist secret
        'url = "postgresql://ops:correct-horse@db/runs"',  # pragma: allowlist secret
        "-----BEGIN RSA PRIVATE KEY-----",  # pragma: allowlist secret
    ],
)
def test_a_secret_in_the_code_is_found(tmp_path, line):
    (tmp_path / "new.py").write_text(line + "\n")
    hook = [Path(sys.prefix) / "bin" / "detect-secrets-hook", "--no-verify", "--baseline"]
    done = subprocess.run(
        [*hook, ROOT / ".secrets.baseline", "new.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done
    assert "Potential secrets" in done.stdout
