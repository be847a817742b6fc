"""Annotators for real text: simple patterns for personal, financial and secret things, and the labels they lead to."""

import re
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import Any

Json = dict[str, Any]

PHRASES_MAX = 50
LOCATIONS_MAX = 20


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of a card number."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _card(phrase: str) -> bool:
    digits = re.sub(r"[ -]", "", phrase)
    return len(set(digits)) > 1 and luhn(digits)


def _address(phrase: str) -> bool:
    return all(int(part) < 256 for part in phrase.split("."))


def _any(phrase: str) -> bool:
    return bool(phrase)


# name, domain, pattern, check. Each pattern starts with something rare, or is bounded: they run over whole checkouts.
KINDS: tuple[tuple[str, str, re.Pattern[str], Callable[[str], bool]], ...] = (
    (
        "E-mail address",
        "PII",
        re.compile(
            r"(?<![\w.+-])[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,24}\b", re.ASCII
        ),
        _any,
    ),
    ("IP address", "Network", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])", re.ASCII), _address),
    ("IBAN", "Financial", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b", re.ASCII), _any),
    (
        "Credit card",
        "Financial",
        re.compile(r"(?<![\w.-])[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{3,4}(?![\w.-])", re.ASCII),
        _card,
    ),
    (
        "Secret",
        "Secrets",
        re.compile(
            r"\b(?:password|passwd|api_key|apikey|secret|token)\s?[=:]\s?[\"']?[^\s\"'(),;]{4,64}",
            re.ASCII | re.IGNORECASE,
        ),
        _any,
    ),
)
LABELS = {
    "PII": "Personal data",
    "Financial": "Financial data",
    "Secrets": "Contains secrets",  # pragma: allowlist secret
    "Network": "Infrastructure",
}


def annotators_in(content: bytes) -> list[Json]:
    """Find what the annotators find in the start of a file; nothing in a binary one.

    Locations are in characters. Phrases beyond `PHRASES_MAX` are counted in `uniquePhrases` and not listed.
    """
    if b"\0" in content:
        return []
    text = content.decode("utf-8", "replace")
    found = list[Json]()
    for name, domain, pattern, check in KINDS:
        if name == "E-mail address" and "@" not in text:
            continue
        phrases: dict[str, list[Json]] = {}
        for match in pattern.finditer(text):
            if check(match[0]):
                locations = phrases.setdefault(match[0], [])
                if len(locations) < LOCATIONS_MAX:
                    locations.append({"start": match.start(), "end": match.end()})
        if phrases:
            annotations = [{"phrase": p, "locations": at} for p, at in list(phrases.items())[:PHRASES_MAX]]
            found.append(
                _named(name) | {"domain": _named(domain), "uniquePhrases": len(phrases), "annotations": annotations}
            )
    return found


def labels_for(annotators: list[Json]) -> list[Json]:
    """Labels follow from the domains of what was found."""
    domains = {annotator["domain"]["name"] for annotator in annotators}
    return [_named(label) for domain, label in LABELS.items() if domain in domains]


@cache
def _named(name: str) -> Json:
    return {"id": sha256(f"folder {name}".encode()).hexdigest()[:32], "name": name}
