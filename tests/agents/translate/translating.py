"""Short ways to say, in tests, what an invoice was translated to."""

from typing import Any

from agents.translate.translate import translate
from models.commands import Command, DeclineInvoice, PostInvoice, VoidInvoice
from models.document import Document
from models.policy import Policy
from tests.builders import AT, facts_of

UNMAPPED: dict[str, Any] = {"product_id": "c592a2d1-bdc0-5bfc-90b7-c9a250bad915", "product_custom_fields": {}}
"""The fields of a line whose product has no QuickBooks item in its custom fields."""


def commands(invoice: dict[str, Any], policy: Policy | None = None, **facts: Any) -> list[Command]:
    return translate(facts_of(invoice, **facts), AT, policy=policy or Policy())


def posted(invoice: dict[str, Any], policy: Policy | None = None, **facts: Any) -> Document:
    last = commands(invoice, policy, **facts)[-1]
    assert isinstance(last, PostInvoice), last
    return last.document


def declined(invoice: dict[str, Any], policy: Policy | None = None, **facts: Any) -> DeclineInvoice:
    [only] = commands(invoice, policy, **facts)
    assert isinstance(only, DeclineInvoice), only
    return only


def summary(made: list[Command]) -> str:
    """What becomes of the invoice in a line: `invoice 10.00 USD: 4.00=2×2 6.00`, `refused: sum`, `void <id>; …`."""
    return "; ".join(filter(None, map(_summary, made)))


def _summary(command: Command) -> str:
    match command:
        case VoidInvoice():
            return f"void {command.invoice_id}"
        case DeclineInvoice():
            return f"{command.decision}: {command.rule}"
        case PostInvoice(document=document):
            lines = [
                f"{each.amount}" + ("" if each.quantity is None else f"={each.quantity}×{each.unit_price}")
                for each in document.lines
            ]
            return f"{document.kind} {document.total} {document.currency}: {' '.join(lines)}"
        case _:
            return ""


def fact(document: Document, shown: dict[str, Any], name: str, wanted: Any) -> Any:
    """One fact of a document, `shown` as JSON, in the words of the cases; a text that is contained counts as found."""
    lines = document.lines
    match name:
        case "note":
            return wanted if wanted in document.private_note else document.private_note
        case "description":
            return wanted if f" · {wanted} · " in lines[0].description else lines[0].description
        case "customer":
            return [document.customer.customer_id, document.customer.name, document.customer.qbo_id]
        case "items":
            needs = [line.item for line in lines]
            return " ".join(each.qbo_id or each.product_id or f"default {each.default_qbo_id}" for each in needs)
        case "tax":
            return " ".join(str(line.tax_code) for line in lines)
        case "service_dates":
            return " ".join(str(line.service_date) for line in lines)
        case "classes":
            return " ".join(str(line.class_id) for line in lines)
        case _:
            return shown[name]
