"""Chaos among real processes: two workers, a receiver and the simulators, each killed, ended or stopped at random.

A minute and 250 invoices on real Kafka, unless the environment says otherwise:

    make chaos-processes SECONDS=300 INVOICES=2000 SEED=1

The seed draws the invoices, what happens to whom and when, and the faults; what the operating system makes of it
differs from run to run. The books are read from the simulators, whose state outlives them in a file. The embedded
broker gets as many invoices as it can hold.

After a kill a worker waits until whatever the killed one sent must be seen in QuickBooks. That is most of the time of a
short run; since nothing here delays a write for longer than `DELAYED_SECONDS_MAX`, a short run waits for 30 s only.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from models.outcomes import Outcome
from simulators.kafka.embedded import INVOICES_MAX
from stream.topics import topic_names
from tests import BOUND_SECONDS
from tests.brokers import Broker

from .rig import until_async
from .stage import SESSION_SECONDS, WORKERS, Stage, running_stage
from .verdict import EU, US, billed_total, compare

SECONDS = int(os.environ.get("CHAOS_SECONDS", "60"))
INVOICES = int(os.environ.get("CHAOS_INVOICES", "250"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
SEEN_SECONDS = os.environ.get("CHAOS_SEEN_SECONDS", "30")
BROKERS = os.environ.get("CHAOS_BROKERS", "kafka").split()

PROGRESS_SECONDS = 10
POLL_SECONDS = 1.0
REPEAT_SECONDS = 0.5
CHUNK = 10
REPEATED_SHARE = 0.1
DELIVERED_WITHIN = 0.85  # of the time; the rest of it works off what has piled up
BETWEEN_SECONDS = (3.0, 8.0)
DOWN_SECONDS = (0.0, 3.0)
PAUSE_SECONDS = (1.0, 7.0)
"""Of the receiver and the simulators: what waits at them is given up by then, and carried out all the same."""
PAUSE_OF_WORKER_SECONDS = (SESSION_SECONDS + 2.0, SESSION_SECONDS + 10.0)
"""The group gives it up, and another worker goes on with its partitions."""
DELAYED_SECONDS_MAX = PAUSE_OF_WORKER_SECONDS[1] + PAUSE_SECONDS[1]

VICTIMS = (*WORKERS, *WORKERS, "receiver", "simulators")
DEEDS = ("kill", "kill", "terminate", "pause", "pause")
"""Dealt like cards: all of them before one comes again."""

pytestmark = pytest.mark.timeout(SECONDS + 4 * BOUND_SECONDS)
marked = [pytest.param(each, marks=pytest.mark.kafka if each == "kafka" else ()) for each in BROKERS]


@pytest.mark.parametrize("broker", marked, indirect=True)
async def test_whoever_dies_or_stands_still_and_whenever_each_invoice_ends_in_the_books_once(
    broker: Broker, tmp_path: Path
) -> None:
    assert float(SEEN_SECONDS) > DELAYED_SECONDS_MAX
    invoices = min(INVOICES, INVOICES_MAX) if broker.kind == "embedded" else INVOICES
    async with running_stage(broker, tmp_path, invoices=invoices, seed=SEED, seen_seconds=SEEN_SECONDS) as on:
        billed = {each["id"]: each for each in await on.read(on.metronome_url + "/_sandbox/invoices")}
        assert len(billed) == invoices
        started = time.monotonic()
        say(f"{invoices} invoices, {SECONDS} s, seed {SEED}, {broker.kind}; logs in {tmp_path}")
        delivering = asyncio.create_task(deliver_all(on, list(billed)))
        try:
            await havoc(on, delivering, started)
            await settle(on, delivering, billed)
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)
        outcomes = await outcomes_of(on)
        verdict = compare(billed, await on.documents())
        adopted = sum(each.adopted for each in outcomes)
        say(f"settled after {time.monotonic() - started:.0f} s; {adopted} documents found in the books after a doubt")
        say(f"{len(billed)} invoices, {on.deeds}: {verdict}")
        assert str(verdict) == "0 duplicates, 0 lost, 0 cents off", verdict.examples
        assert verdict.strangers == []
        posted = {each.subject.removeprefix("invoice/"): each.total for each in outcomes if each.result == "posted"}
        assert posted == {each: billed_total(invoice)[0] for each, invoice in billed.items()}
        assert met_enough(on), on.done
        assert adopted > 0, "nothing happened that could have done harm"


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
    """Processes die, stand still and come back, several of them at a time, until the time is over and all that can
    happen to them was met.

    Then all are up.
    """
    dice = Random(SEED)
    returning: set[asyncio.Task[None]] = set()
    deeds: list[str] = []
    told, strike_at = started, started + dice.uniform(*BETWEEN_SECONDS)
    while (now := time.monotonic()) < started + SECONDS or not met_enough(on):
        if now >= strike_at:
            deeds = deeds or dice.sample(DEEDS, len(DEEDS))
            name, share = dice.choice(VICTIMS), dice.random()
            if name in on.up:
                returning.add(asyncio.create_task(strike(on, name, deeds.pop(), share)))
            strike_at = now + dice.uniform(*BETWEEN_SECONDS)
        if now >= told + PROGRESS_SECONDS:
            told = now
            say(f"{now - started:4.0f} s: {await progress(on)}")
        returning |= {asyncio.create_task(on.start(name)) for name in on.found_ended()}
        for each in [*returning, delivering]:
            if each.done():
                each.result()
        await asyncio.sleep(POLL_SECONDS)
    await asyncio.gather(*returning)


def met_enough(on: Stage) -> bool:
    """Whether processes were killed, ended, and a worker stopped past its session."""
    pauses_of_workers = sum(on.done[f"pauses of {each}"] for each in WORKERS)
    return min(on.done["kills -9"], on.done["SIGTERM"], pauses_of_workers) > 0


async def strike(on: Stage, name: str, deed: str, share: float) -> None:
    """`share` is how far between the shortest and the longest time the process is away."""

    def seconds(low: float, high: float) -> float:
        return low + share * (high - low)

    if name not in on.up or on.up[name].process.returncode is not None:
        return  # it has ended by itself in this moment
    match deed:
        case "kill":
            await on.kill(name, seconds(*DOWN_SECONDS))
        case "terminate":
            await on.terminate(name, seconds(*DOWN_SECONDS))
        case _:
            await on.pause(name, seconds(*(PAUSE_OF_WORKER_SECONDS if name in WORKERS else PAUSE_SECONDS)))


async def progress(on: Stage) -> str:
    try:
        async with asyncio.timeout(POLL_SECONDS):
            state = await on.read(on.quickbooks_url + "/_sandbox/state")
        held = f"{state['invoices'] + state['credit_memos']} in the books"
    except (aiohttp.ClientError, TimeoutError):
        held = "the simulators are away"
    return f"{held}, {on.deeds}"


async def settle(on: Stage, delivering: asyncio.Task[None], billed: dict[str, Any]) -> None:
    """No more faults; wait until each invoice has its outcome and no record is left to work on."""
    await on.calm_down()
    say(f"calm from here: {await progress(on)}")
    async with asyncio.timeout(BOUND_SECONDS):
        await delivering

    async def idle() -> bool | None:
        await asyncio.gather(*(on.start(name) for name in on.found_ended()))
        posted = {each.subject for each in await outcomes_of(on) if each.result == "posted"}
        return True if len(posted) == len(billed) and await nothing_is_left(on) else None

    await until_async(idle, "an outcome of each invoice, and nothing left to do")


async def outcomes_of(on: Stage) -> list[Outcome]:
    """The recorded outcomes of invoices."""
    records = on.log.read_range(topic_names(on.settings).outcomes)
    found = [Outcome.model_validate_json(each.value or b"") async for each in records]
    return [each for each in found if each.subject.startswith("invoice/")]


async def nothing_is_left(on: Stage) -> bool:
    """Whether the workers have acknowledged every record of the three topics that they work on."""
    names = topic_names(on.settings)
    found = await on.log.partitions([names.webhooks, names.invoices, names.commands])
    partitions = [TopicPartition(topic, number) for topic, numbers in found.items() for number in numbers]
    consumer = AIOKafkaConsumer(bootstrap_servers=on.bootstrap, group_id=on.settings.app_id, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        return all([(await consumer.committed(each) or 0) >= ends[each] for each in partitions])
    finally:
        await consumer.stop()


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
