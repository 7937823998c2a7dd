"""Invoices per second from the webhook topic to the recorded outcome, beside a loop of python-quickbooks.

The simulators answer at once and all rate limits are lifted, so that what is measured is ours. The reference posts the
same number of invoices of the same shape to the same simulator with python-quickbooks, one after the other, as its
documentation shows it: no Metronome, no Kafka, no ledger.

    python -m benchmarks.pipeline --invoices 1000
    python -m benchmarks.pipeline --broker kafka --profile
"""

import asyncio
import json
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from aiokafka import AIOKafkaProducer
from intuitlib.client import AuthClient
from quickbooks import QuickBooks
from quickbooks.objects.base import Ref
from quickbooks.objects.detailline import SalesItemLine, SalesItemLineDetail
from quickbooks.objects.invoice import Invoice
from rich.console import Console
from rich.table import Table

from models.outcomes import Outcome
from simulators.kafka.embedded import INVOICES_MAX, embedded_broker
from simulators.kafka.jars import KafkaFromJars
from stream.demo.demo import environment
from stream.demo.processes import Children
from stream.kafka.log import EventLog
from stream.settings import Kafka, Settings
from stream.topics import TopicNames, topic_names

WITHIN_SECONDS = 60
LIFTED = {
    "METRONOME_QBO_QUICKBOOKS__REQUESTS_PER_SECOND": "1000000",
    "METRONOME_QBO_QUICKBOOKS__REQUESTS_PER_MINUTE": "1000000",
    "METRONOME_QBO_QUICKBOOKS__IN_FLIGHT_MAX": "64",
    "METRONOME_QBO_LOGGING__LEVEL": "warning",
}
console = Console(highlight=False, width=110)


class Which(StrEnum):
    embedded = "embedded"
    kafka = "kafka"
    both = "both"


@dataclass(frozen=True)
class Measured:
    """`cpu_seconds` is the worker's own processor time, which other load on the machine changes little."""

    invoices: int
    seconds: float
    cpu_seconds: float
    reference_per_second: float


def main(
    invoices: Annotated[int, typer.Option(min=1, help="How many invoices.")] = 1500,
    broker: Annotated[Which, typer.Option(help="Which broker to measure on.")] = Which.both,
    reference: Annotated[int, typer.Option(min=1, help="How many invoices the reference loop posts.")] = 300,
    profile: Annotated[bool, typer.Option("--profile", help="Where the worker's time goes; slows it down.")] = False,
) -> None:
    """Invoices per second from the webhook topic to the outcome, beside a loop of python-quickbooks."""
    headings = ("Broker", "Invoices", "Seconds", "Invoices/s", "CPU ms/invoice", "Reference/s", "Ratio")
    table = Table(*headings, title="One worker, one company")
    for each in (Which.embedded, Which.kafka) if broker is Which.both else (broker,):
        with _running(each) as kafka:
            measured = asyncio.run(_measure(kafka, invoices, reference, profile))
        rate = measured.invoices / measured.seconds
        table.add_row(
            each.value,
            str(measured.invoices),
            f"{measured.seconds:.1f}",
            f"{rate:.0f}",
            f"{measured.cpu_seconds / measured.invoices * 1000:.1f}",
            f"{measured.reference_per_second:.0f}",
            f"{rate / measured.reference_per_second:.2f} ×",
        )
    console.print(table)


@contextmanager
def _running(broker: Which) -> Iterator[Kafka]:
    """The settings with which `environment` makes a demo's own; without servers it means the embedded broker."""
    if broker is Which.kafka:
        with KafkaFromJars() as kafka:
            yield Kafka(bootstrap_servers=kafka.bootstrap_servers)
    else:
        yield Kafka()


async def _measure(kafka: Kafka, invoices: int, reference: int, profile: bool) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        if kafka.bootstrap_servers is not None:
            return await _run(kafka, kafka.bootstrap_servers, Path(name), invoices, reference, profile)
        with embedded_broker() as servers:
            return await _run(kafka, servers, Path(name), min(invoices, INVOICES_MAX), reference, profile)


async def _run(kafka: Kafka, servers: str, directory: Path, invoices: int, reference: int, profile: bool) -> Measured:
    children = Children(directory)
    try:
        sandbox = await children.start(
            "sandbox", "--invoices", str(invoices), "--seed", "1", "--no-limits", ready_within_seconds=WITHIN_SECONDS
        )
        addresses = json.loads(sandbox.ready_line)
        children.environment = environment(kafka, servers, addresses) | LIFTED
        realm = addresses["realm_id"]
        await children.run(
            "connect", "--realm", realm, "--refresh-token", "-",
            within_seconds=WITHIN_SECONDS, stdin=addresses["refresh_token"] + "\n",
        )  # fmt: skip
        setup = json.loads(await children.run("setup", "--realm", realm, "--json", within_seconds=WITHIN_SECONDS))
        children.environment |= {"METRONOME_QBO_POLICY__DEFAULT_ITEM_ID": setup["item_id"]}
        under = ("-m", "cProfile", "-o", str(directory / "profile")) if profile else ()
        worker = await children.start("worker", ready_within_seconds=WITHIN_SECONDS, under=under)
        prefix = children.environment["METRONOME_QBO_KAFKA__TOPIC_PREFIX"]
        names = topic_names(Settings(kafka=Kafka(topic_prefix=prefix)))
        webhooks = [(each["id"], _webhook(each)) for each in await _inspected(addresses["metronome_url"])]
        cpu_before = _cpu_seconds(worker.process.pid)
        seconds = await _pipeline(servers, names, webhooks)
        cpu_seconds = _cpu_seconds(worker.process.pid) - cpu_before
        posted = (await _inspected(addresses["quickbooks_url"]))[:reference]
        reference_per_second = await asyncio.to_thread(_reference, addresses, posted)
        if profile:
            worker.process.terminate()
            await worker.process.wait()
            pstats.Stats(str(directory / "profile"), stream=sys.stdout).sort_stats("tottime").print_stats(45)
        return Measured(len(webhooks), seconds, cpu_seconds, reference_per_second)
    finally:
        await children.stop()


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; Linux only, elsewhere 0."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _inspected(url: str) -> list[dict[str, Any]]:
    """What a simulator says that it holds."""
    async with aiohttp.ClientSession() as session, session.get(url + "/_sandbox/invoices") as response:
        held: list[dict[str, Any]] = await response.json()
    return held


def _webhook(invoice: dict[str, Any]) -> bytes:
    ids = {"invoice_id": invoice["id"], "customer_id": invoice["customer_id"]}
    return json.dumps({"id": invoice["id"], "type": "invoice.finalized", "properties": ids}).encode()


async def _pipeline(servers: str, names: TopicNames, webhooks: list[tuple[str, bytes]]) -> float:
    """Seconds from the first webhook on its topic to the last invoice's outcome."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, linger_ms=5)
    await producer.start()
    started, waiting = time.monotonic(), {key for key, _ in webhooks}
    async with asyncio.timeout(600), aclosing(EventLog(servers, WITHIN_SECONDS).follow([names.outcomes])) as followed:
        for key, body in webhooks:
            await producer.send(names.webhooks, body, key=key.encode())
        async for batch in followed:
            for record in batch.records:
                outcome = Outcome.model_validate_json(record.value or b"")
                if outcome.subject.kind == "invoice" and outcome.result == "posted":
                    waiting.discard(outcome.subject.id)
            if not waiting:
                break
        seconds = time.monotonic() - started
    await producer.stop()
    return seconds


def _reference(addresses: dict[str, Any], posted: list[dict[str, Any]]) -> float:
    """Invoices per second of python-quickbooks, posting these documents again, one after the other."""
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the simulator is plain HTTP on this machine
    root = addresses["quickbooks_url"]
    with AuthClient(
        addresses["client_id"],
        addresses["client_secret"],
        "http://localhost/callback",
        root + "/.well-known/openid_configuration",
        access_token=addresses["access_token"],
    ) as auth:
        client = QuickBooks(auth_client=auth, company_id=addresses["realm_id"], minorversion=75)
        client.sandbox, client.sandbox_api_url_v3 = True, root + "/v3"
        try:
            started = time.monotonic()
            for document in posted:
                _again(document).save(qb=client)
            return len(posted) / (time.monotonic() - started)
        finally:
            client.session.close()


def _again(document: dict[str, Any]) -> Invoice:
    invoice = Invoice()
    invoice.CustomerRef = _ref(document["CustomerRef"]["value"])
    invoice.CurrencyRef = _ref(document["CurrencyRef"]["value"])
    invoice.DocNumber = "REF-" + document["Id"]
    invoice.TxnDate, invoice.PrivateNote = document["TxnDate"], document.get("PrivateNote", "")
    for line in document["Line"]:
        if line["DetailType"] != "SalesItemLineDetail":
            continue
        sold, detail = SalesItemLine(), SalesItemLineDetail()
        sold.Amount, sold.Description = line["Amount"], line.get("Description")
        detail.ItemRef = _ref(line["SalesItemLineDetail"]["ItemRef"]["value"])
        detail.Qty = line["SalesItemLineDetail"].get("Qty")
        detail.UnitPrice = line["SalesItemLineDetail"].get("UnitPrice")
        sold.SalesItemLineDetail = detail
        invoice.Line.append(sold)
    return invoice


def _ref(value: str) -> Ref:
    ref = Ref()
    ref.value = value
    return ref


if __name__ == "__main__":
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(main)
    command()
