"""What goes wrong in one run, and when: the weather of the network, kills, rebalances, clocks that jump.

Each seed allows itself some kinds of trouble only: a run with every kind at once finds less than many with a few.
"""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Literal

from models.quickbooks import QUERY_LAG_SECONDS
from simulators.quickbooks.oauth import OAuthSettings
from simulators.quickbooks.settings import QuickBooksSettings, ThrottleBody

from .cluster import WORKERS, Cluster
from .loop import VirtualLoop
from .network import FAIR, FAULTS, REFUSING, Network, Weather
from .stops import Stop, stops_of

SECONDS_MIN, SECONDS_MAX = 120.0, 1500.0
STEPS_MAX = 400
CLOCK_JUMP_SECONDS_MAX = 600.0
CUT_OFF_SECONDS_MAX = 12.0
REQUESTID_MEMORIES = {"on": 86_400.0, "short": 60.0, "off": 0.0}


@dataclass(frozen=True)
class Plan:
    """The troubles of one seed. `seconds` is how long they go on."""

    seconds: float
    weather: Weather
    memory: str
    refusals_remembered: bool
    kills: int
    kills_at_steps: int
    kills_at_writes: int
    rebalances: int
    clock_jumps: int
    redrives: int
    meddlings: int
    reroutings: int
    replays: int
    refusals: int
    lost_members: int
    stops: tuple[Stop, ...]
    cut_offs: int
    repeats: float
    slow: float
    shuffled: bool
    throttle_body: ThrottleBody
    refused_requests_count: bool
    other_body: Literal["replay", "refuse-600", "execute"]
    trust_requestids: bool
    query_lag_seconds: float
    query_beyond_latin1: Literal["answer", "refuse"]

    def quickbooks_settings(self, per_second: int, per_minute: int) -> QuickBooksSettings:
        return QuickBooksSettings(
            requests_per_second_max=per_second,
            requests_per_minute_max=per_minute,
            requestid_seconds=REQUESTID_MEMORIES[self.memory],
            requestid_keeps_faults=self.refusals_remembered,
            requestid_other_body=self.other_body,
            throttle_body=self.throttle_body,
            refused_requests_count=self.refused_requests_count,
            query_lag_seconds=self.query_lag_seconds,
            query_beyond_latin1=self.query_beyond_latin1,
        )


def plan_of(seed: int, dice: Random) -> Plan:
    kinds = {to: tuple(kind for kind in faults if dice.random() < 0.4) for to, faults in FAULTS.items()}
    memory = dice.choice(("on", "on", "short", "off"))
    seconds, weather = dice.uniform(SECONDS_MIN, SECONDS_MAX), Weather(kinds, dice.choice((0.0, 0.05, 0.15, 0.3, 0.5)))
    return Plan(
        seconds=seconds,
        weather=weather,
        memory=memory,
        refusals_remembered=memory == "on" and dice.random() < 0.5,
        kills=dice.choice((0, 0, 1, 2)),
        kills_at_steps=dice.choice((0, 0, 1, 2, 4)),
        kills_at_writes=dice.choice((0, 0, 1, 3)),
        rebalances=dice.choice((0, 0, 1, 3)),
        clock_jumps=dice.choice((0, 0, 2)),
        redrives=dice.choice((0, 0, 2)),
        meddlings=dice.choice((0, 0, 1, 3)),
        reroutings=dice.choice((0, 0, 1, 3)),
        replays=dice.choice((0, 0, 2, 5)),
        refusals=Random(f"refusals {weather.share} {seconds}").choice((0, 0, 0, 1, 2)),
        lost_members=(dice if memory == "on" else Random(f"lost {seed}")).choice((0, 0, 1, 2)),
        stops=stops_of(seed, seconds),
        cut_offs=dice.choice((0, 1, 2)),
        repeats=dice.choice((0.0, 0.0, 0.1)),
        slow=dice.choice((0.0, 0.0, 0.1, 0.4)),
        shuffled=dice.random() < 0.5,
        throttle_body=dice.choice(("xml-429", "xml-403", "json")),
        refused_requests_count=dice.random() < 0.5,
        other_body=dice.choice(("replay", "refuse-600", "execute")),
        trust_requestids=memory == "on" and dice.random() < 0.5,
        query_lag_seconds=dice.choice((0.0, 3.0, QUERY_LAG_SECONDS - 1)),
        query_beyond_latin1=dice.choice(("answer", "refuse")),
    )


def oauth_settings(client: tuple[str, str], dice: Random, *, is_read_again: bool) -> OAuthSettings:
    """A worker that reads all connections again may show an old token; should that revoke the new one, only a person
    can help, so the two troubles do not meet."""
    return OAuthSettings(
        *client,
        access_token_seconds=dice.choice((400, 900, 3600)),
        rotate_after_seconds=dice.choice((0, 0, 86_400)),
        reuse_revokes=dice.random() < 0.5 and not is_read_again,
    )


class Nemesis:
    """Carries out a plan."""

    def __init__(self, plan: Plan, cluster: Cluster, network: Network, loop: VirtualLoop, dice: Random) -> None:
        self._plan = plan
        self._cluster = cluster
        self._network = network
        self._loop = loop
        self._dice = dice

    async def run(self) -> None:
        """Returns when all is fair again."""
        plan, dice = self._plan, self._dice
        acts = [
            *[self._kill] * plan.kills,
            *[self._kill_at_some_step] * plan.kills_at_steps,
            *[self._kill_at_a_write] * plan.kills_at_writes,
            *[self._cluster.rebalance_soon] * plan.rebalances,
            *[self._jump] * plan.clock_jumps,
            *[self._lose_a_member] * plan.lost_members,
            *[self._cut_off_a_member] * plan.cut_offs,
        ]
        timed = sorted((dice.uniform(0.0, plan.seconds * dice.choice((0.1, 1.0))), n) for n in range(len(acts)))
        self._network.weather = plan.weather
        self._refuse_later()
        for at, index in timed:
            await asyncio.sleep(max(0.0, at - self._loop.time()))
            acts[index]()
        await asyncio.sleep(max(0.0, plan.seconds - self._loop.time()))
        self._network.weather = FAIR

    def _refuse_later(self) -> None:
        """Some company refuses for a time; a kill and a rebalance may come meanwhile. Its dice are its own."""
        dice = Random(f"refuses {self._plan.seconds}")
        for _ in range(self._plan.refusals):
            begins = dice.uniform(0.0, self._plan.seconds)
            ends = dice.uniform(begins, self._plan.seconds)
            self._loop.call_later(begins, self._network.refuse, dice.random(), dice.choice(tuple(REFUSING)), ends)

    def _kill(self) -> None:
        self._cluster.kill(self._dice.randrange(WORKERS))

    def _lose_a_member(self) -> None:
        self._cluster.lose(self._dice.randrange(WORKERS))

    def _cut_off_a_member(self) -> None:
        """The worker that writes a document next is cut off from everybody: its group gives it up, and when the network
        is back it tries again beside its successor. It may be killed while it does."""

        def leaves(worker: str) -> None:
            self._network.writes = lambda worker: None
            self._cluster.happened["cut off"] += 1
            self._network.cut_off(worker, self._dice.uniform(0.5, CUT_OFF_SECONDS_MAX))
            self._cluster.lose_by_name(worker)
            if self._dice.random() < 0.5:
                self._network.writes = lambda other: self._kill_it(worker, other)

        self._network.writes = leaves

    def _kill_at_some_step(self) -> None:
        self._loop.after_steps(self._dice.randint(1, STEPS_MAX), self._kill)

    def _kill_it(self, worker: str, writes: str) -> None:
        if writes == worker:
            self._network.writes = lambda worker: None
            self._cluster.kill_by_name(worker)

    def _kill_at_a_write(self) -> None:
        """Whoever writes a document next is killed before or after its answer comes, and what it told is on its way."""

        def leaves(worker: str) -> None:
            self._network.writes = lambda worker: None
            seconds = self._dice.choice((0.0, self._dice.uniform(0.0, 0.4), self._dice.uniform(0.0, 4.0)))
            self._loop.call_outside(seconds, self._cluster.kill_by_name, worker)

        self._network.writes = leaves

    def _jump(self) -> None:
        if alive := self._cluster.alive:
            worker = self._dice.choice(alive)
            self._cluster.happened["clock jump"] += 1
            worker.clock_offset_seconds += self._dice.uniform(-CLOCK_JUMP_SECONDS_MAX, CLOCK_JUMP_SECONDS_MAX)
