"""A stage for chaos among real processes: two workers, a receiver and the simulators, on a broker of the test's.

All can be killed, ended and stopped; whoever supervises them starts them again. The simulators' state outlives them in
a file, and they forget each requestid at once.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp

from models.money import parse_json
from simulators.kafka.jars import free_port
from stream.demo.demo import environment
from stream.demo.processes import Child, ChildFailed, Children
from stream.kafka.log import EventLog
from stream.settings import Kafka, Settings
from stream.topics import prepare_topics
from tests import BOUND_SECONDS
from tests.brokers import Broker

from .rig import ended, settings_of
from .verdict import EU, US

WORKERS = ("worker one", "worker two")
SESSION_SECONDS = 6

SETTINGS = {
    "ROUTING__BY_CURRENCY": json.dumps({"EUR": EU}),
    "POLICY__DEFAULT_ITEM_ID": "1",
    "WORKER__HOSTS_RECEIVER": "false",
    "WORKER__SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
    "METRONOME__BACKOFF_MAX_SECONDS": "3",
    # The pace keeps writes under way at any time, and retries end well within the run.
    "QUICKBOOKS__REQUESTS_PER_SECOND": "15",
    "QUICKBOOKS__REQUESTS_PER_MINUTE": "900",
    "QUICKBOOKS__TIMEOUT_SECONDS": "5",
    "QUICKBOOKS__THROTTLED_WAIT_SECONDS": "2",
    "QUICKBOOKS__BACKOFF_MAX_SECONDS": "3",
    "QUICKBOOKS__RETRY_SECONDS": "60",
    "QUICKBOOKS__PARKED_PROBE_SECONDS": "5",
}
ENDS = {
    "workers fenced": "Fenced: the changelog of table",
    "workers refused by the group": "the consumer's membership in its group (",
}
"""The ends of workers that are no fault, and what such a worker says last.

Fenced are a worker that was paused, and the one that took over from it. The embedded broker's group may refuse the
answer of a leader that was replaced meanwhile, where Kafka asks it to join again.
"""
WRITES = {"path_contains": "/invoice", "method": "POST"}
QUICKBOOKS_FAULTS: list[dict[str, Any]] = [
    {**WRITES, "kind": "drop", "probability": 0.03, "after_commit": True},
    {**WRITES, "kind": "drop", "probability": 0.02},
    {**WRITES, "kind": "status", "status": 500, "probability": 0.02, "after_commit": True},
    {**WRITES, "kind": "status", "status": 503, "probability": 0.02},
    {**WRITES, "kind": "status", "status": 429, "probability": 0.01},
    {**WRITES, "kind": "truncated", "probability": 0.02},
    {**WRITES, "kind": "html", "status": 502, "probability": 0.01},
    {**WRITES, "kind": "html", "status": 403, "probability": 0.01, "after_commit": True},
    {**WRITES, "kind": "hang", "delay_seconds": 7, "probability": 0.01, "after_commit": True},
    {**WRITES, "kind": "expire-token", "probability": 0.005},
    {**WRITES, "kind": "delay", "delay_seconds": 0.5, "probability": 0.3},
    {"path_contains": "/query", "kind": "status", "status": 503, "probability": 0.05},
    {"path_contains": "/tokens", "kind": "status", "status": 503, "probability": 0.1},
]
METRONOME_FAULTS: list[dict[str, Any]] = [
    {"path_contains": "/v1/", "kind": "drop", "probability": 0.01},
    {"path_contains": "/v1/", "kind": "status", "status": 503, "probability": 0.02},
    {"path_contains": "/v1/", "kind": "status", "status": 429, "probability": 0.01},
]


@dataclass
class Stage:
    """The processes by their names, and how often what was done to them. Whoever is down or stopped is not in `up`."""

    children: Children
    broker: Literal["embedded", "kafka"]
    http: aiohttp.ClientSession
    commands: dict[str, tuple[str, ...]]
    under: dict[str, tuple[str, ...]]
    seed: int
    metronome_url: str
    quickbooks_url: str
    webhook_url: str
    up: dict[str, Child] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    generation: int = 0
    calm: bool = False

    @property
    def settings(self) -> Settings:
        return settings_of(self.children.environment)

    @property
    def bootstrap(self) -> str:
        return str(self.settings.kafka.bootstrap_servers)

    @property
    def log(self) -> EventLog:
        return EventLog(self.bootstrap, BOUND_SECONDS)

    @property
    def deeds(self) -> str:
        """What was done to the processes, in numbers."""
        return ", ".join(f"{self.done[each]} {each}" for each in ("kills -9", "SIGTERM", "pauses", *ENDS))

    async def start(self, name: str) -> None:
        command, under = self.commands[name], self.under.get(name, ())
        try:
            self.up[name] = await self.children.start(*command, ready_within_seconds=BOUND_SECONDS, under=under)
        except ChildFailed as failure:
            if not self._ends_by_design(name, str(failure)):
                raise
            await self.start(name)
        if name == "simulators" and not self.calm:
            await self.spoil()

    async def connect(self, company: dict[str, Any]) -> None:
        await self.children.run(
            *("connect", "--realm", company["realm_id"], "--refresh-token", "-"),
            within_seconds=BOUND_SECONDS,
            stdin=company["refresh_token"] + "\n",
        )

    async def spoil(self) -> None:
        """A simulator that was started anew has no faults; each gets other ones of the same seed."""
        self.generation += 1
        for url, faults in ((self.quickbooks_url, QUICKBOOKS_FAULTS), (self.metronome_url, METRONOME_FAULTS)):
            seeded = [
                {**each, "seed": self.seed * 1000 + self.generation * 100 + place} for place, each in enumerate(faults)
            ]
            async with self.http.post(url + "/_sandbox/faults", json=seeded) as response:
                response.raise_for_status()

    async def calm_down(self) -> None:
        """No more faults."""
        self.calm = True
        for url in (self.quickbooks_url, self.metronome_url):
            async with self.http.delete(url + "/_sandbox/faults") as response:
                response.raise_for_status()

    # What is done to a process that is up

    async def kill(self, name: str, down_seconds: float) -> None:
        """It ends without warning, and comes back a while later."""
        victim = self.up.pop(name)
        self.done["kills -9"] += 1
        victim.process.kill()
        await victim.process.wait()
        await asyncio.sleep(down_seconds)
        await self.start(name)

    async def terminate(self, name: str, down_seconds: float) -> None:
        victim = self.up.pop(name)
        self.done["SIGTERM"] += 1
        victim.process.send_signal(signal.SIGTERM)
        by_design = await ended(victim) == 0 or self._ends_by_design(name, log_of(victim))
        assert by_design, f"{name} after SIGTERM:\n{log_of(victim)}"
        await asyncio.sleep(down_seconds)
        await self.start(name)

    async def pause(self, name: str, seconds: float) -> None:
        """It stands still, and goes on as if nothing had been: a worker, perhaps, beside its successor."""
        victim = self.up.pop(name)
        self.done["pauses"] += 1
        self.done[f"pauses of {name}"] += 1
        victim.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            victim.process.send_signal(signal.SIGCONT)
        self.up[name] = victim

    # The supervisor's part

    def found_ended(self) -> list[str]:
        """Whose process ended by design, as a fenced worker does; to be started again. Nobody else may end."""
        found = [name for name, child in self.up.items() if child.process.returncode is not None]
        for name in found:
            log = log_of(self.up.pop(name))
            assert self._ends_by_design(name, log), f"{name} ended by itself:\n{log}"
        return found

    def _ends_by_design(self, name: str, log: str) -> bool:
        """Whether a worker ended for a reason for which it is to be started again; counts it."""
        ends = {each: says for each, says in ENDS.items() if self.broker == "embedded" or each == "workers fenced"}
        reason = next((each for each, says in ends.items() if name in WORKERS and says in log), None)
        if reason is not None:
            self.done[reason] += 1
        return reason is not None

    async def read(self, url: str) -> Any:
        async with self.http.get(url) as response:
            response.raise_for_status()
            return parse_json(await response.read())

    async def documents(self) -> list[dict[str, Any]]:
        held: list[dict[str, Any]] = []
        for kind in ("invoices", "creditmemos"):
            held += await self.read(f"{self.quickbooks_url}/_sandbox/{kind}")
        return held


@asynccontextmanager
async def running_stage(
    broker: Broker, directory: Path, *, invoices: int, seed: int, seen_seconds: str
) -> AsyncIterator[Stage]:
    """Everything up, connected and with its faults."""
    metronome, quickbooks, receiver = free_port(), free_port(), free_port()
    children = Children(directory)
    sandbox = (
        *("sandbox", "--state", str(directory / "sandbox.sqlite"), "--no-limits", "--requestid-seconds", "0"),
        *("--metronome-port", str(metronome), "--quickbooks-port", str(quickbooks), "--rotate-after-seconds", "86400"),
        *("--invoices", str(invoices), "--seed", str(seed)),
        *("--company", f"{US},Northwind", "--company", f"{EU},Nordlicht,US,EUR"),
    )
    # The simulator answers when its webhooks are delivered.
    timeout = aiohttp.ClientTimeout(total=BOUND_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        on = Stage(
            children, broker.kind, http,
            commands={"simulators": sandbox, "receiver": ("receive",)} | dict.fromkeys(WORKERS, ("worker",)),
            under=dict.fromkeys(WORKERS, ("-m", "tests.pipeline.seen_sooner", seen_seconds)),
            seed=seed,
            metronome_url=f"http://127.0.0.1:{metronome}",
            quickbooks_url=f"http://127.0.0.1:{quickbooks}",
            webhook_url=f"http://127.0.0.1:{receiver}/webhooks/metronome",
            calm=True,
        )  # fmt: skip
        try:
            await on.start("simulators")
            addresses = json.loads(on.up["simulators"].ready_line)
            kafka = Kafka(bootstrap_servers=None if broker.kind == "embedded" else broker.bootstrap_servers)
            kafka = kafka.model_copy(update={"company_partitions": 4, "webhook_partitions": 4})
            own = {f"METRONOME_QBO_{name}": value for name, value in SETTINGS.items()}
            children.environment = environment(kafka, broker.bootstrap_servers, addresses) | own
            children.environment |= {"METRONOME_QBO_RECEIVER__PORT": str(receiver)}
            await prepare_topics(on.settings)
            for company in addresses["companies"]:
                await on.connect(company)
            await asyncio.gather(*(on.start(name) for name in ("receiver", *WORKERS)))
            on.calm = False
            await on.spoil()
            yield on
        finally:
            await children.stop()


def log_of(child: Child) -> str:
    return child.log.read_text(errors="replace")[-4000:]
