"""Every command that a document lets people type.

What can run here runs, in a fresh folder, against simulated sides and with the real programs. `ELSEWHERE` names what
cannot, why, and what is held to be true of it instead; a command that it does not name has to run.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import shlex
import sqlite3
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml
from databricks.sdk.service.oauth2 import FederationPolicy
from deltalake import DeltaTable

from scripts.deploy_check import render, workloads
from service.cli.main import app
from spark_jobs.settings import argument_parser
from tests.conftest import TOKEN
from tests.deploy import test_databricks_bundle as bundle
from tests.documents import COMMANDS, NO_COMMANDS, ROOT, blocks, commands, mentioned
from tests.documents import TEXTS as EVERY_TEXT
from tests.e2e.commands import Commands
from tests.simulators.databricks import DatabricksSimulator
from tests.simulators.dxr import Classifier, DxrSimulator, GeneratedFiles

if TYPE_CHECKING:
    from collections.abc import Callable

# docs/cli.md is made from the commands, and what the change log names was there when it was written.
TEXTS = {name: text for name, text in EVERY_TEXT.items() if name not in {"docs/cli.md", "CHANGELOG.md"}}
RUN_ID = "01a202e6-4fb4-77e4-a088-2c935f55c4b6"
ROWS = 500
# Nobody listens there: a command that gets as far as this has passed kubectl's own judgement.
NO_CLUSTER = "http://127.0.0.1:9"
KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "none", "cluster": {"server": NO_CLUSTER}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "users": [{"name": "none", "user": {}}],
    "current-context": "none",
}
# What stands for something of the reader's, where nothing simulated has to take its place.
PLACEHOLDERS = {"<run id>": RUN_ID, "<name>": "a-name", "<id>": "1", "…": "more"}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass
class Place:
    """A fresh folder with a home of its own, where `.venv` is that of this checkout."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict[str, str])
    filled: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        (self.folder / ".venv").symlink_to(sys.prefix)
        (self.folder / "dxr-token").write_text(TOKEN)
        (self.folder / "kubeconfig").write_text(yaml.safe_dump(KUBECONFIG))

    async def run(self, *texts: str, **more: str) -> Done:
        """The commands in one shell, which stops at the first that fails."""
        script = "\n".join(("set -euo pipefail", *texts))
        for placeholder, value in self.filled.items():
            script = script.replace(placeholder, value)
        assert not re.search(r"<\w[\w ]*>|example\.com", script), script
        environment = {
            "PATH": f"{Path(sys.prefix) / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "JAVA_HOME": os.environ.get("JAVA_HOME", ""),
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            **self.variables,
            **more,
        }
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            cwd=self.folder,
            env={name: value for name, value in environment.items() if value},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(240):
            out, err = await process.communicate()
        return Done(process.returncode or 0, out.decode(), err.decode())

    async def runs(self, *texts: str, **more: str) -> str:
        """What they print, when all went well."""
        done = await self.run(*texts, **more)
        assert done.code == 0, (texts, done.out[-2000:], done.err[-2000:])
        return done.out


def filled(text: str) -> str:
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return text


def words_of(text: str) -> list[str]:
    return shlex.split(filled(text), comments=True)


def is_taken_by_the_command_line(words: list[str]) -> None:
    """`dxr-ingest` parses them; without arguments the command is only named."""
    command, name, *rest = typer.main.get_command(app), *words
    while rest and (below := getattr(command, "commands", {}).get(rest[0])):
        command, name, *rest = below, *rest
    if rest and rest != ["more"]:
        assert rest[0].startswith("-") or not hasattr(command, "commands"), words
        with pytest.raises(typer.Exit) if name == words[0] else contextlib.nullcontext():  # --version
            command.make_context(name, rest)


async def make_has_the_target(place: Place, text: str) -> None:
    [_, *targets] = words_of(text)
    assert targets, text
    for target in targets:
        if "=" not in target:
            assert f"\n{target}: " in (ROOT / "Makefile").read_text(), text
    await place.runs(f"make -C {ROOT} --dry-run {shlex.join(targets)}")


async def reaches_for_the_cluster(place: Place, text: str) -> None:
    """kubectl itself takes it and its files, and fails for want of a cluster; what it would do in the pod is tried."""
    words = words_of(text)
    done = await place.run(filled(text))
    assert done.code, text
    assert "127.0.0.1:9" in done.err, (text, done.err)
    if "--" in words:
        await is_taken_in_the_pod(place, words[words.index("--") + 1 :])


async def is_taken_in_the_pod(place: Place, words: list[str]) -> None:
    if words[0] == "dxr-ingest":
        is_taken_by_the_command_line(words)
        return
    state = place.folder / "state"
    state.mkdir()
    with sqlite3.connect(state / "runs.sqlite") as store:
        store.execute("CREATE TABLE kept (row)")
    await place.runs(shlex.join(words).replace("/var/lib/dxr-ingest", str(state)))
    assert sqlite3.connect(state / "before.sqlite").execute("SELECT name FROM sqlite_master").fetchall() == [("kept",)]


@cache
def targets() -> Any:
    return bundle.check(bundle.BUNDLE)


async def names_what_the_bundle_has(_: Place, text: str) -> None:
    words = words_of(text)
    match words:
        case ["export", *assigned]:
            names = {word.partition("=")[0].removeprefix("BUNDLE_VAR_") for word in assigned}
            assert names <= set(bundle.read(bundle.BUNDLE)["variables"]), text
        case ["databricks", "bundle", "validate" | "deploy" | "run" | "destroy", *rest]:
            assert ("run" in words) == ("ingest" in rest), text
            assert set(rest) <= {"ingest", "-t", *targets(), "--restart", "--no-wait"}, text
            assert "-t" not in rest or rest[rest.index("-t") + 1] in targets(), text
        case ["databricks", "fs", "mkdir", folder]:
            [job] = targets()["prod"]["resources"]["jobs"].values()
            assert f"{folder.removeprefix('dbfs:')}/" == job["trigger"]["file_arrival"]["url"], text
        case ["databricks", "account", "service-principal-federation-policy", "create", "1", "--json", policy]:
            assert FederationPolicy.from_dict(json.loads(policy)).as_dict() == json.loads(policy)
        case ["databricks", "auth", "login"]:
            pass
        case _:
            pytest.fail(f"nobody has decided what is true of: {text}")


async def builds_what_the_manifests_run(place: Place, text: str) -> None:
    build, _, push = text.partition(" && ")
    arguments = dict(re.findall(r"--build-arg (\w+)=(\S+)", build))
    assert all(f"ARG {name}" in (ROOT / "Dockerfile").read_text() for name in arguments), text
    if found := re.search(r"-t (\S+) (\S+)$", build):
        assert push == f"docker push {found[1]}"
        assert (place.folder / found[2] / "Dockerfile").exists()
        assert {one.container["image"] for one in workloads(render(place.folder / "my-cluster"))} == {found[1]}
    else:
        assert arguments, text


async def is_nothing_of_ours(_place: Place, _text: str) -> None:
    """A command of another program, about nothing that is in this repository."""


@dataclass(frozen=True)
class Elsewhere:
    """What is not run, why, and what is looked at instead."""

    begins: str
    why: str
    look: Callable[[Place, str], Any]

    def fits(self, text: str) -> bool:
        return re.match(self.begins, text) is not None


ELSEWHERE = (
    Elsewhere(r"make (setup|test|lint)\b", "it is what runs this test, or runs before it", make_has_the_target),
    Elsewhere(r"make demo\b", "takes minutes; test_pipeline.py goes the same way", make_has_the_target),
    Elsewhere(r"make [a-z-]+", "takes minutes, or writes into the checkout", make_has_the_target),
    Elsewhere(r"kubectl (?!patch --local)", "there is no cluster", reaches_for_the_cluster),
    Elsewhere(r"databricks |export BUNDLE_VAR_", "there is no workspace and no CLI", names_what_the_bundle_has),
    Elsewhere(
        r"docker ", "not every machine has an engine; make deploy-check builds it", builds_what_the_manifests_run
    ),
    Elsewhere(r"git -C dxr-ingest checkout ", "would change this checkout", is_nothing_of_ours),
)
RUN_HERE = {"README.md", "CONTRIBUTING.md", "deploy/README.md", "deploy/databricks/README.md", "docs/performance.md"}


def elsewhere(text: str) -> Elsewhere | None:
    return next((one for one in ELSEWHERE if one.fits(text)), None)


async def look_at(place: Place, text: str) -> None:
    way = elsewhere(text)
    assert way is not None, text
    await way.look(place, text)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_whatever_looks_like_a_command_is_one_that_is_tried() -> None:
    """A block in another language, or of another document, is a decision that somebody has to take here."""
    told = {name: blocks(text) for name, text in TEXTS.items()}
    assert {language for found in told.values() for language, _ in found} <= {COMMANDS, *NO_COMMANDS}
    assert {name for name, found in told.items() if COMMANDS in dict(found)} == RUN_HERE
    assert all(body.startswith("$ ") for found in told.values() for language, body in found if language == COMMANDS)
    assert [one for one in ELSEWHERE if not any(map(one.fits, every_command()))] == []


def every_command() -> list[str]:
    return [
        text for page in TEXTS.values() for text in (*itertools.chain.from_iterable(commands(page)), *mentioned(page))
    ]


async def test_what_sentences_name_would_be_taken(place: Place) -> None:
    for text in sorted({text for page in TEXTS.values() for text in mentioned(page)}):
        if elsewhere(text):
            await look_at(place, text)
        elif text.startswith("dxr-ingest-tables"):
            argument_parser().parse_args([word for word in words_of(text)[1:] if word != "--help"])
        elif text.startswith("dxr-ingest "):
            is_taken_by_the_command_line(words_of(text))
        else:
            assert text.startswith(".venv/bin/python -m scripts.deploy_check "), text


@pytest.mark.timeout(600)  # eleven processes, one of them Spark's, on a machine that may be busy
async def test_the_way_from_a_clone_to_an_own_tenant(place: Place) -> None:
    """README.md: the first snapshot and its table, then a service, then a volume of a workspace."""
    [demo, test], [setup, snapshot, tables], [serve, *through], volume, [classify] = commands(TEXTS["README.md"])
    for text in (demo, test, setup):
        await look_at(place, text)
    tenant = DxrSimulator(
        GeneratedFiles(ROWS, seed=7), tokens=(TOKEN,), classifier=Classifier(datasources=("11", "12"))
    )
    async with tenant as dxr, DatabricksSimulator(place.folder / "workspace") as databricks:
        place.filled = {
            "https://dxr.example.com": dxr.url,
            "https://my-workspace.cloud.databricks.com": databricks.url,
            "<application id>": databricks.client_id,
        }
        await place.runs(snapshot)
        await place.runs(tables)
        assert DeltaTable(place.folder / "tables" / "file_metadata").count() == ROWS
        [look_around] = re.findall(r"\.venv/bin/python -c .*", TEXTS["README.md"])
        assert "WRITE" in await place.runs(look_around.replace(".demo/", ""))

        place.variables = dict(
            word.replace("https://dxr.example.com", dxr.url).replace("~", str(place.folder)).split("=", 1)
            for word in itertools.takewhile(lambda word: "=" in word, shlex.split(snapshot))
        )
        assert serve == ".venv/bin/dxr-ingest serve"
        async with Commands(place.folder, place.variables).serving() as (address, _):
            place.filled["http://127.0.0.1:8080"] = address
            triggered, ended, listed, days, checked = [await place.runs(text) for text in through]
        assert ": landed" in ended
        assert json.loads(triggered)["id"] in listed
        assert "file_metadata  [" in days
        assert {line.split()[0] for line in checked.splitlines()} == {"ok"}

        (place.folder / "databricks-secret").write_text(databricks.client_secret)
        databricks.volume("main", "dxr", "landing")
        documents = databricks.volume("main", "legal", "contracts")
        (documents / "a.txt").write_text("label: A\n")
        await place.runs(*volume, classify, DXR_POLL_INTERVAL_SECONDS="0.01")
        [commit] = (databricks.volume("main", "dxr", "landing") / "commits").iterdir()
        assert json.loads(commit.read_text())["rows"] == 1


async def test_the_commands_of_a_cluster(place: Place) -> None:
    """deploy/README.md, beside a checkout, with the files that it lets people write."""
    page = TEXTS["deploy/README.md"]
    (place.folder / "dxr-ingest").symlink_to(ROOT)
    (place.folder / "my-cluster").mkdir()
    for name, content in re.findall(r"`my-cluster/([\w.-]+)`[^\n]*\n+```\w*\n(.*?)```", page, re.DOTALL):
        (place.folder / "my-cluster" / name).write_text(content)
    for text in itertools.chain.from_iterable(commands(page)):
        if elsewhere(text):
            await look_at(place, text)
        else:
            if "replay.yaml" in text:
                (place.folder / "replay.yaml").write_text(yaml.safe_dump(a_job_of(place, "snapshot-file-metadata")))
            await place.runs(text)
    assert (place.folder / "secrets" / "service" / "dxr-token").read_text() == TOKEN
    [dated] = yaml.safe_load((place.folder / "replay-dated.yaml").read_text())["spec"]["template"]["spec"]["containers"]
    assert dated["args"][-1] == "--ingestion-date=2026-11-20"
    is_taken_by_the_command_line(["dxr-ingest", *dated["args"]])


def a_job_of(place: Place, cronjob: str) -> dict[str, Any]:
    """What `kubectl create job --from` makes of it."""
    [found] = [
        one.manifest
        for one in workloads(render(place.folder / "my-cluster"))
        if one.manifest["metadata"]["name"] == cronjob
    ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "replay"},
        "spec": found["spec"]["jobTemplate"]["spec"],
    }


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "deploy/databricks/README.md", "docs/performance.md"])
async def test_commands_that_are_only_looked_at(place: Place, document: str) -> None:
    for text in itertools.chain.from_iterable(commands(TEXTS[document])):
        await look_at(place, text)
