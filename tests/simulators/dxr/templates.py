"""Rows with holes: everything of a generated row that is not its own, as bytes to be patched with `%`.

A few thousand of them are made once per seed; a row then costs one formatting of bytes. Knows nothing of revisions.
"""

import json
import random
import uuid
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

from tests.simulators.dxr.vocabulary import (
    ACCOUNT_KINDS,
    ANNOTATORS,
    CATEGORIES,
    CONNECTORS,
    EXTRACTORS,
    FAMILY,
    GIVEN,
    KINDS,
    LABELS,
    PLACES,
    SUBJECTS,
)

Json = dict[str, Any]

TEMPLATES = 2000
LABEL_SETS = 64
# Hardly less holds all required fields.
SHORT_ROW_BYTES = 500
# The same people and phrases turn up in file after file, which is what makes real metadata compress five times.
PEOPLE = 40
PHRASES = 40
BIG_ANNOTATIONS_BYTES = 256 * 1024

# Rows are written with these marks and patched by name; the text around them may hold percent signs of its own.
_HOLES = {
    b'"@file_id@"': b'"%(file_id)b"',
    b'"@sha256@"': b'"%(sha256)b"',
    b'"@modified@"': b'"%(modified)b"',
    b'"@labels@"': b"%(labels)b",
    b'"@size@"': b"%(size)d",
    b"@number@": b"%(number)d",
    b"@folder@": b"%(folder)d",
    b'"@annotations@"': b"%(annotations)b",
}


@dataclass(frozen=True, slots=True)
class Templates:
    """All that rows of one seed have in common; `rows` and `big_row` are patched by the names in `_HOLES`."""

    rows: tuple[bytes, ...]
    labels: tuple[bytes, ...]
    big_row: bytes
    big_annotations: bytes


@lru_cache(maxsize=4)
def templates(seed: int, datasources: int, mean_bytes: int) -> Templates:
    """Make the templates of a seed; the same arguments always give the same bytes."""
    return _Maker(seed, datasources, mean_bytes).make()


class _Maker:
    def __init__(self, seed: int, datasources: int, mean_bytes: int) -> None:
        self._random = random.Random(f"templates {seed} {datasources} {mean_bytes}")
        self._mean_bytes = mean_bytes
        self._datasources = [self._datasource(seed, index) for index in range(datasources)]
        self._labels = [{"id": self._id(), "name": name} for name in LABELS]
        domains = {domain: {"id": self._id(), "name": domain} for _, domain, _ in ANNOTATORS}
        self._annotators = [
            ({"id": self._id(), "name": name, "domain": domains[domain]}, [self._phrase(look) for _ in range(PHRASES)])
            for name, domain, look in ANNOTATORS
        ]
        self._extractors = [(self._id(), name, kind) for name, kind in EXTRACTORS]
        self._people = [self._account() for _ in range(PEOPLE)]

    def make(self) -> Templates:
        rows = tuple(_holes(self._row(index)) for index in range(TEMPLATES))
        sets = [[label] for label in self._labels] + [list(some) for some in combinations(self._labels, 2)]
        big = self._row(0) | {
            "annotators": [self._annotators[0][0] | {"uniquePhrases": 9, "annotations": ["@annotations@"]}]
        }
        return Templates(
            rows=rows,
            labels=(b"[]", *(_bytes(labels) for labels in self._random.sample(sets, LABEL_SETS - 1))),
            big_row=_holes(big),
            big_annotations=self._big_annotations(),
        )

    def _row(self, index: int) -> Json:
        draw = self._random
        extension, mime_type = draw.choice(KINDS)
        name = f"{draw.choice(SUBJECTS)} @number@.{extension}"
        row: Json = {
            "datasource": self._datasources[index % len(self._datasources)],
            "fileName": name,
            "fileId": "@file_id@",
            "size": "@size@",
            "labels": "@labels@",
            "entitlements": {"whoCanAccess": [draw.choice(self._people)]},
        }
        # The draw is 1 on average and at most 2.25; 60 is what the holes grow by.
        target = SHORT_ROW_BYTES + (self._mean_bytes - SHORT_ROW_BYTES) * 2.25 * draw.betavariate(2, 2.5) - 60
        size = len(_bytes(row))
        for field, value in self._optional_fields(name, mime_type):
            addition = len(field) + len(_bytes(value)) + 5
            if size + addition <= target:
                row[field] = value
                size += addition
        self._fill(row, target - size)
        return row

    def _optional_fields(self, name: str, mime_type: str) -> list[tuple[str, Any]]:
        draw = self._random
        nearly_always: list[tuple[str, Any]] = [
            ("path", f"/{draw.choice(PLACES)}/{draw.choice(PLACES)}/@folder@/{name}"),
            ("lastModifiedAt", "@modified@"),
            ("mimeType", mime_type),
            ("contentSha256", "@sha256@"),
        ]
        created = (
            f"20{draw.randint(10, 21)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}T08:{draw.randint(10, 59)}:00Z"
        )
        sometimes: list[tuple[str, Any]] = [
            ("createdAt", created),
            ("scanDepth", draw.choice(("DISCOVERY", "DISCOVERY_AND_CLASSIFICATION"))),
            ("metadataExtractionStatus", draw.choice(("DONE", "DONE", "FAILED", "NOT_SUPPORTED"))),
            ("owner", draw.choice(self._people)),
            ("createdBy", draw.choice(self._people)),
            ("modifiedBy", draw.choice(self._people)),
            ("extractedMetadata", [self._extracted(*extractor) for extractor in draw.sample(self._extractors, 3)]),
            ("dlpLabels", [self._dlp_label()]),
            ("categories", [draw.choice(CATEGORIES), {"name": draw.choice(CATEGORIES)}]),
            ("coordinates", self._coordinates()),
        ]
        newer: list[tuple[str, Any]] = [
            ("riskScore", round(draw.random(), 4)),
            ("retention", {"policy": "10y", "until": "2034-01-01", "exempt": [None, False, 100]}),
            ("discount%", "100 %"),
        ]
        draw.shuffle(sometimes)
        likely = [field for field in sometimes if draw.random() < 0.8]
        return (
            [field for field in nearly_always if draw.random() < 0.97]
            + likely
            + [field for field in newer if draw.random() < 0.05]
        )

    def _fill(self, row: Json, room: float) -> None:
        """Let annotators and accounts take up what room is left: they are what makes real rows long."""
        draw = self._random
        access: list[Json] = row["entitlements"]["whoCanAccess"]
        for kind, phrases in draw.sample(self._annotators, len(self._annotators)):
            count = min(draw.randint(1, 12), int(room - 200) // 100)
            if count < 1:
                break
            annotations = [self._annotation(phrase) for phrase in draw.sample(phrases, count)]
            annotator = kind | {"uniquePhrases": count, "annotations": annotations}
            row.setdefault("annotators", []).append(annotator)
            room -= len(_bytes(annotator)) + 15
        while room > 200:
            access.append(draw.choice(self._people))
            room -= len(_bytes(access[-1])) + 1

    def _phrase(self, look: str) -> str:
        digits, letters = (
            (lambda: str(self._random.randint(0, 9))),
            (lambda: self._random.choice("abcdefghijklmnopqrs")),
        )
        return "".join(digits() if c == "#" else letters() if c == "?" else c for c in look)

    def _annotation(self, phrase: str) -> Json:
        starts = sorted(self._random.randint(0, 9_000) for _ in range(self._random.choice((1, 1, 1, 2))))
        return {"phrase": phrase, "locations": [{"start": at, "end": at + len(phrase)} for at in starts]}

    def _big_annotations(self) -> bytes:
        parts = list[bytes]()
        size = 0
        while size < BIG_ANNOTATIONS_BYTES:
            parts.append(_bytes(self._annotation(self._phrase(ANNOTATORS[0][2]))))
            size += len(parts[-1]) + 1
        return b",".join(parts)

    def _datasource(self, seed: int, index: int) -> Json:
        kind = CONNECTORS[(seed + index) % len(CONNECTORS)]
        connector: Json = {"type": kind}
        if kind.startswith(("ONEDRIVE", "BOX", "GOOGLE_DRIVE")):
            connector["userId"] = self._id()
        if kind.startswith("SHAREPOINT"):
            connector |= {"siteId": self._id(), "siteUrl": f"https://contoso.example/sites/{index}"}
        return {"id": str(1200 + index), "name": f"{PLACES[index % len(PLACES)]} {index + 1}", "connector": connector}

    def _account(self) -> Json:
        draw = self._random
        kind, subtype = draw.choice(ACCOUNT_KINDS)
        given, family = draw.choice(GIVEN), draw.choice(FAMILY)
        account: Json = {
            "id": self._id(),
            "accountType": kind,
            "realmAccountId": f"S-1-5-21-{draw.randint(10**8, 10**9)}-{draw.randint(1000, 9999)}",
            "realmKey": draw.choice(("contoso.example", "entra:7f3a")),
            "accountSubType": subtype,
        }
        if draw.random() < 0.8:
            account["name"] = f"{given} {family}"
        if draw.random() < 0.6:
            account["email"] = f"user{draw.randint(1, 9999)}@contoso.example"
        return account

    def _extracted(self, key: str, name: str, kind: str) -> Json:
        draw = self._random
        values = {"TEXT": draw.choice(GIVEN), "NUMBER": draw.choice((3, 12, 2.5)), "BOOLEAN": draw.random() < 0.5}
        return {"id": key, "name": name, "value": values[kind], "type": kind}

    def _dlp_label(self) -> Json:
        draw = self._random
        label: Json = {"id": self._id(), "dlpSystem": "PURVIEW", "type": draw.choice(("APPLIED", "ASSIGNED"))}
        return label | ({"name": draw.choice(LABELS)} if draw.random() < 0.7 else {})

    def _coordinates(self) -> Json:
        draw = self._random
        place: Json = {"lat": round(draw.uniform(-90, 90), 6), "lon": round(draw.uniform(-180, 180), 6)}
        place["mapDatum"] = "WGS-84"
        return place | ({"alt": round(draw.uniform(0, 3000), 1), "altRef": "0"} if draw.random() < 0.5 else {})

    def _id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def _bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _holes(row: Json) -> bytes:
    text = _bytes(row).replace(b"%", b"%%")
    for mark, hole in _HOLES.items():
        text = text.replace(mark, hole)
    return text
