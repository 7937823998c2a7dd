"""Workers that stand still: when they do, and for how long.

What they do is another moment of everything (a loop's step, a write that leaves, a record that is there and not yet
known to be). A stop may be shorter than the session, or longer than QuickBooks takes for what the worker had sent.
"""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Literal

from .cluster import Cluster
from .log import CHANGELOG, Log
from .loop import VirtualLoop
from .network import Network

Moment = Literal["some step", "a write leaves", "a refresh leaves", "an attempt", "a batch", "a connection"]
MOMENTS: tuple[Moment, ...] = (
    *("some step", "some step", "a write leaves", "a refresh leaves"),
    *("an attempt", "an attempt", "a batch", "a connection"),
)
"""The last three: a record of it is in its changelog, and the worker has not heard of that."""
RECORDS: dict[str, Moment] = {
    "invoices" + CHANGELOG: "an attempt",
    "batches" + CHANGELOG: "a batch",
    "connections" + CHANGELOG: "a connection",
}
SHARE = 0.4
"""Of the seeds, those in which workers are stopped."""
STEPS_MAX = 40
POLL_SECONDS = 5.0
SECONDS_SHORT_MAX, SECONDS_LONG_MAX = 60.0, 600.0


@dataclass(frozen=True)
class Stop:
    """Whoever comes to such a moment first, `at` or later and some steps after it, stands still for so many seconds."""

    at: float
    moment: Moment
    steps: int
    seconds: float


def stops_of(seed: int, seconds: float) -> tuple[Stop, ...]:
    dice = Random(f"stops {seed}")
    if dice.random() >= SHARE:
        return ()
    return tuple(
        Stop(
            at=dice.uniform(0.0, seconds * dice.choice((0.0, 0.1, 1.0))),
            moment=dice.choice(MOMENTS),
            steps=dice.choice((0, dice.randint(1, STEPS_MAX))),
            seconds=dice.choice((dice.uniform(1.0, SECONDS_SHORT_MAX), dice.uniform(1.0, SECONDS_LONG_MAX))),
        )
        for _ in range(dice.choice((1, 2, 3)))
    )


class Stops:
    """Carries them out. Its dice are its own."""

    def __init__(
        self, seed: int, stops: tuple[Stop, ...], cluster: Cluster, network: Network, log: Log, loop: VirtualLoop
    ) -> None:
        self._stops = stops
        self._cluster = cluster
        self._loop = loop
        self._dice = Random(f"stopped {seed}")
        self._waiting: list[Stop] = []
        network.leaves = lambda worker, what: self._meets(what, worker)
        log.landed = self._landed

    async def run(self, seconds: float) -> None:
        """After so many seconds none is stopped any more. Returns when none stands still, and those that ended because
        of it work again: what resumes by itself does so some time after that."""
        for stop in sorted(self._stops, key=lambda each: each.at):
            await asyncio.sleep(max(0.0, stop.at - self._loop.time()))
            if stop.moment == "some step":
                self._loop.after_steps(stop.steps, lambda stop=stop: self._stop_any(stop))  # type: ignore[misc]
            else:
                self._waiting.append(stop)
        await asyncio.sleep(max(0.0, seconds - self._loop.time()))
        self._waiting.clear()
        while self._cluster.is_changing:
            await asyncio.sleep(POLL_SECONDS)

    def _stop_any(self, stop: Stop) -> None:
        if alive := self._cluster.alive:
            self._stop(stop, self._dice.choice(alive).name)

    def _landed(self, worker: str, topic: str, value: bytes) -> None:
        moment = RECORDS.get(topic)
        if moment is not None and value and (moment != "an attempt" or b'"attempt":' in value):
            self._meets(moment, worker)

    def _meets(self, moment: Moment, worker: str) -> None:
        stop = next((each for each in self._waiting if each.moment == moment), None)
        if stop is None:
            return
        self._waiting.remove(stop)
        if stop.steps:
            self._loop.after_steps(stop.steps, lambda: self._stop(stop, worker))
        else:
            self._stop(stop, worker)

    def _stop(self, stop: Stop, worker: str) -> None:
        self._cluster.stop_by_name(worker, stop.seconds, self._dice, stop.moment)
