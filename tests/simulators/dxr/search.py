"""The search of the index: what a query asks for, which hits fit it, and which of them a page holds."""

import random
from dataclasses import dataclass
from itertools import groupby
from typing import Any

Json = dict[str, Any]

SCAN_ID = "dxr#datasource_scan_id"
FILE_NAME = "ds#file_name"
_PAGE_SIZE_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Condition:
    """One item of a filter; conditions of a group with an `OR` among them are alternatives, all else must hold."""

    parameter: str
    value: str
    alternative: bool
    group: int

    def fits(self, source: Json) -> bool:
        """Whether a hit's `_source` has this value."""
        return self.parameter == "match_all" or str(source[self.parameter]) == self.value


@dataclass(frozen=True, slots=True)
class Search:
    """A search request that was understood."""

    conditions: tuple[Condition, ...]
    datasource_ids: frozenset[str]
    page: int
    page_size: int
    sort: tuple[tuple[str, bool], ...]  # property, descending

    @property
    def key(self) -> tuple[Any, ...]:
        """The same for all pages of one search and for its repetitions."""
        return self.conditions, self.datasource_ids

    def values_of(self, parameter: str) -> list[str]:
        """Return the values that the filter asks for."""
        return [condition.value for condition in self.conditions if condition.parameter == parameter]

    def fits(self, source: Json) -> bool:
        """Whether a hit's `_source` fits the whole filter."""
        for _, group in groupby(self.conditions, key=lambda condition: condition.group):
            items = list(group)
            one_is_enough = any(item.alternative for item in items)
            if not (any if one_is_enough else all)(item.fits(source) for item in items):
                return False
        return True


def parse(body: Json) -> Search:
    """Read a request; raises `ValueError` naming what the tenant does not understand."""
    try:
        mode, page, page_size = body.get("mode"), body.get("pageNumber", 0), body.get("pageSize", 20)
        conditions = [_condition(item) for item in body.get("filter", {}).get("query_items", [])]
        sort = tuple(
            (item["property"], item.get("order", "ASCENDING") == "DESCENDING") for item in body.get("sort", [])
        )
        datasource_ids = frozenset(str(datasource_id) for datasource_id in body.get("datasourceIds", []))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"the search is not shaped as it should be: {error!r}") from None
    if mode != "DXR_JSON_QUERY":
        raise ValueError("the mode is DXR_JSON_QUERY")
    if not (isinstance(page, int) and page >= 0 and isinstance(page_size, int) and 0 < page_size <= _PAGE_SIZE_MAX):
        raise ValueError(f"pages count from 0 and have 1 to {_PAGE_SIZE_MAX} hits")
    in_groups = tuple(sorted(conditions, key=lambda condition: condition.group))
    return Search(in_groups, datasource_ids, page, page_size, sort)


def _condition(item: Json) -> Condition:
    parameter, strategy = item["parameter"], item.get("match_strategy", "exact")
    if parameter not in {SCAN_ID, FILE_NAME, "match_all"} or strategy != "exact":
        raise ValueError(f"the simulated index matches {SCAN_ID} and {FILE_NAME} exactly, not {parameter} {strategy}")
    return Condition(parameter, str(item["value"]), item.get("operator", "AND") == "OR", int(item.get("group_id", 0)))


def sorted_hits(hits: list[Json], sort: tuple[tuple[str, bool], ...]) -> list[Json]:
    """Sort as asked; all scores are equal, so `_score` leaves the order as it is."""
    for name, descending in reversed(sort):
        if name != "_score":
            hits = sorted(hits, key=lambda hit: str(hit.get(name, hit["_source"].get(name, ""))), reverse=descending)
    return hits


def page_of(hits: list[Json], search: Search, *, duplicates: bool) -> list[Json]:
    """Return the page that is asked for.

    With `duplicates`, a search sorted by nothing but `_score` has the last hit of each page again on the next one, and
    every page in an order of its own: no hit is lost to a client that pages until a page is empty, but one that counts
    up to the total stops too early.
    """
    stable = any(name != "_score" for name, _ in search.sort)
    size = search.page_size
    if stable or not duplicates or size == 1:
        return hits[search.page * size : (search.page + 1) * size]
    step = size - 1
    start = search.page * step
    # A page that would hold nothing but the repeated hit is the empty one after the last.
    page = hits[start : start + size] if start == 0 or start + 1 < len(hits) else []
    random.Random(search.page).shuffle(page)
    return page
