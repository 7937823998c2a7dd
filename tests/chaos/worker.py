"""One worker: the production handlers, deliveries and clients, wired as `stream/engine/app.py` wires them, on this
harness.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any

from pydantic import SecretStr

from agents import enrich, write_back
from agents.clients.metronome import MetronomeClient
from agents.clients.oauth import IntuitOAuth
from agents.clients.quickbooks import QuickBooksClient
from agents.clients.rate_limit import RateLimiter, RateLimits
from agents.clients.retry import RetryPolicy
from agents.connections import Connections, connections_agent
from agents.delivery import Claims, DeadLetter, Delivered, Delivery
from agents.enrich import Enricher, Remembered, Routes
from agents.post import post
from agents.post.batches import Batches
from agents.post.circuit_breaker import CircuitBreaker
from agents.post.parked import ParkedCommands
from agents.post.sink import Sink, Tables
from agents.translate.translate import translate
from agents.write_back import WriteBack
from models.commands import COMMANDS, Command, ResumeParked
from models.events import ConnectionChanged, InvoiceEnriched
from models.ledger import Batch, CustomerMapping, ItemMapping, LedgerEntry, Waiting
from models.outcomes import Outcome
from models.policy import Policy
from models.record import Address, Record
from stream.wiring import TokenCipher

from .log import Log, Producer, Reader, partition_of
from .loop import VirtualLoop
from .network import METRONOME_URL, QUICKBOOKS_URL, TOKEN_URL, Network
from .scene import REALM_FIELD, START
from .tables import Table

WEBHOOKS = "metronome.webhooks"
INVOICES = "metronome.invoices"
COMMANDS_TOPIC = "quickbooks.commands"
OUTCOMES = "quickbooks.outcomes"
CONNECTIONS = "quickbooks.connections"
DEADLETTERS = "deadletters"
COMPANY_TOPICS = (INVOICES, COMMANDS_TOPIC, OUTCOMES, CONNECTIONS)
CONSUMED = (WEBHOOKS, *COMPANY_TOPICS)

DRAIN_SECONDS = 20.0
PROBE_SECONDS = 300.0
"""As in `stream/engine/app.py` and `stream/settings.py`."""


@dataclass(frozen=True)
class Installation:
    """What all workers of a run share."""

    log: Log
    network: Network
    loop: VirtualLoop
    dice: Random
    policy: Policy
    limits: RateLimits
    client: tuple[str, str]
    metronome_token: str
    key: SecretStr
    company_partitions: int
    webhook_partitions: int
    repeats: float
    slow: float
    in_flight_max: int
    write_back_items: bool
    trust_requestids: bool
    batch_size: int
    retry_seconds: float = 600.0
    note: Callable[..., None] = lambda *_: None

    def company_partition(self, realm: str) -> int:
        return partition_of(realm, self.company_partitions)


class Worker:
    """One life of a worker. `clock_offset_seconds` is how wrong its wall clock is; it may jump."""

    def __init__(self, name: str, installation: Installation, crashed: Callable[["Worker"], None]) -> None:
        self.name = name
        self.alive = True
        self.clock_offset_seconds = 0.0
        self._at = installation
        self._crashed = crashed
        self._producer = Producer(installation.log, installation.dice, installation.repeats, installation.slow)
        self.readers: list[Reader] = []
        self.deliveries: list[Delivery[Any]] = []
        self._running: list[asyncio.Task[None]] = []
        self._build()

    def clock(self) -> float:
        return START + self._at.loop.time() + self.clock_offset_seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    @property
    def idle(self) -> bool:
        return self._producer.idle

    def kill(self) -> None:
        """As kill -9: from here on nothing that it does reaches anybody."""
        self.alive = False
        self._producer.kill()
        for reader in self.readers:
            reader.kill()

    async def drain(self) -> None:
        for delivery in self.deliveries:
            await delivery.drain(DRAIN_SECONDS)
        self.gathering.on_revoked()

    def pause(self) -> None:
        for reader in self.readers:
            reader.revoke()

    def expel(self) -> None:
        """It is no member any more and does not know: it handles what it has, and may not commit."""
        for reader in self.readers:
            reader.revoke()
            reader.expel()

    def leave(self) -> None:
        for reader in self.readers:
            reader.leave()

    def join(self, companies: list[int], webhooks: list[int]) -> None:
        """Recovers its tables, and reads on from what was committed."""
        for table in self.tables:
            table.recover(companies)
        for reader in self.readers:
            reader.assign(webhooks if reader.topic == WEBHOOKS else companies)

    def _table(self, name: str, model: Any) -> Any:
        return Table(name, model, self._at.log, self._producer, self._at.company_partitions)

    def _build(self) -> None:
        at, loop = self._at, self._at.loop
        self.customers: Table[CustomerMapping] = self._table("customers", CustomerMapping)
        self.items: Table[ItemMapping] = self._table("items", ItemMapping)
        self.invoices: Table[LedgerEntry] = self._table("invoices", LedgerEntry)
        self.doc_numbers: Table[str] = self._table("doc_numbers", str)
        self.waiting: Table[Waiting] = self._table("waiting", Waiting)
        self.batches: Table[Batch] = self._table("batches", Batch)
        self.tokens: Table[ConnectionChanged] = self._table("connections", ConnectionChanged)
        self.tables: tuple[Table[Any], ...] = (
            *(self.customers, self.items, self.invoices, self.doc_numbers, self.waiting, self.batches, self.tokens),
        )
        transport = at.network.of(self.name, lambda: self.alive)
        metronome = MetronomeClient(transport, METRONOME_URL, at.metronome_token, timeout_seconds=30)
        self.connections = Connections(
            self.tokens,
            IntuitOAuth(transport, TOKEN_URL, *at.client, 30),
            TokenCipher([at.key]),
            self.record_connection,
            self.clock,
            300,
        )
        limiter = RateLimiter(at.limits, monotonic=loop.time)
        books = QuickBooksClient(transport, QUICKBOOKS_URL, self.connections, limiter, timeout_seconds=130)
        self.gathering = Batches(
            books, self.batches, self.record_batch, size_max=at.batch_size, wait_seconds=0.05, now=self.now
        )
        self.sink = Sink(
            books=books,
            tables=Tables(self.customers, self.items, self.invoices, self.doc_numbers, self.record_attempt),
            parked=ParkedCommands(self.waiting),
            circuit_breaker=CircuitBreaker(loop.time),
            read_commands=self._recall,
            policy_of=lambda realm: at.policy,
            retry=RetryPolicy(at.retry_seconds, 30, loop.time),
            now=self.now,
            batches=self.gathering,
            trust_requestids=at.trust_requestids,
        )
        self.enricher = Enricher(
            metronome=metronome,
            routes=Routes(REALM_FIELD, {}, None),
            retry=RetryPolicy(21_600, 60, loop.time),
            customers=Remembered(300, 100, loop.time),
            contracts=Remembered(300, 100, loop.time),
            now=self.now,
        )
        into = WriteBack(metronome, self.enricher.retry, customers=True, items=at.write_back_items)
        agent = self._agent
        agent("enrich", WEBHOOKS, enrich.read_webhook, partial(enrich.enrich, enricher=self.enricher), enrich.claims)
        agent("translate", INVOICES, InvoiceEnriched.model_validate_json, self._translated, _by("invoice_id"))
        agent(
            "post",
            COMMANDS_TOPIC,
            COMMANDS.validate_json,
            partial(post.post, sink=self.sink),
            post.claims,
            self.publish_with_tables,
        )
        written = partial(write_back.write_back, into=into)
        agent("write-back", OUTCOMES, Outcome.model_validate_json, written, write_back.claims)
        agent(
            "connections",
            CONNECTIONS,
            ConnectionChanged.model_validate_json,
            self._connected,
            _by("realm"),
            self.publish_with_tables,
        )
        self._running.append(loop.create_task(self._probe()))

    def _agent(
        self,
        name: str,
        topic: str,
        decode: Callable[[bytes], Any],
        handle: Callable[[Delivered[Any]], Awaitable[Sequence[Record]]],
        claims: Callable[[Any], Claims],
        publish: Any = None,
    ) -> None:
        reader = Reader(self._at.log, topic, self._at.dice)
        delivery = Delivery(
            name,
            decode=decode,
            handle=handle,
            claims=claims,
            publish=publish or self.publish,
            in_flight_max=self._at.in_flight_max,
            dead_letters_in_a_row_max=20,
        )
        self.readers.append(reader)
        self.deliveries.append(delivery)
        task = self._at.loop.create_task(delivery.run(reader.events()))
        task.add_done_callback(self._ended)
        self._running.append(task)

    async def _probe(self) -> None:
        """As the timer in `stream/engine/app.py`: what waits finds out from time to time whether it may go on."""
        while self.alive:
            await asyncio.sleep(PROBE_SECONDS)
            await self.publish(
                [ResumeParked(realm=realm) for realm in sorted({row.realm for row in self.waiting.values()})]
            )

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """An agent never ends by itself; as in production its end is the worker's."""
        if self.alive and not task.cancelled():
            self._at.note(self.name, "worker crashed", repr(task.exception()))
            self._crashed(self)

    async def _translated(self, facts: Delivered[InvoiceEnriched]) -> Sequence[Record]:
        return translate(facts.record, facts.at, policy=self._at.policy)

    async def _connected(self, change: Delivered[ConnectionChanged]) -> Sequence[Record]:
        return await connections_agent(change.record, table=self.tokens)

    async def _recall(self, addresses: Sequence[Address]) -> list[Command]:
        return [COMMANDS.validate_json(self._at.log.at(each).value or b"") for each in addresses]

    async def record_attempt(self, key: str, entry: LedgerEntry) -> None:
        self.invoices[key] = entry
        await self.invoices.confirmed()
        await self.doc_numbers.confirmed()

    async def record_batch(self, key: str, row: Batch) -> None:
        self.batches[key] = row
        await self.batches.confirmed()

    async def record_connection(self, change: ConnectionChanged) -> None:
        await self.publish([change])
        self.tokens[change.realm] = change
        await self.tokens.confirmed()

    async def publish_with_tables(self, records: Sequence[Record | DeadLetter]) -> None:
        await self.publish(records)
        for table in self.tables:
            await table.confirmed()

    async def publish(self, records: Sequence[Record | DeadLetter]) -> None:
        for confirmed in [self._send(record) for record in records]:
            await confirmed

    def _send(self, record: Record | DeadLetter) -> "asyncio.Future[None]":
        if isinstance(record, DeadLetter):
            return self._producer.send(DEADLETTERS, 0, record.key, record.value or b"", record.headers)
        realm: str = record.realm  # type: ignore[attr-defined]
        return self._producer.send(topic_of(record), self._at.company_partition(realm), realm.encode(), record.encode())


def topic_of(record: Record) -> str:
    match record:
        case InvoiceEnriched():
            return INVOICES
        case Outcome():
            return OUTCOMES
        case ConnectionChanged():
            return CONNECTIONS
        case _:
            return COMMANDS_TOPIC


def _by(field: str) -> Callable[[Any], Claims]:
    return lambda record: Claims(establishes=frozenset({getattr(record, field)}))
