"""What becomes of Kafka itself, in a share of the seeds, and what the operator does about it (docs/operations.md).

All workers end, what is lost is lost, and the workers start again with what the operator noted.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Literal

from agents.post.ledger_age import NOTHING_MISSED, LedgerAge
from models.ledger import TABLES
from models.quickbooks import SEEN_SECONDS_MAX
from models.record import TopicRole

from .cluster import Cluster
from .log import Log
from .loop import VirtualLoop
from .nemesis import Plan
from .network import Network
from .people import People
from .tables import changelog
from .worker import CONSUMED, TOPICS

Kind = Literal["lost ledger", "expired offsets", "new log", "older ledger"]
SHARES: dict[Kind, float] = {"lost ledger": 0.14, "expired offsets": 0.08, "new log": 0.08, "older ledger": 0.08}
"""The part of the seeds that each one happens in; the first ones go to the first."""
OFFSETS_LOST: dict[Kind, float] = {"lost ledger": 0.5, "expired offsets": 1.0, "new log": 0.0, "older ledger": 0.5}
SPARED = 0.01
"""The part of the seeds before these, which keep their runs: one of them alone catches an unfenced changelog."""
PAUSE_SECONDS_MAX = 300.0
"""Between the end of the workers and their start."""
RENEWED: tuple[tuple[TopicRole, ...], ...] = (("commands",), ("invoices",), ("commands", "invoices"))
EARLY = 0.1
"""Most is written in the first minutes."""
WRITE_SECONDS_MAX = 300.0
"""So long a disaster waits for a document that is written."""


@dataclass(frozen=True)
class Disaster:
    """What happens, after how many seconds, and for how many no worker runs. `offsets_lost`: all topics are read again
    from their earliest record. `voided`: before it, something that waits is voided. `at_a_write`: it happens as a
    document is on its way, which comes late. `replayed`: after it, people replay all that was to be posted. `renewed`:
    the topics that are made anew. `kept`: how old the copy is, as a part of the time until then.
    """

    kind: Kind
    seconds: float
    pause_seconds: float
    offsets_lost: bool
    voided: bool
    at_a_write: bool
    replayed: bool
    renewed: tuple[TopicRole, ...]
    kept: float


def disaster_of(seed: int, plan: Plan) -> Disaster | None:
    dice = Random(f"disaster {seed}")
    drawn = dice.random() - SPARED
    if drawn < 0:
        return None
    for kind, share in SHARES.items():
        if drawn < share:
            pause = dice.choice((0.0, 0.0, 1.0)) * dice.uniform(0.0, PAUSE_SECONDS_MAX)
            return Disaster(
                kind=kind,
                seconds=dice.uniform(0.0, plan.seconds),
                pause_seconds=pause,
                offsets_lost=dice.random() < OFFSETS_LOST[kind],
                voided=dice.random() < 0.6,
                at_a_write=dice.random() < 0.6,
                replayed=dice.random() < 0.6,
                renewed=dice.choice(RENEWED) if kind == "new log" else (),
                kept=dice.random() if kind == "older ledger" else 0.0,
            )
        drawn -= share
    return None


def plan_beside(disaster: Disaster | None, plan: Plan) -> Plan:
    """Without the table `owners`, an invoice is in the company where the routing has it: see first, the docs say, that
    it is the one under which the invoices were posted. Which rows speak of a former log is a matter of the clocks. What
    comes late beside a new ledger shows where QuickBooks remembers no requestid."""
    if forgets(disaster):
        plan = replace(plan, reroutings=0)
    if disaster is not None and disaster.kind == "lost ledger" and disaster.at_a_write:
        plan = replace(plan, memory="off", refusals_remembered=False, trust_requestids=False, lost_members=0)
    if disaster is not None and disaster.renewed:
        return replace(plan, clock_jumps=0)
    return plan


def forgets(disaster: Disaster | None) -> bool:
    """Whether the ledger does not know afterwards what it knew before."""
    return disaster is not None and disaster.kind in ("lost ledger", "older ledger")


class Operator:
    """`forgot_at`: when the ledger forgot what it knew, in epoch seconds; `renewed_at`: when topics were made anew.
    None when that did not happen."""

    def __init__(
        self,
        disaster: Disaster,
        cluster: Cluster,
        log: Log,
        network: Network,
        people: People,
        loop: VirtualLoop,
        start: float,
    ) -> None:
        self.forgot_at: float | None = None
        self.renewed_at: float | None = None
        self._disaster = disaster
        self._cluster = cluster
        self._log = log
        self._network = network
        self._people = people
        self._loop = loop
        self._start = start

    async def run(self) -> None:
        await asyncio.sleep(self._disaster.seconds * (EARLY if self._disaster.at_a_write else 1.0))
        if self._disaster.voided:
            await self._people.void_one_that_waits()
        if self._disaster.at_a_write:
            await self._until_a_write()
        self._cluster.stop()
        self._network.injected[self._disaster.kind] += 1
        if self._disaster.offsets_lost:
            self._lose_offsets()
        ledger_age = NOTHING_MISSED
        if self._disaster.kind == "lost ledger":
            ledger_age = self._ledger_is_lost()
        if self._disaster.kind == "older ledger":
            ledger_age = self._ledger_is_older()
            await asyncio.sleep(SEEN_SECONDS_MAX)
        if self._disaster.renewed:
            ledger_age = self._topics_are_new(self._disaster.renewed)
        await asyncio.sleep(self._disaster.pause_seconds)
        await self._cluster.go_on(ledger_age)
        if forgets(self._disaster):
            self._people.tell_again(
                connections=self._disaster.kind == "older ledger" or not self._disaster.offsets_lost
            )
        if self._disaster.renewed or self._disaster.kind == "older ledger":
            self._people.announce_all()
        if self._disaster.replayed:
            await self._people.replay_all()

    def _ledger_is_lost(self) -> LedgerAge:
        self._empty(*TABLES)
        self._network.forget_requestids()
        self.forgot_at = self._now()
        now = datetime.fromtimestamp(self.forgot_at, UTC)
        return LedgerAge(self._ends("commands"), self._ends("invoices"), ledger_since=now)

    def _ledger_is_older(self) -> LedgerAge:
        self.forgot_at = self._now()
        until = self._start + self._loop.time() * self._disaster.kept
        for (topic, _), records in self._log.partitions.items():
            if topic in map(changelog, TABLES):
                del records[sum(each.seconds <= until for each in records) :]
        self._network.forget_requestids()
        return LedgerAge(look_up_dated_to=datetime.fromtimestamp(self.forgot_at, UTC).date())

    def _topics_are_new(self, roles: tuple[TopicRole, ...]) -> LedgerAge:
        self.renewed_at = self._people.log_since = self._now()
        for topic, partition in list(self._log.partitions):
            if topic in [TOPICS[each] for each in roles]:
                self._log.partitions[topic, partition].clear()
                self._log.committed.pop((topic, partition), None)
        since = datetime.fromtimestamp(self.renewed_at, UTC)
        return LedgerAge(log_since=since, facts_since=since if "invoices" in roles else None)

    def _now(self) -> float:
        return self._start + self._loop.time()

    async def _until_a_write(self) -> None:
        self._network.awaited = self._loop.create_future()
        await asyncio.wait([self._network.awaited], timeout=WRITE_SECONDS_MAX)
        self._network.awaited = None

    def _empty(self, *tables: str) -> None:
        for topic, partition in list(self._log.partitions):
            if topic in map(changelog, tables):
                self._log.partitions[topic, partition].clear()

    def _lose_offsets(self) -> None:
        for place in list(self._log.committed):
            if place[0] in CONSUMED:
                del self._log.committed[place]

    def _ends(self, role: str) -> dict[int, int]:
        return {place[1]: len(found) for place, found in self._log.partitions.items() if place[0] == TOPICS[role]}
