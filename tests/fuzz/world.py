"""One run: a worker on the production wiring, odd records into every topic, lies from the vendors; then all is honest.

The log, the loop on virtual time, the clients' network and the scene are those of the seeded simulation (tests/chaos).
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from agents.clients.oauth import Tokens
from agents.clients.rate_limit import RateLimits
from agents.connections import connected
from models.outcomes import Outcome
from simulators.metronome.core import Metronome
from simulators.quickbooks.core import QuickBooks
from simulators.quickbooks.oauth import OAuthServer, made_secret
from stream.wiring import TokenCipher
from tests.chaos.log import Log, Stored
from tests.chaos.loop import VirtualLoop
from tests.chaos.nemesis import oauth_settings, plan_of
from tests.chaos.network import FAIR
from tests.chaos.people import People
from tests.chaos.scene import START, plot_of
from tests.chaos.worker import CONSUMED, TOPICS, Installation, Worker
from tests.chaos.world import KEY, POLICY, Noted, _end, _open, _silence

from .inputs import put
from .lies import LyingNetwork

LIMITS = RateLimits(10, 500, in_flight_max=10, throttled_wait_seconds=60.0)
RECORDS_A_RUN = 100
HONEST_SECONDS = 30.0
"""At first: so that every topic holds something to be spoiled."""
ODD_SECONDS = 600.0
RECONNECTED_EVERY = 20
"""Records: since odd ones end the connection of a company, and then nobody asks QuickBooks anything."""
LIES_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)
"""Of the answers, those that are lies; one of these in each run."""
QUIET_SECONDS_MAX = 7200.0
QUIET_POLL_SECONDS = 10.0


@dataclass
class World:
    """All that a run consists of. `put` are the places of the records that nobody of ours wrote."""

    loop: VirtualLoop
    log: Log
    quickbooks: QuickBooks
    network: LyingNetwork
    people: People
    installation: Installation
    dice: Random
    put: set[tuple[str, int, int]] = field(default_factory=set)
    ended: list[str] = field(default_factory=list)
    """What ended the worker."""
    wrong: list[str] = field(default_factory=list)
    """Outcomes that told another total than the books had at that moment."""
    never_quiet: str = ""
    trace: list[Noted] = field(default_factory=list)
    putting: bool = False

    async def live(self) -> None:
        at = self.installation
        self.worker = Worker("worker", at, lambda worker: None)
        await self.worker.join(list(range(at.company_partitions)), list(range(at.webhook_partitions)))
        for invoice_id in self.people._metronome.invoices:
            self.people.announce(invoice_id)
        await asyncio.sleep(HONEST_SECONDS)
        self.network.share = self.dice.choice(LIES_SHARES)
        for number, seconds in enumerate(sorted(self.dice.uniform(0.0, ODD_SECONDS) for _ in range(RECORDS_A_RUN))):
            if number % RECONNECTED_EVERY == 0:
                self._connect_all()
            await asyncio.sleep(max(0.0, HONEST_SECONDS + seconds - self.loop.time()))
            self.putting = True
            self.put.add(put(at, self.dice))
            self.putting = False
        self.network.share = 0.0
        self._connect_all()
        await self._until_quiet()

    def _connect_all(self) -> None:
        """As `metronome-qbo connect`: newer than whatever the worker believes of the company."""
        now = datetime.fromtimestamp(START + self.loop.time(), UTC)
        for realm in self.quickbooks.books:
            grant = self.quickbooks.oauth.connect(realm)
            tokens = Tokens(next(iter(grant.access_tokens)), 3600, grant.refresh_token, 8_726_400)
            previous = self.worker.pipeline.tables.connections.get(realm)
            change = connected(realm, tokens, TokenCipher([KEY]), now, previous=previous)
            partition = self.installation.company_partition(realm)
            self.log.append(TOPICS["connections"], partition, realm.encode(), change.encode())

    async def _until_quiet(self) -> None:
        """Until every record is handled and committed."""
        deadline = self.loop.time() + QUIET_SECONDS_MAX
        while self.network.pending or not self.worker.idle or self.log.unread(CONSUMED):
            if self.ended or self.loop.time() > deadline:
                behind = [
                    f"{topic}[{partition}]@{self.log.committed.get((topic, partition), 0)} of {len(records)}"
                    for (topic, partition), records in self.log.partitions.items()
                    if topic in CONSUMED and len(records) > self.log.committed.get((topic, partition), 0)
                ]
                self.never_quiet = ", ".join(behind)
                return
            await asyncio.sleep(QUIET_POLL_SECONDS)

    def see(self, topic: str, partition: int, offset: int, stored: Stored) -> None:
        """An outcome says of a document what the books say, at the moment at which it is told."""
        self.trace.append(Noted(self.loop.time(), ("log", f"{topic}[{partition}]@{offset}", stored.value)))
        if topic != TOPICS["outcomes"] or self.putting:
            return
        outcome = Outcome.model_validate_json(stored.value)
        if outcome.result in ("posted", "updated"):
            totals = totals_of(self.quickbooks, outcome.realm, outcome.subject.id)
            if outcome.total not in totals:
                self.wrong.append(f"{outcome.subject} {outcome.result}: {outcome.total}, in the books {totals}")


def totals_of(quickbooks: QuickBooks, realm: str, invoice_id: str) -> list[Any]:
    books = quickbooks.books.get(realm)
    return [
        each["TotalAmt"]
        for kind in ("Invoice", "CreditMemo")
        for each in (books.objects[kind].values() if books else ())
        if str(each.get("PrivateNote")).partition("\n")[0] == f"Metronome invoice {invoice_id}"
    ]


def run(seed: int) -> World:
    """The world after a run; the same seed gives the same world."""
    dice = Random(f"fuzz {seed}")
    loop = VirtualLoop(dice if dice.random() < 0.5 else None)
    state = random.getstate()
    random.seed(seed)  # the jitter of agents/clients/retry.py
    try:
        with _silence():
            world = _world(seed, dice, loop)
            loop.run_until_complete(world.live())
            return world
    finally:
        random.setstate(state)
        _end(loop)


def _world(seed: int, dice: Random, loop: VirtualLoop) -> World:
    def clock() -> float:
        return START + loop.time()

    def note(*parts: Any) -> None:
        trace.append(Noted(loop.time(), parts))
        if parts[1] == "worker crashed":
            ended.append(str(parts[2]))

    trace, ended = list[Noted](), list[str]()
    # Requestids are remembered: with a lie about what stands in the books nothing else keeps a document from a second.
    plan = replace(plan_of(seed, dice), weather=FAIR, memory="on", query_lag_seconds=0.0, other_body="replay")
    plot, log = plot_of(seed, dice), Log(clock)
    client = made_secret(str(seed), "client-id"), made_secret(str(seed), "client-secret")
    token = made_secret(str(seed), "metronome-token")
    names = {each.realm_id: each.name for each in plot.companies}
    oauth = OAuthServer(oauth_settings(client, dice, is_read_again=False), names, clock, str(seed))
    quickbooks = QuickBooks(
        plot.companies, oauth, clock, plan.quickbooks_settings(LIMITS.per_second, LIMITS.per_minute)
    )
    metronome = Metronome(plot.scene, token, clock)
    network = LyingNetwork(metronome, quickbooks, loop, dice, note)
    installation = _installation(log, network, loop, dice, client, token, note)
    people = People(installation, metronome, quickbooks, oauth, clock, dice, plot.realm_of_customer)
    _open(plot, quickbooks, people, metronome)
    world = World(loop, log, quickbooks, network, people, installation, dice, trace=trace, ended=ended)
    log.noted = world.see
    return world


def _installation(
    log: Log,
    network: LyingNetwork,
    loop: VirtualLoop,
    dice: Random,
    client: tuple[str, str],
    token: str,
    note: Callable[..., None],
) -> Installation:
    return Installation(
        log=log,
        network=network,
        loop=loop,
        dice=dice,
        policy=POLICY.model_copy(update={"name_clash": dice.choice(("park", "suffix"))}),
        limits=LIMITS,
        client=client,
        metronome_token=token,
        key=KEY,
        company_partitions=dice.choice((2, 4)),
        webhook_partitions=2,
        repeats=0.0,
        slow=0.0,
        in_flight_max=dice.choice((2, 8, 64)),
        unacknowledged_max=1000,
        write_back_items=dice.random() < 0.5,
        trust_requestids=dice.random() < 0.5,
        batches=(dice.choice((0, 0, 3, 30)), 0.05),
        dead_letters_in_a_row_max=1000,  # many in a row are the point here
        note=note,
    )
