"""Sees to it that the browser tests have a Chromium: this machine's, else the distribution's, else Playwright's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_INSTALL_TIMEOUT_S: Final = 600
_FROM_DEBIAN: Final = (
    ("apt-get", "update", "-qq"),
    # Without a font, a page has no width that means anything.
    ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core"),
)
_MISSING: Final = (
    "The browser tests need a Chromium, and there is none on the PATH and none could be installed; "
    "install one (Debian: chromium; else .venv/bin/playwright install chromium)"
)


def on_path() -> str | None:
    """The Chromium of this machine, if it has one."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def provided() -> bool:
    """Whether there is one now, installing it where that is possible: as root by apt, else by Playwright for itself."""
    if on_path():
        return True
    root = os.geteuid() == 0
    if root and shutil.which("apt-get") and all(map(_done, _FROM_DEBIAN)) and on_path():
        return True
    playwright = str(Path(sys.executable).with_name("playwright"))
    return _done((playwright, "install", *(["--with-deps"] if root else []), "--only-shell", "chromium"))


def _done(command: tuple[str, ...]) -> bool:
    print(f"for the browser tests: {' '.join(command)}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(command, check=False, env=environment, timeout=_INSTALL_TIMEOUT_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False


if __name__ == "__main__":
    if not provided():
        sys.exit(_MISSING)
