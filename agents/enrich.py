"""From a webhook to the facts: asks Metronome for everything that the books will need, once, and keeps it verbatim.

An invoice keeps its company: the first one that the routing names has it, in the table `owners`, until that company
hands it over (`agents/post/hand_over.py`). All webhooks of a customer lie in one partition, so that whoever decides
knows what was decided before.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog
from cachetools import Cache
from pydantic import ValidationError

from agents.clients.failures import NotFound, OutcomeUnknown, Refused, TokenRefused, Wait
from agents.clients.retry import Retries, RetryPolicy
from models.events import ContractHierarchy, InvoiceEnriched, InvoiceHandedOver
from models.ledger import Owner
from models.metronome import DECIDED, MEMO_FIELD, Contract, Customer, InvoiceFinalized, InvoiceHead, Webhook
from models.money import parse_json, unit_of
from models.subject import RowKey

from .clients.ownership import nobody_else
from .delivery import Claims, Delivered, Forwarded, InvalidRecord, TryLater
from .watch import ASKED_AGAIN, RECEIVED_AT_HEADER, SOURCE_HEADER

log = structlog.get_logger()

FORWARDED_FROM_HEADER = "forwarded-from"

Notice = InvoiceFinalized | Webhook | InvoiceHandedOver
"""What lies on the topic of webhooks: Metronome's, and ours of a hand-over."""

EARLY_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""A webhook may be earlier than its invoice: Metronome is asked again after each of these pauses."""
EARLY_AT_ONCE_MAX = 8
"""As many webhooks may be waited for so; the others go on as Metronome first said, and are asked for later."""


CONSTITUENTS_NAMED_MAX = 200
"""So many customers of one consolidated invoice are asked for; the lines of others say their id."""


class Metronome(Protocol):
    async def invoice(self, customer_id: str, invoice_id: str) -> str: ...
    async def customer(self, customer_id: str) -> Customer: ...
    async def contract(self, customer_id: str, contract_id: str) -> Contract: ...


NOT_IN_QUICKBOOKS = "none"
"""What the customer's custom field says when none of its invoices belongs into QuickBooks."""


class NotInQuickBooks(InvalidRecord):
    """The customer is routed to no company, by a person's word."""


@dataclass(frozen=True)
class Routes:
    """Which company an invoice belongs to: its customer's custom field, else its currency, else the default."""

    customer_field: str
    by_currency: Mapping[str, str]
    default_realm: str | None

    def realm_of(self, invoice: InvoiceHead) -> str:
        """Raises InvalidRecord when no rule names a company, or the customer's field holds no realm id; as
        NotInQuickBooks when that says that there is none."""
        named = (invoice.customer_custom_fields or {}).get(self.customer_field, "").strip()
        if named.lower() == NOT_IN_QUICKBOOKS:
            raise NotInQuickBooks(
                f"{self.customer_field} of customer {invoice.customer_id} is {NOT_IN_QUICKBOOKS}: no company has its "
                "invoices"
            )
        if named and not (named.isascii() and named.isdigit()):
            raise InvalidRecord(
                f"{self.customer_field} of customer {invoice.customer_id} is {named!r}, not a realm id, which is all "
                f"digits, or {NOT_IN_QUICKBOOKS!r}: correct the custom field in Metronome, then "
                "metronome-qbo redrive --dead-letters"
            )
        if named:
            return named
        try:
            by_currency = self.by_currency.get(unit_of(invoice.credit_type.name).currency)
        except ValueError:
            by_currency = None  # translate refuses the unit, with the company's own policy
        realm = by_currency or self.default_realm
        if realm is None:
            raise InvalidRecord(
                f"no company for invoice {invoice.id} in {invoice.credit_type.name}: set routing.default_realm, "
                f"routing.by_currency, or the customer's custom field {self.customer_field}"
            )
        return realm


@dataclass
class LastAnswer:
    """When Metronome last gave all facts of an invoice, in monotonic seconds."""

    at: float = -math.inf


@dataclass(frozen=True)
class Enricher:
    """What `enrich` needs to ask Metronome and to choose a company. Names of customers and contracts may be a little
    old, as long as the caches keep them.

    One that Metronome does not answer for `postpone_seconds`, while it answers others, is tried later.
    """

    metronome: Metronome
    routes: Routes
    retry: RetryPolicy
    customers: Cache[str, Customer]
    contracts: Cache[str, Contract]
    now: Callable[[], datetime]
    early: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(EARLY_AT_ONCE_MAX))
    postpone_seconds: float = 60.0
    answered: LastAnswer = field(default_factory=LastAnswer)


@dataclass(frozen=True)
class Owners:
    """Which company has which invoice, by `customer/invoice`, and in which each customer was billed first.
    `partition_of` says where a customer's webhooks lie; `make_sure` raises StopWorker when they are another worker's.
    """

    rows: MutableMapping[str, Owner]
    partition_of: Callable[[str], int]
    make_sure: Callable[[str], Awaitable[None]] = nobody_else

    async def still_ours(self, customer_id: str, invoice_id: str) -> None:
        """Before the first decision about an invoice: another worker may have decided. Raises StopWorker then."""
        if RowKey.of(customer_id, invoice_id) not in self.rows:
            await self.make_sure(customer_id)

    def of(self, invoice: InvoiceHead, routes: Routes) -> tuple[Owner, str | None]:
        """Who has the invoice, and the company where the routing would have it by now, if that is another one.

        A void goes where the document may be, and so does a regenerated invoice. Raises InvalidRecord when nobody has
        it, and no rule names a company.
        """
        owner = self.rows.get(RowKey.of(invoice.customer_id, invoice.id))
        replaced = self.rows.get(RowKey.of(invoice.customer_id, invoice.regenerated_from_invoice_id or ""))
        try:
            routed = replaced.realm if replaced is not None else routes.realm_of(invoice)
        except InvalidRecord:
            if owner is None:
                raise
            routed = owner.realm
        if owner is None:
            owner = Owner(realm=routed, customer_id=invoice.customer_id, invoice_id=invoice.id)
            self.rows[owner.key] = owner
        return owner, routed if routed != owner.realm and invoice.status != "VOID" else None

    def home(self, customer_id: str, realm: str) -> str:
        """The company in which the customer was billed first; that is `realm` when it was billed in none."""
        home = self.rows.get(RowKey.of(customer_id))
        if home is None:
            home = Owner(realm=realm, customer_id=customer_id)
            self.rows[home.key] = home
        return home.realm

    def hand_over(self, handed: InvoiceHandedOver) -> None:
        owner = Owner(
            realm=handed.realm,
            customer_id=handed.customer_id,
            invoice_id=handed.invoice_id,
            owner_epoch=handed.owner_epoch,
        )
        standing = self.rows.get(owner.key)
        if standing is None or standing.owner_epoch < owner.owner_epoch:
            self.rows[owner.key] = owner


def read_webhook(value: bytes) -> Notice:
    """A webhook's body; raises InvalidRecord that names the field. Other event types are read as far as their type."""
    try:
        body = parse_json(value)
    except ValueError as error:
        raise InvalidRecord(f"not JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidRecord(f"a webhook is a JSON object, this is a {type(body).__name__}")
    try:
        webhook = Webhook.model_validate(body)
        if webhook.type == "InvoiceHandedOver":
            return InvoiceHandedOver.model_validate(body)
        return InvoiceFinalized.model_validate(body) if webhook.type == "invoice.finalized" else webhook
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise InvalidRecord(f"not a Metronome webhook: {fields}") from None


def claims(webhook: Notice) -> Claims:
    match webhook:
        case InvoiceFinalized():
            return Claims(establishes=frozenset({webhook.properties.invoice_id}))
        case InvoiceHandedOver():
            return Claims(establishes=frozenset({webhook.invoice_id}))
        case _:
            return Claims()


async def enrich(
    delivered: Delivered[Notice], *, enricher: Enricher, owners: Owners
) -> Sequence[InvoiceEnriched | Forwarded]:
    """One `InvoiceEnriched` for a finalized invoice; nothing for other events (they stay on the log), and for one that
    belongs into no company. A webhook that does not lie with the others of its customer is forwarded there first.

    Waits while Metronome is away, throttles or refuses our token: as long as it takes, but while others are answered
    not here (TryLater); and for a moment while the invoice is not final yet. Raises InvalidRecord for an invoice that
    Metronome does not know or that belongs to another customer.
    """
    webhook = delivered.record
    if isinstance(webhook, InvoiceHandedOver):
        await owners.make_sure(webhook.customer_id)
        owners.hand_over(webhook)
        return []
    if not isinstance(webhook, InvoiceFinalized):
        log.info("webhook_ignored", type=webhook.type, at=str(delivered.at))
        return []
    ids = webhook.properties
    if delivered.at.partition != owners.partition_of(ids.customer_id):
        headers = {RECEIVED_AT_HEADER: _received_at(delivered).isoformat().encode()} | delivered.headers
        headers[FORWARDED_FROM_HEADER] = str(delivered.at).encode()
        return [Forwarded(ids.customer_id.encode(), delivered.value, headers)]
    retries, began = Retries(enricher.retry, deadline=math.inf), enricher.retry.monotonic()
    while True:
        try:
            facts = await _facts(delivered, ids.customer_id, ids.invoice_id, enricher, owners)
            enricher.answered.at = enricher.retry.monotonic()
            return [facts]
        except NotInQuickBooks as reason:
            log.info("not_in_quickbooks", invoice=ids.invoice_id, reason=str(reason))
            return []
        except NotFound as failure:
            if delivered.headers.get(SOURCE_HEADER) == ASKED_AGAIN.encode():
                log.warning("draft_is_gone", invoice=ids.invoice_id, reason=str(failure))
                return []  # it stays parked until it is not asked for any more
            raise InvalidRecord(
                f"Metronome does not know invoice {ids.invoice_id} of customer {ids.customer_id}, or its customer "
                f"({failure}); check that the webhook and the API token belong to the same environment"
            ) from None
        except Refused as failure:
            raise InvalidRecord(str(failure)) from None
        except (Wait, OutcomeUnknown, TokenRefused) as failure:
            log.warning("metronome_waits", invoice=ids.invoice_id, failure=type(failure).__name__, reason=str(failure))
            if enricher.answered.at > began and enricher.retry.monotonic() >= began + enricher.postpone_seconds:
                received_at = _received_at(delivered).isoformat().encode()
                raise TryLater(str(failure), {RECEIVED_AT_HEADER: received_at}) from failure
            await retries.wait(failure)


async def _facts(
    delivered: Delivered[Notice], customer_id: str, invoice_id: str, enricher: Enricher, owners: Owners
) -> InvoiceEnriched:
    answer, invoice = await _answer(customer_id, invoice_id, enricher)
    if invoice.id != invoice_id or invoice.customer_id != customer_id:
        raise InvalidRecord(
            f"the webhook names invoice {invoice_id} of customer {customer_id}, Metronome's answer is invoice "
            f"{invoice.id} of customer {invoice.customer_id}"
        )
    customer = await _customer(customer_id, enricher)
    payer = None
    if invoice.payer is not None and invoice.payer.customer_id != customer_id:
        payer = await _customer(invoice.payer.customer_id, enricher)
    contract = await _contract(invoice, enricher)
    memo_ref = (invoice.contract_custom_fields or {}).get(MEMO_FIELD)
    if memo_ref is None and contract is not None:
        memo_ref = contract.custom_fields.get(MEMO_FIELD)
    constituent_names = await _constituent_names(invoice, enricher)
    await owners.still_ours(customer_id, invoice_id)
    owner, routed_to = owners.of(invoice, enricher.routes)
    return InvoiceEnriched(
        realm=owner.realm,
        owner_epoch=owner.owner_epoch,
        routed_to=routed_to,
        home=owners.home(customer_id, owner.realm),
        invoice_id=invoice_id,
        customer_id=customer_id,
        answer=answer,
        customer_name=customer.name,
        contract_name=contract.name if contract else None,
        memo_ref=memo_ref,
        hierarchy=_hierarchy_of(contract),
        payer_name=payer.name if payer else None,
        payer_custom_fields=payer.custom_fields if payer else None,
        constituent_names=constituent_names,
        fetched_at=enricher.now(),
        received_at=_received_at(delivered),
        webhook=delivered.at,
    )


async def _answer(customer_id: str, invoice_id: str, enricher: Enricher) -> tuple[str, InvoiceHead]:
    """Metronome's answer about the invoice; asked for again for a moment while it is not there or not final yet."""
    for seconds in EARLY_PAUSES_SECONDS:
        try:
            answer = await enricher.metronome.invoice(customer_id, invoice_id)
            head = _head_of(answer)
        except NotFound as failure:
            early = str(failure)
        else:
            if head.status in DECIDED:
                return answer, head
            early = f"its status is {head.status}"
        if enricher.early.locked():
            break
        log.info("webhook_early", invoice=invoice_id, reason=early)
        async with enricher.early:
            await enricher.retry.sleep(seconds)
    answer = await enricher.metronome.invoice(customer_id, invoice_id)
    return answer, _head_of(answer)


def _head_of(answer: str) -> InvoiceHead:
    """Raises InvalidRecord, naming the fields, for an invoice that cannot be read; OutcomeUnknown for none at all."""
    try:
        data = parse_json(answer)["data"]
        if not isinstance(data, dict):
            raise OutcomeUnknown("Metronome's answer holds no invoice in `data`")
        return InvoiceHead.model_validate(data)
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise InvalidRecord(f"Metronome's answer is not an invoice that we can read: {fields}") from None
    except (ValueError, KeyError, TypeError):
        raise OutcomeUnknown("Metronome's answer is not JSON with `data`") from None


async def _customer(customer_id: str, enricher: Enricher) -> Customer:
    customer = enricher.customers.get(customer_id)
    if customer is None:
        customer = await enricher.metronome.customer(customer_id)
        enricher.customers[customer_id] = customer
    return customer


async def _constituent_names(invoice: InvoiceHead, enricher: Enricher) -> dict[str, str]:
    """The names of the customers whose invoices a consolidated one repeats, by id; one that Metronome has no more costs
    its name, not the invoice."""
    ids = {each.customer_id for each in invoice.constituent_invoices or () if each.customer_id is not None}
    names = {}
    for customer_id in sorted(ids - {invoice.customer_id})[:CONSTITUENTS_NAMED_MAX]:
        try:
            names[customer_id] = (await _customer(customer_id, enricher)).name
        except (NotFound, Refused) as failure:
            log.warning("constituent_not_named", invoice=invoice.id, customer=customer_id, reason=str(failure))
    return names


async def _contract(invoice: InvoiceHead, enricher: Enricher) -> Contract | None:
    """The contract, whose name is not on the invoice; None for invoices of legacy plans, and when Metronome has it no
    more: that costs the name, not the invoice. Whom a consolidated invoice bills, the ledger knows too.
    """
    if invoice.contract_id is None:
        return None
    contract = enricher.contracts.get(invoice.contract_id)
    if contract is None:
        try:
            contract = await enricher.metronome.contract(invoice.customer_id, invoice.contract_id)
        except (NotFound, Refused) as failure:
            log.warning("contract_left_out", invoice=invoice.id, contract=invoice.contract_id, reason=str(failure))
            return None
        enricher.contracts[invoice.contract_id] = contract
    return contract


def _hierarchy_of(contract: Contract | None) -> ContractHierarchy | None:
    """None for a contract that is neither parent nor child."""
    found = contract.hierarchy_configuration if contract is not None else None
    if found is None:
        return None
    return ContractHierarchy(
        parent_customer_id=found.parent.customer_id if found.parent else None,
        payer=found.payer,
        usage_statement_behavior=found.usage_statement_behavior,
        invoice_consolidation_type=found.parent_behavior.invoice_consolidation_type if found.parent_behavior else None,
    )


def _received_at(delivered: Delivered[Notice]) -> datetime:
    """When our receiver got it; a bare record of another producer has only Kafka's timestamp."""
    header = delivered.headers.get(RECEIVED_AT_HEADER)
    if header is not None:
        try:
            received = datetime.fromisoformat(header.decode())
        except ValueError:
            return delivered.timestamp
        if received.tzinfo is not None:
            return received
    return delivered.timestamp
