"""One run: everything of one seed, from the first webhook until all is quiet, and what was found wrong."""

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import structlog
from pydantic import SecretStr

from agents.clients.rate_limit import RateLimits
from agents.enrich import read_webhook
from models.events import InvoiceEnriched
from models.metronome import InvoiceFinalized
from models.policy import Policy
from simulators.metronome.core import Metronome
from simulators.quickbooks.books import add_customer, add_item
from simulators.quickbooks.core import QuickBooks
from simulators.quickbooks.oauth import OAuthServer, made_secret

from .cluster import Cluster
from .disaster import Disaster, Operator, disaster_of, forgets, plan_beside
from .log import Log
from .loop import Spinning, Stuck, VirtualLoop
from .nemesis import Nemesis, Plan, oauth_settings, plan_of
from .network import Network
from .people import People
from .scene import START, Plot, plot_of
from .worker import CONSUMED, TOPICS, Installation

QUIET_SECONDS_MAX = 7200.0
QUIET_POLL_SECONDS = 5.0
PEOPLE_COME_SECONDS = 400.0
POISON_SECONDS = 3600.0
POISON_EVERY = 4
"""In every so manieth seed."""
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
    stopped: list[str] = field(default_factory=list)
    """Invoices that came to no facts within the hour, though Metronome answers for them."""
    steps: int = 0

    async def live(self) -> None:
        await self.cluster.start()
        nemesis = Nemesis(self.plan, self.cluster, self.network, self.loop, self.installation.dice)
        self.network.poisoned = self.poison
        happens = [] if self.disaster is None else [self._happens(self.disaster)]
        await asyncio.gather(nemesis.run(), self.people.live(self.plan), *happens)
        if self.poison is not None:
            await self._others_go_on()
        for _ in range(REPAIRS_MAX):
            await asyncio.sleep(PEOPLE_COME_SECONDS)  # what resumes by itself has done so by then
            await self._until_quiet()
            if self.never_quiet or not self.people.repair():
                return
        self.never_quiet = True

    async def _happens(self, disaster: Disaster) -> None:
        operator = Operator(disaster, self.cluster, self.log, self.network, self.people, self.loop)
        await operator.run()
        self.forgot_at, self.renewed_at = operator.forgot_at, operator.renewed_at

    async def _others_go_on(self) -> None:
        """For an hour of fair weather; then Metronome answers for the poisoned one too."""
        deadline = self.loop.time() + POISON_SECONDS
        while (waiting := self._without_facts()) and self.loop.time() < deadline:
            await asyncio.sleep(QUIET_POLL_SECONDS)
        self.stopped = sorted(waiting)
        self.network.poisoned = None

    def _without_facts(self) -> set[str]:
        webhooks = [read_webhook(stored.value) for _, stored in self.log.records(TOPICS["webhooks"])]
        announced = {each.properties.invoice_id for each in webhooks if isinstance(each, InvoiceFinalized)}
        facts = [stored.value for _, stored in self.log.records(TOPICS["invoices"])]
        return announced - {InvoiceEnriched.model_validate_json(each).invoice_id for each in facts} - {self.poison}

    async def _until_quiet(self) -> None:
        """Until every record is handled and committed, and no request is on its way."""
        deadline = self.loop.time() + QUIET_SECONDS_MAX
        while self.network.pending or not self.cluster.settled or self.log.unread(CONSUMED):
            if self.loop.time() > deadline:
                self.never_quiet = True
                return
            await asyncio.sleep(QUIET_POLL_SECONDS)


def run(seed: int) -> World:
    """The world after a run; the same seed gives the same world."""
    dice = Random(seed)
    plan = plan_of(dice)
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
    def clock() -> float:
        return START + loop.time()

    trace: list[Noted] = []

    def note(*parts: Any) -> None:
        trace.append(Noted(loop.time(), parts))

    plot = plot_of(seed, dice)
    log = Log(clock)
    log.noted = lambda topic, partition, offset, stored: note("log", f"{topic}[{partition}]@{offset}", stored.value)
    client = made_secret(str(seed), "client-id"), made_secret(str(seed), "client-secret")
    token = made_secret(str(seed), "metronome-token")
    names = {each.realm_id: each.name for each in plot.companies}
    oauth = OAuthServer(oauth_settings(client, plan, dice, is_read_again=forgets(disaster)), names, clock, str(seed))
    limits = RateLimits(*dice.choice(((10, 500), (10, 500), (4, 30))), in_flight_max=10, throttled_wait_seconds=60.0)
    quickbooks = QuickBooks(
        plot.companies, oauth, clock, plan.quickbooks_settings(limits.per_second, limits.per_minute)
    )
    metronome = Metronome(plot.scene, token, clock)
    network = Network(metronome, quickbooks, loop, dice, note)
    network.refusals_remembered = plan.refusals_remembered
    installation = Installation(
        log=log,
        network=network,
        loop=loop,
        dice=dice,
        policy=POLICY.model_copy(update={"name_clash": dice.choice(("park", "suffix"))}),
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
        # A batch of a worker that its group gave up without its knowing cannot be told from its successor's writes.
        batch_size=dice.choice((0, 0, 3, 30)) if plan.lost_members + plan.cut_offs == 0 else 0,
        note=note,
    )
    people = People(installation, metronome, quickbooks, oauth, clock, dice, plot.realm_of_customer)
    _open(plot, quickbooks, people, metronome)
    cluster = Cluster(installation, dice)
    world = World(seed, plan, plot, loop, log, metronome, quickbooks, network, cluster, people, installation, trace)
    world.disaster = disaster
    if _is_poisoned(seed):
        world.poison = Random(f"poison {seed}").choice(list(metronome.invoices))
    return world


def _unacknowledged_max(seed: int) -> int:
    """An invoice that waits for an hour and more holds up its partition once so many wait behind it: not with 1000."""
    return 1000 if _is_poisoned(seed) else Random(f"unacknowledged {seed}").choice((12, 24, 1000))


def _is_poisoned(seed: int) -> bool:
    return seed % POISON_EVERY == 0


def _open(plot: Plot, quickbooks: QuickBooks, people: People, metronome: Metronome) -> None:
    for realm, books in quickbooks.books.items():
        for each in plot.scene.quickbooks_customers:
            add_customer(books, each.id, each.name, START, each.currency)
        for each in plot.scene.quickbooks_items:
            add_item(books, each.id, each.name, START)
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
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks))
    loop.close()
