"""The manifests for Kubernetes, rendered and checked as `make deploy-check` does, without a cluster or a network."""

import datetime as dt
import re
import shutil

import pytest
import yaml

from scripts.deploy_check import FOLDERS, KUBERNETES, ROOT, examples, problems, render, workloads
from scripts.deploy_check_image import DeployError
from service.api.auth import parse_tokens
from service.errors import ConfigurationError
from service.runs.triggers import ClassificationRequest, SnapshotRequest, resolve_classification, resolve_snapshot
from service.settings import Settings, load

README = ROOT / "deploy" / "README.md"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_manifest_is_right(folder):
    assert problems(render(folder)) == []


@pytest.mark.parametrize(
    ("file", "text", "instead", "said"),
    [
        # what a cluster refuses
        ("base/deployment.yaml", "revisionHistoryLimit:", "revisionHistory:", "revisionHistory"),
        ("base/deployment.yaml", "containerPort: 8080}", 'containerPort: "8080"}', "containerPort"),
        ("base/cronjobs.yaml", "kind: CronJob", "kind: CronTask", "CronTask"),
        ("base/kustomization.yaml", "service.yaml", "services.yaml", "cannot be rendered"),
        (
            "overlays/single/deployment.yaml",
            "emptyDir: null",
            "emptyDir: {}",
            "is of the type emptyDir and persistentVolumeClaim",
        ),
        # what Pod Security refuses
        ("base/namespace.yaml", "enforce: restricted", "enforce: baseline", "Pod Security is not enforced"),
        ("base/deployment.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "as root"),
        ("base/deployment.yaml", "runAsUser: 10001", "runAsUser: 0", "as root"),
        ("base/deployment.yaml", "type: RuntimeDefault", "type: Unconfined", "seccomp"),
        ("base/deployment.yaml", "allowPrivilegeEscalation: false", "privileged: false", "more rights"),
        ("base/deployment.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "more rights"),
        ("components/cronjob-pods/cronjob-pods.yaml", "drop: [ALL]", "drop: [NET_RAW]", "CronJob .* more rights"),
        ("base/deployment.yaml", "emptyDir: {sizeLimit: 64Mi}", "hostPath: {path: /tmp}", "hostPath"),
        ("base/deployment.yaml", "enableServiceLinks: false", "hostNetwork: true", "hostNetwork is set"),
        ("base/deployment.yaml", "containerPort: 8080}", "containerPort: 8080, hostPort: 8080}", "port of the host"),
        # what would start and not work, or be less than it should
        ("base/settings.env", "LANDING_PATH=", "LANDING=", "LANDING is no setting"),
        ("base/deployment.yaml", "DXR_BEARER_TOKEN_FILE", "DXR_TOKEN_FILE", "DXR_TOKEN_FILE is no setting"),
        ("base/deployment.yaml", "/dxr-token}", "/token}", "DXR_BEARER_TOKEN_FILE names .*, which is not mounted"),
        ("base/deployment.yaml", "path: token,", "path: jwt,", "DATABRICKS_OIDC_TOKEN_FILEPATH names"),
        ("base/deployment.yaml", "secretName: dxr-ingest,", "secretName: dxr,", "there is no Secret dxr"),
        ("components/cronjob-pods/cronjob-pods.yaml", "SERVICE_TOKEN_FILE", "SERVICE_API_TOKENS_FILE", "is no setting"),
        (
            "components/cronjob-pods/cronjob-pods.yaml",
            "serviceAccountName: dxr-ingest",
            "serviceAccountName: x",
            "no ServiceAccount x",
        ),
        ("base/service-account.yaml", "Token: false", "Token: true", "mounted into every pod"),
        ("base/deployment.yaml", "enableServiceLinks: false", "enableServiceLinks: true", "enableServiceLinks"),
        ("base/deployment.yaml", "containerPort: 8080", "containerPort: 8081", "SERVICE_PORT is 8080"),
        ("base/settings.env", "SERVICE_DRAIN_SECONDS=15", "SERVICE_PORT=9090", "SERVICE_PORT is 9090"),
        ("base/deployment.yaml", "path: /readyz", "path: /ready", "readinessProbe asks"),
        ("base/service.yaml", "targetPort: http", "targetPort: web", "leads to no port"),
        ("base/service.yaml", "component: service", "component: api", "Service .* finds no pod"),
        ("base/disruption-budget.yaml", "component: service", "component: api", "PodDisruptionBudget .* finds no pod"),
        ("base/network-policies.yaml", "component: trigger", "component: cron", "NetworkPolicy .* finds no pod"),
        ("base/network-policies.yaml", "port: 8080}\n  egress", "port: 80}\n  egress", r"lets in \[80\]"),
        ("base/settings.env", "DRAIN_SECONDS=15", "DRAIN_SECONDS=30", "drain of 30 s does not fit"),
        ("base/deployment.yaml", 'limits: {cpu: "2", memory: 1Gi}', 'limits: {cpu: "2"}', "lacks requests or limits"),
        ("base/deployment.yaml", "dxr-ingest:0.1.0", "dxr-ingest:latest", "is not that of version"),
        ("base/deployment.yaml", "{sizeLimit: 1Gi}", "{}", "has no size limit"),
        ("base/cronjobs.yaml", "classify, --server", "classify, --servers", "command line is wrong"),
        ("base/cronjobs.yaml", "http://dxr-ingest:8080", "http://dxr:8080", "it calls http://dxr:8080"),
        ("base/cronjobs.yaml", "activeDeadlineSeconds: 43200", "activeDeadlineSeconds: 72000", "on the next day"),
        ("base/cronjobs.yaml", "Etc/UTC", "Europe/Berlin", "timed by UTC"),
        ("components/cronjob-pods/cronjob-pods.yaml", "[1, 2, 3, 4, 6]", "[1, 2, 3, 6]", "must fail the Job"),
        ("base/dxr-ingest.yaml", "datasets: {}", "datasets: {hr_files: {query: a}}", "CronJobs ask for"),
        ("base/cronjobs.yaml", "name: classification", "name: snapshot-file-metadata", "conflict|twice|already"),
        (
            "overlays/single/deployment.yaml",
            "type: Recreate, rollingUpdate: null",
            "type: RollingUpdate",
            "meet on SQL",
        ),
        ("overlays/single/deployment.yaml", "replicas: 1", "replicas: 2", "need DATABASE_URL_FILE"),
        (
            "overlays/single/deployment.yaml",
            "claimName: dxr-ingest-state",
            "claimName: x",
            "no PersistentVolumeClaim x",
        ),
    ],
)
def test_a_broken_copy_is_found(tmp_path, file, text, instead, said):
    copy = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    original = (copy / file).read_text()
    assert text in original
    (copy / file).write_text(original.replace(text, instead))
    try:
        found = problems(render(copy / "overlays" / "single"))
    except DeployError as error:
        found = [str(error)]
    assert re.search(said, "\n".join(found)), found


@pytest.mark.parametrize("overlay", ["single", "replicated"])
def test_the_settings_start_a_service_that_can_do_both_kinds_of_runs(tmp_path, monkeypatch, overlay):
    documents = render(KUBERNETES / "overlays" / overlay)
    [service] = [one for one in workloads(documents) if one.kind == "Deployment"]
    for name, value in service.variables(documents).items():
        file = tmp_path / value.rpartition("/")[2]
        if name.endswith("_FILE"):
            file.write_text("postgresql://user@db/runs" if name == "DATABASE_URL_FILE" else "a" * 32)
        monkeypatch.setenv(name, str(file) if name.endswith("_FILE") else value)
    settings = load(Settings)
    assert settings.landing_volume
    assert settings.store_url.startswith("postgresql+asyncpg:" if overlay == "replicated" else "sqlite+aiosqlite:")
    today = dt.date(2026, 11, 22)
    assert resolve_snapshot(SnapshotRequest(), settings, today, "test").dataset == "file_metadata"
    assert resolve_classification(ClassificationRequest(), settings, today, "test").dataset == "dxr_metadata"


def test_the_example_secrets_hold_nothing_that_a_service_would_take():
    values = {key: value for secret in examples() for key, value in secret["stringData"].items()}
    assert set(values) == {"dxr-token", "api-tokens", "database-url", "token"}
    with pytest.raises(ConfigurationError):
        parse_tokens(values["api-tokens"])
    assert all("<" in value for value in values.values())
    assert not any("secrets.example.yaml" in file.read_text() for file in KUBERNETES.rglob("kustomization.yaml"))


def test_the_overlay_of_the_readme_is_right_with_the_service_monitor_and_the_alerts(tmp_path):
    """The files that the runbook lets people write, beside a checkout of this repository."""
    shutil.copytree(KUBERNETES, tmp_path / "dxr-ingest" / "deploy" / "kubernetes")
    mine = tmp_path / "my-cluster"
    mine.mkdir()
    for name, content in re.findall(r"`my-cluster/([\w.-]+)`[^\n]*\n+```\w*\n(.*?)```", README.read_text(), re.DOTALL):
        (mine / name).write_text(content)
    assert sorted(file.name for file in mine.iterdir()) == [
        "cronjob-hr-files.yaml",
        "dxr-ingest.yaml",
        "kustomization.yaml",
        "settings.env",
    ]
    documents = render(mine)
    assert problems(documents) == []
    assert {"ServiceMonitor", "PrometheusRule"} <= {document["kind"] for document in documents}
    images = {one.container["image"] for one in workloads(documents)}
    assert images == {next(iter(images))}
    assert "registry.example.com" not in str(images)
    [settings] = [
        one["data"]
        for one in documents
        if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith("dxr-ingest-settings")
    ]
    written = dict(line.split("=", 1) for line in (mine / "settings.env").read_text().split())
    assert written.items() <= settings.items()
    assert settings["SERVICE_DRAIN_SECONDS"] == "15"


def test_what_the_readme_names_is_there():
    text = README.read_text()
    objects = {f"{one['kind']}/{one['metadata']['name']}".lower() for one in render(FOLDERS[1])}
    named = set(re.findall(r"(?<![/\w])((?:deployment|cronjob|service|pvc|secret)/[a-z-]+)", text))
    known = objects | {"pvc/dxr-ingest-state"} | {f"secret/{one['metadata']['name']}" for one in examples()}
    assert named
    assert named - known == set()
    assert yaml.safe_load((KUBERNETES / "base" / "dxr-ingest.yaml").read_text()) == {"datasets": {}}
