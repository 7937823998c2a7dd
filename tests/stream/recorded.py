"""Topics with a history, written by hand: what receiver, agents and sink would have recorded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaProducer

from agents.delivery import ERROR_HEADER
from agents.translate.translate import translate
from models.commands import Command, DeclineInvoice, PostInvoice
from models.events import ConnectionChanged, InvoiceEnriched
from models.ledger import CustomerMapping, LedgerEntry
from models.outcomes import Outcome, Result
from models.policy import Policy
from models.record import Address, Record
from stream.kafka.admin import create_by_asking
from stream.settings import Kafka, Settings, Web
from stream.topics import TABLES, changelog, topic_names
from tests import BOUND_SECONDS
from tests.builders import RECEIVED_AT, Json, a_line, an_invoice, facts_of

REALM = "9130355377388383"


def settings_of(bootstrap: str, index: Path, *, page_rows: int = 50, **changes: Any) -> Settings:
    kafka = Kafka(bootstrap_servers=bootstrap, timeout_seconds=BOUND_SECONDS)
    return Settings(kafka=kafka, web=Web(index=index, page_rows=page_rows), **changes)


def invoice_id(number: int) -> str:
    return str(UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128))


def invoice_of(number: int, *, cents: int = 5000, lines: int = 1, **changes: Any) -> Json:
    return an_invoice(
        [a_line(cents, name=f"API Calls {each + 1}") for each in range(lines)], id=invoice_id(number), **changes
    )


@dataclass
class Recorder:
    """Writes records; each method gives the address of what it wrote."""

    producer: AIOKafkaProducer
    settings: Settings

    async def send(self, topic: str, value: bytes | None, key: bytes | None = None, **more: Any) -> Address:
        at = await self.producer.send_and_wait(topic, value, key=key, **more)
        return Address(topic=topic, partition=at.partition, offset=at.offset)

    async def webhook(self, invoice: Json) -> Address:
        properties = {"invoice_id": invoice["id"], "customer_id": invoice["customer_id"]}
        body = {"id": "w", "type": "invoice.finalized", "properties": properties}
        return await self.send(self.names.webhooks, json.dumps(body).encode(), invoice["id"].encode())

    async def facts(self, invoice: Json, **changes: Any) -> tuple[InvoiceEnriched, Address]:
        facts = facts_of(invoice, **changes)
        return facts, await self.send(self.names.invoices, facts.encode(), facts.realm.encode())

    async def commands(self, commands: list[Command]) -> list[Address]:
        return [await self.send(self.names.commands, each.encode(), each.realm.encode()) for each in commands]

    async def outcome(self, command: Command, at: Address, result: Result, **changes: Any) -> Address:
        return await self.send(self.names.outcomes, outcome_of(command, at, result, **changes).encode(), REALM.encode())

    async def dead_letter(self, original: Address, value: bytes, message: str) -> Address:
        prefix = ERROR_HEADER
        headers = [
            (prefix + "topic", original.topic.encode()),
            (prefix + "partition", str(original.partition).encode()),
            (prefix + "offset", str(original.offset).encode()),
            (prefix + "exception.class.name", b"agents.clients.failures.GiveUp"),
            (prefix + "exception.message", message.encode()),
        ]
        return await self.send(self.names.deadletters, value, headers=headers)

    async def row(self, table: str, key: str, value: Record | None) -> Address:
        raw = None if value is None else value.encode()
        return await self.send(changelog(self.settings, table), raw, key.encode())

    async def connection(self, **changes: Any) -> Address:
        change = ConnectionChanged(**{"realm": REALM, "state": "connected", "changed_at": RECEIVED_AT, **changes})
        await self.row("connections", change.realm, change)
        return await self.send(self.names.connections, change.encode(), REALM.encode())

    async def story(
        self,
        invoice: Json,
        result: Result = "posted",
        *,
        policy: Policy | None = None,
        changes: Json | None = None,
        **facts: Any,
    ) -> tuple[InvoiceEnriched, Address, Command, Address]:
        """Webhook, facts, commands and outcomes of one invoice; gives the facts and the invoice's command."""
        webhook = await self.webhook(invoice)
        enriched, at = await self.facts(invoice, webhook=webhook, **facts)
        commands = translate(enriched, at, policy=policy or Policy())
        places = await self.commands(commands)
        for command, place in zip(commands[:-1], places[:-1], strict=True):
            await self.outcome(command, place, "found", qbo_id="58", name="Acme GmbH")
        last = commands[-1]
        if isinstance(last, DeclineInvoice):
            result, changes = last.decision, {"reason": last.reason, "rule": last.rule}
        await self.outcome(last, places[-1], result, **(changes or {}))
        return enriched, at, last, places[-1]

    @property
    def names(self) -> Any:
        return topic_names(self.settings)


def outcome_of(command: Command, at: Address, result: Result, **changes: Any) -> Outcome:
    """What the sink would say of the command, two seconds after the webhook."""
    from models.commands import subject_of

    fields: Json = {
        "realm": command.realm,
        "subject": subject_of(command),
        "command_type": command.type,
        "command": at,
        "result": result,
        "facts": command.facts,
        "received_at": RECEIVED_AT,
        "started_at": RECEIVED_AT,
        "finished_at": RECEIVED_AT + timedelta(seconds=2),
    }
    if isinstance(command, PostInvoice) and result in ("posted", "updated", "unchanged"):
        document = command.document
        fields |= {
            "kind": document.kind,
            "qbo_id": "145",
            "doc_number": document.doc_number,
            "total": document.total,
            "currency": document.currency,
        }
    return Outcome(**{**fields, **changes})


@asynccontextmanager
async def recording(settings: Settings) -> AsyncIterator[Recorder]:
    """A recorder on an embedded broker whose topics exist."""
    bootstrap = str(settings.kafka.bootstrap_servers)
    names = [*topic_names(settings).all(), *(changelog(settings, table) for table in TABLES)]
    await create_by_asking(bootstrap, names, timeout_seconds=BOUND_SECONDS)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    await producer.start()
    try:
        yield Recorder(producer, settings)
    finally:
        await producer.stop()


async def record_a_month(recorder: Recorder, invoices: int = 60) -> None:
    """Something of everything: what an accountant would find at the end of a month."""
    customers = ["Acme GmbH", "Northwind Traders", "Brightloop Analytics, Inc.", "Ōtautahi Robotics Ltd", "Contoso"]
    await recorder.connection(
        company_name="Example Software, Inc.",
        access_token="gAAAAAsecretaccess",
        refresh_token="gAAAAAsecretrefresh",
        access_token_expires_at=RECEIVED_AT + timedelta(hours=1),
        refresh_token_expires_at=RECEIVED_AT + timedelta(days=100),
    )
    for number in range(1, invoices + 1):
        name = customers[number % len(customers)]
        customer = {"customer_id": f"76cbebf3-f36d-5ddc-8b7e-6dd80881{number % len(customers):04d}"}
        cents = (number * 7919) % 2_500_000 + 100
        invoice = invoice_of(number, cents=cents, lines=1 + number % 5, **customer)
        parked = {
            "reason": f"no QuickBooks item for product {number % 3}",
            "remedy": "metronome-qbo map item PRODUCT QBO_ID, or set the custom field qbo_item_id in Metronome",
            "waits_for": f"item/{number % 3}",
        }
        match number % 13:
            case 3:
                await recorder.story(invoice, "parked", changes=parked, customer_name=name)
            case 5:
                credits = {**invoice, "credit_type": {"id": "x", "name": "Agent Credits"}}
                await recorder.story(credits, customer_name=name)
            case 7:
                await recorder.webhook(invoice)
            case 8:
                at = await recorder.webhook(invoice)
                await recorder.dead_letter(at, b"{}", "Metronome has no such invoice (404)")
            case 9:
                _, _, command, at = await recorder.story(invoice, "posted", customer_name=name)
                await recorder.outcome(command, at, "updated", qbo_id=str(number + 100))
            case _:
                wrong = {"total": Decimal(cents) / 100 + 1} if number == 2 else {}
                await recorder.story(
                    invoice, "posted", changes={"qbo_id": str(number + 100), **wrong}, customer_name=name
                )
        _, at = await recorder.facts(invoice) if number == 1 else (None, Address(topic="x", partition=0, offset=0))
        mapping = CustomerMapping(
            realm=REALM, customer_id=customer["customer_id"], qbo_id="58", name=name, source="matched", since=at
        )
        await recorder.row("customers", f"{REALM}/{customer['customer_id']}", mapping)
        entry = LedgerEntry(
            realm=REALM, invoice_id=invoice["id"], state="posted", qbo_id=str(number + 100), doc_number=f"MTR-{number}",
            total=Decimal(cents) / 100, currency="USD", changed_at=RECEIVED_AT,
        )  # fmt: skip
        await recorder.row("invoices", f"{REALM}/{invoice['id']}", entry)
