"""The engine, on one screen: which agent reads which topic, with what, and where its records go."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import faust
import mode
from yarl import URL

from agents import enrich, write_back
from agents.clients.metronome import MetronomeClient
from agents.clients.oauth import IntuitOAuth
from agents.clients.retry import RetryPolicy
from agents.clients.transport import Transport
from agents.connections import Connections, connections_agent
from agents.delivery import Claims, DeadLetter, Delivered, Delivery, Event, InvalidRecord
from agents.enrich import Enricher, Remembered, Routes
from agents.post import post
from agents.post.batches import Batches
from agents.post.circuit_breaker import CircuitBreaker
from agents.post.parked import ParkedCommands
from agents.post.sink import Sink, Tables
from agents.translate.translate import translate
from agents.write_back import WriteBack
from models.commands import COMMANDS, ResumeParked
from models.events import ConnectionChanged, InvoiceEnriched
from models.ledger import Batch, CustomerMapping, ItemMapping, LedgerEntry, Waiting
from models.outcomes import Outcome
from models.record import Address, Record
from stream.kafka.log import read_commands
from stream.settings import Settings
from stream.topics import topic_names
from stream.wiring import TokenCipher, metronome_client, quickbooks_client

from .faust_patches import patch_consumer
from .tables import ChangelogTable, record_table, text_table

T = TypeVar("T")
DRAIN_SECONDS = 20
"""How long a rebalance waits for what is in flight; what takes longer is repeated by the next owner."""

PRODUCER_LINGER_SECONDS = 0.005
"""Records of some milliseconds leave in one request: fewer requests for the broker, and for us (`make bench`)."""


RESTS_PER_PROBE = 5
"""A command that waits rests after a try for this part of the time between two probes."""


RECORD_BYTES_BESIDE_MAX = 65_536
"""Key, headers and what Kafka adds to a record; a dead letter's headers hold a stack trace."""


class Engine:
    """The Faust app and its deliveries; `start` and `stop` belong to `stream/engine/worker.py`."""

    def __init__(self, settings: Settings, transport: Transport, oauth: IntuitOAuth) -> None:
        self.settings = settings
        self.names = topic_names(settings)
        self.app = _faust_app(settings)
        patch_consumer(self.app, settings.kafka.fetch_wait_milliseconds)
        self.deliveries: list[Delivery[Any]] = []
        self._topics = {name: self._raw_topic(name) for name in self.names.all()}
        self._build(transport, oauth)
        self.app.on_partitions_revoked.connect(self._drain)

    def _build(self, transport: Transport, oauth: IntuitOAuth) -> None:
        settings, names = self.settings, self.names
        partitions = settings.kafka.company_partitions
        customers = record_table(self.app, "customers", CustomerMapping, partitions=partitions)
        items = record_table(self.app, "items", ItemMapping, partitions=partitions)
        invoices = record_table(self.app, "invoices", LedgerEntry, partitions=partitions)
        doc_numbers = text_table(self.app, "doc_numbers", partitions=partitions)
        waiting = record_table(self.app, "waiting", Waiting, partitions=partitions)
        sent_batches = record_table(self.app, "batches", Batch, partitions=partitions)
        tokens = record_table(self.app, "connections", ConnectionChanged, partitions=partitions)

        async def record_attempt(key: str, entry: LedgerEntry) -> None:
            invoices[key] = entry
            await invoices.confirmed()
            await doc_numbers.confirmed()

        async def record_batch(key: str, batch: Batch) -> None:
            sent_batches[key] = batch
            await sent_batches.confirmed()

        async def record_connection(change: ConnectionChanged) -> None:
            # The topic first: `connect` must know of it, or what a person connects may seem older than the table.
            await self.publish([change])
            tokens[change.realm] = change
            await tokens.confirmed()

        async def publish_with_tables(records: Sequence[Record | DeadLetter]) -> None:
            """An acknowledged command must never be ahead of the tables that it changed."""
            await self.publish(records)
            for table in (customers, items, invoices, doc_numbers, waiting, sent_batches, tokens):
                await table.confirmed()

        metronome = metronome_client(settings, transport)
        connections = Connections(
            tokens,
            oauth,
            TokenCipher(settings.encryption_keys),
            record_connection,
            time.time,
            settings.quickbooks.refresh_before_seconds,
            hard_expiry_warning_days=settings.quickbooks.hard_expiry_warning_days,
        )
        client = quickbooks_client(settings, transport, connections)
        self._batches = Batches(
            client,
            sent_batches,
            record_batch,
            size_max=settings.quickbooks.batch_size,
            wait_seconds=settings.quickbooks.batch_wait_milliseconds / 1000,
            now=_now,
        )
        sink = Sink(
            books=client,
            tables=Tables(customers, items, invoices, doc_numbers, record_attempt),
            parked=ParkedCommands(
                waiting, timedelta(seconds=settings.quickbooks.parked_probe_seconds / RESTS_PER_PROBE)
            ),
            circuit_breaker=CircuitBreaker(time.monotonic),
            read_commands=partial(read_commands, settings),
            policy_of=settings.policy_of,
            retry=_patience(settings.quickbooks.retry_seconds, settings.quickbooks.backoff_max_seconds),
            now=_now,
            batches=self._batches,
            trust_requestids=settings.quickbooks.trust_requestids,
        )
        enricher = _enricher(settings, metronome)
        into = WriteBack(
            metronome, enricher.retry, settings.metronome.write_back_customers, settings.metronome.write_back_items
        )

        async def translated(facts: Delivered[InvoiceEnriched]) -> Sequence[Record]:
            return translate(facts.record, facts.at, policy=settings.policy_of(facts.record.realm))

        async def connected(change: Delivered[ConnectionChanged]) -> Sequence[Record]:
            return await connections_agent(change.record, table=tokens)

        agent, by_id = self._agent, _claim_of
        agent("enrich", names.webhooks, enrich.read_webhook, partial(enrich.enrich, enricher=enricher), enrich.claims)
        agent("translate", names.invoices, InvoiceEnriched.model_validate_json, translated, by_id("invoice_id"))
        agent(
            "post",
            names.commands,
            COMMANDS.validate_json,
            partial(post.post, sink=sink),
            post.claims,
            publish_with_tables,
        )
        agent(
            "write-back",
            names.outcomes,
            Outcome.model_validate_json,
            partial(write_back.write_back, into=into),
            write_back.claims,
        )
        agent(
            "connections",
            names.connections,
            ConnectionChanged.model_validate_json,
            connected,
            by_id("realm"),
            publish_with_tables,
        )

        async def probe() -> None:
            """One waiting command of each cause finds out whether it is gone: most causes go without a word."""
            realms = {row.realm for row in waiting.values()}
            await self.publish([ResumeParked(realm=realm) for realm in sorted(realms)])

        self.app.timer(settings.quickbooks.parked_probe_seconds)(probe)

    def _agent(
        self,
        name: str,
        topic: str,
        decode: Callable[[bytes], T],
        handle: Callable[[Delivered[T]], Awaitable[Sequence[Record]]],
        claims: Callable[[T], Claims],
        publish: Any = None,
    ) -> None:
        worker = self.settings.worker
        delivery = Delivery(
            name,
            decode=decode,
            handle=handle,
            claims=claims,
            publish=publish or self.publish,
            in_flight_max=worker.in_flight_max,
            dead_letters_in_a_row_max=worker.dead_letters_in_a_row_max,
        )
        self.deliveries.append(delivery)

        async def run(stream: faust.StreamT[bytes]) -> None:
            await delivery.run(events_of(stream))

        self.app.agent(self._topics[topic], name=name)(run)

    async def publish(self, records: Sequence[Record | DeadLetter]) -> None:
        """Send the records in order; returns when the broker has confirmed each. Raises InvalidRecord, and sends none,
        when
        one is too large for Kafka."""
        letters = [self._addressed(record) for record in records]
        for topic, _, value, _ in letters:
            if len(value or b"") > self.settings.kafka.message_bytes_max - RECORD_BYTES_BESIDE_MAX:
                raise InvalidRecord(
                    f"what follows from it for {topic} has {len(value or b''):,} bytes; no record may be larger than "
                    f"kafka.message_bytes_max, {self.settings.kafka.message_bytes_max:,}: set it higher, then redrive"
                )
        sent = [
            await self._topics[topic].send(key=key, value=value, headers=headers)
            for topic, key, value, headers in letters
        ]
        for confirmation in sent:
            await confirmation

    def _addressed(self, record: Record | DeadLetter) -> tuple[str, bytes | None, bytes | None, Any]:
        """Topic, key, value and headers."""
        if isinstance(record, DeadLetter):
            return self.names.deadletters, record.key, record.value, record.headers
        realm: str = record.realm  # type: ignore[attr-defined]
        return self._topic_of(record), realm.encode(), record.encode(), None

    def _topic_of(self, record: Record) -> str:
        match record:
            case InvoiceEnriched():
                return self.names.invoices
            case Outcome():
                return self.names.outcomes
            case ConnectionChanged():
                return self.names.connections
            case _:
                return self.names.commands

    def _raw_topic(self, name: str) -> Any:
        return self.app.topic(name, key_type=bytes, value_type=bytes)

    async def _drain(self, app: faust.App, revoked: Any, **_: Any) -> None:
        """Before partitions go to another worker: let what is in flight reach its end, within a bound."""
        for delivery in self.deliveries:
            await delivery.drain(DRAIN_SECONDS)
        self._batches.on_revoked()


async def events_of(stream: faust.StreamT[bytes]) -> AsyncIterator[Event]:
    """Faust's events as delivery knows them, acknowledged only by hand."""
    async for event in stream.noack().events():
        message = event.message
        yield Event(
            key=message.key,
            value=message.value,
            headers={name: _bytes(value) for name, value in event.headers.items()},
            at=Address(topic=message.topic, partition=message.partition, offset=message.offset),
            timestamp=datetime.fromtimestamp(message.timestamp, UTC),
            ack=event.ack,
        )


def _bytes(value: bytes | str | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _claim_of(field: str) -> Callable[[Any], Claims]:
    return lambda record: Claims(establishes=frozenset({getattr(record, field)}))


def _faust_app(settings: Settings) -> faust.App:
    worker, kafka = settings.worker, settings.kafka
    assert kafka.bootstrap_servers is not None
    return faust.App(
        settings.app_id,
        broker=[URL(f"kafka://{server.strip()}") for server in kafka.bootstrap_servers.split(",")],
        autodiscover=False,
        agent_supervisor=mode.CrashingSupervisor,  # a bug stops the worker; going on would skip what it had not done
        broker_session_timeout=worker.session_timeout_seconds,
        broker_heartbeat_interval=max(1, worker.session_timeout_seconds // 5),
        broker_request_timeout=max(90, worker.session_timeout_seconds + 10),
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        key_serializer="raw",  # agents/delivery.py and stream/engine/tables.py decode, so that no bytes are ever lost
        value_serializer="raw",
        datadir=str(Path(worker.data_directory).absolute()),
        producer_linger=PRODUCER_LINGER_SECONDS,
        producer_max_request_size=kafka.message_bytes_max,
        logging_config={"version": 1, "disable_existing_loggers": False},
        store=worker.store,
        stream_processing_timeout=settings.quickbooks.retry_seconds + 60,
        topic_allow_declare=False,  # stream/kafka/admin.py declares every topic before the app starts
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        Table=ChangelogTable,
    )


def _enricher(settings: Settings, metronome: MetronomeClient) -> Enricher:
    ours, routing = settings.metronome, settings.routing
    return Enricher(
        metronome=metronome,
        routes=Routes(routing.customer_field, routing.by_currency, routing.default_realm),
        retry=_patience(ours.retry_seconds, ours.backoff_max_seconds),
        customers=Remembered(ours.cache_seconds, ours.cache_entries_max, time.monotonic),
        contracts=Remembered(ours.cache_seconds, ours.cache_entries_max, time.monotonic),
        now=_now,
    )


def _patience(retry_seconds: float, backoff_max_seconds: float) -> RetryPolicy:
    return RetryPolicy(retry_seconds, backoff_max_seconds, time.monotonic)


def _now() -> datetime:
    return datetime.now(UTC)
