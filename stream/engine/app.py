"""The pipeline on Faust: one app, the tables' changelogs, and an agent for each of the pipeline's."""

import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import faust
import mode
from faust.types import TP
from yarl import URL

from agents.clients.oauth import IntuitOAuth
from agents.clients.transport import Transport
from agents.delivery import Event, Headers
from agents.pipeline import Agent, Options, Pipeline, Ports, Tables
from agents.post.ledger_age import LedgerAge
from agents.write_back import WriteBack
from models.ledger import TABLES
from models.record import Address, TopicRole
from stream.kafka.installation import Installation, TopicGuard
from stream.kafka.log import EventLog
from stream.kafka.producer import partition_of
from stream.settings import Settings
from stream.topics import partitions_of, topic_names, topic_specs
from stream.wiring import TokenCipher, enricher, metronome_client, quickbooks_client, retry_policy

from .contract import check_engine
from .faust_patches import patch_transport
from .tables import ChangelogTable, table_of
from .watchdog import Watchdog

PRODUCER_LINGER_SECONDS = 0.005
"""Records of some milliseconds leave in one request: fewer requests for the broker, and for us (`make bench`)."""


DRAINS_OF_SHUTDOWN = 0.5
"""What is in flight has this part of the time within which the process ends; the consumer has to leave its group."""


class Engine:
    """The Faust app with the pipeline attached; `start` and `stop` belong to `worker.py`. Raises EngineMismatch."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        oauth: IntuitOAuth,
        installation: Installation | None = None,
        dead_letters_in_a_row: Mapping[str, int] | None = None,
    ) -> None:
        check_engine()
        self.app = _faust_app(settings)
        self._shutdown_timeout_seconds = settings.worker.shutdown_timeout_seconds
        kafka = settings.kafka
        patch_transport(self.app, kafka.fetch_wait_milliseconds, kafka.connection_timeout_seconds, self._drain)
        self._topics = {role: self._topic(name) for role, name in topic_names(settings).by_role().items()}
        tables = Tables(
            **{name: table_of(self.app, name, row, partitions_of(settings, name)) for name, row in TABLES.items()}
        )
        self.pipeline = Pipeline(
            tables,
            self._ports(settings, transport, oauth),
            _options(settings, installation, dead_letters_in_a_row or {}),
            clock=time.time,
            monotonic=time.monotonic,
        )
        for agent in self.pipeline.agents:
            flow = PartitionFlow(self.app, self._topics[agent.reads].get_topic_name())
            self.app.agent(self._topics[agent.reads], name=agent.name)(partial(_run, agent, flow))
        self.app.tables["invoices"].on_recover(self.pipeline.recovered)
        self.app.timer(settings.quickbooks.parked_probe_seconds)(self.pipeline.probe)
        if installation is not None:
            self._guard_topics(settings, installation)
        changelogs = [self.app.tables[name] for name in TABLES]
        self.watchdog = Watchdog(
            self.app,
            settings.kafka.unconfirmed_warning_seconds,
            lambda: next((each.failure for each in changelogs if each.failure is not None), None),
        )

    def _ports(self, settings: Settings, transport: Transport, oauth: IntuitOAuth) -> Ports:
        metronome = metronome_client(settings, transport)
        enriching = enricher(settings, metronome)
        write_back = settings.metronome.write_back_customers, settings.metronome.write_back_items
        return Ports(
            send=self._send,
            enricher=enriching,
            write_back=WriteBack(metronome, enriching.retry, *write_back),
            oauth=oauth,
            cipher=TokenCipher(settings.encryption_keys),
            quickbooks=partial(quickbooks_client, settings, transport),
            read_commands=EventLog.of(settings).read_commands,
        )

    def _guard_topics(self, settings: Settings, installation: Installation) -> None:
        """Topics that changed are noticed before a record of a new assignment is touched, and from time to time."""
        partitions = {spec.name: spec.partitions for spec in topic_specs(settings)}
        guard = TopicGuard(settings, partitions, installation)
        self.app.tables["invoices"].on_recover(guard.check)
        self.app.timer(settings.kafka.topics_check_seconds)(guard.check)

    async def _send(
        self, role: TopicRole, key: bytes | None, value: bytes | None, headers: Headers | None
    ) -> Awaitable[object]:
        sent: Awaitable[object] = await self._topics[role].send(key=key, value=value, headers=headers)
        return sent

    def _topic(self, name: str) -> Any:
        return self.app.topic(name, key_type=bytes, value_type=bytes)

    async def _drain(self) -> None:
        """Before partitions go, or the worker ends."""
        if self.app.should_stop:
            await self.pipeline.revoke(self._shutdown_timeout_seconds * DRAINS_OF_SHUTDOWN)
        else:
            await self.pipeline.revoke()


class PartitionFlow:
    """Holds back single partitions of a topic (`agents.delivery.Flow`), as Faust does when a buffer of its own is full:
    what was fetched before still comes."""

    def __init__(self, app: faust.App, topic: str) -> None:
        self._app = app
        self._topic = topic

    def hold(self, partition: int) -> None:
        self._app.consumer.on_buffer_full(TP(self._topic, partition))

    def go_on(self, partition: int) -> None:
        self._app.consumer.on_buffer_drop(TP(self._topic, partition))


async def _run(agent: Agent, flow: PartitionFlow, stream: faust.StreamT[bytes]) -> None:
    await agent.delivery.run(events_of(stream), flow)


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


def _options(
    settings: Settings, installation: Installation | None, dead_letters_in_a_row: Mapping[str, int]
) -> Options:
    worker, quickbooks = settings.worker, settings.quickbooks
    ledger_age = LedgerAge(look_up_dated_to=quickbooks.look_up_dated_to)
    if installation is not None:
        ledger_age = replace(
            ledger_age,
            first_commands=installation.first_commands,
            first_facts=installation.first_facts,
            ledger_since=installation.ledger_since,
            log_since=installation.log_since,
            facts_since=installation.facts_since,
        )
    return Options(
        policy_of=settings.policy_of,
        partition_of=partial(partition_of, partitions=settings.kafka.webhook_partitions),
        retry=retry_policy(quickbooks.retry_seconds, quickbooks.backoff_max_seconds),
        in_flight_max=worker.in_flight_max,
        unacknowledged_max=worker.unacknowledged_max,
        dead_letters_in_a_row_max=worker.dead_letters_in_a_row_max,
        message_bytes_max=settings.kafka.message_bytes_max,
        batch_size=quickbooks.batch_size,
        batch_wait_seconds=quickbooks.batch_wait_milliseconds / 1000,
        trust_requestids=quickbooks.trust_requestids,
        parked_probe_seconds=quickbooks.parked_probe_seconds,
        refresh_before_seconds=quickbooks.refresh_before_seconds,
        hard_expiry_warning_days=quickbooks.hard_expiry_warning_days,
        ledger_age=ledger_age,
        dead_letters_in_a_row=dead_letters_in_a_row,
    )


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
        key_serializer="raw",  # agents/delivery.py and tables.py decode, so that no bytes are ever lost
        value_serializer="raw",
        datadir=str(Path(worker.data_directory).absolute()),
        producer_linger=PRODUCER_LINGER_SECONDS,
        producer_max_request_size=kafka.message_bytes_max,
        logging_config={"version": 1, "disable_existing_loggers": False},
        store=worker.store,
        stream_processing_timeout=settings.quickbooks.retry_seconds + 60,
        topic_allow_declare=False,  # stream/topics.py declares every topic before the app starts
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        Table=ChangelogTable,
    )
