"""`GET /v1/runs/{id}/events`: a run as it changes, by server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.api.access import ServiceDep, bearer
from service.api.description import Responses, answer, problems
from service.api.routes import RunId
from service.runs.watch import Follower

router = APIRouter(prefix="/v1", tags=["runs"], dependencies=[Depends(bearer)])

_STREAM: Final = """event: run
data: {"id": "01a202f8-192e-72ad-935a-56a1fba81e3a", "state": "running", "attempt": 1, "progress": {"rows": 0}}
id: 17

event: progress
data: {"run_id": "01a202f8-192e-72ad-935a-56a1fba81e3a", "at": "2026-11-22T02:00:05.000000Z", "state": "running", \
"attempt": 1, "progress": {"rows": 63147, "raw_bytes": 104857600, "chunks": 1}}
id: 18

event: end
data: {"run_id": "01a202f8-192e-72ad-935a-56a1fba81e3a", "state": "ingested", "reason": "settled"}
id: 21

"""
_ANSWERS: Final[Responses] = {
    200: answer(
        _STREAM,
        description="`run`: the whole run, at first and when more than its progress changed. `progress`: what a "
        "running one has done. `end`: the last event, with a reason: `settled` (nothing will change any more), "
        "`no_receipt` (15 minutes after it landed), `draining` (ask again), `forgotten`. Comments keep the line open.",
        media_type="text/event-stream",
    ),
    **problems(404, 422),
}


async def _follower(run_id: RunId, service: ServiceDep) -> AsyncGenerator[Follower]:
    """Found before the stream begins, so that a run that is not there is a problem, and let go when it ends."""
    async with service.watch.following(run_id) as follower:
        yield follower


@router.get("/runs/{run_id}/events", response_class=EventSourceResponse, responses=_ANSWERS)
async def follow_run(
    follower: Annotated[Follower, Depends(_follower)],
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="the id of the last event that was read")
    ] = None,
) -> AsyncIterable[ServerSentEvent]:
    """A run as it changes: state, progress, and the receipt when it comes."""
    known = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 20 else None
    async for event in follower.events(known):
        yield ServerSentEvent(event=event.name, id=str(event.id), data=event.data)
