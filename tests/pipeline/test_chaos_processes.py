"""Chaos among real processes: real Kafka, two workers, a receiver and the simulators, each killed at random.

A minute and 250 invoices, unless the environment says otherwise:

    make chaos-processes SECONDS=300 INVOICES=2000 SEED=1

The seed draws the invoices, who dies when and how, and the faults; what the operating system makes of it differs from
run to run. The books are read from the simulators, whose state outlives them in a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from models.money import parse_json, quantum, round_half_up, unit_of
from models.outcomes import Outcome
from simulators.kafka.jars import free_port
from stream.demo.demo import environment
from stream.demo.processes import Child, Children
from stream.kafka.log import EventLog
from stream.settings import Kafka, Settings
from stream.topics import prepare_topics, topic_names
from tests import BOUND_SECONDS

from .rig import ended, settings_of, until_async

SECONDS = int(os.environ.get("CHAOS_SECONDS", "60"))
INVOICES = int(os.environ.get("CHAOS_INVOICES", "250"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))

PROGRESS_SECONDS = 10
POLL_SECONDS = 1.0
REPEAT_SECONDS = 0.5
CHUNK = 10
REPEATED_SHARE = 0.1
DELIVERED_WITHIN = 0.85  # of the time; the rest of it works off what has piled up
PAUSE_SECONDS = (4.0, 12.0)
DOWN_SECONDS = (0.0, 3.0)
KILL_SHARE = 0.6

WORKERS = ("worker one", "worker two")
VICTIMS = (*WORKERS, *WORKERS, "receiver", "simulators")
US, EU = "9341450000000001", "9341450000000002"

SETTINGS = {
    "ROUTING__BY_CURRENCY": json.dumps({"EUR": EU}),
    "POLICY__DEFAULT_ITEM_ID": "1",
    "WORKER__HOSTS_RECEIVER": "false",
    "WORKER__SESSION_TIMEOUT_SECONDS": "6",
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
WRITES = {"path_contains": "/invoice", "method": "POST"}
QUICKBOOKS_FAULTS: list[dict[str, Any]] = [
    {**WRITES, "kind": "drop", "probability": 0.03, "after_commit": True},
    {**WRITES, "kind": "drop", "probability": 0.02},
    {**WRITES, "kind": "status", "status": 500, "probability": 0.02, "after_commit": True},
    {**WRITES, "kind": "status", "status": 503, "probability": 0.02},
    {**WRITES, "kind": "status", "status": 429, "probability": 0.01},
    {**WRITES, "kind": "truncated", "probability": 0.02},
    {**WRITES, "kind": "html", "status": 502, "probability": 0.01},
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

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(SECONDS + 4 * BOUND_SECONDS)]


@dataclass
class Stage:
    """The processes by their names, and what was done to them. Whoever is down is not in `up`."""

    children: Children
    http: aiohttp.ClientSession
    commands: dict[str, tuple[str, ...]]
    metronome_url: str
    quickbooks_url: str
    webhook_url: str
    up: dict[str, Child] = field(default_factory=dict)
    kills: int = 0
    terminations: int = 0
    generation: int = 0
    calm: bool = False

    @property
    def settings(self) -> Settings:
        return settings_of(self.children.environment)

    @property
    def bootstrap(self) -> str:
        return str(self.settings.kafka.bootstrap_servers)

    async def start(self, name: str) -> None:
        self.up[name] = await self.children.start(*self.commands[name], ready_within_seconds=BOUND_SECONDS)
        if name == "simulators" and not self.calm:
            await self.spoil()

    async def spoil(self) -> None:
        """A simulator that was started anew has no faults; each gets other ones of the same seed."""
        self.generation += 1
        for url, faults in ((self.quickbooks_url, QUICKBOOKS_FAULTS), (self.metronome_url, METRONOME_FAULTS)):
            seeded = [
                {**each, "seed": SEED * 1000 + self.generation * 100 + place} for place, each in enumerate(faults)
            ]
            async with self.http.post(url + "/_sandbox/faults", json=seeded) as response:
                response.raise_for_status()

    async def strike(self, name: str, *, kill: bool, down_seconds: float) -> None:
        """One process ends, with or without warning, and comes back a while later."""
        victim = self.up.pop(name)
        if kill:
            self.kills += 1
            victim.process.kill()
            await victim.process.wait()
        else:
            self.terminations += 1
            victim.process.send_signal(signal.SIGTERM)
            assert await ended(victim) == 0, f"{name} after SIGTERM:\n{self.log_of(victim)}"
        await asyncio.sleep(down_seconds)
        await self.start(name)

    def log_of(self, child: Child) -> str:
        return child.log.read_text(errors="replace")[-4000:]

    def nobody_died_by_itself(self) -> None:
        for name, child in self.up.items():
            assert child.process.returncode is None, f"{name} ended by itself:\n{self.log_of(child)}"

    async def read(self, url: str) -> Any:
        async with self.http.get(url) as response:
            response.raise_for_status()
            return parse_json(await response.read())


async def test_whoever_dies_and_whenever_each_invoice_ends_in_the_books_once(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with stage(kafka_bootstrap, tmp_path) as on:
        billed = {each["id"]: each for each in await on.read(on.metronome_url + "/_sandbox/invoices")}
        assert len(billed) == INVOICES
        started = time.monotonic()
        say(f"{INVOICES} invoices, {SECONDS} s, seed {SEED}; logs in {tmp_path}")
        delivering = asyncio.create_task(deliver_all(on, list(billed)))
        try:
            await havoc(on, delivering, started)
            await settle(on, delivering, billed)
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
        outcomes = await outcomes_of(on)
        verdict = compare(billed, await documents(on))
        adopted = sum(each.adopted for each in outcomes)
        say(f"settled after {time.monotonic() - started:.0f} s; {adopted} documents found in the books after a doubt")
        say(f"{len(billed)} invoices, {on.kills} kills -9, {on.terminations} SIGTERM: {verdict}")
        assert str(verdict) == "0 duplicates, 0 lost, 0 cents off", verdict.examples
        assert verdict.strangers == []
        posted = {each.subject.removeprefix("invoice/"): each.total for each in outcomes if each.result == "posted"}
        assert posted == {each: billed_total(invoice)[0] for each, invoice in billed.items()}
        assert min(on.kills, on.terminations, adopted) > 0, "nothing happened that could have done harm"


@asynccontextmanager
async def stage(bootstrap: str, directory: Path) -> AsyncIterator[Stage]:
    """Everything up, connected and with its faults."""
    metronome, quickbooks, receiver = free_port(), free_port(), free_port()
    children = Children(directory)
    sandbox = (
        *("sandbox", "--state", str(directory / "sandbox.sqlite")),
        *("--metronome-port", str(metronome), "--quickbooks-port", str(quickbooks)),
        *("--invoices", str(INVOICES), "--seed", str(SEED), "--no-limits", "--rotate-after-seconds", "86400"),
        *("--company", f"{US},Northwind", "--company", f"{EU},Nordlicht,US,EUR"),
    )
    commands = {"simulators": sandbox, "receiver": ("receive",)} | dict.fromkeys(WORKERS, ("worker",))
    # The simulator answers when its webhooks are delivered.
    timeout = aiohttp.ClientTimeout(total=BOUND_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        on = Stage(
            children, http, commands,
            metronome_url=f"http://127.0.0.1:{metronome}",
            quickbooks_url=f"http://127.0.0.1:{quickbooks}",
            webhook_url=f"http://127.0.0.1:{receiver}/webhooks/metronome",
            calm=True,
        )  # fmt: skip
        try:
            await on.start("simulators")
            addresses = json.loads(on.up["simulators"].ready_line)
            kafka = Kafka(bootstrap_servers=bootstrap, company_partitions=4, webhook_partitions=4)
            own = {f"METRONOME_QBO_{name}": value for name, value in SETTINGS.items()}
            children.environment = environment(kafka, bootstrap, addresses) | own
            children.environment |= {"METRONOME_QBO_RECEIVER__PORT": str(receiver)}
            await prepare_topics(on.settings)
            for company in addresses["companies"]:
                await children.run(
                    *("connect", "--realm", company["realm_id"], "--refresh-token", "-"),
                    within_seconds=BOUND_SECONDS,
                    stdin=company["refresh_token"] + "\n",
                )
            await asyncio.gather(*(on.start(name) for name in ("receiver", *WORKERS)))
            on.calm = False
            await on.spoil()
            yield on
        finally:
            await children.stop()


async def deliver_all(on: Stage, invoice_ids: list[str]) -> None:
    """Metronome finalizes a few invoices at a time; some it announces twice."""
    dice = Random(f"{SEED}/delivery")
    dice.shuffle(invoice_ids)
    chunks = [invoice_ids[start : start + CHUNK] for start in range(0, len(invoice_ids), CHUNK)]
    async with asyncio.TaskGroup() as group:
        for chunk in chunks:
            for _ in range(2 if dice.random() < REPEATED_SHARE else 1):
                group.create_task(deliver(on, chunk))
            await asyncio.sleep(SECONDS * DELIVERED_WITHIN / len(chunks))


async def deliver(on: Stage, invoice_ids: Sequence[str]) -> None:
    """Until each webhook is accepted: as long as it takes the simulator and the receiver to come back."""
    missing = list(invoice_ids)
    while missing:
        try:
            body = {"url": on.webhook_url, "invoice_ids": missing}
            async with on.http.post(on.metronome_url + "/_sandbox/finalize", json=body) as response:
                missing = (await response.json())["refused"]
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(REPEAT_SECONDS)


async def havoc(on: Stage, delivering: asyncio.Task[None], started: float) -> None:
    """Processes die and come back, several of them at a time, until the time is over and both kinds of end were met.

    Then all are up.
    """
    dice = Random(SEED)
    returning: set[asyncio.Task[None]] = set()
    told, strike_at = started, started + dice.uniform(*PAUSE_SECONDS)
    while (now := time.monotonic()) < started + SECONDS or not (on.kills and on.terminations):
        if now >= strike_at:
            name, kill, down_seconds = dice.choice(VICTIMS), dice.random() < KILL_SHARE, dice.uniform(*DOWN_SECONDS)
            if name in on.up:
                returning.add(asyncio.create_task(on.strike(name, kill=kill, down_seconds=down_seconds)))
            strike_at = now + dice.uniform(*PAUSE_SECONDS)
        if now >= told + PROGRESS_SECONDS:
            told = now
            say(f"{now - started:4.0f} s: {await progress(on)}")
        for each in [*returning, delivering]:
            if each.done():
                each.result()
        on.nobody_died_by_itself()
        await asyncio.sleep(POLL_SECONDS)
    await asyncio.gather(*returning)


async def progress(on: Stage) -> str:
    try:
        state = await on.read(on.quickbooks_url + "/_sandbox/state")
        held = f"{state['invoices'] + state['credit_memos']} in the books"
    except (aiohttp.ClientError, TimeoutError):
        held = "the simulators are down"
    return f"{held}, {on.kills} kills -9, {on.terminations} SIGTERM"


async def settle(on: Stage, delivering: asyncio.Task[None], billed: dict[str, Any]) -> None:
    """No more faults; wait until each invoice has its outcome and no record is left to work on."""
    on.calm = True
    for url in (on.quickbooks_url, on.metronome_url):
        async with on.http.delete(url + "/_sandbox/faults") as response:
            response.raise_for_status()
    say(f"calm from here: {await progress(on)}")
    async with asyncio.timeout(BOUND_SECONDS):
        await delivering

    async def idle() -> bool | None:
        on.nobody_died_by_itself()
        posted = {each.subject for each in await outcomes_of(on) if each.result == "posted"}
        return True if len(posted) == len(billed) and await nothing_is_left(on) else None

    await until_async(idle, "an outcome of each invoice, and nothing left to do")


async def outcomes_of(on: Stage) -> list[Outcome]:
    """The recorded outcomes of invoices."""
    topic = topic_names(on.settings).outcomes
    records = EventLog(on.bootstrap, BOUND_SECONDS).read_range(topic)
    found = [Outcome.model_validate_json(each.value or b"") async for each in records]
    return [each for each in found if each.subject.startswith("invoice/")]


async def nothing_is_left(on: Stage) -> bool:
    """Whether the workers have acknowledged every record of the three topics that they work on."""
    names = topic_names(on.settings)
    found = await EventLog(on.bootstrap, BOUND_SECONDS).partitions([names.webhooks, names.invoices, names.commands])
    partitions = [TopicPartition(topic, number) for topic, numbers in found.items() for number in numbers]
    consumer = AIOKafkaConsumer(bootstrap_servers=on.bootstrap, group_id=on.settings.app_id, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        return all([(await consumer.committed(each) or 0) >= ends[each] for each in partitions])
    finally:
        await consumer.stop()


async def documents(on: Stage) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] = []
    for kind in ("invoices", "creditmemos"):
        held += await on.read(f"{on.quickbooks_url}/_sandbox/{kind}")
    return held


@dataclass
class Verdict:
    """Both books compared; `examples` are invoice ids, `strangers` documents that belong to no invoice."""

    duplicates: int = 0
    lost: int = 0
    cents_off: Decimal = Decimal(0)
    examples: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.duplicates} duplicates, {self.lost} lost, {self.cents_off:f} cents off"


def compare(billed: dict[str, Any], held: Sequence[dict[str, Any]]) -> Verdict:
    """Each invoice once, in the company of its currency, with Metronome's total to the cent."""
    verdict = Verdict()
    documents_by_invoice: dict[str, list[dict[str, Any]]] = {each: [] for each in billed}
    for document in held:
        invoice_id = str(document["PrivateNote"]).partition("\n")[0].removeprefix("Metronome invoice ")
        total, currency = billed_total(billed[invoice_id]) if invoice_id in billed else (None, "")
        if total is None or document["realm_id"] != {"USD": US, "EUR": EU}[currency]:
            verdict.strangers.append(f"{document['realm_id']}/{document['Id']}")
        else:
            documents_by_invoice[invoice_id].append(document)
    for invoice_id, found in documents_by_invoice.items():
        total, currency = billed_total(billed[invoice_id])
        verdict.lost += not found
        verdict.duplicates += max(0, len(found) - 1)
        off = sum((abs(Decimal(each["TotalAmt"]) - total) for each in found), Decimal(0))
        verdict.cents_off += off / quantum(currency)
        if len(found) != 1 or off:
            verdict.examples.append(invoice_id)
    return verdict


def billed_total(invoice: dict[str, Any]) -> tuple[Decimal, str]:
    """Metronome's total in whole units, to the cent and without its sign, and its currency."""
    unit = unit_of(invoice["credit_type"]["name"])
    total = round_half_up(unit.major(Decimal(invoice["total"])), quantum(unit.currency))
    return total.copy_abs(), unit.currency


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def test_the_comparison_finds_what_it_looks_for() -> None:
    """One invoice twice, one missing, one a cent off, one in the wrong company."""
    dollars = {"credit_type": {"name": "USD (cents)"}, "total": Decimal("1000.4")}
    billed = {each: {"id": each, **dollars} for each in ("twice", "missing", "off", "elsewhere")}

    def document(invoice_id: str, total: str, realm: str = US) -> dict[str, Any]:
        note = f"Metronome invoice {invoice_id}\nmore"
        return {"Id": "1", "realm_id": realm, "PrivateNote": note, "TotalAmt": Decimal(total)}

    held = [document("twice", "10.00"), document("twice", "10.00"), document("off", "10.01")]
    verdict = compare(billed, [*held, document("elsewhere", "10.00", EU), document("unknown", "1")])
    assert str(verdict) == "1 duplicates, 2 lost, 1 cents off"
    assert Counter(verdict.examples) == Counter(["twice", "missing", "off", "elsewhere"])
    assert verdict.strangers == [f"{EU}/1", f"{US}/1"]
