"""Planted values over whole runs of each kind, and of each way to fail: none may be found where it has no business."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.e2e.commands import COMMAND, Commands
from tests.e2e.planted import (
    CONTENT,
    EVERYTHING,
    NAMES,
    QUERY,
    SECRETS,
    PlantedFiles,
    echo,
    failing,
    found_in,
    volume,
)
from tests.simulators.databricks import DatabricksSimulator
from tests.simulators.databricks import faults as of_databricks
from tests.simulators.dxr import Classifier, DxrSimulator
from tests.simulators.dxr import classifier_faults as odc
from tests.spark.landing_builder import LandingBuilder, reject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# One that compiles less: this job is all warm-up.
QUICK_JVM = '--driver-java-options "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC" pyspark-shell'
_EXIT_CODES = {"DXR_UNAUTHORIZED": 4, "DXR_FORBIDDEN": 4, "DXR_REDIRECTED": 1}
ENDED = {"landed", "partial", "ingested", "failed", "cancelled"}


@pytest.fixture
async def dxr() -> AsyncIterator[DxrSimulator]:
    classifier = Classifier(datasources=("11",))
    async with DxrSimulator(PlantedFiles(), tokens=(SECRETS["DXR token"],), classifier=classifier) as simulator:
        yield simulator


@pytest.fixture
def commands(tmp_path: Path, dxr: DxrSimulator) -> Commands:
    volume(tmp_path / "volumes" / "main" / "legal" / "contracts")
    return Commands(
        tmp_path,
        {
            "DXR_BASE_URL": dxr.url,
            "DXR_BEARER_TOKEN": SECRETS["DXR token"],
            "DXR_RETRY_ATTEMPTS": "2",
            "DXR_RETRY_MAX_WAIT_SECONDS": "0",
            "LANDING_PATH": str(tmp_path / "landing"),
            "SERVICE_API_TOKENS": f"ops:{SECRETS['API token']}",
            "LOG_LEVEL": "DEBUG",
            "PYTHONASYNCIODEBUG": "1",
            "RECEIPT_POLL_SECONDS": "0.1",
            "VOLUME_CATALOG": "main",
            "VOLUME_SCHEMA": "legal",
            "VOLUME_NAME": "contracts",
            "VOLUME_BASE_PATH": str(tmp_path / "volumes"),
            "DXR_DATASOURCE_ID": "11",
            "DXR_POLL_INTERVAL_SECONDS": "0.01",
            "DXR_SETTLE_SECONDS": "0.05",
            "DXR_JOB_TIMEOUT_SECONDS": "1",
            "DXR_MAX_FILES_PER_JOB": "1",
            "DATABRICKS_TOKEN": SECRETS["Databricks token"],
            "DATABRICKS_CLIENT_SECRET": SECRETS["Databricks secret"],
        },
    )


class Caller:
    """A caller of the service that keeps everything that it was answered."""

    def __init__(self, http: aiohttp.ClientSession, address: str) -> None:
        self._http = http
        self.address = address
        self.heard: list[str] = []
        self.problems: list[str] = []

    async def ask(self, method: str, path: str, *, token: str = SECRETS["API token"], **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        url = self.address + path
        async with self._http.request(method, url, headers=headers, **options) as answer:
            text = await answer.text()
        said = f"{answer.status} {dict(answer.headers)} {text}"
        (self.problems if answer.status >= 400 else self.heard).append(said)
        return json.loads(text) if answer.content_type == "application/json" else None

    async def run(self, route: str, **asked: Any) -> dict[str, Any]:
        """A run, from its trigger to its end."""
        run = await self.ask("POST", route, json=asked)
        async with asyncio.timeout(60):
            while run["state"] not in ENDED:
                run = await self.ask("GET", f"/v1/runs/{run['id']}")
        return run


@contextlib.asynccontextmanager
async def serving(
    commands: Commands, **more: str
) -> AsyncIterator[tuple[Caller, asyncio.subprocess.Process, bytearray]]:
    """`dxr-ingest serve`, and all that it says on stdout and stderr: complete when the block has ended."""
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, "serve", "--port", "0"),
        cwd=commands.folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(commands.folder), **commands.variables, **more},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, listening = bytearray(), asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(_read(process, said, listening))
    try:
        async with asyncio.timeout(60):
            address = await listening
        async with aiohttp.ClientSession() as http:
            yield Caller(http, address), process, said
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reading


async def _read(process: asyncio.subprocess.Process, said: bytearray, listening: asyncio.Future[str]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        said += line
        if (address := re.search(rb'"address": "([^"]+)"', line)) and not listening.done():
            listening.set_result(address[1].decode())
    if not listening.done():
        listening.set_exception(AssertionError(said.decode()))


def without_query(document: dict[str, Any]) -> str:
    """A run or a commit as text, but for the one member that may say what was asked for."""
    return json.dumps({key: value for key, value in document.items() if key != "query"})


def check_store(file: Path) -> None:
    """The run store knows queries and names in the volume, but no secret and no content, and no error tells either."""
    for part in file.parent.glob(f"{file.name}*"):
        assert found_in(part.read_bytes(), SECRETS | CONTENT) == [], part.name
    with contextlib.closing(sqlite3.connect(file)) as store:
        store.row_factory = sqlite3.Row
        runs = [dict(row) for row in store.execute("SELECT * FROM runs")]
    assert runs
    for run in runs:
        told = {key: value for key, value in run.items() if key not in {"query", "prefix"}}
        assert found_in(json.dumps(told, default=str), EVERYTHING) == []


def check_landing(landing: Path) -> None:
    """Commits may say what was asked for; names of files in the landing say nothing; chunks are the data."""
    commits = list((landing / "commits").glob("*.json"))
    assert commits
    for path in commits:
        with contextlib.suppress(ValueError):  # one of them is broken on purpose
            commit = json.loads(path.read_text())
            assert found_in(without_query(commit), EVERYTHING) == []
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", commit["source"])
    for path in landing.rglob("*"):
        assert found_in(str(path.relative_to(landing)), EVERYTHING) == []


async def test_a_service_tells_nothing_of_its_snapshots(commands: Commands, dxr: DxrSimulator) -> None:
    landing = commands.folder / "landing"
    async with serving(commands, DXR_QUERY="") as (caller, process, said):
        good = await caller.run("/v1/snapshots", ingestion_date="2026-11-01")
        assert (good["state"], good["counts"]["rejected_rows"]) == ("landed", 2)
        asked = {"dataset": "asked", "query": QUERY["query"]}
        await caller.run("/v1/snapshots", **asked)
        for failure in failing():
            dxr.faults.always(failure.fault)
            run = await caller.run("/v1/snapshots", dataset="asked", query=QUERY["query"])
            assert (run["state"], run["error"]["code"]) == ("failed", failure.code), failure
            assert found_in(without_query(run), EVERYTHING) == [], failure
        dxr.faults.clear()
        await caller.ask("GET", f"/v1/runs/{run['id']}/events")
        assert "event: end" in caller.heard[-1]
        # Documents that somebody broke, and a receipt for the run that landed.
        name = f"file_metadata.{2 * 10**15:020d}.01a202e6-4fb4-77e4-a088-2c935f55c4b6.json"
        (landing / "commits" / name).write_bytes(echo())
        (landing / "receipts").mkdir()
        (landing / "receipts" / f"{good['id']}.json").write_bytes(b"{" + echo())
        assert (await caller.run("/v1/snapshots", ingestion_date="2026-11-02"))["state"] == "landed"
        (landing / "chunks" / "file_metadata").rename(landing / "away")
        (landing / "chunks" / "file_metadata").write_bytes(echo())
        assert (await caller.run("/v1/snapshots"))["error"]["code"].startswith("LANDING_")
        for page in ("/v1/runs?limit=200", "/v1/datasets", "/openapi.json", "/docs"):
            await caller.ask("GET", page)
        metrics = await caller.ask("GET", "/metrics") or caller.heard[-1]
        assert "dxr_ingest_runs" in metrics
        assert found_in(metrics, EVERYTHING) == []
        assert found_in("\n".join(caller.heard), EVERYTHING, but=QUERY) == []
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"serve" in arguments
        assert found_in(arguments, EVERYTHING) == []
    log = said.decode()
    events = {json.loads(line)["event"] for line in log.splitlines()}
    assert events >= {"run_started", "run_ended", "attempt_failed", "commit_unreadable", "receipt_unreadable"}
    assert found_in(log, EVERYTHING) == []
    check_store(commands.folder / ".dxr-ingest" / "runs.sqlite")
    (landing / "commits" / name).unlink()
    check_landing(landing)


async def test_a_service_tells_nothing_of_its_classifications(commands: Commands, dxr: DxrSimulator) -> None:
    root = commands.folder / "volumes" / "main" / "legal" / "contracts"
    async with serving(commands) as (caller, process, said):
        hold = odc.Hold("submit")
        dxr.classifier.faults.next(hold)
        classifying = asyncio.create_task(caller.run("/v1/classifications"))
        await hold.reached()
        first = {path.stat().st_size for path in root.rglob("*.txt")}
        for path in root.rglob("*.txt"):
            if path.stat().st_size != min(first):
                path.write_text("shorter")  # all but one change after they were listed
        hold.open()
        run = await classifying
        assert run["state"] == "partial", run
        assert set(run["counts"]["reasons"]) == {"UNREADABLE"}
        volume(root)
        prefix = NAMES["folder in the volume"]
        assert (await caller.run("/v1/classifications", full=True, prefix=prefix))["counts"]["labelled"] == 3
        strikes: list[tuple[odc.AnyFault, str]] = [
            (odc.Refuse("submit", code=500, body=echo()), "DXR_UNAVAILABLE"),
            (odc.Refuse("submit", code=401, body=echo()), "DXR_UNAUTHORIZED"),
            (odc.Body("search", b"[" + echo()), "DXR_UNAVAILABLE"),
            (odc.Body("search", echo()), "DXR_UNAVAILABLE"),
        ]
        for strike, code in strikes:
            dxr.classifier.faults.always(strike)
            run = await caller.run("/v1/classifications", full=True, prefix=prefix)
            assert run["error"], strike
            assert run["error"]["code"] == code, strike
            dxr.classifier.faults.clear()
        reasons: list[tuple[odc.AnyFault, str]] = [
            (odc.Refuse("submit", code=400, body=echo()), "DXR_REJECTED"),
            (odc.FailJob(error=echo().decode()), "JOB_FAILED"),
        ]
        for strike, reason in reasons:
            dxr.classifier.faults.always(strike)
            assert (await caller.run("/v1/classifications", full=True))["counts"]["reasons"] == {reason: 3}
            dxr.classifier.faults.clear()
        root.rename(root.with_name("away"))
        assert (await caller.run("/v1/classifications"))["error"]["code"] == "VOLUME_UNAVAILABLE"
        await caller.ask("GET", "/metrics")
        assert found_in("\n".join(caller.heard), EVERYTHING, but=["folder in the volume"]) == []  # the prefix asked for
        assert found_in(Path(f"/proc/{process.pid}/cmdline").read_bytes(), EVERYTHING) == []
    assert found_in(bytes(said), EVERYTHING) == []
    check_store(commands.folder / ".dxr-ingest" / "runs.sqlite")
    commits = [json.loads(path.read_text()) for path in (commands.folder / "landing" / "commits").iterdir()]
    assert found_in(json.dumps(commits), EVERYTHING, but=["folder in the volume"]) == []  # the scope says the prefix


async def test_a_service_tells_nothing_of_what_it_is_asked(commands: Commands) -> None:
    async with serving(commands) as (caller, _, said):
        planted = " ".join(EVERYTHING.values())
        for token in ("", SECRETS["wrong API token"], SECRETS["API token"] + "x"):
            await caller.ask("GET", "/v1/runs", token=token)
        for path in ("/v1/runs", "/v1/nothing", "/metrics", "/v1/runs/01a202e6-4fb4-77e4-a088-2c935f55c4b6"):
            address = (
                f"{path}?token={SECRETS['API token']}&access_token={SECRETS['DXR token']}&state={CONTENT['phrase']}"
            )
            await caller.ask("GET", address, token="")
            await caller.ask("GET", address, headers={"Cookie": f"token={SECRETS['API token']}"})
        await caller.ask("GET", f"/v1/runs/{SECRETS['DXR token']}")
        await caller.ask("GET", f"/v1/{CONTENT['path']}")
        bodies: list[Any] = [
            {"dataset": planted},
            {"dataset": "x", "query": [planted]},
            {"query": QUERY["query"]},
            {SECRETS["DXR token"]: 1, CONTENT["e-mail"]: [CONTENT["phrase"]]},
            {"ingestion_date": planted},
            {"record_cap": planted},
            [planted],
            planted,
        ]
        for route in ("/v1/snapshots", "/v1/classifications"):
            for body in bodies:
                await caller.ask("POST", route, json=body)
            await caller.ask("POST", route, data=b'{"dataset": NaN, "query": ' + planted.encode())
            await caller.ask("POST", route, data=planted.encode(), headers={"Content-Type": "text/plain"})
        await caller.ask("POST", "/v1/classifications", json={"prefix": f"../{CONTENT['path']}"})
        await caller.ask("POST", "/v1/snapshots", json={}, headers={"Idempotency-Key": planted * 20})
        assert len(caller.problems) > 30
        for problem in caller.problems:
            assert found_in(problem, EVERYTHING) == []
    assert found_in(bytes(said), EVERYTHING) == []


async def test_the_command_line_tells_nothing(commands: Commands, dxr: DxrSimulator) -> None:
    """With `--debug`, which says all that is said without it, and more."""
    heard: list[str] = []

    async def call(*arguments: str, code: int, **more: str) -> Any:
        done = await commands.run("--debug", *arguments, **more)
        assert done.code == code, (arguments, done)
        heard.append(done.err + (done.out if not done.out.startswith("{") else without_query(done.json)))
        return done

    await call("snapshot", code=0)
    await call("classify", code=0)
    for failure in (failing()[2], *failing()[-5:-2]):
        dxr.faults.always(failure.fault)
        await call("doctor", code=_EXIT_CODES.get(failure.code, 5))
    failed = await call("snapshot", "--dataset", "asked", "--query", QUERY["query"], "-o", "json", code=5)
    for output in ("text", "json"):
        await call("runs", "show", failed.json["id"], "-o", output, code=0)
    dxr.classifier.faults.always(odc.Refuse("submit", code=500, body=echo()))
    await call("classify", "--full", code=5)
    dxr.faults.clear()
    await call("doctor", code=0)
    await call("config", "show", code=0)
    await call("status", code=0)
    async with serving(commands) as (caller, _, said):
        through = {"SERVICE_URL": caller.address, "SERVICE_TOKEN": SECRETS["API token"]}
        await call("snapshot", code=0, **through)
        await call("runs", "list", code=4, **{**through, "SERVICE_TOKEN": SECRETS["wrong API token"]})
    assert found_in(bytes(said), EVERYTHING) == []
    for text in heard:
        assert found_in(text, EVERYTHING) == []
    check_store(commands.folder / ".dxr-ingest" / "runs.sqlite")
    check_landing(commands.folder / "landing")


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"DXR_BASE_URL": f"https://me:{SECRETS['DXR token']}@dxr.example.com"}, 3),
        ({"SERVICE_URL": f"https://me:{SECRETS['API token']}@dxr.example.com"}, 3),
        ({"DXR_BEARER_TOKEN": f"{SECRETS['DXR token']} {SECRETS['DXR token']}"}, 3),
        ({"DXR_BEARER_TOKEN": "", "DXR_BEARER_TOKEN_FILE": SECRETS["DXR token"]}, 3),
        ({"DXR_BEARER_TOKEN_FILE": SECRETS["DXR token"]}, 3),
        ({"DATABRICKS_TOKEN": "", "DATABRICKS_TOKEN_FILE": SECRETS["Databricks token"]}, 3),
        ({"SERVICE_API_TOKENS": SECRETS["API token"]}, 3),
        ({"SERVICE_API_TOKENS": f"{SECRETS['API token']};{SECRETS['API token']}:read"}, 3),
        ({"SERVICE_API_TOKENS": f"{SECRETS['API token']}:{SECRETS['API token']}:write"}, 3),
        ({"SERVICE_API_TOKENS": "", "SERVICE_API_TOKENS_FILE": SECRETS["API token"]}, 3),
        ({"DATABASE_URL": f"postgresql://ops:{SECRETS['database password']}@127.0.0.1:9/runs"}, 5),
        ({"DATABASE_URL": f"mysql://ops:{SECRETS['database password']}@127.0.0.1/runs"}, 3),
        ({"DATABASE_URL": f"postgresql://ops:{SECRETS['database password']}@127.0.0.1:port/runs"}, 3),
        ({"DATABASE_URL": SECRETS["database password"]}, 3),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
async def test_a_setting_that_is_wrong_is_named_without_its_value(
    commands: Commands, variables: dict[str, str], code: int
) -> None:
    done = await commands.run("--debug", "snapshot" if "DXR_BEARER_TOKEN" in variables else "serve", **variables)
    assert done.code == code, done
    assert found_in(done.out + done.err, EVERYTHING) == []
    assert next(iter(variables)).removesuffix("_FILE") in done.err


async def test_databricks_credentials_are_told_nowhere(commands: Commands, dxr: DxrSimulator, tmp_path: Path) -> None:
    """The landing, the volume and the DXR token all come from a workspace, which fails in its own ways."""
    async with DatabricksSimulator(tmp_path / "volumes") as databricks:
        databricks.volume("main", "dxr", "landing")
        databricks.secrets["dxr", "token"] = SECRETS["DXR token"].encode()
        planted = EVERYTHING | {"client secret": databricks.client_secret, "personal token": databricks.pat}
        variables = {
            "LANDING_PATH": "/Volumes/main/dxr/landing",
            "VOLUME_BASE_PATH": "",
            "DATABRICKS_HOST": databricks.url,
            "DATABRICKS_TOKEN": "",
            "DATABRICKS_CLIENT_ID": databricks.client_id,
            "DATABRICKS_CLIENT_SECRET": databricks.client_secret,
            "DXR_BEARER_TOKEN": "",
            "DXR_TOKEN_SCOPE": "dxr",
            "DXR_TOKEN_KEY": "token",
        }
        async with serving(commands, **variables) as (caller, process, said):
            assert (await caller.run("/v1/snapshots"))["state"] == "landed"
            assert (await caller.run("/v1/classifications"))["counts"]["labelled"] == 3
            databricks.unreadable.add(f"/Volumes/main/legal/contracts/{NAMES['folder in the volume']}")
            assert (await caller.run("/v1/classifications"))["counts"]["reasons"] == {"UNREADABLE": 1}
            databricks.unreadable.clear()
            for body, status in ((echo(), 500), (b"<html>" + echo(), 200), (echo(), 403), (echo(), 400)):
                strike = of_databricks.status(status, body=body)
                databricks.faults.always(strike, on=lambda _method, path: "/fs/files/" in path)
                for route in ("/v1/snapshots", "/v1/classifications"):
                    run = await caller.run(route, **({"full": True} if "class" in route else {}))
                    assert run["state"] != "landed"
                databricks.faults.clear()
            await caller.ask("GET", "/metrics")
            assert found_in("\n".join(caller.heard), planted) == []
            assert found_in(Path(f"/proc/{process.pid}/cmdline").read_bytes(), planted) == []
        assert found_in(bytes(said), planted) == []
        for wrong in ({}, {"DATABRICKS_CLIENT_SECRET": SECRETS["Databricks secret"]}, {"DXR_TOKEN_KEY": "none"}):
            done = await commands.run("--debug", "doctor", **{**variables, **wrong})
            assert done.code == (4 if wrong else 0), done
            assert found_in(done.out + done.err, planted) == []
    check_store(commands.folder / ".dxr-ingest" / "runs.sqlite")


def hostile_landing(root: Path) -> int:
    """Commits full of planted values, good, damaged and made up; how many there are."""
    landing = LandingBuilder(root)
    planted = " ".join(EVERYTHING.values())
    lines = [line for block in PlantedFiles().blocks() for line in block.splitlines()]
    odd = [
        *(b'{"fileName":"%b","size":"%b"}' % (planted.encode(), value) for value in (b"9" * 400, b"1e999", b"NaN")),
        b'{"a":' * 600 + json.dumps(planted).encode() + b"}" * 600,
        b'{"fileName":"\\ud800' + CONTENT["file name"].encode() + b'","owner":["' + CONTENT["owner"].encode() + b'"]}',
        CONTENT["phrase"].encode() + b"\x00\xff\xfe",
        b"",
    ]
    landing.commit(1, [lines, odd], rejects=[reject(9, planted.encode(), reason=planted)])
    damaged = landing.document(2, [lines, lines], day="2026-02-01")
    (root / damaged["chunks"][0]["path"]).write_bytes(planted.encode())
    landing.publish(damaged)
    miscounted = landing.document(3, [lines], day="2026-02-02")
    miscounted["chunks"][0]["rows"] += 1
    landing.publish({**miscounted, "rows": miscounted["rows"] + 1})
    wrong: list[dict[str, Any]] = [
        {"kind": planted},
        {"chunks": [{"path": planted}]},
        {"chunks": planted},
        {"rows": planted},
        {"ingestion_date": planted},
        {"rejects": [planted]},
    ]
    for number, change in enumerate(wrong, 4):
        landing.publish({**landing.document(number, [lines], day="2026-02-03"), **change})
    landing.publish(landing.document(10, [], day="2026-02-04"), echo())
    landing.publish(landing.document(11, [], day="2026-02-05"), b"{" + echo())
    about = {"catalog_name": "c", "schema_name": "s", "volume_name": "v"}
    path = f"{CONTENT['path']}/it's \\ {CONTENT['file name']}"
    news = [
        {"file_path": f"/Volumes/c/s/v/{path}", "relative_path": path, **about, "status": "LABELLED"},
        {"x": planted},
    ]
    scope = {"prefix": f"{CONTENT['path']}/it's \\ \"", "complete": True}
    options = {"dataset": "dxr_metadata", "kind": "classification", "scope": scope}
    landing.commit(12, [[json.dumps(one).encode() for one in news]], **options)
    return 12


async def test_the_spark_job_tells_nothing_of_a_hostile_landing(tmp_path: Path) -> None:
    """Neither on stdout or stderr, where Spark speaks too, nor in its receipts."""
    commits = hostile_landing(tmp_path / "landing")
    process = await asyncio.create_subprocess_exec(
        *(str(Path(COMMAND).with_name("dxr-ingest-tables")), "--debug", "--landing-path", str(tmp_path / "landing")),
        *("--checkpoint-path", str(tmp_path / "checkpoint"), "--dxr-delta-path", str(tmp_path / "tables" / "files")),
        cwd=tmp_path,
        env={**os.environ, "PYSPARK_SUBMIT_ARGS": QUICK_JVM},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(240):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-3000:]
    assert b"done: 2 ingested, 0 superseded, 10 refused" in out, out.decode()
    assert found_in(out + err, EVERYTHING) == []
    receipts = [path.read_text() for path in (tmp_path / "landing" / "receipts").iterdir()]
    assert len(receipts) == commits
    assert found_in("\n".join(receipts), EVERYTHING) == []
