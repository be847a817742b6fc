"""What can go wrong between a client and the classifier, one small class each; see `classifier_fault_plan` for when.

A fault is for one point: a request, a job, or a hit. "upload" is a submit before its body is read, with no files to
ask about; "submit" the same once it is. Every fault takes `when`, a question about the files at hand, and `times`, how
often it strikes.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from aiohttp import web

from tests.simulators.dxr.jobs import CANCELLED, FAILED, GONE, SUBMITTED, plain_state
from tests.simulators.dxr.uploads import UploadedFile
from tests.simulators.dxr.wire import Answered

RequestPoint = Literal["upload", "submit", "poll", "search", "names", "classifications", "index status"]
Point = RequestPoint | Literal["job", "hit"]
Files = tuple[UploadedFile, ...]
Properly = Callable[[], Awaitable[web.StreamResponse]]


def anything(files: Files) -> bool:
    """Whatever the files are."""
    return True


def containing(
    *, sha256: str | None = None, name: str | None = None, larger_than: int | None = None
) -> Callable[[Files], bool]:
    """One of the files has this hash, this upload name and more bytes than this (whichever are given)."""

    def met(files: Files) -> bool:
        return any(
            (sha256 is None or file.sha256 == sha256)
            and (name is None or file.name == name)
            and (larger_than is None or file.size > larger_than)
            for file in files
        )

    return met


@dataclass(frozen=True, slots=True)
class Subject:
    """What a fault may strike: the files at hand, the name that is asked for, and what counts as the same again.

    The same again is for a submit and a job the same contents under whatever names, for a poll the job, for a search
    its filter, for a hit the hit.
    """

    files: Files = ()
    name: str = ""
    key: Hashable = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierFault:
    """`times` None is "once" in the queue and "for ever" when lasting; a lasting n is "n times for each subject"."""

    when: Callable[[Files], bool] = anything
    times: int | None = None

    def meets(self, subject: Subject) -> bool:
        """Whether this fault strikes here."""
        return self.when(subject.files)


@dataclass(frozen=True, slots=True)
class Refuse(ClassifierFault):
    """The request is answered with this status and does nothing; at "upload", before its body is read."""

    at: RequestPoint
    code: int
    retry_after: str | None = None
    body: bytes = b""

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        return web.Response(status=self.code, body=self.body, headers=headers, content_type="application/json")


@dataclass(frozen=True, slots=True)
class LoseAnswer(ClassifierFault):
    """The request does all it should, a submit makes its job, but the connection closes without an answer."""

    at: RequestPoint = "submit"

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        await properly()
        return Answered(keep_alive=False)


@dataclass(frozen=True, slots=True)
class HangUp(ClassifierFault):
    """The connection is reset without an answer, after so many bytes of the body; nothing comes of the request."""

    at: RequestPoint = "upload"
    after_bytes: int = 0

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        if self.after_bytes:
            await request.content.readexactly(self.after_bytes)
        if request.transport is not None:
            request.transport.abort()
        return Answered(keep_alive=False)


@dataclass(frozen=True, slots=True)
class Body(ClassifierFault):
    """The request does all it should, but is answered 200 with these bytes."""

    at: RequestPoint
    raw: bytes
    content_type: str = "application/json"

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        await properly()
        return web.Response(body=self.raw, content_type=self.content_type)


@dataclass(frozen=True, slots=True)
class Rewrite(ClassifierFault):
    """The request does all it should, but its document is changed on the way; bytes go out as they are."""

    at: RequestPoint
    change: Callable[[Any], Any]
    headers: tuple[tuple[str, str], ...] = ()

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        response = await properly()
        assert isinstance(response, web.Response)
        changed = self.change(json.loads(response.text or "null"))
        raw = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        return web.Response(body=raw, content_type="application/json", headers=dict(self.headers))


@dataclass(frozen=True, slots=True)
class Hold(ClassifierFault):
    """The request waits until the test calls `open`, then is answered as it should be.

    With `work_first` it waits behind its work: a submit has made its job, and its client does not know.
    """

    at: RequestPoint
    work_first: bool = False
    _reached: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)
    _opened: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)

    def open(self) -> None:
        """Let this request and all later ones go on."""
        self._opened.set()

    async def reached(self) -> None:
        """Wait until a request waits."""
        await self._reached.wait()

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        done = await properly() if self.work_first else None
        self._reached.set()
        await self._opened.wait()
        return done or await properly()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFault(ClassifierFault, ABC):
    """A fate, fixed when the job is taken: see `jobs.Fate`."""

    at: ClassVar[Point] = "job"
    error: str | None = None
    blocks: bool = True
    indexed: bool = False

    @abstractmethod
    def state(self, steps: int, steps_until_done: int) -> str:
        """Return the state after so many steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailJob(JobFault):
    """The job ends FAILED when it should have finished; the index has nothing of it."""

    error: str | None = "the classifier had no worker"

    def state(self, steps: int, steps_until_done: int) -> str:
        return FAILED if steps >= steps_until_done else plain_state(steps, steps_until_done)


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJob(JobFault):
    """The job ends CANCELLED when it should have finished; the index has nothing of it."""

    def state(self, steps: int, steps_until_done: int) -> str:
        return CANCELLED if steps >= steps_until_done else plain_state(steps, steps_until_done)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeverEnd(JobFault):
    """The job is in `word` for ever; unless it `blocks`, its datasource takes other jobs and it is in no overlap."""

    word: str = "RUNNING"
    blocks: bool = False

    def state(self, steps: int, steps_until_done: int) -> str:
        return self.word if steps else SUBMITTED


@dataclass(frozen=True, slots=True, kw_only=True)
class OddState(JobFault):
    """The job is in a state that nobody knows for its first `polls` steps, then goes on as it should."""

    word: str = "REHYDRATING"
    polls: int = 1

    def state(self, steps: int, steps_until_done: int) -> str:
        if 0 < steps <= self.polls:
            return self.word
        return plain_state(max(0, steps - self.polls), steps_until_done)


@dataclass(frozen=True, slots=True, kw_only=True)
class VanishJob(JobFault):
    """From step `after + 1` on the job's address is a 404, unless it has finished before that.

    `indexed` says whether the index has its files all the same.
    """

    after: int = 0

    def state(self, steps: int, steps_until_done: int) -> str:
        return GONE if steps > self.after else plain_state(steps, steps_until_done)


@dataclass(frozen=True, slots=True)
class MissHit(ClassifierFault):
    """A search, with all its pages, leaves the file's hit out, and out of the total too."""

    at: ClassVar[Point] = "hit"


@dataclass(frozen=True, slots=True)
class ForgetName(ClassifierFault):
    """This label, annotator or extractor, given by name, has a 404 for its name."""

    at: ClassVar[RequestPoint] = "names"
    label: str

    def meets(self, subject: Subject) -> bool:
        return subject.name == self.label

    async def answer(self, request: web.Request, properly: Properly) -> web.StreamResponse:
        return web.json_response({"status": 404, "error": "Not Found"}, status=404)


RequestFault = Refuse | LoseAnswer | HangUp | Body | Rewrite | Hold | ForgetName
AnyFault = RequestFault | JobFault | MissHit
