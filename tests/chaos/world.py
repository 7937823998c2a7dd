"""One run: everything of one seed, from the first webhook until all is quiet, and what was found wrong."""

import asyncio
import logging
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import structlog
from pydantic import SecretStr

from agents.clients.rate_limit import RateLimits
from models.policy import Policy
from simulators.metronome.core import Metronome
from simulators.quickbooks.books import add_customer, add_item
from simulators.quickbooks.core import QuickBooks
from simulators.quickbooks.oauth import OAuthServer, made_secret

from . import mappings, poison, policies
from .cluster import Cluster
from .disaster import Disaster, Operator, disaster_of, forgets, plan_beside
from .log import Log
from .loop import Spinning, Stuck, VirtualLoop
from .nemesis import Nemesis, Plan, oauth_settings, plan_of
from .network import Network
from .oddities import Oddities
from .people import People
from .scene import START, Plot, plot_of
from .stops import Stops
from .worker import CONSUMED, TOPICS, Installation

QUIET_SECONDS_MAX = 7200.0
QUIET_SECONDS_MAX_AN_INVOICE = 60.0
"""Beyond that for each: with two slots a few hundred take hours after their doubts."""
QUIET_POLL_SECONDS = 5.0
PEOPLE_COME_SECONDS = 400.0
STILL_SECONDS = 60.0
"""What lies behind a webhook that never comes to an end is not acknowledged: it is done when nothing moves for so long.
"""
REPAIRS_MAX = 12
POLICY = Policy(missing_item="create", income_account_id="1")
KEY = SecretStr("c2ltdWxhdGVkLWtleS1zaW11bGF0ZWQta2V5LXNpbXU=")


@dataclass(frozen=True)
class Noted:
    """One line of the trace."""

    seconds: float
    parts: tuple[Any, ...]

    def __str__(self) -> str:
        words = (part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in self.parts)
        return f"{self.seconds:10.3f}  " + "  ".join(filter(None, words))


@dataclass
class World:
    """All that a run consists of; `never_quiet` says that it did not end, repaired or not."""

    seed: int
    plan: Plan
    plot: Plot
    loop: VirtualLoop
    log: Log
    metronome: Metronome
    quickbooks: QuickBooks
    network: Network
    cluster: Cluster
    people: People
    installation: Installation
    trace: list[Noted] = field(default_factory=list)
    never_quiet: bool = False
    disaster: Disaster | None = None
    forgot_at: float | None = None
    """When the ledger forgot what it knew, in epoch seconds."""
    renewed_at: float | None = None
    """When topics were made anew."""
    poison: str | None = None
    """The invoice for which Metronome answers 5xx for an hour and more."""
    poison_heals: bool = True
    poisoned_hour: tuple[float, float] = (0.0, 0.0)
    """From when to when its requests are counted, should it not heal: while Metronome answers for others."""
    stopped: list[str] = field(default_factory=list)
    """Invoices that came to no facts within the hour, though Metronome answers for them."""
    steps: int = 0

    async def live(self) -> None:
        await self.cluster.start()
        nemesis = Nemesis(self.plan, self.cluster, self.network, self.loop, self.installation.dice)
        self.network.poisoned = self.poison
        lives = [nemesis.run(), self.people.live(self.plan)]
        if self.disaster is not None:
            lives.append(self._happens(self.disaster))
        if self.plan.stops:
            stops = Stops(self.seed, self.plan.stops, self.cluster, self.network, self.log, self.loop)
            lives.append(stops.run(self.plan.seconds))
        await asyncio.gather(*lives)
        if self.poison is not None:
            await self._others_go_on(self.poison)
        for _ in range(REPAIRS_MAX):
            await asyncio.sleep(PEOPLE_COME_SECONDS)  # what resumes by itself has done so by then
            await self._until_quiet()
            if self.never_quiet or not self.people.repair():
                return
        self.never_quiet = True

    async def _happens(self, disaster: Disaster) -> None:
        operator = Operator(
            disaster, self.cluster, self.log, self.network, self.people, self.loop, self.installation.start
        )
        await operator.run()
        self.forgot_at, self.renewed_at = operator.forgot_at, operator.renewed_at

    async def _others_go_on(self, poisoned: str) -> None:
        """For an hour of fair weather; then Metronome answers for the poisoned one too, or never does."""
        deadline = self.loop.time() + poison.HOUR_SECONDS
        while (waiting := poison.without_facts(self.log, poisoned)) and self.loop.time() < deadline:
            await asyncio.sleep(QUIET_POLL_SECONDS)
        self.stopped = sorted(waiting)
        if self.poison_heals:
            self.network.poisoned = None
            return
        dice = Random(f"traffic {self.seed}")
        others = [each for each in self.metronome.invoices if each != poisoned]
        while self.loop.time() < deadline:
            await asyncio.sleep(dice.uniform(0.0, poison.TRAFFIC_SECONDS_MAX))
            self.people.announce(dice.choice(others))
        self.poisoned_hour = deadline - poison.HOUR_SECONDS + poison.RESTARTED_SECONDS, deadline

    async def _until_quiet(self) -> None:
        """Until every record is handled and committed, and no request is on its way."""
        invoices = len(self.metronome.invoices)
        deadline = self.loop.time() + QUIET_SECONDS_MAX + QUIET_SECONDS_MAX_AN_INVOICE * invoices
        still_since = math.inf
        while not self._is_quiet() or self.loop.time() < still_since + self._still_seconds:
            if self.loop.time() > deadline:
                self.never_quiet = True
                return
            still_since = min(still_since, self.loop.time()) if self._is_quiet() else math.inf
            await asyncio.sleep(QUIET_POLL_SECONDS)

    @property
    def _still_seconds(self) -> float:
        return 0.0 if self.poison_heals else STILL_SECONDS

    def _is_quiet(self) -> bool:
        if self.network.pending or not self.cluster.settled:
            return False
        if self.poison_heals or self.poison is None:
            return not self.log.unread(CONSUMED)
        _, others = poison.waiting(self.log, self.poison)
        return not others and not self.log.unread(tuple(each for each in CONSUMED if each != TOPICS["webhooks"]))


def run(seed: int) -> World:
    """The world after a run; the same seed gives the same world."""
    dice = Random(seed)
    plan = plan_of(seed, dice)
    disaster = disaster_of(seed, plan)
    plan = plan_beside(disaster, plan)
    loop = VirtualLoop(Random(seed) if plan.shuffled else None)
    state = random.getstate()
    random.seed(seed)  # the jitter of agents/clients/retry.py
    try:
        with _silence():
            world = _world(seed, plan, disaster, dice, loop)
            loop.run_until_complete(world.live())
            world.steps = loop.steps
            return world
    except (Stuck, Spinning) as error:
        error.add_note(f"repeat it: make chaos SEED={seed}")
        raise
    finally:
        random.setstate(state)
        _end(loop)


def _world(seed: int, plan: Plan, disaster: Disaster | None, dice: Random, loop: VirtualLoop) -> World:
    plot = plot_of(seed, dice)
    policy = policies.policy_of(seed, POLICY, plot.scene)
    policies.prepare(plot.scene, policy, seed)
    start = policies.start_of(seed, policy)

    def clock() -> float:
        return start + loop.time()

    trace: list[Noted] = []

    def note(*parts: Any) -> None:
        trace.append(Noted(loop.time(), parts))

    log = Log(clock)
    log.noted = lambda topic, partition, offset, stored: note("log", f"{topic}[{partition}]@{offset}", stored.value)
    client = made_secret(str(seed), "client-id"), made_secret(str(seed), "client-secret")
    token = made_secret(str(seed), "metronome-token")
    names = {each.realm_id: each.name for each in plot.companies}
    oauth = OAuthServer(oauth_settings(client, dice, is_read_again=forgets(disaster)), names, clock, str(seed))
    limits = RateLimits(*dice.choice(((10, 500), (10, 500), (4, 30))), in_flight_max=10, throttled_wait_seconds=60.0)
    quickbooks = QuickBooks(
        plot.companies, oauth, clock, plan.quickbooks_settings(limits.per_second, limits.per_minute)
    )
    metronome = Metronome(plot.scene, token, clock)
    network = Network(metronome, quickbooks, loop, dice, note)
    network.refusals_remembered = plan.refusals_remembered
    network.oddities = Oddities(seed, quickbooks)
    installation = Installation(
        log=log,
        network=network,
        loop=loop,
        start=start,
        dice=dice,
        policy=policy.model_copy(update={"name_clash": dice.choice(("park", "suffix"))}),
        limits=limits,
        client=client,
        metronome_token=token,
        key=KEY,
        company_partitions=dice.choice((2, 4)),
        webhook_partitions=2,
        repeats=plan.repeats,
        slow=plan.slow,
        in_flight_max=dice.choice((2, 8, 64)),
        unacknowledged_max=_unacknowledged_max(seed),
        write_back_items=len(plot.companies) == 1,  # a product has one item id, whatever the number of companies
        trust_requestids=plan.trust_requestids,
        batches=_batches(seed, plan, dice),
        note=note,
    )
    people = People(installation, metronome, quickbooks, oauth, clock, dice, plot.realm_of_customer)
    people.acts = mappings.acts_of(seed, plan.seconds)
    _open(plot, quickbooks, people, metronome)
    cluster = Cluster(installation, dice)
    world = World(seed, plan, plot, loop, log, metronome, quickbooks, network, cluster, people, installation, trace)
    world.disaster = disaster
    if poison.is_poisoned(seed):
        world.poison = Random(f"poison {seed}").choice(list(metronome.invoices))
        world.poison_heals = poison.heals(seed)
    return world


def _batches(seed: int, plan: Plan, dice: Random) -> tuple[int, float]:
    """How large, and how long one waits for company; long where workers are given up meanwhile, since so few
    invoices are seldom ready at one moment."""
    sizes, own = (0, 0, 3, 30), Random(f"batches {seed}")
    lost = plan.lost_members + plan.cut_offs
    size = (own if lost else dice).choice(sizes)
    return size, own.choice((0.05, 5.0, 20.0)) if lost or plan.stops else 0.05


def _unacknowledged_max(seed: int) -> int:
    """An invoice that waits for an hour and more holds up its partition once so many wait behind it: not with 1000."""
    return 1000 if poison.is_poisoned(seed) else Random(f"unacknowledged {seed}").choice((12, 24, 1000))


def _open(plot: Plot, quickbooks: QuickBooks, people: People, metronome: Metronome) -> None:
    for realm, books in quickbooks.books.items():
        for each in plot.scene.quickbooks_customers:
            add_customer(books, each.id, each.name, START, each.currency)
        for each in plot.scene.quickbooks_items:
            add_item(books, each.id, each.name, START)
        if people.policy != POLICY.model_copy(update={"name_clash": people.policy.name_clash}):
            policies.open_books(books)
        if realm not in plot.connected_late:
            people.connect(realm)
    for invoice_id in plot.handwritten:
        people.write_by_hand(plot.realm_of_customer[metronome.invoices[invoice_id]["customer_id"]], invoice_id)


@contextmanager
def _silence() -> Iterator[None]:
    """The trace tells what happens; thousands of log lines would only take time."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def _end(loop: VirtualLoop) -> None:
    """Ends what waits for ever: agents, and all that killed workers left behind."""
    loop.continue_all()
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks))
    loop.close()
