"""Whether requirements/*.txt are what `make lock` made of pyproject.toml as it is now, told without a network.

`make lock` compiles them and notes a sum over what it read and wrote; `make lint` compares.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTED = Path("requirements/lock.sha256")


def lock_sum(root: Path) -> str:
    """Over what is asked for in pyproject.toml and every file of requirements."""
    asked = tomllib.loads((root / "pyproject.toml").read_text())
    project = {key: asked["project"].get(key) for key in ("requires-python", "dependencies", "optional-dependencies")}
    total = hashlib.sha256(json.dumps([project, asked["dependency-groups"]], sort_keys=True).encode())
    for file in sorted(root.glob("requirements/uv.in")) + sorted(root.glob("requirements/*.txt")):
        total.update(f"\0{file.name}\0".encode() + file.read_bytes())
    return total.hexdigest() + "\n"


def main() -> int:
    """Note the sum, or say that it is another one."""
    if "--write" in sys.argv[1:]:
        (ROOT / NOTED).write_text(lock_sum(ROOT))
    elif (ROOT / NOTED).read_text() != lock_sum(ROOT):
        print("requirements/ is not compiled from pyproject.toml as it is: run make lock", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
