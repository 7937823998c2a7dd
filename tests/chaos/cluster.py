"""Two workers and who owns which partitions: rebalances, kills and restarts, as a Kafka consumer group has them."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

from agents.post.ledger_age import LedgerAge

from .loop import VirtualLoop
from .worker import Installation, Worker

WORKERS = 2
NOTICED_SECONDS_MAX = 60.0
"""A worker that was killed holds its partitions until its session times out."""
RESTART_SECONDS = (5.0, 90.0)
UNAWARE_SECONDS_MAX = 15.0
"""A worker that its group has given up learns of it with its next heartbeat; until then it goes on."""
SESSION_SECONDS = (6.0, 60.0)
"""After so long the group gives up a worker that stands still: from the least to the default of the setting."""


class Cluster:
    """`owner_changes` says when partitions moved, or a worker died: since then nobody knows what is in flight."""

    def __init__(self, installation: Installation, dice: Random) -> None:
        self.members: list[Worker | None] = [None] * WORKERS
        self.owner_changes: list[float] = []
        self.kills: list[tuple[float, str]] = []
        self.happened: Counter[str] = Counter()
        """What else befell the workers, by its name in `met.py`."""
        self.stops: list[tuple[float, float, str]] = []
        """From when until when a worker stood still."""
        self._stopped: list[Worker] = []
        self._lost: list[Worker] = []
        self._graves: list[Worker] = []  # kept, or the garbage collector would run what a killed worker never ran
        self._at = installation
        self._dice = dice
        self._loop: VirtualLoop = installation.loop
        self._lives = 0
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._down = False

    async def start(self) -> None:
        for slot in range(WORKERS):
            self._new_life(slot)
        await self.rebalance()

    @property
    def alive(self) -> list[Worker]:
        return [member for member in self.members if member is not None and member.alive]

    @property
    def is_changing(self) -> bool:
        """Whether a worker is about to begin, to go on, to be given up or to learn of it."""
        return self._waiting > 0

    @property
    def settled(self) -> bool:
        return self._waiting == 0 and len(self.alive) == WORKERS and all(member.idle for member in self.alive)

    def stop(self) -> None:
        """All workers end, and none starts before `go_on`."""
        self._down = True
        for slot in range(WORKERS):
            self.kill(slot)

    async def go_on(self, ledger_age: LedgerAge) -> None:
        """Workers start again, with a ledger of that age."""
        self._at = replace(self._at, ledger_age=ledger_age)
        self._down = False
        for slot in range(WORKERS):
            self._new_life(slot)
        await self.rebalance()

    def kill(self, slot: int) -> None:
        worker = self.members[slot]
        if worker is None or not worker.alive:
            return
        self._at.note(worker.name, "killed")
        worker.kill()
        self._buried(worker)

    def kill_by_name(self, name: str) -> None:
        for slot, worker in enumerate(self.members):
            if worker is not None and worker.name == name:
                self.kill(slot)

    def _buried(self, worker: Worker) -> None:
        slot = self.members.index(worker)
        self.members[slot] = None
        self._graves.append(worker)
        now = self._loop.time()
        self.owner_changes.append(now)
        self.kills.append((now, worker.name))
        self._after(self._dice.uniform(1.0, NOTICED_SECONDS_MAX), lambda: None)
        self._after(self._dice.uniform(*RESTART_SECONDS), lambda: self._new_life(slot))

    def lose_by_name(self, name: str) -> None:
        for slot, worker in enumerate(self.members):
            if worker is not None and worker.name == name:
                self.lose(slot)

    def lose(self, slot: int) -> None:
        """The group gives a live worker up: another one has its partitions while it goes on with what it had begun."""
        worker = self.members[slot]
        if worker is None or not worker.alive or worker in self._lost or worker in self._stopped:
            return
        self._give_up(worker)
        self._after(self._dice.uniform(0.1, UNAWARE_SECONDS_MAX), lambda: self._lost.remove(worker))

    def _give_up(self, worker: Worker) -> None:
        self._at.note(worker.name, "given up by its group")
        self.happened["given up by its group"] += 1
        self._lost.append(worker)
        worker.expel(stands_still=worker in self._stopped)
        self._after(0.0, lambda: None)

    def stop_by_name(self, name: str, seconds: float, dice: Random, moment: str) -> None:
        """As SIGSTOP and, after so many seconds, SIGCONT: should its session end meanwhile, another one has its
        partitions, and it learns of that with a heartbeat some time after it went on."""
        worker = next((each for each in self.alive if each.name == name), None)
        if worker is None or worker in self._stopped or worker in self._lost:
            return
        self._at.note(name, "stopped", f"{seconds:.3f} s", moment)
        self.happened[f"stopped: {moment}"] += 1
        self._stopped.append(worker)
        self.stops.append((self._loop.time(), self._loop.time() + seconds, name))
        worker.stop()
        session_seconds, unaware_seconds = dice.uniform(*SESSION_SECONDS), dice.uniform(0.1, UNAWARE_SECONDS_MAX)
        if seconds > session_seconds:
            self._after(session_seconds, lambda: self._session_ended(worker))
            self._after(seconds + unaware_seconds, lambda: self._learns(worker))
        self._after(seconds, lambda: self._goes_on(worker), rebalances=False)

    def _session_ended(self, worker: Worker) -> None:
        if worker.alive:
            self._give_up(worker)

    def _goes_on(self, worker: Worker) -> None:
        self._stopped.remove(worker)
        if not worker.alive:
            return
        self._at.note(worker.name, "goes on")
        self.happened["went on beside its successor" if worker in self._lost else "went on"] += 1
        self.owner_changes.append(self._loop.time())
        worker.go_on()

    def _learns(self, worker: Worker) -> None:
        if worker in self._lost:
            self._lost.remove(worker)

    def rebalance_soon(self) -> None:
        self.happened["rebalance"] += 1
        self._after(0.0, lambda: None)

    def _after(self, seconds: float, act: Callable[[], None], *, rebalances: bool = True) -> None:
        self._waiting += 1

        async def go() -> None:
            await asyncio.sleep(seconds)
            act()
            if rebalances:
                await self.rebalance()
            self._waiting -= 1

        self._loop.task_outside(go())

    def _new_life(self, slot: int) -> None:
        if self._down or self.members[slot] is not None:
            return
        self._lives += 1
        self.members[slot] = Worker.begun(f"w{slot}.{self._lives}", self._at, self._crashed)

    def _crashed(self, worker: Worker) -> None:
        worker.kill()
        self._buried(worker)

    async def rebalance(self) -> None:
        """All partitions are taken from all, what is in flight gets its time, and all are given out anew."""
        async with self._turn:
            members = [member for member in self.alive if member not in self._lost]
            for member in members:
                member.pause()
            draining = [member.drain() for member in members]
            while not all(
                task.done() or not member.alive or member in self._lost
                for task, member in zip(draining, members, strict=True)
            ):
                await asyncio.sleep(0.1)
            for member in members:
                if member.alive and member not in self._lost:
                    member.leave()
            self.owner_changes.append(self._loop.time())
            if owners := [member for member in members if member.alive and member not in self._lost]:
                await self._give_out(owners)

    async def _give_out(self, owners: list[Worker]) -> None:
        companies: list[list[int]] = [[] for _ in owners]
        webhooks: list[list[int]] = [[] for _ in owners]
        for partition in range(self._at.company_partitions):
            companies[self._dice.randrange(len(owners))].append(partition)
        for partition in range(self._at.webhook_partitions):
            webhooks[self._dice.randrange(len(owners))].append(partition)
        for owner, ours, notices in zip(owners, companies, webhooks, strict=True):
            self._at.note(owner.name, "owns", f"companies {ours}, webhooks {notices}")
            await owner.join(ours, notices)
