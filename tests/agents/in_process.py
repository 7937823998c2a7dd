"""The sink against a simulated QuickBooks without sockets, on a clock that only sleeping moves.

`World` is everything that outlives a worker: the books, and the log of what the broker confirmed. `World.dies` kills
the worker at a point of its work, as kill -9 would, and starts one that knows what that log holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from agents.clients.failures import NotConnected
from agents.clients.ownership import nobody_else
from agents.clients.quickbooks import QuickBooksClient
from agents.clients.rate_limit import RateLimiter, RateLimits
from agents.clients.retry import RetryPolicy
from agents.clients.transport import Answer, AnswerLost, NotSent
from agents.delivery import Delivered
from agents.post.batches import Batches
from agents.post.circuit_breaker import CircuitBreaker
from agents.post.ledger_age import NOTHING_MISSED, LedgerAge
from agents.post.parked import ParkedCommands, Recalled
from agents.post.post import post
from agents.post.searched_table import SearchedTable
from agents.post.sink import LedgerTables, Sink
from agents.post.unsettled import UnsettledAttempts
from models.commands import COMMANDS, Command, EnsureCustomer, EnsureItem, PostInvoice, VoidInvoice
from models.document import CustomerReference, Document, ItemReference, Line, doc_number
from models.events import Announcement, InvoiceHandedOver
from models.ledger import Batch, LedgerEntry
from models.outcomes import Outcome
from models.policy import Policy
from models.record import Address
from simulators import http
from simulators.faults import Fault, Faults
from simulators.quickbooks.books import Company, add_customer, add_item
from simulators.quickbooks.core import QuickBooks
from simulators.quickbooks.errors import throttled
from simulators.quickbooks.oauth import OAuthServer
from simulators.quickbooks.settings import QuickBooksSettings
from simulators.server import default_oauth

REALM = "9341450000000001"
START = 1_795_000_000.0
COMMANDS_TOPIC = "quickbooks.commands"
ANSWER_SECONDS = 0.1
TIMEOUT_SECONDS = 130.0
BATCH_WAIT_SECONDS = 0.05

TABLES = ("customers", "items", "invoices", "doc_numbers")

Json = dict[str, Any]


class FreeFlow:
    """A source that need not be held back."""

    def hold(self, partition: int) -> None: ...

    def go_on(self, partition: int) -> None: ...


class Crash(BaseException):
    """The worker is killed here; nothing of it runs any more."""


class Alive(Exception):
    """The worker was to be killed at a point that it never reached; holds the offset of the command, which is done."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the command at offset {offset} never came to that point")
        self.offset = offset


class Clock:
    """Epoch seconds; sleeping is what moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)  # whoever else is at work goes on

    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


class InProcess:
    """A transport that asks a simulator's core, and fails as a network would.

    `refuse_connections` is how many of the next requests find nobody listening. `calls` lists what arrived.
    """

    def __init__(self, core: http.Core, clock: Clock) -> None:
        self.core = core
        self._clock = clock
        self.refuse_connections = 0
        self.before: Callable[[http.Request], None] = lambda request: None
        self.after: Callable[[http.Request], None] = lambda request: None
        self.calls: list[http.Request] = []

    async def __call__(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Answer:
        if self.refuse_connections > 0:
            self.refuse_connections -= 1
            raise NotSent("ClientConnectorError at nowhere")
        parts = urlsplit(url)
        lower = {name.lower(): value for name, value in headers.items()}
        request = http.Request(method, parts.path, dict(parse_qsl(parts.query)), lower, body or b"")
        self.before(request)
        self.calls.append(request)
        answer = self.core(request)
        self.after(request)
        await self._clock.sleep(min(ANSWER_SECONDS + answer.delay_seconds, timeout_seconds))
        if answer.ending != "whole" or answer.delay_seconds >= timeout_seconds:
            raise AnswerLost(f"{answer.ending} at {parts.path}")
        return Answer(answer.status, {name.lower(): text for name, text in answer.headers.items()}, answer.body)

    def writes(self) -> list[http.Request]:
        return [call for call in self.calls if call.method == "POST"]

    def reads(self) -> list[http.Request]:
        return [call for call in self.calls if call.method == "GET"]


class LoggedTable(SearchedTable[Any]):
    """A table whose changes are queued for the broker, and durable only once `confirm` was called."""

    def __init__(self, durable: dict[str, Any]) -> None:
        self._durable = durable
        self._rows = dict(durable)
        self._queued: list[tuple[str, Any]] = []

    def confirm(self, changes: int | None = None) -> None:
        """The broker has the first so many of the queued changes, or all."""
        confirmed = self._queued[:changes]
        for key, row in confirmed:
            if row is None:
                self._durable.pop(key, None)
            else:
                self._durable[key] = row
        self._queued = self._queued[len(confirmed) :]

    @property
    def queued(self) -> int:
        return len(self._queued)

    def __getitem__(self, key: str) -> Any:
        return self._rows[key]

    def __setitem__(self, key: str, row: Any) -> None:
        self._rows[key] = row
        self._queued.append((key, row))

    def __delitem__(self, key: str) -> None:
        del self._rows[key]
        self._queued.append((key, None))

    def keys_containing(self, *fragments: bytes) -> Iterator[str]:
        return iter([key for key, row in self._rows.items() if any(each in row.encode() for each in fragments)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


class Tokens:
    """Access tokens as `new_token` gives them; `refreshed` counts those after the first."""

    def __init__(self, new_token: Callable[[], str]) -> None:
        self.new_token = new_token
        self.token = new_token()
        self.refreshed = 0
        self.connected = True

    async def access_token(self, realm: str) -> str:
        if not self.connected:
            raise NotConnected(realm)
        return self.token

    def accept(self, realm: str, token: str) -> None:
        pass

    def reject(self, realm: str, token: str) -> None:
        self.refreshed += 1
        self.token = self.new_token()


CrashAt = Literal["before the attempt is recorded", "before the write", "after the write", "before the outcome"]


@dataclass
class World:
    """The books, the durable log, and a clock. `policy` and `retry_seconds` may be changed between commands.

    `flushed` says how many of so many queued table changes reach the broker before a worker dies: none, unless set.
    """

    settings: QuickBooksSettings = field(default_factory=lambda: QuickBooksSettings(limits=False))
    company: Company = field(default_factory=lambda: Company(REALM))
    policy: Policy = field(default_factory=Policy)
    retry_seconds: float = 600.0
    make_sure: Callable[[str], Awaitable[None]] = nobody_else
    flushed: Callable[[int], int] = lambda queued: 0
    clock: Clock = field(default_factory=Clock)
    batch_size: int = 0
    trust_requestids: bool = True
    limits: RateLimits = field(default_factory=lambda: RateLimits(1000, 100_000, 10, 60.0))
    ledger_age: LedgerAge = NOTHING_MISSED

    def __post_init__(self) -> None:
        self.oauth = OAuthServer(default_oauth(1), {REALM: "One"}, self.clock, "1")
        self.quickbooks = QuickBooks([self.company], self.oauth, self.clock, self.settings)
        self.books = self.quickbooks.books[REALM]
        add_customer(self.books, "58", "Acme GmbH", START)
        add_item(self.books, "31", "API Calls", START)
        self.faults = Faults(throttled=lambda: throttled(self.books.timestamp(self.clock(), "milliseconds")))
        self.transport = InProcess(self.faults.around(self.quickbooks.answer), self.clock)
        self.tokens = Tokens(lambda: next(iter(self.oauth.connect(REALM).access_tokens)))
        self.durable: dict[str, dict[str, Any]] = {
            name: {} for name in ("customers", "items", "invoices", "doc_numbers")
        }
        self.waiting: dict[str, Any] = {}
        self.batches: dict[str, Any] = {}
        self.log: dict[Address, Command] = {}
        self.outcomes: list[Outcome] = []
        self.resumed: list[Command] = []
        self.announced: list[Announcement] = []
        self.handed_over: list[InvoiceHandedOver] = []
        self.offsets = 0
        self.worker = Worker(self)

    async def run(self, command: Command, *, offset: int | None = None) -> Outcome:
        """Deliver a command, at a new offset or again at `offset`, and publish its outcome."""
        outcome = await self.worker.run(command, self._offset(offset), None)
        self.outcomes.append(outcome)
        return outcome

    async def dies(self, command: Command, crash_at: CrashAt, *, offset: int | None = None) -> int:
        """Deliver a command to a worker that is killed at that point, and start another; returns the offset.

        Raises Alive when the worker never came to that point; the command is done then.
        """
        offset = self._offset(offset)
        try:
            self.outcomes.append(await self.worker.run(command, offset, crash_at))
        except Crash:
            self.worker.dead(self.flushed)
            self.worker = Worker(self)
            return offset
        raise Alive(offset)

    def lose_the_ledger(self) -> None:
        """The changelogs are gone; the books and the log of commands are not."""
        for rows in (*self.durable.values(), self.waiting, self.batches):
            rows.clear()
        self.worker = Worker(self)

    def _offset(self, offset: int | None) -> int:
        if offset is None:
            offset, self.offsets = self.offsets, self.offsets + 1
        return offset

    def invoices(self, kind: str = "Invoice") -> list[Json]:
        return list(self.books.objects[kind].values())

    def live(self) -> list[Json]:
        documents = self.invoices() + self.invoices("CreditMemo")
        return [each for each in documents if not str(each.get("PrivateNote")).startswith("Voided")]

    def entry(self, invoice_id: str) -> LedgerEntry:
        entry = self.worker.tables.invoices[f"{REALM}/{invoice_id}"]
        assert isinstance(entry, LedgerEntry)
        return entry

    def edited_by_a_person(self, kind: str, qbo_id: str, **changes: Any) -> None:
        """Someone changes the document in QuickBooks' own pages."""
        former = self.books.objects[kind][qbo_id]
        self.books.put_sale(kind, {**former, **changes, "SyncToken": str(int(former["SyncToken"]) + 1)}, former)


class Worker:
    """One life of the sink, between two kills."""

    def __init__(self, world: World) -> None:
        """It knows what the broker has confirmed, and nothing else."""
        self._world = world
        self._crash_at: CrashAt | None = None
        self.recorded = 0
        self._logged = {name: LoggedTable(rows) for name, rows in world.durable.items()}
        self.tables = LedgerTables(**self._logged, record_attempt=self._record_attempt)
        self._logged["waiting"] = LoggedTable(world.waiting)
        self._logged["batches"] = LoggedTable(world.batches)
        self._parked = ParkedCommands(self._logged["waiting"], log_since=world.ledger_age.log_since)
        self.unsettled = UnsettledAttempts(self._logged["invoices"], self._logged["waiting"])
        self._circuit_breaker = CircuitBreaker(world.clock)
        limiter = RateLimiter(world.limits, monotonic=world.clock, sleep=world.clock.sleep)
        self._client = QuickBooksClient(
            world.transport, "https://qbo.example", world.tokens, limiter, timeout_seconds=TIMEOUT_SECONDS
        )
        self.batches = Batches(
            self._client,
            self._logged["batches"],
            self._record_batch,
            size_max=world.batch_size,
            wait_seconds=BATCH_WAIT_SECONDS,
            now=world.clock.moment,
        )

    async def run(self, command: Command, offset: int, crash_at: CrashAt | None) -> Outcome:
        world, self._crash_at = self._world, crash_at
        world.transport.before, world.transport.after = (
            self._killer("before the write"),
            self._killer("after the write"),
        )
        sink = Sink(
            books=self._client,
            tables=self.tables,
            parked=self._parked,
            unsettled=self.unsettled,
            circuit_breaker=self._circuit_breaker,
            read_commands=self._read_commands,
            policy_of=lambda realm: world.policy,
            retry=RetryPolicy(world.retry_seconds, 30.0, world.clock, world.clock.sleep),
            now=world.clock.moment,
            batches=self.batches,
            ledger_age=world.ledger_age,
            trust_requestids=world.trust_requestids,
            make_sure=world.make_sure,
        )
        at = Address(topic=COMMANDS_TOPIC, partition=0, offset=offset)
        world.log[at] = record = COMMANDS.validate_json(command.encode())
        outcome, *resumed = await post(Delivered(record, at, {}, world.clock.moment()), sink=sink)
        if crash_at == "before the outcome":
            raise Crash
        for table in self._logged.values():
            table.confirm()
        for each in resumed:
            if isinstance(each, Announcement):
                world.announced.append(each)
            elif isinstance(each, InvoiceHandedOver):
                world.handed_over.append(each)
            elif isinstance(each, Outcome):
                world.outcomes.append(each)
            else:
                world.resumed.append(COMMANDS.validate_json(each.encode()))
        return Outcome.model_validate_json(outcome.encode())

    def tables_of(self, name: str) -> LoggedTable:
        return self._logged[name]

    async def _read_commands(self, addresses: Sequence[Address]) -> Recalled:
        log = self._world.log
        return Recalled([log[each] for each in addresses if each in log], frozenset(addresses) - set(log))

    def dead(self, flushed: Callable[[int], int]) -> None:
        for table in self._logged.values():
            table.confirm(flushed(table.queued))

    async def _record_attempt(self, key: str, entry: LedgerEntry) -> None:
        self.recorded += 1
        if self._crash_at == "before the attempt is recorded":
            raise Crash
        self.tables.invoices[key] = entry
        self._logged["doc_numbers"].confirm()
        self._logged["invoices"].confirm()

    async def _record_batch(self, key: str, batch: Batch) -> None:
        self._logged["batches"][key] = batch
        self._logged["batches"].confirm()

    def _killer(self, crash_at: CrashAt) -> Callable[[http.Request], None]:
        def die(request: http.Request) -> None:
            if request.method == "POST" and self._crash_at == crash_at:
                raise Crash

        return die


# Commands

INVOICE_ID = "d23458e0-c9a0-5538-9c3b-0a5a3f1e7b11"
CUSTOMER_ID = "76cbebf3-f36d-5ddc-8b7e-6dd80881c7a6"
PRODUCT_ID = "9334fe1a-0384-5c8f-9823-3854986fd3e7"


def a_line(amount: str = "10.00", *, item: ItemReference | None = None) -> Line:
    need = item or ItemReference(name="API Calls", product_id=PRODUCT_ID, qbo_id="31")
    return Line(item=need, amount=Decimal(amount), description="API Calls")


def a_document(*amounts: str, invoice_id: str = INVOICE_ID, **changes: Any) -> Document:
    lines = tuple(a_line(amount) for amount in amounts or ("10.00",))
    fields: Json = {
        "kind": "invoice",
        "invoice_id": invoice_id,
        "customer": CustomerReference(customer_id=CUSTOMER_ID, name="Acme GmbH", qbo_id="58"),
        "currency": "USD",
        "doc_number": doc_number(invoice_id),
        "txn_date": date(2026, 11, 2),
        "due_date": date(2026, 12, 2),
        "private_note": f"Metronome invoice {invoice_id}\nStatus: FINALIZED",
        "customer_memo": "Usage in October 2026",
        "lines": lines,
        "total": sum((line.amount for line in changes.get("lines", lines)), Decimal(0)),
    }
    return Document(**{**fields, **changes})


FACTS = Address(topic="metronome.invoices", partition=0, offset=42)


def a_post(*amounts: str, invoice_id: str = INVOICE_ID, **changes: Any) -> PostInvoice:
    """Post this invoice of Acme (customer 58, item 31), all mapped by custom fields."""
    document = a_document(*amounts, invoice_id=invoice_id, **changes)
    return PostInvoice(realm=REALM, facts=FACTS, invoice_id=invoice_id, document=document)


def a_void(invoice_id: str = INVOICE_ID) -> VoidInvoice:
    return VoidInvoice(realm=REALM, facts=FACTS, invoice_id=invoice_id, reason="Metronome voided the invoice")


def an_ensure_customer(name: str, customer_id: str = CUSTOMER_ID, currency: str = "USD") -> EnsureCustomer:
    customer = CustomerReference(customer_id=customer_id, name=name)
    return EnsureCustomer(realm=REALM, facts=FACTS, customer=customer, currency=currency)


def an_ensure_item(name: str, product_id: str = PRODUCT_ID) -> EnsureItem:
    return EnsureItem(realm=REALM, facts=FACTS, item=ItemReference(name=name, product_id=product_id))


def fault(kind: Any = "status", *, method: str = "POST", **changes: Any) -> Fault:
    """Spoils the next write (or request of another method)."""
    return Fault(kind, method=method, **changes)


def refusal(code: str, status: int = 400) -> Fault:
    """QuickBooks refuses the next write with this code."""
    body = (
        f'{{"Fault":{{"Error":[{{"Message":"No {code}","Detail":"Detail {code}","code":"{code}"}}],'
        '"type":"ValidationFault"},"time":"2026-11-22"}'
    )
    return fault(status=status, body=body)
