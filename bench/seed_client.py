"""The client that this project replaces, written anew from its description: `requests`, `iter_lines`, `json.loads`.

python -m bench.seed_client ADDRESS prints the number of rows, all of which it holds by then.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import requests


def main() -> None:
    """Read the whole stream."""
    with requests.get(f"{sys.argv[1]}/api/v1/files", stream=True, timeout=120) as response:
        response.raise_for_status()
        rows: list[dict[str, Any]] = [json.loads(line) for line in response.iter_lines() if line]
    sys.stdout.write(f"{len(rows)}\n")


if __name__ == "__main__":
    main()
