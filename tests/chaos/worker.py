"""One worker of the simulation: the production pipeline (`agents/pipeline.py`), attached to the log in memory."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from cachetools import TTLCache
from pydantic import SecretStr

from agents.clients.metronome import MetronomeClient
from agents.clients.oauth import IntuitOAuth
from agents.clients.quickbooks import QuickBooksClient
from agents.clients.rate_limit import RateLimiter, RateLimits
from agents.clients.retry import RetryPolicy
from agents.delivery import Headers
from agents.enrich import Enricher, Routes
from agents.pipeline import Agent, Options, Pipeline, Ports, Tables
from agents.post.ledger_age import NOTHING_MISSED, LedgerAge
from agents.post.parked import Recalled
from agents.write_back import WriteBack
from models.commands import COMMANDS
from models.ledger import TABLES
from models.policy import Policy
from models.record import Address, TopicRole
from stream.wiring import TokenCipher

from .log import Log, Producer, Reader, partition_of
from .loop import WORKER, VirtualLoop
from .network import METRONOME_URL, QUICKBOOKS_URL, TOKEN_URL, Network
from .scene import REALM_FIELD, START
from .tables import LoggedTable

TOPICS: dict[TopicRole, str] = {
    "webhooks": "metronome.webhooks",
    "invoices": "metronome.invoices",
    "commands": "quickbooks.commands",
    "outcomes": "quickbooks.outcomes",
    "connections": "quickbooks.connections",
    "deadletters": "deadletters",
}
CONSUMED = tuple(name for role, name in TOPICS.items() if role != "deadletters")

OWNERS = "owners"
"""The one table that lies in the partitions of the webhooks."""

PROBE_SECONDS = 300.0
"""The default of quickbooks.parked_probe_seconds."""


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
    unacknowledged_max: int
    write_back_items: bool
    trust_requestids: bool
    batches: tuple[int, float]
    """Their size, and for how many seconds one waits for company."""
    start: float = START
    """Epoch seconds."""
    retry_seconds: float = 600.0
    dead_letters_in_a_row_max: int = 20
    ledger_age: LedgerAge = NOTHING_MISSED
    note: Callable[..., None] = lambda *_: None

    def company_partition(self, realm: str) -> int:
        return partition_of(realm, self.company_partitions)


class Worker:
    """One life of a worker. `clock_offset_seconds` is how wrong its wall clock is; it may jump.

    `context` is that of all that it does, by which the loop knows what stands still with it.
    """

    def __init__(self, name: str, installation: Installation, crashed: Callable[["Worker"], None]) -> None:
        self.name = name
        self.alive = True
        self.clock_offset_seconds = 0.0
        self.context = copy_context()
        self._is_member = False
        self._at = installation
        self._crashed = crashed
        self._producer = Producer(installation.log, installation.dice, installation.repeats, installation.slow)
        self._tables = Tables(**{name: self._table(name, row) for name, row in TABLES.items()})
        self.pipeline = Pipeline(
            self._tables, self._ports(), self._options(), clock=self.clock, monotonic=installation.loop.time
        )
        self._running: list[asyncio.Task[None]] = [installation.loop.create_task(self._probe())]
        self.readers = {agent.name: self._attached(agent) for agent in self.pipeline.agents}

    def clock(self) -> float:
        return self._at.start + self._at.loop.time() + self.clock_offset_seconds

    @property
    def idle(self) -> bool:
        return self._producer.idle

    def kill(self) -> None:
        """As kill -9: from here on nothing that it does reaches anybody."""
        self.alive = False
        self._producer.kill()
        for reader in self.readers.values():
            reader.kill()

    @classmethod
    def begun(cls, name: str, installation: Installation, crashed: Callable[["Worker"], None]) -> "Worker":
        """A new one, in a context of its own."""
        context = copy_context()
        context.run(WORKER.set, name)
        return context.run(cls, name, installation, crashed)

    def stop(self) -> None:
        """As SIGSTOP: it stands still, with what it has fetched."""
        self._at.loop.stop_worker(self.name)
        for reader in self.readers.values():
            reader.stop()

    def go_on(self) -> None:
        """As SIGCONT: it goes on as if nothing had happened."""
        self._at.loop.continue_worker(self.name)
        for reader in self.readers.values():
            reader.go_on_fetching()

    def drain(self) -> "asyncio.Task[None]":
        return self._at.loop.create_task(self.pipeline.revoke(), context=self.context.copy())

    def pause(self) -> None:
        for reader in self.readers.values():
            reader.revoke()

    def expel(self, *, stands_still: bool = False) -> None:
        """It is no member any more and does not know: it handles what it has, and may not commit."""
        self._is_member = False
        for reader in self.readers.values():
            if not stands_still:
                reader.revoke()
            reader.expel()

    def leave(self) -> None:
        for reader in self.readers.values():
            reader.leave()

    async def join(self, companies: list[int], webhooks: list[int]) -> None:
        """Recovers its tables, and reads on from what was committed; not when it is given up meanwhile."""
        self._is_member = True
        for table in self._tables.all():
            assert isinstance(table, LoggedTable)
            table.recover(webhooks if table.name == OWNERS else companies)
        await self.pipeline.recovered()
        if not self._is_member:
            return
        for reader in self.readers.values():
            reader.assign(webhooks if reader.topic == TOPICS["webhooks"] else companies)

    def _table(self, name: str, row: Any) -> LoggedTable[Any]:
        at = self._at
        partitions = at.webhook_partitions if name == OWNERS else at.company_partitions
        return LoggedTable(name, row, at.log, self._producer, partitions)

    def _ports(self) -> Ports:
        at, time = self._at, self._at.loop.time
        transport = at.network.of(self.name, lambda: self.alive)
        metronome = MetronomeClient(transport, METRONOME_URL, at.metronome_token, timeout_seconds=30)
        enricher = Enricher(
            metronome=metronome,
            routes=Routes(REALM_FIELD, {}, None),
            retry=RetryPolicy(21_600, 60, time),
            customers=TTLCache(100, 300, time),
            contracts=TTLCache(100, 300, time),
            now=lambda: datetime.fromtimestamp(self.clock(), UTC),
        )
        limiter = RateLimiter(at.limits, monotonic=time)
        return Ports(
            send=self._send,
            enricher=enricher,
            write_back=WriteBack(metronome, enricher.retry, customers=True, items=at.write_back_items),
            oauth=IntuitOAuth(transport, TOKEN_URL, *at.client, 30),
            cipher=TokenCipher([at.key]),
            quickbooks=lambda tokens: QuickBooksClient(transport, QUICKBOOKS_URL, tokens, limiter, timeout_seconds=130),
            read_commands=self._read_commands,
        )

    def _options(self) -> Options:
        at = self._at
        return Options(
            policy_of=lambda realm: at.policy,
            partition_of=lambda customer_id: partition_of(customer_id, at.webhook_partitions),
            retry=RetryPolicy(at.retry_seconds, 30, at.loop.time),
            in_flight_max=at.in_flight_max,
            unacknowledged_max=at.unacknowledged_max,
            dead_letters_in_a_row_max=at.dead_letters_in_a_row_max,
            message_bytes_max=16_777_216,
            batch_size=at.batches[0],
            batch_wait_seconds=at.batches[1],
            trust_requestids=at.trust_requestids,
            parked_probe_seconds=PROBE_SECONDS,
            refresh_before_seconds=300,
            hard_expiry_warning_days=30,
            ledger_age=at.ledger_age,
        )

    def _attached(self, agent: Agent) -> Reader:
        reader = Reader(self._at.log, TOPICS[agent.reads], self._at.dice)
        task = self._at.loop.create_task(agent.delivery.run(reader.events(), reader))
        task.add_done_callback(self._ended)
        self._running.append(task)
        return reader

    async def _probe(self) -> None:
        """As the timer in `stream/engine/app.py`."""
        while self.alive:
            await asyncio.sleep(PROBE_SECONDS)
            await self.pipeline.probe()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """An agent never ends by itself; as in production its end is the worker's."""
        if self.alive and not task.cancelled():
            self._at.note(self.name, "worker crashed", repr(task.exception()))
            self._crashed(self)

    async def _read_commands(self, addresses: Sequence[Address]) -> Recalled:
        there = [each for each in addresses if each.offset < len(self._at.log.partitions[each.topic, each.partition])]
        return Recalled([COMMANDS.validate_json(self._at.log.at(each).value or b"") for each in there])

    async def _send(
        self, role: TopicRole, key: bytes | None, value: bytes | None, headers: Headers | None
    ) -> "asyncio.Future[int]":
        count = {"deadletters": 1, "webhooks": self._at.webhook_partitions}.get(role, self._at.company_partitions)
        partition = partition_of((key or b"").decode(errors="replace"), count)
        return self._producer.send(TOPICS[role], partition, key, value or b"", headers)
