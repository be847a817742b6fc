"""Checks what is deployed on Kubernetes, offline: manifests against strict schemas, Pod Security and our own settings.

    .venv/bin/python -m scripts.deploy_check [FOLDER WITH A kustomization.yaml …]

Without a folder: everything in deploy/kubernetes. Then the image is built and run, where there is a container engine
that can have the base image. `--engine "podman --root …"` names one, and then a build that cannot be made is an error;
`--no-image` leaves the image out.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import kubernetes_validate
import typer
import yaml
from databricks.sdk.core import Config

from scripts.deploy_check_image import DeployError, Skipped, check_image, working_engine
from service import __version__
from service.api.routes import health
from service.cli.main import app
from service.settings import ClientSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Manifest = dict[str, Any]

ROOT: Final = Path(__file__).parents[1]
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
SECRETS: Final = KUBERNETES / "secrets.example.yaml"
FOLDERS: Final = tuple(KUBERNETES / name for name in ("base", "overlays/single", "overlays/replicated"))
# The oldest version that knows everything that is used here, and the newest that the installed schemas know.
VERSIONS: Final = ("1.31", kubernetes_validate.latest_version())
# The Prometheus Operator's own kinds are in no schema of Kubernetes: what is used of them is written down here.
SERVICE_MONITOR: Final = {
    "spec": {"selector", "endpoints", "namespaceSelector", "jobLabel"},
    "endpoint": {"port", "path", "interval", "scrapeTimeout", "scheme", "authorization"},
}
PROMETHEUS_RULE: Final = {
    "spec": {"groups"},
    "group": {"name", "rules", "interval"},
    "alert": {"alert", "expr", "for", "labels", "annotations"},
}

# https://kubernetes.io/docs/concepts/security/pod-security-standards/, profile `restricted`.
VOLUME_TYPES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
HOST_FIELDS: Final = ("hostNetwork", "hostPID", "hostIPC", "hostUsers")
# Variables of libraries, which are no settings of ours.
OF_LIBRARIES: Final = {attribute.env for attribute in Config.attributes() if attribute.env} | {"PGSSLROOTCERT"}
# What the drain may take beyond SERVICE_DRAIN_SECONDS: two steps of ten seconds, and closing the connections.
DRAIN_MORE_S: Final = 21
DAY_MINUTES: Final = 24 * 60


@dataclass(frozen=True)
class Workload:
    """A Deployment or a CronJob, and the pods that it makes."""

    manifest: Manifest
    labels: dict[str, str]
    pod: Manifest

    @property
    def kind(self) -> str:
        """`Deployment` or `CronJob`."""
        return self.manifest["kind"]

    @property
    def container(self) -> Manifest:
        """The only container."""
        [container] = self.pod["containers"]
        return container

    @property
    def settings(self) -> type[ClientSettings]:
        """What the program in it reads: the service all settings, a trigger those of `--server`."""
        return Settings if self.kind == "Deployment" else ClientSettings

    def variables(self, documents: Sequence[Manifest]) -> dict[str, str]:
        """The environment as Kubernetes would make it."""
        of_maps: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            of_maps |= find(documents, "ConfigMap", source["configMapRef"]["name"])["data"]
        return of_maps | {entry["name"]: entry["value"] for entry in self.container.get("env", [])}


def render(folder: Path) -> list[Manifest]:
    """What `kubectl apply -k` would send. Raises `DeployError` with kubectl's own words."""
    kubectl = shutil.which("kubectl", path=Path(sys.prefix) / "bin") or shutil.which("kubectl")
    if kubectl is None:
        raise DeployError("kubectl is missing: `make setup` installs one.")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeployError(f"{folder} cannot be rendered: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def examples() -> list[Manifest]:
    """The shapes of the Secrets, which are made by hand."""
    return list(yaml.safe_load_all(SECRETS.read_text(encoding="utf-8")))


def find(documents: Iterable[Manifest], kind: str, name: str) -> Manifest:
    """Raises `DeployError` when there is no such object."""
    for document in documents:
        if (document["kind"], document["metadata"]["name"]) == (kind, name):
            return document
    raise DeployError(f"there is no {kind} {name}")


def workloads(documents: Iterable[Manifest]) -> list[Workload]:
    """Everything that makes pods."""
    found: list[Workload] = []
    for document in documents:
        if document["kind"] == "Deployment":
            template = document["spec"]["template"]
        elif document["kind"] == "CronJob":
            template = document["spec"]["jobTemplate"]["spec"]["template"]
        else:
            continue
        found.append(Workload(document, template["metadata"]["labels"], template["spec"]))
    return found


def problems(documents: Sequence[Manifest]) -> list[str]:
    """Everything that is wrong with rendered manifests, in words."""
    broken = [f"{_name(document)}: {text}" for document in documents for text in _against_schemas(document)]
    if broken:  # what follows takes the shape for granted
        return broken
    known = [*documents, *examples()]
    found = list(_objects(documents))
    for workload in workloads(documents):
        try:
            texts = [*_pod_security(workload), *_house_rules(workload), *_names(workload, known)]
            texts += _service(workload, documents) if workload.kind == "Deployment" else _cronjob(workload)
        except DeployError as error:
            texts = [str(error)]
        found += [f"{_name(workload.manifest)}: {text}" for text in texts]
    return found + list(_datasets(documents))


def _name(document: Manifest) -> str:
    return f"{document.get('kind')} {document.get('metadata', {}).get('name')}"


def _against_schemas(document: Manifest) -> list[str]:
    spec = document.get("spec", {})
    if document.get("kind") == "ServiceMonitor":
        return _unknown(SERVICE_MONITOR, spec=[spec], endpoint=spec["endpoints"])
    if document.get("kind") == "PrometheusRule":
        groups = spec["groups"]
        return _unknown(
            PROMETHEUS_RULE, spec=[spec], group=groups, alert=[rule for one in groups for rule in one["rules"]]
        )
    return _refusals(json.dumps(document))


def _unknown(known: dict[str, set[str]], **parts: list[Manifest]) -> list[str]:
    unknown = {field for name, found in parts.items() for part in found for field in set(part) - known[name]}
    return [f"unknown fields {sorted(unknown)}"] if unknown else []


@functools.cache  # overlays share most of their objects
def _refusals(text: str) -> list[str]:
    found: list[str] = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(json.loads(text), version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"Kubernetes {version} refuses {'.'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            found.append(error.message)
    return found


def _objects(documents: Sequence[Manifest]) -> Iterator[str]:
    """Each object once, in its namespace, which demands what the pods keep; what selects finds something."""
    names = [_name(document) for document in documents]
    yield from (f"{name} is there twice" for name in sorted(set(names)) if names.count(name) > 1)
    for document in documents:
        if document["kind"] != "Namespace" and "namespace" not in document["metadata"]:
            yield f"{_name(document)}: has no namespace"
        yield from (f"{_name(document)}: {text}" for text in _object(document, documents))


def _object(document: Manifest, documents: Sequence[Manifest]) -> Iterator[str]:
    match document["kind"]:
        case "Namespace":
            if document["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
                yield "Pod Security is not enforced"
        case "Secret":
            yield "a Secret has no place in manifests"
        case "ServiceAccount" if document.get("automountServiceAccountToken", True):
            yield "its token is mounted into every pod"
        case "Service":
            yield from _selects(document["spec"]["selector"], documents)
        case "PodDisruptionBudget":
            yield from _selects(document["spec"]["selector"]["matchLabels"], documents)
        case "ServiceMonitor":
            wanted = document["spec"]["selector"]["matchLabels"].items()
            if not any(one["kind"] == "Service" and wanted <= one["metadata"]["labels"].items() for one in documents):
                yield "its selector finds no Service"
        case "NetworkPolicy":
            yield from _policy(document["spec"], documents)
        case _:
            pass


def _policy(spec: Manifest, documents: Sequence[Manifest]) -> Iterator[str]:
    opened = {port["containerPort"] for one in workloads(documents) for port in one.container.get("ports", [])}
    rules_in, rules_out = spec.get("ingress", []), spec.get("egress", [])
    peers = [peer for rule in [*rules_in, *rules_out] for peer in [*rule.get("from", []), *rule.get("to", [])]]
    for selector in [spec["podSelector"], *(peer["podSelector"] for peer in peers if "podSelector" in peer)]:
        yield from _selects(selector.get("matchLabels", {}), documents)
    if closed := {port["port"] for rule in rules_in for port in rule["ports"]} - opened:
        yield f"it lets in {sorted(closed)}, which no pod opens"


def _selects(selector: dict[str, str], documents: Sequence[Manifest]) -> Iterator[str]:
    if not any(selector.items() <= workload.labels.items() for workload in workloads(documents)):
        yield f"its selector {selector} finds no pod"


def _pod_security(workload: Workload) -> Iterator[str]:
    """The profile `restricted`, read strictly: what it lets a container say, the pod says here."""
    pod = workload.pod
    for field in HOST_FIELDS:
        if field in pod:
            yield f"{field} is set"
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        if len(kinds) != 1 or kinds - VOLUME_TYPES:
            yield f"volume {volume['name']} is of the type {' and '.join(sorted(kinds))}"
    context = pod.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        yield "it may run as root"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "seccomp is not RuntimeDefault"
    if extra := set(context) & {"sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile"}:
        yield f"{sorted(extra)} is set"
    yield from _container_security(pod)


def _container_security(pod: Manifest) -> Iterator[str]:
    for container in [*pod["containers"], *pod.get("initContainers", []), *pod.get("ephemeralContainers", [])]:
        if container.get("securityContext") != {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }:
            yield f"container {container['name']} has more rights than it needs"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"container {container['name']} opens a port of the host"


def _house_rules(workload: Workload) -> Iterator[str]:
    pod, container = workload.pod, workload.container
    if not re.fullmatch(rf"[\w.:/-]+/dxr-ingest:{re.escape(__version__)}(@sha256:[0-9a-f]{{64}})?", container["image"]):
        yield f"the image {container['image']} is not that of version {__version__}"
    for field in ("automountServiceAccountToken", "enableServiceLinks"):
        if pod.get(field) is not False:
            yield f"{field} is not false"
    resources = container.get("resources", {})
    if any(set(resources.get(kind, {})) < {"cpu", "memory"} for kind in ("requests", "limits")):
        yield "it lacks requests or limits"
    for volume in pod["volumes"]:
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']} has no size limit"


def _names(workload: Workload, known: Sequence[Manifest]) -> Iterator[str]:
    """What is referred to is there: settings, mounted files, volumes, Secrets and their keys."""
    fields = {name.upper() for name in workload.settings.model_fields}
    allowed = fields | {f"{name}_FILE" for name in fields} | OF_LIBRARIES
    variables = workload.variables(known)
    yield from (f"{name} is no setting" for name in sorted(set(variables) - allowed))
    find(known, "ServiceAccount", workload.pod["serviceAccountName"])
    volumes = {volume["name"]: volume for volume in workload.pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in workload.container["volumeMounts"]}
    if set(volumes) != set(mounts.values()):
        yield f"volumes {sorted(volumes)} and mounts {sorted(set(mounts.values()))} differ"
        return
    if claim := volumes.get("state", {}).get("persistentVolumeClaim"):
        find(known, "PersistentVolumeClaim", claim["claimName"])
    for name, value in variables.items():
        folder, _, key = value.rpartition("/")
        if name.endswith(("_FILE", "_FILEPATH")) and key not in _keys(volumes.get(mounts.get(folder, ""), {}), known):
            yield f"{name} names {value}, which is not mounted"


def _keys(volume: Manifest, known: Sequence[Manifest]) -> set[str]:
    """The files in a mounted volume."""
    if "secret" in volume:
        return set(find(known, "Secret", volume["secret"]["secretName"])["stringData"])
    if "configMap" in volume:
        return set(find(known, "ConfigMap", volume["configMap"]["name"])["data"])
    return {source["serviceAccountToken"]["path"] for source in volume.get("projected", {}).get("sources", [])}


def _service(workload: Workload, documents: Sequence[Manifest]) -> Iterator[str]:
    """Ports agree, probes ask what the API answers, and the grace period is longer than the drain."""
    container, variables = workload.container, workload.variables(documents)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    setting = int(variables.get("SERVICE_PORT", Settings.model_fields["service_port"].default))
    if set(ports.values()) != {setting}:
        yield f"it opens {ports}, and SERVICE_PORT is {setting}"
    for document in documents:
        if document["kind"] == "Service" and {port["targetPort"] for port in document["spec"]["ports"]} - set(ports):
            yield f"{_name(document)} leads to no port of it"
    paths = {route.path for route in health.routes}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(kind, {}).get("httpGet", {})
        if probe.get("path") not in paths or probe.get("port") not in ports:
            yield f"{kind} asks {probe or 'nothing'}"
    drain_s = float(variables.get("SERVICE_DRAIN_SECONDS", Settings.model_fields["service_drain_seconds"].default))
    if workload.pod.get("terminationGracePeriodSeconds", 30) < drain_s + DRAIN_MORE_S:
        yield f"a drain of {drain_s:g} s does not fit into terminationGracePeriodSeconds"
    if "DATABASE_URL_FILE" not in variables:
        if workload.manifest["spec"].get("replicas", 1) != 1:
            yield "several replicas need DATABASE_URL_FILE"
        state = next(volume for volume in workload.pod["volumes"] if volume["name"] == "state")
        if "persistentVolumeClaim" in state and workload.manifest["spec"]["strategy"]["type"] != "Recreate":
            yield "two processes would meet on SQLite: the strategy must be Recreate"


def _cronjob(workload: Workload) -> Iterator[str]:
    """The command line parses, goes to the Service, and even its latest end falls on the day of its schedule."""
    spec = workload.manifest["spec"]
    name, *arguments = workload.container["args"]
    try:
        command = typer.main.get_command(app).commands[name]  # pyright: ignore[reportAttributeAccessIssue]
        parsed = command.make_context(name, arguments).params
    except (KeyError, typer.BadParameter, typer.Exit, SystemExit) as error:
        yield f"the command line is wrong: {error}"
        return
    except Exception as error:  # noqa: BLE001 - typer brings its own click, whose errors have no public name
        yield f"the command line is wrong: {error}"
        return
    if parsed["server"] != "http://dxr-ingest:8080":
        yield f"it calls {parsed['server']}"
    if spec["concurrencyPolicy"] != "Forbid" or spec["timeZone"] != "Etc/UTC":
        yield "it must be forbidden beside itself, and be timed by UTC, as ingestion dates are"
    minute, hour, *_ = spec["schedule"].split()
    job = spec["jobTemplate"]["spec"]
    late_s = spec["startingDeadlineSeconds"] + job["activeDeadlineSeconds"]
    if int(hour) * 60 + int(minute) + late_s / 60 >= DAY_MINUTES:
        yield "a late one would end, or be tried again, on the next day"
    refused = [rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    if refused != [[1, 2, 3, 4, 6]] or workload.pod["restartPolicy"] != "Never":
        yield "exit codes after which a retry is useless must fail the Job, the others must not"


def _datasets(documents: Sequence[Manifest]) -> Iterator[str]:
    """Each snapshot dataset that is configured has exactly one CronJob."""
    found = workloads(documents)
    for service in [one for one in found if one.kind == "Deployment"]:
        volume = next(one for one in service.pod["volumes"] if one["name"] == "datasets")
        text = find(documents, "ConfigMap", volume["configMap"]["name"])["data"]["dxr-ingest.yaml"]
        first = service.variables(documents).get("SNAPSHOT_DATASET", Settings.model_fields["snapshot_dataset"].default)
        configured = sorted({first, *(yaml.safe_load(text) or {}).get("datasets", {})})
        arguments = [one.container["args"] for one in found if one.kind == "CronJob"]
        asked = sorted(line[line.index("--dataset") + 1] for line in arguments if line[0] == "snapshot")
        if configured != asked:
            yield f"the datasets are {configured}, and the CronJobs ask for {asked}"


def main() -> int:
    """Say what was checked, what was not, and what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=FOLDERS)
    parser.add_argument("--engine", type=shlex.split, help="container engine with its options")
    parser.add_argument("--no-image", action="store_true", help="leave the image out")
    asked = parser.parse_args()
    try:
        wrong = [f"{SECRETS.name}: {text}" for document in examples() for text in _against_schemas(document)]
        for folder in asked.folders:
            documents = render(folder)
            found = problems(documents)
            wrong += [f"{folder}: {text}" for text in found]
            if not found:
                print(f"ok    {folder}: {len(documents)} manifests, Kubernetes {' and '.join(VERSIONS)}")
        if not asked.no_image:
            for seen in check_image(asked.engine or working_engine()):
                print(f"ok    image: {seen}")
    except DeployError as error:
        wrong.append(str(error))
    except Skipped as reason:
        print(f"skip  image: {reason}")
    for text in wrong:
        print(f"FAIL  {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
