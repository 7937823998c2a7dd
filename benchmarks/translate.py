"""How many five-line invoices a second `translate` decides, parsing included, on one core.

Beside it, as a reference for the machine, `json.loads` of the same bytes, measured in turns in the same run.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

from agents.translate.translate import translate
from models.events import InvoiceEnriched
from models.policy import Policy
from models.record import Address

ROUNDS = 10
CALLS_PER_ROUND = 1_000
TARGET_PER_SECOND = 5_000

PRODUCTS = ("API Calls", "GPU Hours", "Storage GB", "Input Tokens", "Pro Seat")
AT = Address(topic="metronome.invoices", partition=0, offset=0)


def five_lines() -> InvoiceEnriched:
    """Facts of an invoice as it usually comes: 123,456.789012 units at 0.1 cents, with fractions of a cent."""
    unit = {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"}
    lines = [
        {
            "name": name,
            "type": "usage",
            "quantity": 123456.789012,
            "unit_price": 0.1,
            "total": 12345.6789012,
            "credit_type": unit,
            "product_id": f"9334fe1a-0384-5c8f-9823-3854986fd3e{number}",
            "product_custom_fields": {"qbo_item_id": str(31 + number)},
            "starting_at": "2026-10-01T00:00:00+00:00",
            "ending_before": "2026-11-01T00:00:00+00:00",
            "pricing_group_values": {"region": "us-east-1"},
        }
        for number, name in enumerate(PRODUCTS)
    ]
    invoice = {
        "id": "d23458e0-c9a0-5538-9c3b-0a5a3f1e7b11",
        "customer_id": "76cbebf3-f36d-5ddc-8b7e-6dd80881c7a6",
        "customer_custom_fields": {"qbo_customer_id": "58"},
        "contract_id": "e91a1e81-6f2f-5d84-a5f0-7be08b339c95",
        "type": "USAGE",
        "status": "FINALIZED",
        "credit_type": unit,
        "issued_at": "2026-11-02T00:00:00+00:00",
        "start_timestamp": "2026-10-01T00:00:00+00:00",
        "end_timestamp": "2026-11-01T00:00:00+00:00",
        "net_payment_terms_days": 30,
        "line_items": lines,
        "total": float(5 * Decimal("12345.6789012")),
    }
    now = datetime(2026, 11, 2, tzinfo=UTC)
    return InvoiceEnriched(
        realm="9130355377388383",
        invoice_id=str(invoice["id"]),
        customer_id=str(invoice["customer_id"]),
        answer=json.dumps({"data": invoice}),
        customer_name="Acme GmbH",
        contract_name="Enterprise",
        fetched_at=now,
        received_at=now,
        webhook=AT,
    )


def seconds_of(call: Callable[[], object]) -> float:
    """Processor time of one round."""
    started = time.process_time()
    for _ in range(CALLS_PER_ROUND):
        call()
    return time.process_time() - started


def main() -> None:
    facts, policy = five_lines(), Policy()
    raw = facts.answer.encode()
    [command] = translate(facts, AT, policy=policy)
    assert command.type == "PostInvoice", command
    deciding, reference = [], []
    for _ in range(ROUNDS):
        deciding.append(seconds_of(lambda: translate(facts, AT, policy=policy)))
        reference.append(seconds_of(lambda: json.loads(raw)))
    per_second, references = CALLS_PER_ROUND / min(deciding), CALLS_PER_ROUND / min(reference)
    print(
        f"translate: {per_second:,.0f} five-line invoices/s on one core, parsing included "
        f"(target {TARGET_PER_SECOND:,}); json.loads of the same bytes: {references:,.0f}/s; "
        f"ratio 1 : {references / per_second:.1f}"
    )


if __name__ == "__main__":
    main()
