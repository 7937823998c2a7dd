"""The log is kept for ever: records written before a field was added are read as they were meant."""

from datetime import date
from decimal import Decimal

import pytest
from pydantic import ValidationError

from models.commands import COMMANDS, PostInvoice
from models.events import ConnectionChanged, InvoiceEnriched

POST_INVOICE = b"""{"version":1,"realm":"9130355377388383",
"facts":{"topic":"metronome.invoices","partition":1,"offset":42},"received_at":"2026-11-02T01:02:03Z","type":"PostInvoice","invoice_id":"d23458e0-c9a0-5538-9c3b-0a5a3f1e7b11",
"document":{"kind":"invoice","invoice_id":"d23458e0-c9a0-5538-9c3b-0a5a3f1e7b11",
"customer":{"customer_id":"76cbebf3","name":"Acme GmbH","qbo_id":"58"},"currency":"USD","doc_number":"MTR-D23458E0",
"txn_date":"2026-11-02","due_date":"2026-12-02","private_note":"Metronome invoice d23458e0-c9a0-5538-9c3b-0a5a3f1e7b11",
"customer_memo":"Usage.",
"lines":[{"item":{"name":"API Calls","product_id":"9334fe1a","qbo_id":"31"},"amount":"10.00","description":"API Calls",
"quantity":"2","unit_price":"5"}],"total":"10.00"}}"""

INVOICE_ENRICHED = b"""{"version":1,"type":"InvoiceEnriched","realm":"9130355377388383","invoice_id":"d23458e0",
"customer_id":"76cbebf3","answer":"{}","customer_name":"Acme GmbH","contract_name":"Enterprise",
"fetched_at":"2026-11-02T01:02:04Z","received_at":"2026-11-02T01:02:03Z",
"webhook":{"topic":"metronome.webhooks","partition":0,"offset":7}}"""


def test_a_command_from_before_says_nothing_of_what_came_later() -> None:
    command = COMMANDS.validate_json(POST_INVOICE)
    assert isinstance(command, PostInvoice)
    document = command.document
    assert (document.txn_date, document.due_date, document.total) == (date(2026, 11, 2), date(2026, 12, 2), Decimal(10))
    assert (document.constituents, document.replaces, document.custom_fields) == ((), None, {})
    assert (document.lines[0].tax_code, document.customer.currency) == (None, None)


def test_facts_from_before_know_no_payer_and_no_hierarchy() -> None:
    facts = InvoiceEnriched.model_validate_json(INVOICE_ENRICHED)
    assert (facts.hierarchy, facts.payer_name, facts.payer_custom_fields) == (None, None, None)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-11-02T00:00:00"])
def test_a_moment_leaves_room_for_what_is_reckoned_with_it(moment: str) -> None:
    """A company whose connection changed at the end of time could never be connected again."""
    with pytest.raises(ValidationError, match=r"the year|time zone"):
        ConnectionChanged(realm="1", state="connected", changed_at=moment)
