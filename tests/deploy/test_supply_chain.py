"""What is shipped is known: the lock is pyproject's, parts and licences are listed, no secret is in the code."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import licences
from scripts.lock_sum import ROOT, lock_sum
from service import __version__


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


def test_the_licences_are_listed_as_they_are_and_none_asks_for_our_source():
    text = licences.document()
    assert text == licences.DOCUMENT.read_text(), "run make licences"
    listed = dict(re.findall(r"^\| ([\w.-]+) \| (.+) \|$", text, re.MULTILINE))
    assert len(listed) > 50
    assert listed["fastapi"] == "MIT"
    assert listed["pyspark"] == "Apache-2.0"
    assert not [
        name for name, licence in listed.items() if re.search("GPL|General Public|unknown", licence, re.IGNORECASE)
    ]


def test_the_sbom_names_every_locked_package_and_is_the_same_each_time(copy):
    """The same commands as `make sbom`, in a copy; nothing is asked of a network."""
    for name in ("Makefile", "service"):
        (copy / name).symlink_to(ROOT / name)
    (copy / ".venv").symlink_to(sys.prefix)
    made = []
    for _ in range(2):
        subprocess.run(["make", "-o", ".venv/.ready", "sbom"], cwd=copy, check=True, capture_output=True)
        [file] = (copy / "build" / "sbom").iterdir()
        made.append(file.read_bytes())
        file.unlink()
    assert made[0] == made[1]
    bom = json.loads(made[0])
    assert (bom["bomFormat"], bom["metadata"]["component"]["name"]) == ("CycloneDX", "dxr-ingest")
    assert bom["metadata"]["component"]["version"] == __version__
    assert not {"timestamp", "serialNumber"} & {*bom, *bom["metadata"]}
    locked = set(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / "service.txt").read_text(), re.MULTILINE))
    assert {(part["name"], part["version"]) for part in bom["components"]} == locked
    for part in bom["components"]:
        assert part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}"
        assert all(one["hashes"] for one in part["externalReferences"])
