"""Small builders of the data that tests speak about: Metronome's invoices as JSON objects, and facts made of them.

Numbers are int or Decimal; `facts_of` writes them as plain JSON numbers with all their digits.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from models.events import InvoiceEnriched
from models.money import exact_sum
from models.record import Address

INVOICE_ID = "d23458e0-c9a0-5538-9c3b-0a5a3f1e7b11"
CUSTOMER_ID = "76cbebf3-f36d-5ddc-8b7e-6dd80881c7a6"
PRODUCT_ID = "9334fe1a-0384-5c8f-9823-3854986fd3e7"

CENTS = {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"}
EUROS = {"id": "58f0be15-cc47-4220-bdaf-072ab0e44f96", "name": "EUR"}
CREDITS = {"id": "4738fad1-6f9b-507e-9609-3f357812b281", "name": "Agent Credits"}

AT = Address(topic="metronome.invoices", partition=1, offset=42)
RECEIVED_AT = datetime(2026, 11, 2, 1, 2, 3, tzinfo=UTC)

Json = dict[str, Any]


def a_line(total: int | Decimal = 1000, **changes: Any) -> Json:
    """A usage line of a mapped product, in US cents, without quantity; a change to None removes the field."""
    line: Json = {
        "name": "API Calls",
        "type": "usage",
        "total": total,
        "credit_type": CENTS,
        "product_id": PRODUCT_ID,
        "product_custom_fields": {"qbo_item_id": "31"},
        "starting_at": "2026-10-01T00:00:00+00:00",
        "ending_before": "2026-11-01T00:00:00+00:00",
    }
    return _changed(line, changes)


def an_invoice(lines: list[Json] | None = None, **changes: Any) -> Json:
    """A finalized invoice of October 2026 over `lines`; its total is their sum unless `total` says otherwise."""
    lines = [a_line()] if lines is None else lines
    invoice: Json = {
        "id": INVOICE_ID,
        "customer_id": CUSTOMER_ID,
        "customer_custom_fields": {"qbo_customer_id": "58"},
        "contract_id": "e91a1e81-6f2f-5d84-a5f0-7be08b339c95",
        "type": "USAGE",
        "status": "FINALIZED",
        "billable_status": "billable",
        "credit_type": CENTS,
        "issued_at": "2026-11-02T00:00:00+00:00",
        "start_timestamp": "2026-10-01T00:00:00+00:00",
        "end_timestamp": "2026-11-01T00:00:00+00:00",
        "net_payment_terms_days": 30,
        "line_items": lines,
    }
    if "total" not in changes:
        invoice["total"] = exact_sum([Decimal(line["total"]) for line in lines])
    return _changed(invoice, changes)


def facts_of(invoice: Json, **changes: Any) -> InvoiceEnriched:
    """The facts record that `enrich` would write for `invoice`."""
    fields: Json = {
        "realm": "9130355377388383",
        "invoice_id": invoice["id"],
        "customer_id": invoice["customer_id"],
        "answer": json_of({"data": invoice}),
        "customer_name": "Acme GmbH",
        "contract_name": "Enterprise",
        "memo_ref": "MSA-1042",
        "fetched_at": RECEIVED_AT,
        "received_at": RECEIVED_AT,
        "webhook": Address(topic="metronome.webhooks", partition=0, offset=7),
    }
    return InvoiceEnriched(**{**fields, **changes})


def json_of(value: object) -> str:
    """JSON text in which a Decimal is a number with all its digits."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)}: {json_of(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(json_of, value)) + "]"
    return json.dumps(value)


def _changed(value: Json, changes: Json) -> Json:
    return {key: item for key, item in (value | changes).items() if item is not None}
