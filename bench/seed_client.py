"""The client that this project replaces, written anew from its description: `requests`, `iter_lines`, `json.loads`.

python -m bench.seed_client ADDRESS [FILE] reads the whole stream, holds its rows or stores them in the file, and prints
their number.
"""

from __future__ import annotations

import gzip
import json
import sys
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows(response: requests.Response) -> Iterator[dict[str, Any]]:
    """All rows of the stream."""
    for line in response.iter_lines():
        if line:
            yield json.loads(line)


def main() -> None:
    """Read the whole stream."""
    address, *file = sys.argv[1:]
    with requests.get(f"{address}/api/v1/files", stream=True, timeout=120) as response:
        response.raise_for_status()
        count = stored(rows(response), file[0]) if file else len(list(rows(response)))
    sys.stdout.write(f"{count}\n")


def stored(some: Iterator[dict[str, Any]], path: str) -> int:
    """Their number, when all of them are in the file."""
    count = 0
    with gzip.open(path, "wt", encoding="utf-8") as out:
        for row in some:
            out.write(json.dumps(row) + "\n")
            count += 1
    return count


if __name__ == "__main__":
    main()
