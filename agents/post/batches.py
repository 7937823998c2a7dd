"""New documents of one company that are ready at the same moment travel as one batch (docs/vendors/quickbooks.md §4.1).

Only the first try of a new document does; every further one goes alone, so that a write has one way to be repeated.

A batch is recorded, and its record confirmed by the broker, before it leaves: what it holds, in which order. Whatever
QuickBooks answers settles it, item by item. When no answer comes, QuickBooks may be at it for its whole run time
(§1.1); after that its documents are looked up, each by its own command. If none of them is in the books, the same batch
goes again, once, with the same requestid, bIds and bytes; otherwise those that are missing go alone. So no document
stands in the books twice, whether QuickBooks remembers a requestid or not, and however late it carries out a batch.

Another worker that takes the company over reads the record, and does the same. It may also come too soon for it: a
batch that holds a recorded attempt may yet leave. So batches leave soon after their writes were ready, or not at all
(`LEAVES_WITHIN_SECONDS`), and an attempt of another life is believed to be over after that and the run time.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import orjson

from agents.clients.failures import (
    CompanyUnavailable,
    DuplicateRequest,
    Failure,
    OutcomeUnknown,
    TokenRefused,
    Wait,
)
from agents.clients.quickbooks import Content, Leaving
from agents.clients.quickbooks_errors import checked, item_failure
from agents.clients.slots import rest, resting
from models.ledger import Batch
from models.quickbooks import SEEN_SECONDS_MAX
from models.subject import RowKey

REQUESTID_CHARACTERS = 32
"""At most 36 (§3.2)."""

BODY_BYTES_MAX = 1_048_576
"""Of a batch; no limit is published, and a larger one would hardly be done within QuickBooks' run time."""

TOGETHER_SECONDS_MAX = 12.0
"""So long those that were looked up in vain wait for the others of their batch."""

SENT_MAX = 2

WAITS_SECONDS_MAX = 45.0
"""So long a write waits for its batch to leave; then it goes alone."""

LEAVES_WITHIN_SECONDS = 60.0
"""A batch leaves within this after its writes were ready, or they go alone."""

DEPARTS_SECONDS_MAX = 5.0
"""So long before a batch leaves, each of its attempts was ours."""

OWN_MAX = 10_000
"""So many of our own writes are remembered; one that is forgotten is waited for as one of another life."""

KEPT = timedelta(days=1)
"""A record that a crash left behind is of no use any more after this."""

Found = tuple[dict[str, Any], str | None]
"""An object in its new form, and the `intuit_tid`."""


class Client(Protocol):
    """QuickBooks, as `agents.clients.quickbooks` offers it."""

    async def write(
        self, realm: str, entity: str, body: bytes, *, requestid: str, leaving: Leaving | None = None
    ) -> Found: ...
    async def batch(self, realm: str, content: Content) -> tuple[list[dict[str, Any]], str | None]: ...


class SendSingly(Exception):
    """The write does not travel in a batch: it goes by itself."""


class NothingToSend(Exception):
    """All that were to travel have left the queue."""


@dataclass(eq=False)
class _Write:
    """One create, and the answer that its command waits for."""

    entity: str
    body: bytes
    requestid: str
    leaving: Leaving | None
    ready_at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    answer: "asyncio.Future[Found]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, problem: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(problem)

    def succeed(self, found: Found) -> None:
        if not self.answer.done():
            self.answer.set_result(found)


@dataclass(eq=False)
class _Dispatch:
    """A batch on its way. `writes` is empty until its turn has come, `batch` until it is recorded."""

    realm: str
    generation: int
    sent: int = 0
    writes: list[_Write] = field(default_factory=list)
    left_at: float = 0.0
    batch: Batch | None = None

    @property
    def requestid(self) -> str:
        """The same writes in the same order have the same id for ever."""
        identity = "\n".join((self.realm, *(write.requestid for write in self.writes)))
        return hashlib.sha256(identity.encode()).hexdigest()[:REQUESTID_CHARACTERS]

    @property
    def key(self) -> str:
        return RowKey.of(self.realm, self.requestid)

    @property
    def body(self) -> bytes:
        items = [
            {"bId": str(number), "operation": "create", write.entity: orjson.Fragment(write.body)}
            for number, write in enumerate(self.writes, 1)
        ]
        return orjson.dumps({"BatchItemRequest": items})


@dataclass(eq=False)
class _Unanswered:
    """A batch without an answer: `over` is set when QuickBooks can no longer be at it; `back` are those not found."""

    batch: Batch
    generation: int
    over: asyncio.Event = field(default_factory=asyncio.Event)
    all_back: asyncio.Event = field(default_factory=asyncio.Event)
    back: dict[str, _Write] = field(default_factory=dict)


class Batches:
    """`rows` is the table of batches without an answer, by `realm/requestid`.

    `record` stores a row, and returns when the broker has confirmed it. Below 2, `size_max` turns batches off; those
    that were recorded before are still seen to their end.
    """

    def __init__(
        self,
        client: Client,
        rows: MutableMapping[str, Batch],
        record: Callable[[str, Batch], Awaitable[None]],
        *,
        size_max: int,
        wait_seconds: float,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._rows = rows
        self._record = record
        self._size_max = size_max
        self._wait_seconds = wait_seconds
        self._now = now
        self._pending: defaultdict[str, dict[str, _Write]] = defaultdict(dict)
        self._gathering: defaultdict[str, set[_Dispatch]] = defaultdict(set)
        self._unanswered: dict[str, _Unanswered] = {}
        self._own: dict[str, None] = {}
        self._generation = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def create(
        self, realm: str, entity: str, body: bytes, *, requestid: str, first: bool, leaving: Leaving | None = None
    ) -> Found:
        """POST a new object; `first` says that this write was never sent before. Raises its own Failure.

        One that is not the first try was looked up after `over`, and is not in the books.
        """
        write = _Write(entity, body, requestid, leaving)
        self._remember(requestid)
        with suppress(SendSingly):
            if not first:
                return await self._again(realm, write)
            if self._size_max > 1:
                return await self._together(realm, write)
        return await self._client.write(realm, entity, body, requestid=requestid, leaving=leaving)

    async def over(self, realm: str, requestid: str, *, first: bool) -> None:
        """Returns when no batch that may hold this write can be carried out any more: what is not there now is not."""
        recorded = self._recorded(realm, requestid)
        if recorded is not None:
            leaves_by = asyncio.get_running_loop().time() + DEPARTS_SECONDS_MAX
            unanswered = self._note_unanswered(recorded, leaves_by, self._generation)
            async with resting():
                await unanswered.over.wait()
        elif first and self._size_max > 1 and requestid not in self._own:
            await rest(LEAVES_WITHIN_SECONDS + SEEN_SECONDS_MAX)
        self._remember(requestid)

    def _remember(self, requestid: str) -> None:
        self._own[requestid] = None
        if len(self._own) > OWN_MAX:
            del self._own[next(iter(self._own))]

    def on_revoked(self) -> None:
        """Another worker may own the companies now: what has not left goes alone, and no batch of ours is repeated."""
        self._generation += 1
        self._own.clear()
        for pending in self._pending.values():
            _fail(pending.values(), SendSingly())
            pending.clear()
        for unanswered in self._unanswered.values():
            _fail(unanswered.back.values(), SendSingly())

    def _recorded(self, realm: str, requestid: str) -> Batch | None:
        return next((row for row in self._rows.values() if row.realm == realm and requestid in row.writes), None)

    # Gathering

    async def _together(self, realm: str, write: _Write) -> Found:
        pending = self._pending[realm]
        pending[write.requestid] = write
        self._gather(realm)
        try:
            await asyncio.wait({write.answer}, timeout=WAITS_SECONDS_MAX)
            if write.requestid in pending:
                raise SendSingly
            return await write.answer
        finally:
            pending.pop(write.requestid, None)

    def _gather(self, realm: str) -> None:
        """As many batches wait for their turn as the pending writes fill."""
        if len(self._pending[realm]) > len(self._gathering[realm]) * self._size_max:
            dispatch = _Dispatch(realm, self._generation)
            self._gathering[realm].add(dispatch)
            self._start(self._gathered(dispatch))

    async def _gathered(self, dispatch: _Dispatch) -> None:
        """Wait a moment for company, and leave. A write that stays without is sent by itself: batches are metered."""
        await asyncio.sleep(self._wait_seconds)
        if len(self._pending[dispatch.realm]) < 2:
            for write in self._take(dispatch):
                await self._alone(dispatch.realm, write)
            return
        await self._send(dispatch)

    def _take(self, dispatch: _Dispatch) -> list[_Write]:
        """The pending writes that came first, as many as a batch holds. What else is pending travels with the next."""
        taken: list[_Write] = []
        pending, space = self._pending[dispatch.realm], BODY_BYTES_MAX
        self._gathering[dispatch.realm].discard(dispatch)
        while pending and len(taken) < self._size_max:
            write = next(iter(pending.values()))
            space -= len(write.body)
            if taken and space < 0:
                break
            taken.append(pending.pop(write.requestid))
        self._gather(dispatch.realm)
        return taken

    async def _alone(self, realm: str, write: _Write) -> None:
        try:
            write.succeed(
                await self._client.write(
                    realm, write.entity, write.body, requestid=write.requestid, leaving=write.leaving
                )
            )
        except BaseException as problem:
            write.fail(problem)
            if not isinstance(problem, Failure):
                raise

    # The way there and back

    async def _send(self, dispatch: _Dispatch) -> None:
        """One batch, and for each of its writes what became of it."""

        async def content() -> tuple[str | None, bytes | None]:
            await self._record_and_build(dispatch)
            return dispatch.requestid, dispatch.body

        try:
            answers, tid = await self._client.batch(dispatch.realm, content)
        except NothingToSend:
            return
        except (OutcomeUnknown, DuplicateRequest) as failure:
            assert dispatch.batch is not None
            self._note_unanswered(dispatch.batch, dispatch.left_at, dispatch.generation)
            _fail(dispatch.writes, failure)
        except (Wait, TokenRefused, CompanyUnavailable) as failure:
            self._rows.pop(dispatch.key, None)
            _fail(dispatch.writes or self._take(dispatch), failure)
        except Failure:
            # The batch as such was refused, as too large for example: its writes did nothing to deserve it.
            self._rows.pop(dispatch.key, None)
            _fail(dispatch.writes or self._take(dispatch), SendSingly())
        except BaseException as problem:
            _fail(dispatch.writes or self._take(dispatch), problem)
            raise
        else:
            self._rows.pop(dispatch.key, None)
            _distribute(dispatch.writes, answers, tid)

    async def _record_and_build(self, dispatch: _Dispatch) -> None:
        """Record what travels, just before it leaves. Called again, after a token was refreshed or a pause was waited
        out, it is the same that travels, or nothing does any more."""
        dispatch.writes = dispatch.writes or self._take(dispatch)
        if not dispatch.writes:
            raise NothingToSend
        loop = asyncio.get_running_loop()
        if dispatch.batch is None:
            self._forget_leftovers(dispatch.realm)
            writes = tuple(write.requestid for write in dispatch.writes)
            dispatch.batch = Batch(
                realm=dispatch.realm,
                requestid=dispatch.requestid,
                writes=writes,
                sent=dispatch.sent + 1,
                at=self._now(),
            )
        await self._record(dispatch.key, dispatch.batch)
        await _depart(dispatch.writes)
        ready_at = min(write.ready_at for write in dispatch.writes)
        if loop.time() > ready_at + LEAVES_WITHIN_SECONDS or dispatch.generation != self._generation:
            self._rows.pop(dispatch.key, None)
            _fail(dispatch.writes, SendSingly())
            raise NothingToSend
        dispatch.left_at = loop.time()

    def _forget_leftovers(self, realm: str) -> None:
        old = [key for key, row in self._rows.items() if row.realm == realm and row.at + KEPT < self._now()]
        for key in old:
            if key not in self._unanswered:
                del self._rows[key]

    # Without an answer

    def _note_unanswered(self, batch: Batch, left_at: float, generation: int) -> _Unanswered:
        """The doubt about a recorded batch; one that another life of the worker recorded may leave only now."""
        key = RowKey.of(batch.realm, batch.requestid)
        if key not in self._unanswered:
            self._unanswered[key] = _Unanswered(batch, generation)
            self._start(self._resolve(key, self._unanswered[key], left_at))
        return self._unanswered[key]

    async def _resolve(self, key: str, unanswered: _Unanswered, left_at: float) -> None:
        """Let its writes be looked up when it is over; send it again if all of them come back."""
        await asyncio.sleep(left_at + SEEN_SECONDS_MAX - asyncio.get_running_loop().time())
        unanswered.over.set()
        batch = unanswered.batch
        if batch.sent < SENT_MAX and unanswered.generation == self._generation:
            with suppress(TimeoutError):
                async with asyncio.timeout(TOGETHER_SECONDS_MAX):
                    await unanswered.all_back.wait()
        del self._unanswered[key]
        if unanswered.generation == self._generation and len(unanswered.back) == len(batch.writes):
            writes = [unanswered.back[requestid] for requestid in batch.writes]
            await self._send(_Dispatch(batch.realm, unanswered.generation, batch.sent, writes))
        else:
            self._rows.pop(key, None)
            _fail(unanswered.back.values(), SendSingly())

    async def _again(self, realm: str, write: _Write) -> Found:
        """A write that was looked up in vain, with the others of its batch. Raises SendSingly when they do not all
        come.
        """
        batch = self._recorded(realm, write.requestid)
        if batch is None:
            raise SendSingly
        unanswered = self._unanswered.get(RowKey.of(realm, batch.requestid))
        if unanswered is None or not unanswered.over.is_set():
            raise OutcomeUnknown("this write may have left in a batch whose answer nobody knows")
        if unanswered.generation != self._generation:
            raise SendSingly
        unanswered.back[write.requestid] = write
        if len(unanswered.back) == len(batch.writes):
            unanswered.all_back.set()
        try:
            return await write.answer
        finally:
            unanswered.back.pop(write.requestid, None)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        # The task inherits the context of the command that starts it, and with it the partition of Faust's tables.
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _depart(writes: list[_Write]) -> None:
    """Each of them may still leave. What took long, because the worker stood still, say, is done anew."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await asyncio.gather(*(write.leaving() for write in writes if write.leaving is not None))
        if loop.time() - began <= DEPARTS_SECONDS_MAX:
            return


def _fail(writes: Iterable[_Write], problem: BaseException) -> None:
    for write in writes:
        write.fail(problem)


def _distribute(writes: list[_Write], answers: list[dict[str, Any]], tid: str | None) -> None:
    """To each write its own answer, by bId: their order is not promised."""
    by_bid = {str(answer.get("bId")): answer for answer in answers}
    for number, write in enumerate(writes, 1):
        answer = by_bid.get(str(number), {})
        failure = item_failure(answer)
        try:
            if failure is not None:
                raise failure
            write.succeed((checked(write.entity, answer.get(write.entity)), tid))
        except Failure as problem:
            write.fail(problem)
