"""The pipeline: which agent reads which topic, with what, and what is confirmed before it acknowledges.

It knows no Faust. `stream/engine/app.py` attaches it to Kafka, the seeded simulation to a log in memory; both give it
tables, a way to send, the clients and their clocks, and run the same agents.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar, assert_never

from models.commands import (
    COMMANDS,
    DeclineInvoice,
    EnsureCustomer,
    EnsureItem,
    HandOver,
    PostInvoice,
    ResumeParked,
    SetCustomerMapping,
    SetItemMapping,
    VoidInvoice,
)
from models.events import Announcement, ConnectionChanged, InvoiceEnriched, InvoiceHandedOver
from models.ledger import Batch, CustomerMapping, ItemMapping, LedgerEntry, Owner, Waiting
from models.outcomes import Outcome
from models.policy import Policy
from models.record import Address, TopicRole

from . import enrich, watch, write_back
from .clients import ownership
from .clients.quickbooks import AccessTokens, QuickBooksClient
from .clients.retry import RetryPolicy
from .connections import SETTLE_SECONDS, Cipher, Connections, OAuth, connections_agent, newest
from .delivery import (
    Claims,
    DeadLetter,
    Delivered,
    Delivery,
    Event,
    Forwarded,
    Headers,
    InvalidRecord,
    Postponed,
    Publish,
    Published,
    StopWorker,
)
from .enrich import Enricher, Owners
from .post import post
from .post.batches import Batches
from .post.circuit_breaker import CircuitBreaker
from .post.ledger_age import NOTHING_MISSED, LedgerAge
from .post.parked import ParkedCommands, Recalled
from .post.searched_table import SearchedTable
from .post.sink import LedgerTables, Sink
from .post.unsettled import UnsettledAttempts
from .translate.hand_over import hand_over
from .translate.translate import translate
from .write_back import WriteBack

T = TypeVar("T")
Row = TypeVar("Row")

DRAIN_SECONDS = 10
"""How long a rebalance waits for what is being handled; what takes longer is repeated by the next owner."""

CONFIRM_SECONDS_MAX = 30
"""How long a rebalance waits for the broker to confirm what was written to the changelogs."""

RESTS_PER_PROBE = 5
"""A parked command rests after a try for this part of the shortest time between two probes of its cause."""

OWNED_SECONDS_MAX = 1.0
"""A company was ours so lately when a row of it is written without an attempt."""

RECORD_OVERHEAD_BYTES = 65_536
"""Key, headers and what Kafka adds to a record; a dead letter's headers hold a stack trace."""


class Fenced(StopWorker):
    """Somebody else has written to a changelog of ours: the group gave our partition to another worker, or a worker
    that was given up still works on it. A worker that notices ends before its next write leaves, and reads what was
    written.
    """


class ChangelogFence:
    """Knows by the offsets of our records in a table's changelog, which are consecutive, if anybody else writes there.

    A worker that was paused past its session, or cut off, does not know that another has its partitions: nothing in
    Kafka keeps it from writing on.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._next: dict[int, int] = {}
        self._fenced: Fenced | None = None

    def recovered(self, next_offsets: Mapping[int, int]) -> None:
        """The changelog was read: of each partition, the offset that the next record will have."""
        self._next = dict(next_offsets)

    def expect(self, partition: int) -> int | None:
        """The offset of the record that is sent now, if nobody else writes there; None where that is not known."""
        expected = self._next.get(partition)
        if expected is not None:
            self._next[partition] = expected + 1
        return expected

    def acknowledged(self, partition: int, expected: int | None, offset: int) -> None:
        """The broker has put the record at `offset`; a negative one is unknown."""
        if expected is not None and offset >= 0 and offset != expected:
            self._fenced = Fenced(
                f"the changelog of table {self._table}, partition {partition}, has records of another worker (ours is "
                f"at offset {offset} instead of {expected}): this worker ends, to read them when it starts"
            )

    def check(self) -> None:
        """Raises Fenced from the moment on at which a foreign record was noticed."""
        if self._fenced is not None:
            raise self._fenced


class Table(SearchedTable[Row]):
    """Rows by `realm/…` (`models.subject.RowKey`). A change is queued for the table's changelog."""

    @abstractmethod
    async def confirmed(self) -> None:
        """Returns when the broker has confirmed every change made before. Raises StopWorker when it will not, and
        Fenced when somebody else writes to the changelog."""


@dataclass(frozen=True)
class Tables:
    """All tables; their names are those of the changelogs (`models.ledger.TABLES`)."""

    customers: Table[CustomerMapping]
    items: Table[ItemMapping]
    invoices: Table[LedgerEntry]
    doc_numbers: Table[str]
    waiting: Table[Waiting]
    batches: Table[Batch]
    connections: Table[ConnectionChanged]
    owners: Table[Owner]

    def all(self) -> tuple[Table[Any], ...]:
        return (
            self.customers,
            self.items,
            self.invoices,
            self.doc_numbers,
            self.waiting,
            self.batches,
            self.connections,
            self.owners,
        )


class Send(Protocol):
    async def __call__(
        self, role: TopicRole, key: bytes | None, value: bytes | None, headers: Headers | None
    ) -> Awaitable[object]:
        """Queue a record for the topic of that role; what it returns is done when the broker has confirmed it."""


@dataclass(frozen=True)
class Ports:
    """What the pipeline speaks through. `read_commands` reads commands again from where they lie; it never raises."""

    send: Send
    enricher: Enricher
    write_back: WriteBack
    oauth: OAuth
    cipher: Cipher
    quickbooks: Callable[[AccessTokens], QuickBooksClient]
    read_commands: Callable[[Sequence[Address]], Awaitable[Recalled]]


@dataclass(frozen=True)
class Options:
    """What the settings of these names say (docs/settings.md), how old the ledger was found to be, and how many dead
    letters each agent made last. `partition_of` says where a customer's webhooks lie.
    """

    policy_of: Callable[[str], Policy]
    partition_of: Callable[[str], int]
    retry: RetryPolicy
    in_flight_max: int
    unacknowledged_max: int
    dead_letters_in_a_row_max: int
    message_bytes_max: int
    batch_size: int
    batch_wait_seconds: float
    trust_requestids: bool
    parked_probe_seconds: float
    refresh_before_seconds: float
    hard_expiry_warning_days: float
    ledger_age: LedgerAge = NOTHING_MISSED
    dead_letters_in_a_row: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Agent:
    """One agent: its name, what it reads, and the delivery that handles it."""

    name: str
    reads: TopicRole
    delivery: Delivery[Any]


class Pipeline:
    """The agents, and what happens around them. `clock` gives epoch seconds, `monotonic` seconds that never go back."""

    def __init__(
        self,
        tables: Tables,
        ports: Ports,
        options: Options,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.tables = tables
        self._ports = ports
        self._options = options
        self._unsettled = UnsettledAttempts(tables.invoices, tables.waiting)

        def now() -> datetime:
            return datetime.fromtimestamp(clock(), UTC)

        self._now = now
        self.has_invoices = ownership.of_invoices(tables.invoices, now, monotonic)
        self.has_connections = ownership.of_connections(tables.connections, now, monotonic)
        self.has_webhooks = ownership.of_webhooks(tables.owners, monotonic)
        self.connections = Connections(
            tables.connections,
            ports.oauth,
            ports.cipher,
            self.record_connection,
            clock,
            options.refresh_before_seconds,
            hard_expiry_warning_days=options.hard_expiry_warning_days,
            make_sure=self.has_connections.make_sure,
            settle_seconds=SETTLE_SECONDS,
        )
        books = ports.quickbooks(self.connections)
        self.batches = Batches(
            books,
            tables.batches,
            self.record_batch,
            size_max=options.batch_size,
            wait_seconds=options.batch_wait_seconds,
            now=now,
        )
        self.sink = Sink(
            books=books,
            tables=LedgerTables(
                tables.customers, tables.items, tables.invoices, tables.doc_numbers, self.record_attempt
            ),
            parked=ParkedCommands(
                tables.waiting,
                rest=timedelta(seconds=options.parked_probe_seconds / RESTS_PER_PROBE),
                probe=timedelta(seconds=options.parked_probe_seconds),
                log_since=options.ledger_age.log_since,
            ),
            unsettled=self._unsettled,
            circuit_breaker=CircuitBreaker(monotonic),
            read_commands=ports.read_commands,
            policy_of=options.policy_of,
            retry=options.retry,
            now=now,
            batches=self.batches,
            trust_requestids=options.trust_requestids,
            make_sure=partial(self.has_invoices.make_sure, within_seconds=OWNED_SECONDS_MAX),
            ledger_age=options.ledger_age,
        )
        self.agents = self._agents()

    def _agents(self) -> tuple[Agent, ...]:
        agent, confirm_tables = self._agent, self.publish_with_tables
        owners = Owners(self.tables.owners, self._options.partition_of, self.has_webhooks.make_sure)
        enriched = partial(enrich.enrich, enricher=self._ports.enricher, owners=owners)
        posted = partial(post.post, sink=self.sink)
        written = partial(write_back.write_back, into=self._ports.write_back)
        invoices, outcomes = InvoiceEnriched.model_validate_json, Outcome.model_validate_json
        connections = ConnectionChanged.model_validate_json
        return (
            agent("enrich", "webhooks", enrich.read_webhook, enriched, enrich.claims, self.publish_owned),
            agent("translate", "invoices", invoices, self._translate, _claim_of("invoice_id"), self.publish),
            agent("post", "commands", COMMANDS.validate_json, posted, post.claims, confirm_tables),
            agent("write-back", "outcomes", outcomes, written, write_back.claims, self.publish),
            agent("connections", "connections", connections, self._connect, _claim_of("realm"), confirm_tables),
        )

    def _agent(
        self,
        name: str,
        reads: TopicRole,
        decode: Callable[[bytes], T],
        handle: Callable[[Delivered[T]], Awaitable[Sequence[Published]]],
        claims: Callable[[T], Claims],
        publish: Publish,
    ) -> Agent:
        delivery = Delivery(
            name,
            decode=decode,
            handle=handle,
            claims=claims,
            publish=publish,
            in_flight_max=self._options.in_flight_max,
            unacknowledged_max=self._options.unacknowledged_max,
            dead_letters_in_a_row_max=self._options.dead_letters_in_a_row_max,
            dead_letters_in_a_row=self._options.dead_letters_in_a_row.get(name, 0),
            company_of=_nobody if reads == "webhooks" else _realm_of,
            now=self._now,
        )
        return Agent(name, reads, delivery)

    async def _translate(self, facts: Delivered[InvoiceEnriched]) -> Sequence[Published]:
        record, policy_of = facts.record, self._options.policy_of
        if record.routed_to is not None:
            return [hand_over(record, record.routed_to, facts.at, policy_of=policy_of)]
        return translate(record, facts.at, policy=policy_of(record.realm))

    async def _connect(self, change: Delivered[ConnectionChanged]) -> Sequence[Published]:
        await self.has_connections.make_sure(change.record.realm)
        return await connections_agent(change.record, table=self.tables.connections)

    # What is durable before anything relies on it

    async def record_attempt(self, key: str, entry: LedgerEntry) -> None:
        await self.has_invoices.put(key, entry)
        await self.tables.doc_numbers.confirmed()

    async def record_batch(self, key: str, batch: Batch) -> None:
        self.tables.batches[key] = batch
        await self.tables.batches.confirmed()

    async def record_connection(self, change: ConnectionChanged) -> None:
        # The topic first: `connect` must know of it, or what a person connects may seem older than the table.
        await self.publish([change])
        await self.has_connections.make_sure(change.realm)
        if newest(self.tables.connections.get(change.realm), change) is change:
            self.tables.connections[change.realm] = change
        await self.tables.connections.confirmed()

    async def publish_owned(self, records: Sequence[Published | DeadLetter | Postponed]) -> None:
        """Facts go to no company before it is recorded that this one has the invoice."""
        await self.tables.owners.confirmed()
        await self.publish(records)

    async def publish_with_tables(self, records: Sequence[Published | DeadLetter | Postponed]) -> None:
        """An acknowledged command must never be ahead of the tables that it changed."""
        await self.publish(records)
        for table in self.tables.all():
            await table.confirmed()

    async def publish(self, records: Sequence[Published | DeadLetter | Postponed]) -> None:
        """Send the records in order; returns when the broker has confirmed each. Raises InvalidRecord, and sends none,
        when one is too large for Kafka; and StopWorker when the broker does not take one: no record is to blame."""
        try:
            for confirmation in await self._sent(records):
                await confirmation
        except (InvalidRecord, StopWorker):
            raise
        except Exception as error:
            raise StopWorker(f"Kafka did not take a record: {type(error).__name__}: {error}") from error

    async def _sent(self, records: Sequence[Published | DeadLetter | Postponed]) -> list[Awaitable[object]]:
        addressed = [_addressed(record) for record in records]
        limit = self._options.message_bytes_max
        for role, _, value, _ in addressed:
            if len(value or b"") > limit - RECORD_OVERHEAD_BYTES:
                raise InvalidRecord(
                    f"what follows from it for the topic of {role} has {len(value or b''):,} bytes; no record may be "
                    f"larger than kafka.message_bytes_max, {limit:,}: set it higher, then redrive"
                )
        return [await self._ports.send(*each) for each in addressed]

    # What happens around the agents

    async def recovered(self) -> None:
        """The tables are as their changelogs say: what somebody left unsettled in them is found."""
        await self._unsettled.find()

    async def probe(self) -> None:
        """To be called every `parked_probe_seconds`: one parked command of each cause finds out whether the cause is
        gone, since most go without a word; and what was left unsettled is looked up. Without any of these due, nothing
        is published."""
        realms = self.sink.parked.realms_to_probe(self._now()) | self._unsettled.realms
        await self.publish([ResumeParked(realm=realm) for realm in sorted(realms)])

    async def revoke(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Before partitions go to another worker: let what is being handled reach its end, within a bound; and what was
        begun and given up reach the changelogs, so that the next owner reads it."""
        await asyncio.gather(*(agent.delivery.drain(drain_seconds) for agent in self.agents))
        self.batches.on_revoked()
        with suppress(StopWorker, TimeoutError):
            async with asyncio.timeout(CONFIRM_SECONDS_MAX):
                for table in self.tables.all():
                    await table.confirmed()


def topic_of(record: Published | DeadLetter | Postponed) -> TopicRole:
    """Where a record goes. Only webhooks are postponed: their order does not matter."""
    match record:
        case InvoiceHandedOver() | Forwarded():
            return "webhooks"
        case InvoiceEnriched():
            return "invoices"
        case Outcome():
            return "outcomes"
        case ConnectionChanged():
            return "connections"
        case DeadLetter():
            return "deadletters"
        case Announcement() | Postponed():
            return "webhooks"
        case EnsureCustomer() | EnsureItem() | SetCustomerMapping() | SetItemMapping():
            return "commands"
        case PostInvoice() | VoidInvoice() | DeclineInvoice() | HandOver() | ResumeParked():
            return "commands"
        case _:
            assert_never(record)


def _addressed(
    record: Published | DeadLetter | Postponed,
) -> tuple[TopicRole, bytes | None, bytes | None, Headers | None]:
    """Topic, key, value and headers."""
    if isinstance(record, DeadLetter | Forwarded | Postponed):
        return topic_of(record), record.key, record.value, record.headers
    if isinstance(record, Announcement):
        return topic_of(record), record.customer_id.encode(), record.encode(), watch.headers_of(record)
    if isinstance(record, InvoiceHandedOver):
        return topic_of(record), record.customer_id.encode(), record.encode(), None
    return topic_of(record), record.realm.encode(), record.encode(), None


def _realm_of(event: Event) -> Hashable:
    return event.key


def _nobody(event: Event) -> Hashable:
    """A webhook does not say whose it is."""
    return None


def _claim_of(field: str) -> Callable[[Any], Claims]:
    return lambda record: Claims(establishes=frozenset({getattr(record, field)}))
