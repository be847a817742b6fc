"""Values that must stay where they belong, a tenant and a volume that are full of them, and a search for them."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from tests.simulators.dxr import faults, hostile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from tests.simulators.dxr.faults import Fault

# Credentials: nowhere but in the environment and the requests that need them.
SECRETS: Final = {
    "DXR token": "planted-dxr-token-4b1dfe70c2",
    "API token": "planted-api-token-" + "9c2e" * 8,
    "wrong API token": "planted-wrong-token-" + "71af" * 8,
    "database password": "planted-database-password-3e",  # pragma: allowlist secret
    "Databricks token": "planted-databricks-token-aa07",
    "Databricks secret": "planted-databricks-secret-51",  # pragma: allowlist secret
}
# What a row of the tenant or a file of the volume says: in chunks, rejects and tables, which are the data.
CONTENT: Final = {
    "file name": "planted-salaries.xlsx",
    "path": "planted-board/planted-minutes",
    "phrase": "4111 planted 1111 phrase",
    "e-mail": "planted.person@example.com",
    "owner": "Planted Ownerson",
    "content of a file": "planted-content-of-a-contract",
}
# Names in the volume: in classification rows, and in the run store, which must know what it has seen.
NAMES: Final = {"name in the volume": "planted-contract", "folder in the volume": "planted-folder"}
# What is asked for: in the run, its commit and the run store, but in no log, metric, error or process argument.
QUERY: Final = {"query": 'fileName:"planted-query"'}
EVERYTHING: Final = SECRETS | CONTENT | NAMES | QUERY


def found_in(text: bytes | str, planted: dict[str, str], *, but: Collection[str] = ()) -> list[str]:
    """Which of them are in the text, as they are or as they are written in an address, in JSON or in base64."""
    data = text.encode() if isinstance(text, str) else text
    lower = data.lower()
    return [
        name
        for name, value in planted.items()
        if name not in but and any(form.encode().lower() in lower for form in _forms(value))
    ]


def _forms(value: str) -> set[str]:
    return {
        value,
        quote(value),
        quote(value, safe=""),
        json.dumps(value)[1:-1],
        base64.b64encode(value.encode()).decode().rstrip("="),
    }


class PlantedFiles:
    """Rows that hold all of it, and lines with it that are no rows; each line as long as rows are."""

    count = 6

    def blocks(self) -> Iterator[bytes]:
        for number in range(4):
            row = {
                "fileId": f"file-{number}",
                "fileName": CONTENT["file name"],
                "path": f"/{CONTENT['path']}/{number}",
                "size": "planted-query" if number else 1,
                "owner": {"name": CONTENT["owner"], "email": CONTENT["e-mail"]},
                "annotators": [{"name": "Card", "phrases": [CONTENT["phrase"]]}],
                "comment": " ".join(CONTENT.values()),
            }
            yield json.dumps(row).encode() + b"\n"
        whole = " ".join(CONTENT.values())
        yield json.dumps(whole).encode() + b"\n"
        yield b'{"fileName": "' + whole.encode() + b"\xff\n"


def volume(folder: Path) -> Path:
    """Three files below `folder`, whose names and contents are planted."""
    below = folder / NAMES["folder in the volume"]
    below.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        text = f"label: A\n{CONTENT['content of a file']} {CONTENT['e-mail']}\n"
        (below / f"{NAMES['name in the volume']}-{number}.txt").write_text(text * (number + 1))
    return below


def echo() -> bytes:
    """What a hostile or careless server may answer with: whatever it was sent, and whatever it knows."""
    return json.dumps({"error": "no", "you sent": EVERYTHING}).encode()


@dataclass(frozen=True)
class Failing:
    """A way in which a snapshot fails, and the code that says so."""

    fault: Fault
    code: str


def failing() -> list[Failing]:
    """Answers that fail a snapshot, all of them with planted values in them."""
    header = f"X-Echo: {SECRETS['DXR token']} {CONTENT['e-mail']}".encode()
    html = b"<html><title>Sign in</title>" + echo()
    return [
        Failing(faults.Status(401, body=echo()), "DXR_UNAUTHORIZED"),
        Failing(faults.Status(403, body=echo()), "DXR_FORBIDDEN"),
        Failing(faults.Status(500, body=echo()), "DXR_UNAVAILABLE"),
        Failing(faults.Status(503, body=echo(), retry_after="0"), "DXR_UNAVAILABLE"),
        Failing(faults.Status(400, body=echo()), "DXR_REJECTED"),
        Failing(faults.Body(html, content_type="text/html"), "NOT_NDJSON"),
        Failing(faults.Body(echo()), "NOT_NDJSON"),
        Failing(faults.CutAfterRows(2), "STREAM_CUT"),
        Failing(faults.CutAfterBytes(700, reset=True), "STREAM_CUT"),
        Failing(faults.Gzip(bad_crc=True), "STREAM_CUT"),
        Failing(faults.Redirect(f"http://{SECRETS['DXR token']}@127.0.0.1:9/?q={CONTENT['path']}"), "DXR_REDIRECTED"),
        Failing(faults.Redirect(f"http://[{SECRETS['DXR token']}"), "DXR_REDIRECTED"),
        # The parser of the HTTP library puts the bytes that it cannot read into its errors.
        Failing(hostile.Exactly(b"HTTP/1.1 200 OK\r\n" + header + b"\r\nbad\x00header\r\n\r\n"), "STREAM_CUT"),
        Failing(hostile.Exactly(header + b"\r\n\r\n"), "STREAM_CUT"),
        Failing(hostile.Exactly(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + header), "STREAM_CUT"),
    ]
