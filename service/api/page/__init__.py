"""The web page at `/`: an open shell and its script, which asks for a token and speaks to `/v1` like anybody else."""

from __future__ import annotations

from importlib import resources
from typing import Final

from fastapi import APIRouter, Response

from service.errors import NotFoundError

_MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_SHELL: Final = "index.html"
# A few small files that never change while the process lives; nothing in them is anybody's data.
_FILES: Final = {file.name: file.read_bytes() for file in (resources.files(__name__) / "static").iterdir()}
OPEN_PATHS: Final = frozenset({"/", *(f"/static/{name}" for name in _FILES)})

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> Response:
    """The shell."""
    return await page_file(_SHELL)


@router.get("/static/{name}")
async def page_file(name: str) -> Response:
    """One of the files that the shell names."""
    if name not in _FILES:
        raise NotFoundError("The page has no such file.", "GET / is the page.")
    return Response(_FILES[name], media_type=_MEDIA_TYPES[name.rpartition(".")[2]])
