"""Pages of a listing: a page token says where the next page begins, and belongs to one directory and page size."""

import base64
import json
from typing import Any, NamedTuple

from tests.simulators.databricks.errors import ApiError
from tests.simulators.databricks.paths import VolumePath
from tests.simulators.databricks.volumes import Entry

PAGE_SIZE_LIMIT = 1000
RAGGED = (0, 1, 0, 2, 1)


class Position(NamedTuple):
    """Where a page begins: behind the name `after`, as the page with this number, of pages of this size."""

    size: int
    number: int = 0
    after: str = ""

    def token(self, path: VolumePath) -> str:
        """Return the page token for this position in a directory."""
        return base64.urlsafe_b64encode(json.dumps([str(path), *self]).encode()).decode()


def position(path: VolumePath, page_size: str | None, page_token: str | None, size_max: int) -> Position:
    """Read what a request asks for; raises `ApiError` 400 if its token is not one for the same request."""
    size = min(_number(page_size) or size_max, size_max, PAGE_SIZE_LIMIT)
    if not page_token:
        return Position(size)
    try:
        of, of_size, number, after = json.loads(base64.b64decode(page_token, altchars=b"-_", validate=True))
    except (ValueError, TypeError):
        of, of_size, number, after = None, 0, 0, ""
    if (of, of_size) != (str(path), size):
        raise ApiError(400, "The page token is not valid for this request.", error_code="INVALID_PARAMETER_VALUE")
    return Position(size, number, after)


def page(path: VolumePath, entries: list[Entry], start: Position, *, ragged: bool, spoilt: bool) -> dict[str, Any]:
    """Return one page of the entries; a `spoilt` one leads to a next page that is always refused."""
    rest = [entry for entry in entries if entry.name > start.after]
    size = min(RAGGED[start.number], start.size) if ragged and start.number < len(RAGGED) else start.size
    shown = rest[:size]
    body: dict[str, Any] = {}
    if shown:
        body["contents"] = [_described(path, entry) for entry in shown]
    if len(rest) > len(shown) or (ragged and (shown or not start.number)):
        after = shown[-1].name if shown else start.after
        token = Position(start.size, start.number + 1, after).token(path)
        body["next_page_token"] = f"spoilt.{token}" if spoilt else token
    return body


def _described(path: VolumePath, entry: Entry) -> dict[str, Any]:
    body = {"path": f"{path}/{entry.name}", "name": entry.name, "is_directory": entry.is_directory}
    body["last_modified"] = entry.modified_ms
    return body if entry.is_directory else body | {"file_size": entry.size}


def _number(text: str | None) -> int:
    try:
        number = int(text or 0)
    except ValueError:
        number = -1
    if number < 0:
        raise ApiError(400, "page_size is a number of entries", error_code="INVALID_PARAMETER_VALUE")
    return number
