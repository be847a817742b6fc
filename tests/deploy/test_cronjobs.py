"""The pods of the manifests as processes: their command lines, variables and mounted files, against simulated sides.

Only addresses, and waits, are other ones than in the rendered manifests. Landing and documents go through the simulated
workspace, which gives its tokens for the mounted one.
"""

import contextlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from scripts.deploy_check import KUBERNETES, Workload, find, render, workloads
from tests.conftest import TOKEN
from tests.deploy.dockerfile import image_environment
from tests.e2e.commands import Commands
from tests.simulators.databricks import DatabricksSimulator
from tests.simulators.dxr import Classifier, DxrSimulator, GeneratedFiles

TRIGGER = "c" * 32
WRONG = "w" * 32


@dataclass(frozen=True)
class Cluster:
    """Rendered manifests, the files that Secrets and tokens hold, and what plays the other sides."""

    folder: Path
    documents: list
    secrets: dict
    dxr: DxrSimulator
    databricks: DatabricksSimulator

    def pods(self, kind: str) -> list[Workload]:
        return [one for one in workloads(self.documents) if one.kind == kind]

    def commands(self, workload: Workload) -> Commands:
        """The environment of a pod of it, with the paths of its mounts below a folder of this test."""
        root = self.folder / workload.manifest["metadata"]["name"]
        mounts = {mount["name"]: mount["mountPath"] for mount in workload.container["volumeMounts"]}
        for volume in workload.pod["volumes"]:
            place = root / mounts[volume["name"]].lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            for name, content in self.files(volume).items():
                (place / name).write_text(content)
        variables = image_environment() | workload.variables(self.documents)
        del variables["PATH"]
        placed = {
            name: f"{root}{value}" if value.startswith(tuple(mounts.values())) else value
            for name, value in variables.items()
        }
        return Commands(root / "etc" / "dxr-ingest" if "datasets" in mounts else root, placed)

    def files(self, volume: dict) -> dict:
        if "secret" in volume:
            return self.secrets[volume["secret"]["secretName"]]
        if "configMap" in volume:
            return find(self.documents, "ConfigMap", volume["configMap"]["name"])["data"]
        sources = volume.get("projected", {}).get("sources", [])
        return {one["serviceAccountToken"]["path"]: self.databricks.federated_subject_token for one in sources}

    @contextlib.asynccontextmanager
    async def serving(self):
        [service] = self.pods("Deployment")
        assert service.container["args"] == ["serve"]
        elsewhere = {
            "DXR_BASE_URL": self.dxr.url,
            "DATABRICKS_HOST": self.databricks.url,
            "DATABRICKS_CLIENT_ID": self.databricks.client_id,
            "DXR_POLL_INTERVAL_SECONDS": "0.01",
            "DXR_RETRY_ATTEMPTS": "1",
        }
        async with self.commands(service).serving(**elsewhere) as (address, _):
            yield address.replace("0.0.0.0", "127.0.0.1")

    async def triggered(self, cronjob: Workload, address: str):
        """What a pod of the CronJob ends with."""
        arguments = [address if word == "http://dxr-ingest:8080" else word for word in cronjob.container["args"]]
        assert address in arguments
        return await self.commands(cronjob).run(*arguments)


@pytest.fixture
async def cluster(tmp_path, request):
    """Made from the overlay that the test names."""
    overlay = getattr(request, "param", "single")
    secrets = {
        "dxr-ingest": {"dxr-token": f"{TOKEN}\n", "api-tokens": f"prometheus:{'p' * 32}:read\ncronjobs:{TRIGGER}\n"},
        "dxr-ingest-trigger": {"token": f"{TRIGGER}\n"},
    }
    if overlay == "replicated":
        secrets["dxr-ingest"]["database-url"] = request.getfixturevalue("database_url")
    dxr = DxrSimulator(GeneratedFiles(500, seed=7), tokens=(TOKEN,), classifier=Classifier(datasources=("11", "12")))
    databricks = DatabricksSimulator(tmp_path / "volumes")
    async with dxr, databricks:
        databricks.volume("main", "dxr", "landing")
        documents = databricks.volume("main", "legal", "contracts")
        for number in range(3):
            (documents / f"{number}.txt").write_text(f"mail a{number}@example.com\n")
        yield Cluster(tmp_path, render(KUBERNETES / "overlays" / overlay), secrets, dxr, databricks)


def commits(cluster):
    folder = cluster.databricks.volume("main", "dxr", "landing") / "commits"
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*"))]


@pytest.mark.parametrize("cluster", ["single", "replicated"], indirect=True)
async def test_every_cronjob_lands_its_run_and_exits_0(cluster):
    async with cluster.serving() as address:
        for cronjob in cluster.pods("CronJob"):
            done = await cluster.triggered(cronjob, address)
            assert done.code == 0, done.err
            assert re.match(r"run \S+: (snapshot of file_metadata|classification of dxr_metadata), .*landed", done.out)
    landed = {(commit["kind"], commit["rows"]) for commit in commits(cluster)}
    assert landed == {("snapshot", 500), ("classification", 3)}


async def test_a_wrong_token_of_the_service_exits_4(cluster):
    wrong = replace(cluster, secrets=cluster.secrets | {"dxr-ingest-trigger": {"token": WRONG}})
    async with cluster.serving() as address:
        for cronjob in cluster.pods("CronJob"):
            done = await wrong.triggered(cronjob, address)
            assert (done.code, "A valid API token is needed" in done.err) == (4, True), done.err
            assert WRONG not in done.out + done.err
    assert commits(cluster) == []


async def test_a_wrong_token_of_dxr_exits_4(cluster):
    cluster.secrets["dxr-ingest"]["dxr-token"] = WRONG
    async with cluster.serving() as address:
        for cronjob in cluster.pods("CronJob"):
            done = await cluster.triggered(cronjob, address)
            assert (done.code, "DXR_UNAUTHORIZED" in done.err) == (4, True), done.err
            assert WRONG not in done.out + done.err
    assert commits(cluster) == []


async def test_a_new_token_of_dxr_is_taken_without_a_restart(cluster):
    """As the runbook says: Kubernetes puts the new Secret into the mounted folder."""
    snapshot = next(one for one in cluster.pods("CronJob") if one.container["args"][0] == "snapshot")
    async with cluster.serving() as address:
        assert (await cluster.triggered(snapshot, address)).code == 0
        cluster.dxr.tokens = ("n" * 32,)
        cluster.secrets["dxr-ingest"]["dxr-token"] = "n" * 32
        [service] = cluster.pods("Deployment")
        cluster.commands(service)  # writes the files anew
        done = await cluster.triggered(snapshot, address)
        assert done.code == 0, done.err
    assert [commit["rows"] for commit in commits(cluster)] == [500, 500]


async def test_a_service_that_is_away_is_worth_a_retry(cluster):
    for cronjob in cluster.pods("CronJob"):
        assert (await cluster.triggered(cronjob, "http://127.0.0.1:9")).code == 5
        [rule] = [
            one["onExitCodes"]
            for one in cronjob.manifest["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
            if "onExitCodes" in one
        ]
        assert 5 not in rule["values"]
        assert {3, 4} < set(rule["values"])
