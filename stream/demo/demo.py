"""The whole way on one machine: signed webhooks, Kafka, the agents, a QuickBooks simulator, and a comparison.

Every part is the real one, started as its own process by the commands that a user would type; only the two vendors
are simulated. Nothing of the caller's own settings reaches it but the broker.
"""

import asyncio
import itertools
import json
import secrets
import signal
import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.fernet import Fernet

from models.document import is_ours
from models.money import parse_json, quantum, round_half_up, unit_of
from models.outcomes import Outcome
from simulators.kafka.embedded import PARTITIONS_PER_TOPIC, embedded_broker
from stream.kafka.log import EventLog
from stream.settings import Kafka, Settings
from stream.topics import TopicNames, topic_names

from .processes import Children

READY_WITHIN_SECONDS = 120
FINALIZE_WITHIN_SECONDS = 600


@dataclass(frozen=True)
class Row:
    """One invoice, as Metronome billed it and as QuickBooks holds it."""

    invoice_id: str
    customer: str
    currency: str
    metronome_total: Decimal
    quickbooks_total: Decimal | None
    doc_number: str
    state: str
    seconds: float | None

    @property
    def matches(self) -> bool:
        return self.quickbooks_total == self.metronome_total


@dataclass
class Pass:
    """One delivery of all webhooks: the outcome of each invoice."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    took_seconds: float = 0.0

    def count(self, result: str) -> int:
        return sum(outcome.result == result for outcome in self.outcomes.values())


@dataclass(frozen=True)
class QuickBooksState:
    """Invoice ids that stand in the books more than once, and how many requests were answered with 429."""

    duplicates: tuple[str, ...]
    throttled: int


@dataclass
class Demo:
    """A running demo; `start` it with `running_demo`."""

    addresses: dict[str, Any]
    webhook_url: str
    web_url: str
    bootstrap_servers: str
    names: TopicNames
    _read_to: dict[int, int] = field(default_factory=dict)

    async def deliver(self, progress: Callable[[int], None], within_seconds: float) -> Pass:
        """Send every webhook, and follow the outcomes until each invoice has one more. Raises TimeoutError."""
        result, started = Pass(), time.monotonic()
        expected = self.addresses["invoices"]
        async with asyncio.timeout(within_seconds):
            sending = asyncio.create_task(self._finalize_all())
            try:
                async with aclosing(self._new_outcomes()) as outcomes:
                    async for outcome in outcomes:
                        if outcome.subject.kind == "invoice":
                            result.outcomes[outcome.subject.id] = outcome
                            progress(len(result.outcomes))
                        if len(result.outcomes) >= expected:
                            break
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        result.took_seconds = time.monotonic() - started
        return result

    async def _finalize_all(self) -> None:
        timeout = aiohttp.ClientTimeout(total=FINALIZE_WITHIN_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            url = self.addresses["metronome_url"] + "/_sandbox/finalize"
            async with session.post(url, json={"url": self.webhook_url, "all": True}) as response:
                response.raise_for_status()

    async def _new_outcomes(self) -> AsyncGenerator[Outcome, None]:
        """Outcomes as they are recorded, from where the last pass ended."""
        log = EventLog(self.bootstrap_servers, READY_WITHIN_SECONDS)
        followed = log.follow(
            [self.names.outcomes], lambda _, partition, bounds: self._read_to.get(partition, bounds.first)
        )
        async with aclosing(followed):
            async for batch in followed:
                for record in batch.records:
                    self._read_to[record.address.partition] = record.address.offset + 1
                    yield Outcome.model_validate_json(record.value or b"")

    async def compare(self, first: Pass) -> list[Row]:
        """Both books side by side, read from the simulators and not from our own records."""
        async with aiohttp.ClientSession() as session:
            billed = await _read(session, self.addresses["metronome_url"] + "/_sandbox/invoices")
            customers = (
                await _read(session, self.addresses["metronome_url"] + "/v1/customers?limit=100", self._bearer)
            )["data"]
            posted = await _read(session, self.addresses["quickbooks_url"] + "/_sandbox/invoices")
            memos = await _read(session, self.addresses["quickbooks_url"] + "/_sandbox/creditmemos")
        names = {customer["id"]: customer["name"] for customer in customers}
        return [_row(invoice, names, posted + memos, first) for invoice in billed]

    async def quickbooks_state(self) -> QuickBooksState:
        """What the simulator counted on its side."""
        async with aiohttp.ClientSession() as session:
            state = await _read(session, self.addresses["quickbooks_url"] + "/_sandbox/state")
        return QuickBooksState(tuple(state["duplicates"]), int(state["throttled"]))

    @property
    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.addresses['metronome_token']}"}


@asynccontextmanager
async def running_demo(
    kafka: Kafka, *, invoices: int, seed: int, directory: Path, progress: Callable[[str], None]
) -> AsyncIterator[Demo]:
    """Everything up and connected. `directory` gets the logs. Raises ChildFailed and what the broker raises.

    SIGTERM cancels whoever runs it, so that no child stays behind.
    """
    _cancelled_by_sigterm()
    async with AsyncExitStack() as stack:
        bootstrap = kafka.bootstrap_servers
        if bootstrap is None:
            progress("starting the embedded broker")
            bootstrap = stack.enter_context(embedded_broker())
        children = Children(directory)
        stack.push_async_callback(children.stop)
        progress("starting the simulators of Metronome and QuickBooks")
        sandbox = await children.start(
            "sandbox", "--invoices", str(invoices), "--seed", str(seed), ready_within_seconds=READY_WITHIN_SECONDS
        )
        addresses = json.loads(sandbox.ready_line)
        children.environment = environment(kafka, bootstrap, addresses)
        progress("connecting the company, and setting up the custom fields and the default item")
        await children.run(
            "connect", "--realm", addresses["realm_id"], "--refresh-token", "-",
            within_seconds=READY_WITHIN_SECONDS, stdin=addresses["refresh_token"] + "\n",
        )  # fmt: skip
        setup = json.loads(
            await children.run("setup", "--realm", addresses["realm_id"], "--json", within_seconds=READY_WITHIN_SECONDS)
        )
        children.environment |= {"METRONOME_QBO_POLICY__DEFAULT_ITEM_ID": setup["item_id"]}
        progress("starting the worker, the receiver and the web pages")
        worker, web = await asyncio.gather(
            children.start("worker", ready_within_seconds=READY_WITHIN_SECONDS),
            children.start("web", ready_within_seconds=READY_WITHIN_SECONDS),
        )
        yield Demo(
            addresses=addresses,
            webhook_url=_urls_in(worker.ready_line)[-1],
            web_url=_urls_in(web.ready_line)[0],
            bootstrap_servers=bootstrap,
            names=_names(children.environment),
        )


def _cancelled_by_sigterm() -> None:
    """Once: a second SIGTERM must not interrupt the end of the children."""
    task, signals = asyncio.current_task(), itertools.count()
    assert task is not None

    def cancel() -> None:
        if next(signals) == 0:
            task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, cancel)


def environment(kafka: Kafka, bootstrap_servers: str, addresses: dict[str, Any]) -> dict[str, str]:
    """The settings of the demo's processes: the simulators, invented secrets, and topics of their own."""
    embedded = kafka.bootstrap_servers is None
    partitions = PARTITIONS_PER_TOPIC if embedded else kafka.company_partitions
    run = f"demo-{secrets.token_hex(4)}"
    settings = {
        "APP_ID": run,
        "ENCRYPTION_KEYS": json.dumps([Fernet.generate_key().decode()]),
        "KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
        "KAFKA__EMBEDDED": json.dumps(embedded),
        "KAFKA__TOPIC_PREFIX": f"{run}.",
        "KAFKA__COMPANY_PARTITIONS": str(partitions),
        "KAFKA__WEBHOOK_PARTITIONS": str(partitions),
        "KAFKA__REPLICATION_FACTOR": str(kafka.replication_factor),
        "METRONOME__URL": addresses["metronome_url"],
        "METRONOME__TOKEN": addresses["metronome_token"],
        "METRONOME__WEBHOOK_SECRETS": json.dumps([addresses["webhook_secret"]]),
        "QUICKBOOKS__URL": addresses["quickbooks_url"],
        "QUICKBOOKS__AUTHORIZE_URL": addresses["quickbooks_authorize_url"],
        "QUICKBOOKS__TOKEN_URL": addresses["quickbooks_token_url"],
        "QUICKBOOKS__CLIENT_ID": addresses["client_id"],
        "QUICKBOOKS__CLIENT_SECRET": addresses["client_secret"],
        "ROUTING__DEFAULT_REALM": addresses["realm_id"],
        "POLICY__MISSING_ITEM": "default",
        "POLICY__PAYMENT_TERMS_DAYS": "30",
        "RECEIVER__PORT": "0",
        "WORKER__HEALTH_PORT": "0",
        "WORKER__HOSTS_RECEIVER": "true",
        "WORKER__SESSION_TIMEOUT_SECONDS": "10",
        "WEB__PORT": "0",
    }
    return {f"METRONOME_QBO_{name}": value for name, value in settings.items()}


def latencies(first: Pass) -> tuple[float, float]:
    """Median and 99th percentile of the seconds from the receipt of a signed webhook to its outcome."""
    seconds = sorted(_seconds(outcome) or 0.0 for outcome in first.outcomes.values())
    return statistics.median(seconds), seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))]


def _names(variables: dict[str, str]) -> TopicNames:
    prefix = variables["METRONOME_QBO_KAFKA__TOPIC_PREFIX"]
    return topic_names(Settings(kafka=Kafka(topic_prefix=prefix)))


def _row(invoice: dict[str, Any], names: dict[str, str], documents: list[dict[str, Any]], first: Pass) -> Row:
    unit = unit_of(invoice["credit_type"]["name"])
    billed = round_half_up(unit.major(Decimal(invoice["total"])), quantum(unit.currency))
    found = [document for document in documents if is_ours(document, invoice["id"])]
    outcome = first.outcomes.get(invoice["id"])
    return Row(
        invoice_id=invoice["id"],
        customer=names.get(invoice["customer_id"], invoice["customer_id"]),
        currency=unit.currency,
        metronome_total=billed,
        quickbooks_total=Decimal(str(found[0]["TotalAmt"])) if len(found) == 1 else None,
        doc_number=found[0].get("DocNumber", "") if found else "",
        state=outcome.result if outcome else "no outcome",
        seconds=_seconds(outcome),
    )


def _seconds(outcome: Outcome | None) -> float | None:
    if outcome is None or outcome.received_at is None:
        return None
    return (outcome.finished_at - outcome.received_at).total_seconds()


def _urls_in(ready_line: str) -> list[str]:
    return [word.rstrip(",/") for word in ready_line.split() if word.startswith("http")]


async def _read(session: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None) -> Any:
    async with session.get(url, headers=headers) as response:
        response.raise_for_status()
        return parse_json(await response.read())
