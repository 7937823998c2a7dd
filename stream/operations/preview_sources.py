"""Where the invoices of a preview come from: a file, a topic, or Metronome; and where its mappings come from."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from agents.clients.failures import NotFound
from agents.clients.metronome import MetronomeClient
from agents.clients.retry import RetryPolicy
from agents.delivery import Delivered, InvalidRecord
from agents.enrich import NotInQuickBooks, Owners, Routes, enrich, read_webhook
from agents.translate.dates import issued_on
from models.events import InvoiceEnriched
from models.ledger import CustomerMapping, ItemMapping
from models.metronome import FinalizedProperties, Invoice, InvoiceFinalized, InvoiceHead
from models.money import parse_json
from models.record import Address
from stream import OperatorError
from stream.kafka.log import EventLog
from stream.settings import Settings
from stream.topics import changelog, topic_names
from stream.wiring import enricher

from .preview import NOWHERE, Mappings

FILE_BYTES_MAX = 512 * 1_048_576
WRAPPERS = ("data", "invoice", "samples")
WRAPPERS_MAX = 8
"""Lists and objects around an invoice in a file."""
MAPPINGS_TIMEOUT_SECONDS = 10
RECORDS_BETWEEN_PROGRESS = 100

ADDRESS = re.compile(r"(?P<topic>[\w.-]+)(?:\[(?P<p1>[0-9]+)\]@(?P<o1>[0-9]+)|:(?P<p2>[0-9]+):(?P<o2>[0-9]+))")

Found = tuple[InvoiceEnriched, Address]
Progress = Callable[[str], None]


class NoSuchInvoice(OperatorError):
    """The invoice that was asked for cannot be found, or not be read; the message says where it was looked for."""


@dataclass(frozen=True)
class Unreadable:
    """Something that should be an invoice and cannot be one; `reason` names the field."""

    invoice_id: str | None
    reason: str


def address_in(text: str) -> Address | None:
    """The address that `text` is, as `topic[partition]@offset` or `topic:partition:offset`."""
    found = ADDRESS.fullmatch(text)
    if found is None:
        return None
    partition, offset = found["p1"] or found["p2"], found["o1"] or found["o2"]
    return Address(topic=found["topic"], partition=int(partition), offset=int(offset))


# A file


def invoices_in_file(path: Path) -> Iterator[Any]:
    """The invoices of a JSON file: one, under `data` or `invoice` or bare, or a list of such, also under `samples`.

    Raises ValueError or OSError for a file that cannot be read.
    """
    if path.stat().st_size > FILE_BYTES_MAX:
        raise ValueError(f"larger than {FILE_BYTES_MAX:,} bytes")
    with path.open("rb") as file:
        value = parse_json(file.read(FILE_BYTES_MAX + 1))
    if not isinstance(value, dict | list):
        raise ValueError("a JSON object or list of invoices is expected")
    return _unwrapped(value, WRAPPERS_MAX)


def _unwrapped(value: Any, wrappers_max: int) -> Iterator[Any]:
    inner: list[Any] | None = None
    if isinstance(value, list):
        inner = value
    elif isinstance(value, dict):
        inner = next(([value[name]] for name in WRAPPERS if isinstance(value.get(name), dict | list)), None)
    if inner is None or wrappers_max == 0:
        yield value
        return
    for each in inner:
        yield from _unwrapped(each, wrappers_max - 1)


def facts_in_file(invoice: Any, routes: Routes, now: datetime) -> InvoiceEnriched | Unreadable:
    """The facts, as far as an invoice alone tells them: names are ids, and there is no contract to ask."""
    if not isinstance(invoice, dict):
        return Unreadable(None, f"an invoice is a JSON object, this is a {type(invoice).__name__}")
    invoice_id = invoice.get("id") if isinstance(invoice.get("id"), str) else None
    try:
        head = InvoiceHead.model_validate(invoice)
        answer = f'{{"data": {_json_text(invoice)}}}'
    except ValidationError as error:
        return Unreadable(invoice_id, _problem(error))
    except RecursionError:
        return Unreadable(invoice_id, "nested too deeply")
    try:
        realm = routes.realm_of(head)
    except NotInQuickBooks as reason:
        return Unreadable(invoice_id, str(reason))
    except InvalidRecord:
        realm = ""  # a file may be previewed before any company is named
    payer = head.payer.customer_id if head.payer is not None else None
    return InvoiceEnriched(
        realm=realm,
        invoice_id=head.id,
        customer_id=head.customer_id,
        answer=answer,
        customer_name=head.customer_id,
        payer_name=payer,
        fetched_at=now,
        received_at=now,
        webhook=NOWHERE,
    )


def _problem(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"field {'.'.join(map(str, first['loc'])) or 'data'}: {first['msg']}"


def _json_text(value: Any) -> str:
    """JSON in which every number has the digits that it came with."""
    match value:
        case Decimal():
            return str(value)
        case dict():
            return "{" + ",".join(f"{json.dumps(key)}:{_json_text(each)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_json_text, value)) + "]"
    return json.dumps(value)


# Kafka


async def facts_at(settings: Settings, address: Address, source: MetronomeSource | None) -> Found:
    """The facts that lie at an address; those of a webhook are asked of Metronome.

    Raises NoSuchInvoice, ReadFailed and BrokerUnreachable.
    """
    record = await EventLog.of(settings).read_one(address)
    names = topic_names(settings)
    if address.topic == names.invoices:
        try:
            return InvoiceEnriched.model_validate_json(record.value or b""), address
        except ValidationError as error:
            raise NoSuchInvoice(f"the record at {address} holds no facts of an invoice: {_problem(error)}") from None
    if address.topic != names.webhooks:
        raise NoSuchInvoice(f"{address}: facts lie in {names.invoices}, webhooks in {names.webhooks}")
    try:
        webhook = read_webhook(record.value or b"")
    except InvalidRecord as error:
        raise NoSuchInvoice(f"the record at {address} is {error}") from None
    if not isinstance(webhook, InvoiceFinalized):
        raise NoSuchInvoice(f"the webhook at {address} is of type {webhook.type}, not invoice.finalized")
    if source is None:
        raise NoSuchInvoice(f"the webhook at {address} names invoice {webhook.properties.invoice_id}: set "
                            "metronome.token, so that Metronome can be asked for it")  # fmt: skip
    ids = webhook.properties
    return await source.search(ids.invoice_id, ids.customer_id, lambda _: None), address


async def newest_facts(settings: Settings, invoice_id: str, progress: Progress) -> Found | None:
    """The newest facts of one invoice in the facts topic; None without any."""
    found = None
    async for facts, at in _all_facts(settings, progress):
        if facts.invoice_id == invoice_id:
            found = facts, at
    return found


async def recorded_facts(settings: Settings, since: date, until: date, progress: Progress) -> AsyncIterator[Found]:
    """The newest facts of every invoice issued from `since` to `until`, both included, in the order of the topic.

    The topic is read twice, so that of each invoice only an address is kept.
    """
    newest: dict[str, Address] = {}
    async for facts, at in _all_facts(settings, progress):
        newest[facts.invoice_id] = at
    async for facts, at in _all_facts(settings, progress):
        if newest.get(facts.invoice_id) == at and _issued_between(facts, settings, since, until):
            yield facts, at


async def _all_facts(settings: Settings, progress: Progress) -> AsyncIterator[Found]:
    count, topic = 0, topic_names(settings).invoices
    async with aclosing(EventLog.of(settings).read_records(topic, InvoiceEnriched.model_validate_json)) as records:
        async for found in records:
            count += 1
            if count % RECORDS_BETWEEN_PROGRESS == 0:
                progress(f"{count:,} records of {topic} read …")
            yield found


async def recorded_mappings(settings: Settings) -> Mappings:
    """The customers and items of the tables' changelogs. Raises ReadFailed and BrokerUnreachable, soon."""
    return Mappings(
        customers=await _table(settings, "customers", CustomerMapping),
        items=await _table(settings, "items", ItemMapping),
    )


async def _table(settings: Settings, name: str, model: type[Any]) -> dict[str, Any]:
    rows: dict[str, BaseModel] = {}
    timeout_seconds = min(settings.kafka.timeout_seconds, MAPPINGS_TIMEOUT_SECONDS)
    async with aclosing(EventLog.of(settings, timeout_seconds).read_range(changelog(settings, name))) as records:
        async for record in records:
            key = (record.key or b"").decode(errors="replace")
            if record.value is None:
                rows.pop(key, None)
            else:
                rows[key] = model.model_validate_json(record.value)
    return rows


# Metronome


class MetronomeSource:
    """Invoices as Metronome tells them, with what `enrich` adds; nothing is recorded."""

    def __init__(self, settings: Settings, metronome: MetronomeClient, retry: RetryPolicy) -> None:
        self._settings = settings
        self._metronome = metronome
        self._retry = retry
        self._enricher = replace(enricher(settings, metronome), retry=retry)

    async def facts_of(self, customer_id: str, invoice_id: str) -> InvoiceEnriched:
        """Raises NoSuchInvoice, and Wait, OutcomeUnknown or TokenRefused when the retries with Metronome end."""
        ids = FinalizedProperties(invoice_id=invoice_id, customer_id=customer_id)
        webhook = InvoiceFinalized(type="invoice.finalized", properties=ids)
        try:
            [facts] = await enrich(
                Delivered(webhook, NOWHERE, {}, datetime.now(UTC)),
                enricher=self._enricher,
                owners=Owners({}, lambda customer_id: NOWHERE.partition),
            )
        except InvalidRecord as error:
            raise NoSuchInvoice(str(error)) from None
        assert isinstance(facts, InvoiceEnriched)
        return facts

    async def search(self, invoice_id: str, customer_id: str | None, progress: Progress) -> InvoiceEnriched:
        """The invoice of that customer, or else looked for with one customer after the other.

        Raises NoSuchInvoice when none of them has it, TokenRefused at once, and Wait or OutcomeUnknown after some
        retry.
        """
        count = 0
        async for each in self._customers(customer_id):
            count += 1
            progress(f"looked with {count:,} customers …")
            try:
                await self._metronome.invoice(each, invoice_id)
            except NotFound:
                continue
            return await self.facts_of(each, invoice_id)
        whose = f"customer {customer_id}" if customer_id else f"any of {count:,} customers"
        raise NoSuchInvoice(f"Metronome knows no invoice {invoice_id} of {whose}")

    async def _customers(self, only: str | None) -> AsyncIterator[str]:
        if only is not None:
            yield only
            return
        async for customer in self._metronome.every_customer(self._retry, archived=True):
            yield customer["id"]

    async def issued(self, since: date, until: date, progress: Progress) -> AsyncIterator[InvoiceEnriched | Unreadable]:
        """Every invoice issued from `since` to `until`, both included, that is no draft; each is fetched by itself."""
        customers = invoices = 0
        async for customer in self._metronome.every_customer(self._retry, archived=True):
            customers += 1
            async for listed in self._metronome.every_invoice(self._retry, customer["id"]):
                if listed.get("status") == "DRAFT" or not _may_be_issued_between(listed, since, until):
                    continue
                invoices += 1
                progress(f"{invoices:,} invoices of {customers:,} customers …")
                try:
                    facts = await self.facts_of(customer["id"], listed["id"])
                except NoSuchInvoice as error:
                    yield Unreadable(listed["id"], str(error))
                    continue
                if _issued_between(facts, self._settings, since, until):
                    yield facts


def _may_be_issued_between(listed: dict[str, Any], since: date, until: date) -> bool:
    """False only for what is out of the range in every time zone, and so need not be fetched."""
    try:
        issued = datetime.fromisoformat(listed.get("issued_at") or listed["end_timestamp"]).date().toordinal()
    except (KeyError, TypeError, ValueError):
        return True
    return since.toordinal() - 1 <= issued <= until.toordinal() + 1


def _issued_between(facts: InvoiceEnriched, settings: Settings, since: date, until: date) -> bool:
    """Whether the invoice was issued in the range, by the calendar of its company; what cannot be read is in it."""
    try:
        invoice = Invoice.model_validate(parse_json(facts.answer)["data"])
        return since <= issued_on(invoice, facts, settings.policy_of(facts.realm)) <= until
    except (ValueError, KeyError, TypeError, OverflowError):
        return True
