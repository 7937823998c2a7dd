"""This project on the embedded broker, by the commands that a user would type; webhooks are put on their topic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer

from models.outcomes import Outcome
from simulators.kafka.embedded import embedded_broker
from stream.demo.demo import environment
from stream.demo.processes import Child, Children, end
from stream.kafka.log import EventLog, Followed
from stream.settings import Kafka, Settings
from stream.topics import TopicNames, topic_names

from .bills import Bill
from .desk import READY_SECONDS, Reports

RUN_SECONDS = 900
DONE = ("posted", "updated", "unchanged", "voided")
PROBE_SECONDS = 20
SETTINGS = {"METRONOME_QBO_QUICKBOOKS__PARKED_PROBE_SECONDS": str(PROBE_SECONDS)}

Json = dict[str, Any]


class Run(Protocol):
    async def __call__(self, bills: Sequence[Bill], company: Json, *, announced: bool = True) -> Reports:
        """Give the tool these bills, for this company; or, where they are not announced, wait for what it makes of them
        by itself."""


@asynccontextmanager
async def running_worker(addresses: Json, directory: Path) -> AsyncIterator[Run]:
    """A worker connected to all companies, with the settings of the demo; what is given to it are webhooks."""
    with embedded_broker() as bootstrap:
        children = Children(directory, environment(Kafka(), bootstrap, addresses) | SETTINGS)
        try:
            items: dict[str, str] = {}
            for company in addresses["companies"]:
                realm = company["realm_id"]
                await children.run(
                    *("connect", "--realm", realm, "--refresh-token", "-"),
                    within_seconds=READY_SECONDS,
                    stdin=company["refresh_token"] + "\n",
                )
                setup = await children.run("setup", "--realm", realm, "--json", within_seconds=READY_SECONDS)
                items[realm] = json.loads(setup)["item_id"]
            prefix = children.environment["METRONOME_QBO_KAFKA__TOPIC_PREFIX"]
            names = topic_names(Settings(kafka=Kafka(topic_prefix=prefix)))
            async with aclosing(EventLog(bootstrap, READY_SECONDS).follow([names.outcomes])) as followed:
                ours = _Ours(children, items, bootstrap, names, followed)
                await ours.route_to(addresses["realm_id"])
                yield ours
        finally:
            await children.stop()


@dataclass
class _Ours:
    """One worker at a time, whose routing is the company for which there was something last."""

    children: Children
    items: dict[str, str]
    bootstrap: str
    names: TopicNames
    followed: AsyncIterator[Followed]
    worker: Child | None = None
    realm: str = ""

    async def __call__(self, bills: Sequence[Bill], company: Json, *, announced: bool = True) -> Reports:
        if company["realm_id"] != self.realm:
            await self.route_to(company["realm_id"])
        if announced:
            async with AIOKafkaProducer(bootstrap_servers=self.bootstrap) as producer:
                for bill in bills:
                    await producer.send_and_wait(self.names.webhooks, bill.webhook(), key=bill.invoice_id.encode())
        return await self._outcomes({bill.invoice_id for bill in bills})

    async def route_to(self, realm: str) -> None:
        """A worker which has all that comes from now on go to this company, unless its ledger says otherwise."""
        if self.worker is not None:
            self.worker.process.terminate()
            await end(self.worker, READY_SECONDS)
        also = {
            "METRONOME_QBO_ROUTING__DEFAULT_REALM": realm,
            "METRONOME_QBO_POLICY__DEFAULT_ITEM_ID": self.items[realm],
        }
        self.realm = realm
        self.worker = await self.children.start("worker", ready_within_seconds=READY_SECONDS, also=also)

    async def _outcomes(self, waiting: set[str]) -> Reports:
        """Of each the last one; a parked or refused one is a report of what is wrong."""
        reports: Reports = {}
        async with asyncio.timeout(RUN_SECONDS):
            async for batch in self.followed:
                for record in batch.records:
                    outcome = Outcome.model_validate_json(record.value or b"")
                    if outcome.subject.kind == "invoice":
                        trouble = f"{outcome.result}: {outcome.reason}"
                        reports[outcome.subject.id] = None if outcome.result in DONE else trouble
                if reports.keys() >= waiting:
                    break
        return reports
