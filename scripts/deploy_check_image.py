"""Builds the image and runs it as Kubernetes would: read-only, as its user, without any capability."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
BASE: Final = "docker.io/library/python:3.12-slim"
RUN_SETTINGS: Final = {
    "DXR_BASE_URL": "https://dxr.example.com",
    "LANDING_PATH": "/tmp/landing",  # noqa: S108 - inside of the container
    "SERVICE_API_TOKENS": f"check:{uuid.uuid4().hex}",
}
START_TIMEOUT_S: Final = 60
GRACE_S: Final = 45


class DeployError(Exception):
    """What is wrong, or keeps a check from being made."""


class Skipped(Exception):  # noqa: N818 - it is no error
    """Why there is no container to look at."""


def working_engine() -> list[str]:
    """A container engine that answers here and has the base image, or gets it. Raises `Skipped`."""
    for name in ("docker", "podman"):
        if (path := shutil.which(name)) and not _call([path], "info").returncode:
            if _call([path], "image", "inspect", BASE).returncode and _call([path], "pull", BASE).returncode:
                raise Skipped(f"{name} cannot get the base image {BASE}")
            return [path]
    raise Skipped("no container engine answers here")


def check_image(engine: list[str]) -> Iterator[str]:
    """Build the image, run it as Kubernetes would, ask both probes, and stop it; yields what was seen.

    Raises `DeployError` for what is wrong.
    """
    tag = f"localhost/dxr-ingest:check-{uuid.uuid4().hex[:8]}"
    began_s = time.monotonic()
    _must(engine, "build", "--tag", tag, str(ROOT))
    size = int(_must(engine, "image", "inspect", "--format", "{{.Size}}", tag)) / 1e6
    user = _must(engine, "image", "inspect", "--format", "{{.Config.User}}", tag)
    yield f"built in {time.monotonic() - began_s:.0f} s, {size:.0f} MB, user {user}"
    try:
        without = _call(engine, *_hardened("--rm", tag))
        if without.returncode != 3 or "DXR_BASE_URL is not set" not in without.stderr:
            raise DeployError(f"without settings it ends with {without.returncode}: {without.stderr}")
        yield "without settings it ends with 3 and names them"
        yield from _run_and_stop(engine, tag)
    finally:
        _call(engine, "image", "rm", "--force", tag)


def _run_and_stop(engine: list[str], tag: str) -> Iterator[str]:
    settings = [part for name, value in RUN_SETTINGS.items() for part in ("--env", f"{name}={value}")]
    container = _must(engine, *_hardened("--detach", "--publish", "127.0.0.1::8080", *settings, tag))
    try:
        address = _must(engine, "port", container, "8080").splitlines()[0]
        for path in ("/healthz", "/readyz"):
            yield f"GET {path}: {_answer(f'http://{address}{path}')}"
        began_s = time.monotonic()
        _must(engine, "stop", "--time", str(GRACE_S), container)
        code = _must(engine, "inspect", "--format", "{{.State.ExitCode}}", container)
        if code != "0":
            raise DeployError(f"SIGTERM ends it with {code}")
        yield f"SIGTERM ends it with 0 in {time.monotonic() - began_s:.1f} s"
    finally:
        _call(engine, "rm", "--force", "--volumes", container)


def _hardened(*arguments: str) -> list[str]:
    return [
        *("run", "--read-only", "--tmpfs", "/tmp:size=64m", "--cap-drop", "ALL"),  # noqa: S108 - in the container
        *("--security-opt", "no-new-privileges", *arguments),
    ]


def _answer(url: str) -> str:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own address
                return response.read().decode()
        except (urllib.error.URLError, ConnectionError) as error:
            if time.monotonic() > deadline_s:
                raise DeployError(f"{url} does not answer: {error}") from error
            time.sleep(0.5)  # noqa: TID251 - a container gives no event to wait for


def _call(engine: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*engine, *arguments], capture_output=True, text=True, check=False)


def _must(engine: list[str], *arguments: str) -> str:
    done = _call(engine, *arguments)
    if done.returncode:
        raise DeployError(f"{' '.join([*engine, *arguments])}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()
