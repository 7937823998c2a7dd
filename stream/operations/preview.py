"""What would be posted for an invoice, by which choices of policy, and what is missing. Pure: nothing is written.

The document comes from the same `translate` as in production, the references from the same tables, the JSON from the
same `body_of`. What only QuickBooks or the ledger know is not asked: whether the books hold the invoice already, and
whether its number is free.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

from agents.clients.quickbooks import encode
from agents.post.customers import customer_ref
from agents.post.items import item_ref
from agents.post.sink import Parked
from agents.translate.translate import translate
from models.commands import Command, DeclineInvoice, EnsureItem, PostInvoice, VoidInvoice
from models.document import DEFAULT_ITEM, Document, Kind
from models.events import InvoiceEnriched
from models.ledger import CustomerMapping, ItemMapping
from models.metronome import Number, Vendor
from models.money import UnknownUnit, parse_json, quantum, round_half_up, unit_of
from models.policy import Policy
from models.quickbooks import body_of
from models.record import Address

NOWHERE = Address(topic="preview", partition=0, offset=0)
"""The address of facts that lie in no topic."""

Outcome = Literal["post", "skip", "refuse"]
Json = dict[str, Any]

TRIED_INSTEAD: dict[str, tuple[object, ...]] = {
    "time_zone": ("Pacific/Kiritimati", "Pacific/Pago_Pago"),
    "payment_terms_days": (1,),
}
"""Other values to try for choices that have no few alternatives: the ends of the calendar day, for the zone."""


@dataclass(frozen=True)
class Mappings:
    """What the tables know, by `realm/id`."""

    customers: Mapping[str, CustomerMapping] = field(default_factory=dict)
    items: Mapping[str, ItemMapping] = field(default_factory=dict)


@dataclass(frozen=True)
class Missing:
    """A customer or item without a mapping; `then` is what happens without one, `command` what would map it."""

    kind: str
    metronome_id: str
    name: str
    reason: str
    then: str
    command: str
    waits: bool


@dataclass(frozen=True)
class Preview:
    """What becomes of one invoice. `total` is written with the currency's decimals, of a document without a sign."""

    invoice_id: str | None
    outcome: Outcome
    kind: Kind | None = None
    total: str | None = None
    currency: str | None = None
    body: Json | None = None
    rule: str | None = None
    reason: str | None = None
    missing: tuple[Missing, ...] = ()
    commands: tuple[str, ...] = ()
    document: Document | None = None

    def as_json(self) -> bytes:
        """One JSON object; the numbers of `body` are those that would be posted, digit by digit."""
        return encode(
            {
                "invoice_id": self.invoice_id,
                "outcome": self.outcome,
                "kind": self.kind,
                "total": self.total,
                "currency": self.currency,
                "body": self.body,
                "rule": self.rule,
                "reason": self.reason,
                "missing": [
                    {
                        "kind": each.kind,
                        "metronome_id": each.metronome_id,
                        "name": each.name,
                        "then": each.then,
                        "command": each.command,
                    }
                    for each in self.missing
                ],
                "commands": list(self.commands),
            }
        )

    @property
    def waits(self) -> bool:
        """Whether the invoice would be parked until something is mapped."""
        return any(each.waits for each in self.missing)


@dataclass(frozen=True)
class Choice:
    """A choice of the policy without which something else would come out."""

    field: str
    value: Any


def preview_of(facts: InvoiceEnriched, policy: Policy, mappings: Mappings, at: Address = NOWHERE) -> Preview:
    """The preview of one invoice; a refusal or skip is one too, so nothing is raised."""
    commands = translate(facts, at, policy=policy)
    own, names = commands[-1], tuple(command.type for command in commands)
    match own:
        case PostInvoice():
            return _posted(own, commands, names, policy, mappings)
        case DeclineInvoice():
            total, currency = _billed(facts.answer)
            outcome: Outcome = "refuse" if own.decision == "refused" else "skip"
            return Preview(
                facts.invoice_id, outcome, None, total, currency, rule=own.rule, reason=own.reason, commands=names
            )
        case VoidInvoice():
            total, currency = _billed(facts.answer)
            reason = f"{own.reason}; its document is voided, if there is one"
            return Preview(
                facts.invoice_id, "skip", None, total, currency, rule="voided", reason=reason, commands=names
            )
    raise AssertionError(own)


def choices(facts: InvoiceEnriched, policy: Policy, mappings: Mappings) -> list[Choice]:
    """The choices that mattered: those where another value would have given another outcome or another document."""
    actual = preview_of(facts, policy, mappings)
    mattered = []
    for name, value in policy:
        others = [policy.model_copy(update={name: other}) for other in _alternatives(name, value)]
        if any(_comes_to(preview_of(facts, other, mappings)) != _comes_to(actual) for other in others):
            mattered.append(Choice(name, value))
    return mattered


def _comes_to(preview: Preview) -> object:
    return preview.outcome, preview.rule, preview.body, preview.missing, preview.commands


def _alternatives(name: str, value: object) -> Iterator[object]:
    described = Policy.model_fields[name]
    if get_origin(described.annotation) is Literal:
        yield from (other for other in get_args(described.annotation) if other != value)
    elif isinstance(value, bool):
        yield not value
    elif name in TRIED_INSTEAD:
        yield from (other for other in TRIED_INSTEAD[name] if other != value)
    elif value != described.default:
        yield described.default


def _posted(
    own: PostInvoice, commands: list[Command], names: tuple[str, ...], policy: Policy, mappings: Mappings
) -> Preview:
    document, realm = own.document, own.realm
    missing: dict[tuple[str, str], Missing] = {}
    customer: str | None = None
    try:
        customer = customer_ref(realm, document.customer, mappings.customers)
    except Parked as parked:
        note = _missing_customer(parked, document, realm, policy)
        missing[note.kind, note.metronome_id] = note
    creates = {command.item.product_id for command in commands if isinstance(command, EnsureItem)}
    items: list[str | None] = []
    for line in document.lines:
        try:
            items.append(item_ref(realm, line.item, mappings.items))
        except Parked as parked:
            items.append(None)
            note = _missing_item(parked, line.item.name, realm, created=line.item.product_id in creates)
            missing.setdefault((note.kind, note.metronome_id), note)
    return Preview(
        own.invoice_id,
        "post",
        document.kind,
        _written(document.total, document.currency),
        document.currency,
        _body(document, customer, items, policy),
        missing=tuple(missing.values()),
        commands=names,
        document=document,
    )


def _body(document: Document, customer: str | None, items: list[str | None], policy: Policy) -> Json:
    """The JSON to POST; what has no mapping says so, with its name."""
    products = [line.item.product_id or DEFAULT_ITEM for line in document.lines]
    refs = [item or _unmapped(product) for item, product in zip(items, products, strict=True)]
    body = body_of(
        document,
        customer_ref=customer or _unmapped(document.customer.customer_id),
        item_refs=refs,
        doc_number=document.doc_number,
        send_currency=policy.send_currency,
    )
    if customer is None:
        body["CustomerRef"]["name"] = document.customer.name
    for item, line, written in zip(items, document.lines, body["Line"], strict=True):
        if item is None:
            written["SalesItemLineDetail"]["ItemRef"]["name"] = line.item.name
    return body


def _unmapped(metronome_id: str) -> str:
    return f"unmapped:{metronome_id}"


def _missing_customer(parked: Parked, document: Document, realm: str, policy: Policy) -> Missing:
    kind, mapped_as = parked.waits_for.kind, parked.waits_for.id
    otherwise = "else it is created" if policy.missing_customer == "create" else "else the invoice waits"
    waits = policy.missing_customer == "park"
    if mapped_as != document.customer.customer_id:  # known, but kept in another currency
        waits = policy.customer_currency == "refuse"
        then = "the invoice waits" if waits else f"a QuickBooks customer of its own is made for {document.currency}"
    elif policy.customer_matching == "off":
        then = "the invoice waits" if waits else "it is created in QuickBooks"
    elif policy.customer_matching == "ask":
        then = f"a person is asked when QuickBooks has that name, {otherwise}"
    else:
        then = f"the active QuickBooks customer of that name is taken, {otherwise}"
    return Missing(
        kind, mapped_as, document.customer.name, str(parked), then, _map_command(kind, mapped_as, realm), waits
    )


def _missing_item(parked: Parked, name: str, realm: str, *, created: bool) -> Missing:
    kind, product = parked.waits_for.kind, parked.waits_for.id
    then = "the QuickBooks item of that name is taken, else it is created" if created else "the invoice waits"
    return Missing(kind, product, name, str(parked), then, _map_command(kind, product, realm), not created)


def _map_command(kind: str, metronome_id: str, realm: str) -> str:
    company = f" --realm {realm}" if realm else ""
    return f"metronome-qbo map {kind} {shlex.quote(metronome_id)} QBO_ID{company}"


class _Billed(Vendor):
    """Just what Metronome bills, of an invoice that may be unreadable otherwise."""

    class Unit(Vendor):
        name: str

    credit_type: Unit
    total: Number


def _billed(answer: str) -> tuple[str | None, str | None]:
    """Metronome's total, with its sign, and its currency, as far as they can be read."""
    try:
        billed = _Billed.model_validate(parse_json(answer)["data"])
        unit = unit_of(billed.credit_type.name)
        total = round_half_up(unit.major(billed.total), quantum(unit.currency))
    except UnknownUnit:
        return None, None
    except (ValueError, KeyError, TypeError, ArithmeticError):
        return None, None
    return _written(total, unit.currency), unit.currency


def _written(amount: Decimal, currency: str) -> str:
    return format(round_half_up(amount, quantum(currency)), "f")
