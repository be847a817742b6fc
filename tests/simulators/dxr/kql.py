"""The part of KQL the tenant understands: comparisons joined by `and`, over the fields people filter by."""

import re
from collections.abc import Callable, Iterator
from fnmatch import translate
from operator import ge, gt, le, lt

import msgspec

Predicate = Callable[["Filterable"], bool]


class _Named(msgspec.Struct):
    id: str | int | None = None
    name: str | None = None


class _Annotator(msgspec.Struct):
    domain: _Named | None = None


class Filterable(msgspec.Struct, rename="camel"):
    """What a filter can see of a row."""

    file_id: str
    file_name: str
    size: int
    datasource: _Named
    labels: list[_Named] = []
    annotators: list[_Annotator] = []


TEXTS: dict[str, Callable[[Filterable], list[str | None]]] = {
    "fileId": lambda row: [row.file_id],
    "fileName": lambda row: [row.file_name],
    "datasource.id": lambda row: [str(row.datasource.id)],
    "datasource.name": lambda row: [row.datasource.name],
    "labels.id": lambda row: [str(label.id) for label in row.labels],
    "labels.name": lambda row: [label.name for label in row.labels],
    "annotators.domain.name": lambda row: [a.domain.name for a in row.annotators if a.domain is not None],
}
ORDERS: dict[str, Callable[[int, int], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}

_TEXT = re.compile(r'([A-Za-z.]+)\s*:\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"()]+))')
_SIZE = re.compile(r"size\s*(<=|>=|<|>)\s*(\d+)")
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)


def parse(query: str) -> Predicate:
    """Turn a filter into a predicate; `ValueError` says at which place the tenant does not understand it."""
    at, parts = 0, list[Predicate]()
    query = query.strip()
    while True:
        if text := _TEXT.match(query, at):
            parts.append(_text_test(text))
        elif text := _SIZE.match(query, at):
            parts.append(_size_test(text[1], int(text[2])))
        else:
            raise ValueError(f"KQL not understood at position {at}")
        at = text.end()
        if at == len(query):
            return lambda row: all(test(row) for test in parts)
        joined = _AND.match(query, at)
        if joined is None:
            raise ValueError(f"KQL not understood at position {at}: only 'and' may join comparisons")
        at = joined.end()


def matching(blocks: Iterator[bytes], wanted: Predicate) -> Iterator[bytes]:
    """Keep the lines that are rows and fit; a block without any becomes an empty one, so that nobody waits long."""
    decode = msgspec.json.Decoder(Filterable).decode
    for block in blocks:
        kept = list[bytes]()
        for line in block.split(b"\n")[:-1]:
            try:
                row = decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError):  # a line that is no row matches nothing
                continue
            if wanted(row):
                kept.append(line)
        yield b"".join(line + b"\n" for line in kept)


def _text_test(found: re.Match[str]) -> Predicate:
    field = TEXTS.get(found[1])
    if field is None:
        raise ValueError(f"KQL not understood at position {found.start()}: no such field")
    value = re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3]
    if "*" not in value:
        return lambda row: value in field(row)
    # fnmatch knows more wildcards than KQL: the others are taken literally.
    pattern = re.compile(translate(re.sub(r"([\[?])", r"[\1]", value)))
    return lambda row: any(text is not None and pattern.match(text) for text in field(row))


def _size_test(sign: str, bound: int) -> Predicate:
    order = ORDERS[sign]
    return lambda row: order(row.size, bound)
