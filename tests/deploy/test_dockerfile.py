"""The Dockerfile, read without building it; `make deploy-check` builds and runs it where it can."""

import re
import tomllib
from fnmatch import fnmatch

import pytest

from scripts.deploy_check import KUBERNETES, ROOT, render, workloads
from scripts.deploy_check_image import BASE
from service import __version__
from service.settings import Settings, load
from tests.deploy.dockerfile import image_environment, instructions, of


def ignored(path):
    """Whether .dockerignore keeps a path of the checkout from the builder: the last pattern that matches decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = path.split("/")
        folders = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        if any(fnmatch(folder, pattern.removeprefix("**/")) for folder in [*folders, *parts]):
            verdict = not line.startswith("!")
    return verdict


def copied():
    """What is copied from the checkout."""
    return [
        source
        for kind, rest in instructions()
        if kind == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]


def test_what_is_copied_is_there_and_reaches_the_builder():
    assert set(copied()) >= {"pyproject.toml", "service", "spark_jobs", "requirements/service.txt"}
    for source in copied():
        assert (ROOT / source).exists(), source
        assert not ignored(source), source


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".env", ".venv/bin/python", "tests/demo.py", "service/__pycache__/a.pyc"),
        *(
            "service/.env",
            "service/.databrickscfg",
            "spark_jobs/ca.pem",
            "service/api/tls.key",
            "secrets/dxr-token",
        ),
    ],
)
def test_nothing_else_reaches_the_builder(path):
    assert ignored(path)


def test_both_stages_stand_on_the_same_slim_base_which_a_digest_can_pin():
    assert of("ARG", 0) == ["PYTHON_VERSION=3.12", "PYTHON_DIGEST="]
    bases = {rest.split(" AS ")[0] for kind, rest in instructions() if kind == "FROM"}
    assert bases == {"docker.io/library/python:${PYTHON_VERSION}-slim${PYTHON_DIGEST:+@${PYTHON_DIGEST}}"}
    assert BASE == "docker.io/library/python:3.12-slim"


def test_everything_that_is_installed_is_locked_with_hashes():
    text = " ".join(of("RUN", 1))
    installs = re.findall(r"(?:pip install|uv build) [^&]*?(?=$| uv | python )", text)
    assert len(installs) == 4
    for line in installs:
        assert "--require-hashes" in line or "--no-deps --no-index" in line, line
    assert "http" not in text


def test_the_program_runs_as_a_numbered_user_and_gets_signals_itself():
    assert of("USER") == ["10001:10001"]
    assert of("ENTRYPOINT") == ['["dxr-ingest"]']
    assert of("CMD") == ['["serve"]']
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["dxr-ingest"] == "service.__main__:main"


def test_it_is_plain():
    kinds = {kind for kind, _ in instructions()}
    assert kinds == {
        "ARG",
        "FROM",
        "ENV",
        "WORKDIR",
        "COPY",
        "RUN",
        "LABEL",
        "VOLUME",
        "EXPOSE",
        "USER",
        "ENTRYPOINT",
        "CMD",
    }
    assert "<<" not in (ROOT / "Dockerfile").read_text()


def test_its_labels_are_true():
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', " ".join(of("LABEL"))))
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert set(labels) == {"title", "description", "version", "revision", "licenses", "base.name"}
    declared = {rest.split("=")[0] for rest in of("ARG")}
    assert set(re.findall(r"\$\{(\w+)\}", " ".join(of("LABEL")))) == declared


def test_its_defaults_are_settings(monkeypatch):
    environment = image_environment()
    ours = {name: value for name, value in environment.items() if name.lower() in Settings.model_fields}
    assert ours == {"SERVICE_HOST": "0.0.0.0", "STATE_DIR": "/var/lib/dxr-ingest"}
    assert set(environment) - set(ours) == {"PATH", "HOME", "PYTHONDONTWRITEBYTECODE"}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    settings = load(Settings, {"dxr_base_url": "https://dxr.example.com", "landing_path": "/landing"})
    assert str(settings.state_dir) == of("VOLUME")[0]


@pytest.mark.parametrize("overlay", ["single", "replicated"])
def test_the_manifests_fit_it(overlay):
    documents = render(KUBERNETES / "overlays" / overlay)
    user, group = map(int, of("USER")[0].split(":"))
    for workload in workloads(documents):
        context = workload.pod["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (user, group, group)
        assert "command" not in workload.container
        mounts = {mount["mountPath"] for mount in workload.container["volumeMounts"]}
        assert image_environment()["HOME"] in mounts
        if workload.kind == "Deployment":
            assert mounts >= {*of("VOLUME"), *of("WORKDIR")}
            assert [str(port["containerPort"]) for port in workload.container["ports"]] == of("EXPOSE")
