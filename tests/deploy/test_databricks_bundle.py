"""The Databricks bundle, checked without a workspace, a network or the Databricks CLI.

Each target is put together as the CLI does it: files, target overrides, tasks by their key, variables, references.
Every resource must then parse into the classes that Databricks generates from its API.
"""

import re
import shutil
import subprocess
import sys
from copy import deepcopy
from functools import reduce
from importlib.metadata import distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from databricks.bundles.jobs import Job, JobRunAs
from databricks.bundles.schemas import Schema
from databricks.bundles.volumes import Volume

from spark_jobs.settings import argument_parser, load_settings

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "deploy" / "databricks"

TARGETS = ("dev", "prod", "prod_continuous")
SERVERLESS = ("dev", "prod")
PRODUCTION = ("prod", "prod_continuous")

DEPLOYER = "someone@example.com"
LANDING_PRINCIPAL = "11111111-1111-1111-1111-111111111111"
JOB_PRINCIPAL = "22222222-2222-2222-2222-222222222222"
EXAMPLES = {
    "landing_principal": LANDING_PRINCIPAL,
    "job_principal": JOB_PRINCIPAL,
    "readers_group": "analysts",
    "notification_email": "oncall@example.com",
}
CLASSES = {"schemas": Schema, "volumes": Volume, "jobs": Job}
# The classes know resources. Of everything else, these are the fields that this bundle uses.
FIELDS = {
    "bundle": {"bundle", "include", "variables", "artifacts", "targets", "resources"},
    "target": {"mode", "default", "workspace", "run_as", "permissions", "variables", "artifacts", "resources"},
    "variable": {"description", "default"},
    "artifact": {"type", "path", "build", "files", "dynamic_version"},
}
REFERENCE = re.compile(r"\$\{([^}]*)\}")


class BundleError(Exception):
    """What the CLI or the workspace would refuse, or quietly do wrong."""


class UniqueKeys(yaml.SafeLoader):
    """YAML of which no key is given twice: the later one would silently win."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise BundleError(f"a key is given twice among {keys}")
        return super().construct_mapping(node, deep=deep)


def merge(one, other):
    """As the CLI merges: maps key by key, lists one after the other, of single values the later one."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one | {key: merge(one[key], value) if key in one else value for key, value in other.items()}
    return one + other if isinstance(one, list) and isinstance(other, list) else other


def check_fields(kind, document, place):
    unknown = set(document) - FIELDS[kind]
    if unknown:
        raise BundleError(f"{place}: unknown {sorted(unknown)}")


def read(folder):
    """The whole configuration, with its targets, from `databricks.yml` and what it includes."""
    main = folder / "databricks.yml"
    included = [file for pattern in yaml.safe_load(main.read_text())["include"] for file in folder.glob(pattern)]
    documents = [yaml.load(file.read_text(), UniqueKeys) for file in (main, *sorted(included))]
    keys = [key for document in documents for items in document.get("resources", {}).values() for key in items]
    if len(keys) != len(set(keys)):
        raise BundleError(f"a resource key is used twice: {sorted(keys)}")
    config = reduce(merge, documents)
    check_fields("bundle", config, "bundle")
    for kind, section in (("target", "targets"), ("variable", "variables"), ("artifact", "artifacts")):
        for name, document in config[section].items():
            check_fields(kind, document, f"{section}.{name}")
    return config


def resolve(value, config, target):
    """A value with its references replaced, also those that a replacement brings in."""
    if isinstance(value, dict):
        return {key: resolve(item, config, target) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, config, target) for item in value]
    while isinstance(value, str) and (found := REFERENCE.search(value)):
        value = value.replace(found[0], look_up(found[1], config, target))
    return value


def look_up(path, config, target):
    known = {"workspace.current_user.userName": DEPLOYER, "bundle.target": target, "bundle.name": "dxr-ingest"}
    if path in known:
        return known[path]
    place, *parts = path.split(".")
    found = config["variables"] if place == "var" else {"resources": config["resources"]}.get(place)
    for part in parts:
        found = found.get(part) if isinstance(found, dict) else None
    if not isinstance(found, str):
        raise BundleError(f"${{{path}}} is declared nowhere")
    return found


def put_together(config, target):
    """The configuration of a target as it would be deployed."""
    base = {key: value for key, value in config.items() if key not in {"include", "targets", "variables"}}
    overrides = config["targets"][target]
    if undeclared := set(overrides.get("variables", {})) - set(config["variables"]):
        raise BundleError(f"targets.{target}: undeclared {sorted(undeclared)}")
    values = EXAMPLES | overrides.get("variables", {})
    variables = {name: values.get(name, variable.get("default")) for name, variable in config["variables"].items()}
    merged = merge(deepcopy(base), {key: value for key, value in overrides.items() if key != "variables"})
    for job in merged["resources"]["jobs"].values():
        tasks = {}
        for task in job["tasks"]:
            tasks[task["task_key"]] = merge(tasks.get(task["task_key"], {}), task)
        job["tasks"] = list(tasks.values())
    if merged["mode"] == "development":
        for schema in merged["resources"]["schemas"].values():
            schema["name"] = f"dev_someone_{schema['name']}"
    return resolve(merged, merged | {"variables": variables}, target)


def check(folder):
    """All targets, put together and parsed.

    Raises:
        BundleError: names what is wrong.
    """
    config = read(folder)
    used = set(re.findall(r"\$\{var\.(\w+)\}", str(config)))
    if unused := set(config["variables"]) - used:
        raise BundleError(f"variables that nothing uses: {sorted(unused)}")
    targets = {name: put_together(config, name) for name in config["targets"]}
    for name, target in targets.items():
        for kind, items in target["resources"].items():
            for key, resource in items.items():
                try:
                    CLASSES[kind].from_dict(resource)
                except (KeyError, TypeError, ValueError) as error:
                    raise BundleError(f"{name}: resources.{kind}.{key}: {error}") from error
    return targets


@pytest.fixture(scope="module")
def targets():
    return check(BUNDLE)


@pytest.fixture(params=TARGETS)
def target(targets, request):
    return targets[request.param]


def ingest_job(target):
    return target["resources"]["jobs"]["ingest"]


def ingest_task(target):
    [task] = ingest_job(target)["tasks"]
    return task


def settings_of(target, runtime):
    flags = vars(argument_parser().parse_args(ingest_task(target)["python_wheel_task"]["parameters"]))
    del flags["debug"]
    return load_settings(flags, {"DATABRICKS_RUNTIME_VERSION": runtime})


def test_every_target_has_the_same_resources_and_one_ingest_job(targets):
    assert set(targets) == set(TARGETS)
    for target in targets.values():
        keys = {kind: sorted(items) for kind, items in target["resources"].items()}
        assert keys == {"schemas": ["dxr"], "volumes": ["checkpoints", "landing"], "jobs": ["ingest"]}
        assert ingest_job(target)["max_concurrent_runs"] == 1


@pytest.mark.parametrize(
    ("file", "text", "instead", "said"),
    [
        ("resources/ingest_job.yml", "max_concurrent_runs:", "max_concurrent_run:", "Unexpected field"),
        ("resources/storage.yml", "CREATE_TABLE", "CREATE_TABEL", "not a valid Privilege"),
        ("resources/storage.yml", "      catalog_name: ${var.catalog}\n", "", "catalog_name"),
        ("resources/ingest_job.yml", "            entry_point: dxr-ingest-tables\n", "", "entry_point"),
        ("resources/serverless.yml", "value: 3600", "value: an hour", "an hour"),
        ("resources/storage.yml", "${var.catalog}", "${var.catalogue}", r"var\.catalogue"),
        ("resources/ingest_job.yml", "volumes.landing", "volumes.landings", r"volumes\.landings\.name"),
        ("databricks.yml", "  readers_group:\n    desc", "  catalogs:\n    desc", "nothing uses: .'catalogs'"),
        ("databricks.yml", "  readers_group: ${w", "  readers: ${w", "undeclared .'readers'"),
        ("resources/job_cluster.yml", "${var.node_type_id}", "m5d.xlarge", "nothing uses: .'node_type_id'"),
        ("resources/storage.yml", "    checkpoints:", "    ingest:", "key is used twice"),
        ("resources/ingest_job.yml", "tags:", "name: again\n      tags:", "given twice"),
        ("databricks.yml", "run_as:", "runs_as:", "unknown .'runs_as'"),
        ("databricks.yml", "description: The catalog", "describe: The catalog", "unknown .'describe'"),
    ],
)
def test_a_broken_copy_is_found(tmp_path, file, text, instead, said):
    copy = shutil.copytree(BUNDLE, tmp_path / "bundle")
    before = (copy / file).read_text()
    assert text in before
    (copy / file).write_text(before.replace(text, instead))
    with pytest.raises(BundleError, match=said):
        check(copy)


@pytest.mark.parametrize("name", TARGETS)
def test_the_parameters_are_settings_of_the_job(targets, name):
    target = targets[name]
    settings = settings_of(target, "client.4.9" if name in SERVERLESS else "17.3")
    schema = target["resources"]["schemas"]["dxr"]["name"]
    volumes = target["resources"]["volumes"]
    assert schema == ("dev_someone_dxr" if name == "dev" else "dxr")
    assert settings.landing_path == f"/Volumes/main/{schema}/{volumes['landing']['name']}"
    assert Path(settings.checkpoint_path).parent == Path(f"/Volumes/main/{schema}/{volumes['checkpoints']['name']}")
    assert volumes["landing"]["name"] != volumes["checkpoints"]["name"]
    assert [settings.snapshots.label, settings.quarantine.label, settings.ingest_log.label] == [
        f"main.{schema}.{table}" for table in ("file_metadata", "dxr_quarantine", "dxr_ingest_log")
    ]
    assert settings.create_views is False
    assert settings.source == "auto-loader"
    assert settings.trigger == ("available-now" if name in SERVERLESS else "continuous")


def test_views_are_made_where_the_variable_says_so(monkeypatch):
    monkeypatch.setitem(EXAMPLES, "create_views", "true")
    assert [settings_of(target, "client.4.9").create_views for target in map(check(BUNDLE).get, SERVERLESS)] == [
        True
    ] * 2


def test_volumes_lie_in_the_schema(target):
    schema = target["resources"]["schemas"]["dxr"]
    for volume in target["resources"]["volumes"].values():
        assert (volume["catalog_name"], volume["schema_name"]) == (schema["catalog_name"], schema["name"])


@pytest.mark.parametrize("name", SERVERLESS)
def test_serverless_runs_when_a_commit_arrives(targets, name):
    job, task = ingest_job(targets[name]), ingest_task(targets[name])
    assert "continuous" not in job
    assert "job_clusters" not in job
    arrival = job["trigger"]["file_arrival"]
    assert arrival["url"] == f"{settings_of(targets[name], 'client.4.9').landing_path}/commits/"
    assert arrival["min_time_between_triggers_seconds"] >= 60
    assert job["queue"] == {"enabled": True}
    assert task["max_retries"] > 0
    [environment] = job["environments"]
    assert environment["environment_key"] == task["environment_key"]
    assert int(environment["spec"]["environment_version"]) >= 4


def test_a_job_cluster_runs_on_and_on(targets):
    job, task = ingest_job(targets["prod_continuous"]), ingest_task(targets["prod_continuous"])
    assert job["continuous"] == {"pause_status": "UNPAUSED"}
    assert not {"trigger", "schedule", "environments", "performance_target", "timeout_seconds"} & set(job)
    # Databricks refuses a retry policy in a continuous job.
    assert not {"max_retries", "environment_key"} & set(task)
    [cluster] = job["job_clusters"]
    assert cluster["job_cluster_key"] == task["job_cluster_key"]
    major, minor = cluster["new_cluster"]["spark_version"].split(".")[:2]
    assert (int(major), int(minor)) >= (17, 3)


def test_both_production_targets_are_one_deployment(targets):
    # One root is one state, and one key in it is one job: deploying the other target changes the job in place.
    roots = {targets[name]["workspace"]["root_path"] for name in PRODUCTION}
    assert roots == {f"/Workspace/Users/{DEPLOYER}/.bundle/dxr-ingest/prod"}
    assert len({ingest_job(targets[name])["name"] for name in PRODUCTION}) == 1


@pytest.mark.parametrize("name", PRODUCTION)
def test_everyone_gets_the_least_that_is_needed(targets, name):
    grants = {
        (kind, key): {grant["principal"]: set(grant["privileges"]) for grant in resource["grants"]}
        for kind in ("schemas", "volumes")
        for key, resource in targets[name]["resources"][kind].items()
    }
    volume = {"READ_VOLUME", "WRITE_VOLUME"}
    assert grants == {
        ("schemas", "dxr"): {
            LANDING_PRINCIPAL: {"USE_SCHEMA"},
            JOB_PRINCIPAL: {"USE_SCHEMA", "CREATE_TABLE", "SELECT", "MODIFY"},
            "analysts": {"USE_SCHEMA", "SELECT"},
        },
        ("volumes", "landing"): {LANDING_PRINCIPAL: volume, JOB_PRINCIPAL: volume},
        ("volumes", "checkpoints"): {JOB_PRINCIPAL: volume},
    }
    assert ingest_job(targets[name])["permissions"] == [
        {"service_principal_name": LANDING_PRINCIPAL, "level": "CAN_MANAGE_RUN"},
        {"group_name": "analysts", "level": "CAN_VIEW"},
    ]
    # The folder of the deployment: the job reads its wheel there, and nobody else is let in.
    assert targets[name]["permissions"] == [{"service_principal_name": JOB_PRINCIPAL, "level": "CAN_VIEW"}]


@pytest.mark.parametrize("name", PRODUCTION)
def test_production_has_an_identity_of_its_own_and_tells_of_failures(targets, name):
    target, job = targets[name], ingest_job(targets[name])
    assert target["mode"] == "production"
    assert JobRunAs.from_dict(target["run_as"]) == JobRunAs(service_principal_name=JOB_PRINCIPAL)
    mails = job["email_notifications"]
    assert mails["on_failure"] == ["oncall@example.com"]
    [rule] = job["health"]["rules"]
    slow = {"RUN_DURATION_SECONDS": "on_duration_warning_threshold_exceeded"}
    assert mails[slow.get(rule["metric"], "on_streaming_backlog_exceeded")] == ["oncall@example.com"]


def test_only_production_is_kept_from_being_destroyed(targets):
    for name, target in targets.items():
        kept = [
            resource.get("lifecycle", {}).get("prevent_destroy", False)
            for kind in ("schemas", "volumes")
            for resource in target["resources"][kind].values()
        ]
        assert kept == [name in PRODUCTION] * 3


def test_a_developer_needs_no_service_principal(targets):
    dev = targets["dev"]
    assert dev["mode"] == "development"
    assert "run_as" not in dev
    assert LANDING_PRINCIPAL not in str(dev)
    assert JOB_PRINCIPAL not in str(dev)


def test_the_build_fills_the_folder_that_the_tasks_install_from(targets):
    for target in targets.values():
        artifact = target["artifacts"]["wheel"]
        root = (BUNDLE / artifact["path"]).resolve()
        built = re.findall(r"(?:--out-dir|--wheel-dir|rm -rf) ([\w/]+)", artifact["build"])
        on_cluster = [library["whl"] for library in ingest_task(target).get("libraries", ())]
        environments = ingest_job(target).get("environments", ())
        [installed] = on_cluster + [wheel for one in environments for wheel in one["spec"]["dependencies"]]
        assert root == ROOT
        assert {root / folder / "*.whl" for folder in built} == {(BUNDLE / "resources" / installed).resolve()}
        assert [BUNDLE / file["source"] for file in artifact["files"]] == [BUNDLE / "dist" / "*.whl"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, unpacked as an installer would."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = [Path(sys.executable).with_name("uv"), "build", "--wheel", "--offline", "--no-build-isolation"]
    subprocess.run([*uv, "--python", sys.executable, "--out-dir", folder, ROOT], check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    ZipFile(built).extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_has_what_the_task_names_and_needs_nothing(targets, wheel):
    assert (wheel / "spark_jobs" / "ingest.py").is_file()
    for target in targets.values():
        task = ingest_task(target)["python_wheel_task"]
        [package] = distributions(name=task["package_name"], path=[str(wheel)])
        [entry] = package.entry_points.select(name=task["entry_point"])
        assert (package.metadata["Name"], entry.value) == ("dxr-ingest", "spark_jobs.ingest:main")
        assert [need for need in package.requires or () if "extra ==" not in need] == []


def start(wheel, target, *arguments):
    """Run the entry point as a wheel task does, which ignores what it returns; with the standard library alone."""
    task = ingest_task(target)["python_wheel_task"]
    code = (
        "import sys; from importlib.metadata import distribution; "
        f"sys.path.insert(0, {str(wheel)!r}); sys.argv = {['task', *arguments]!r}; "
        f"[entry] = distribution({task['package_name']!r}).entry_points.select(name={task['entry_point']!r}); "
        "entry.load()()"
    )
    environment = {"DATABRICKS_RUNTIME_VERSION": "client.4.9"}
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_wheel_starts_as_a_task(targets, wheel):
    done = start(wheel, targets["prod"], "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--landing-path" in done.stdout


def test_a_task_that_fails_is_not_taken_for_a_success(targets, wheel):
    continuous = ingest_task(targets["prod_continuous"])["python_wheel_task"]["parameters"]
    done = start(wheel, targets["prod"], *continuous)
    assert done.returncode == 3
    assert "available-now there" in done.stderr


def test_the_readme_names_every_target_and_variable():
    readme, config = (BUNDLE / "README.md").read_text(), read(BUNDLE)
    assert [name for name in (*config["targets"], *config["variables"]) if f"`{name}`" not in readme] == []
