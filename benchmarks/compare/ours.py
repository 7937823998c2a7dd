"""This project on the embedded broker, by the commands that a user would type; webhooks are put on their topic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from models.outcomes import Outcome
from simulators.kafka.embedded import embedded_broker
from stream.demo.demo import environment
from stream.demo.processes import Children
from stream.kafka.log import EventLog, Followed
from stream.settings import Kafka, Settings
from stream.topics import TopicNames, topic_names

from .bills import Bill
from .desk import READY_SECONDS, Reports

RUN_SECONDS = 300
DONE = ("posted", "updated", "unchanged")

Json = dict[str, Any]
Run = Callable[[Sequence[Bill]], Awaitable[Reports]]


@asynccontextmanager
async def running_worker(addresses: Json, directory: Path) -> AsyncIterator[Run]:
    """A connected worker with the settings of the demo; what is given to it are webhooks of these bills."""
    with embedded_broker() as bootstrap:
        children = Children(directory, environment(Kafka(), bootstrap, addresses))
        try:
            realm = addresses["realm_id"]
            await children.run(
                *("connect", "--realm", realm, "--refresh-token", "-"),
                within_seconds=READY_SECONDS,
                stdin=addresses["refresh_token"] + "\n",
            )
            setup = json.loads(await children.run("setup", "--realm", realm, "--json", within_seconds=READY_SECONDS))
            default_item = {"METRONOME_QBO_POLICY__DEFAULT_ITEM_ID": setup["item_id"]}
            await children.start("worker", ready_within_seconds=READY_SECONDS, also=default_item)
            prefix = children.environment["METRONOME_QBO_KAFKA__TOPIC_PREFIX"]
            names = topic_names(Settings(kafka=Kafka(topic_prefix=prefix)))
            async with aclosing(EventLog(bootstrap, READY_SECONDS).follow([names.outcomes])) as followed:
                yield lambda bills: _run(bootstrap, names, followed, bills)
        finally:
            await children.stop()


async def _run(bootstrap: str, names: TopicNames, followed: AsyncIterator[Followed], bills: Sequence[Bill]) -> Reports:
    """The outcome of each; a parked or refused one is a report of what is wrong."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for bill in bills:
            await producer.send_and_wait(names.webhooks, bill.webhook(), key=bill.invoice_id.encode())
    waiting = {bill.invoice_id for bill in bills}
    reports: Reports = {}
    async with asyncio.timeout(RUN_SECONDS):
        async for batch in followed:
            for record in batch.records:
                outcome = Outcome.model_validate_json(record.value or b"")
                if outcome.subject.kind == "invoice":
                    trouble = f"{outcome.result}: {outcome.reason}"
                    reports[outcome.subject.id] = None if outcome.result in DONE else trouble
            if reports.keys() >= waiting:
                break
    return reports
