"""What the classifier says of a content, and the names behind its ids: all of it follows from the bytes alone."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from tests.simulators.dxr.findings import annotators_in, labels_for

Json = dict[str, Any]
Kind = Literal["LABEL", "ANNOTATOR", "ANNOTATOR_DOMAIN", "EXTRACTOR"]

EXTRACTORS = ("Lines", "First line")
_PLANTED = b"label: "
_CATEGORIES = {
    "PII": "Correspondence",
    "Financial": "Financial statement",
    "Secrets": "Source code",  # pragma: allowlist secret
    "Network": "Operations",
}
_FIRST_LINE_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Found:
    """One annotator's finds: `places` are the listed phrases with start and end, `unique_phrases` counts them all."""

    id: int
    name: str
    domain: str
    unique_phrases: int
    places: tuple[tuple[str, int, int], ...]

    @property
    def phrases(self) -> tuple[str, ...]:
        """The listed phrases, each once."""
        return tuple(dict.fromkeys(phrase for phrase, _, _ in self.places))


@dataclass(frozen=True, slots=True)
class Truth:
    """What every correct row about a content says: `labels` are names, `tags` their ids in the same order."""

    labels: tuple[str, ...]
    annotators: tuple[Found, ...]
    category: str
    extracted: tuple[tuple[str, str], ...]

    @property
    def tags(self) -> tuple[int, ...]:
        """The ids of the labels."""
        return tuple(number("LABEL", label) for label in self.labels)


def truth_of(start: bytes) -> Truth:
    """Judge a content by its first 64 KiB (that is: pass no more); a first line `label: NAME` plants the label NAME."""
    raw = annotators_in(start)
    labels = [label["name"] for label in labels_for(raw)]
    first, _, _ = start[:4096].partition(b"\n")
    text = "" if b"\0" in start else first.rstrip(b"\r").decode("utf-8", "replace")
    if first.startswith(_PLANTED) and (planted := text[len(_PLANTED) :].strip()):
        labels.append(planted)
    domains = [annotator["domain"]["name"] for annotator in raw]
    return Truth(
        labels=tuple(dict.fromkeys(labels)),
        annotators=tuple(_found(annotator) for annotator in raw),
        category=_CATEGORIES[domains[0]] if domains else "Other",
        extracted=(("Lines", str(start.count(b"\n"))), ("First line", text[:_FIRST_LINE_CHARACTERS])),
    )


def number(kind: Kind, name: str) -> int:
    """The id of a label, annotator, domain or extractor: the same in every tenant."""
    return int(sha256(f"{kind} {name}".encode()).hexdigest()[:7], 16)


def _found(annotator: Json) -> Found:
    places = [
        (annotation["phrase"], place["start"], place["end"])
        for annotation in annotator["annotations"]
        for place in annotation["locations"]
    ]
    name = annotator["name"]
    return Found(
        number("ANNOTATOR", name), name, annotator["domain"]["name"], annotator["uniquePhrases"], tuple(places)
    )
