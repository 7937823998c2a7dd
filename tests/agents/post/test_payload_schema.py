"""What we would POST, judged by Intuit's own schema: no unknown name, no bad type."""

from decimal import Decimal
from typing import Any

import pytest

from agents.translate.translate import translate
from models.commands import PostInvoice
from models.money import parse_json
from models.policy import Policy
from models.quickbooks import ENTITY, body_of
from tests import FIXTURES
from tests.builders import AT, a_line, an_invoice, facts_of
from tests.qbo_schema import faults

SAMPLES = parse_json((FIXTURES / "metronome_invoices.json").read_text())["samples"]


def body(invoice: dict[str, Any], policy: Policy | None = None) -> tuple[str, dict[str, Any]]:
    """The entity's name and the body that the invoice becomes."""
    command = translate(facts_of(invoice), AT, policy=policy or Policy())[-1]
    assert isinstance(command, PostInvoice)
    document = command.document
    refs = [line.item.qbo_id or "1" for line in document.lines]
    sent = body_of(document, customer_ref="58", item_refs=refs, doc_number=document.doc_number)
    return ENTITY[document.kind], sent


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["name"])
def test_the_bodies_of_the_fixture_invoices_pass_intuits_schema(sample: dict[str, Any]) -> None:
    entity, sent = body(sample["invoice"])
    assert faults(entity, sent) == []
    assert sum(line["Amount"] for line in sent["Line"]) > 0


def test_quantity_price_and_due_date_are_among_what_was_judged() -> None:
    entity, sent = body(an_invoice([a_line(Decimal("759942"), quantity=Decimal("140.73"), unit_price=5400)]))
    assert entity == "Invoice"
    assert faults(entity, sent) == []
    [line] = sent["Line"]
    assert line["SalesItemLineDetail"]["Qty"] == Decimal("140.73")
    assert sent["DueDate"] == "2026-12-02"


def test_every_field_that_a_policy_can_add_is_known_to_intuit() -> None:
    policy = Policy(
        due_date="sales-term",
        sales_term_id="3",
        tax_code="NON",
        global_tax_calculation="TaxExcluded",
        exchange_rates={"USD": Decimal("1.0845")},
        class_field="class",
        department_field="place",
        email_field="mail",
        custom_fields={"1": "po"},
    )
    fields = {"class": "200", "place": "4", "mail": "ap@acme.example", "po": "PO-77"}
    for on in ("line", "transaction"):
        for total in (1000, -1000):
            invoice = an_invoice([a_line(total)], contract_custom_fields=fields)
            entity, sent = body(invoice, policy.model_copy(update={"class_on": on}))
            assert faults(entity, sent) == []
            assert (sent.get("SalesTermRef") == {"value": "3"}) == (entity == "Invoice")
            assert "DueDate" not in sent
            assert (sent["DepartmentRef"], sent["BillEmail"]) == ({"value": "4"}, {"Address": "ap@acme.example"})
            assert sent["CustomField"] == [{"DefinitionId": "1", "Type": "StringType", "StringValue": "PO-77"}]
            assert (sent["ExchangeRate"], sent["GlobalTaxCalculation"]) == (Decimal("1.0845"), "TaxExcluded")
            detail = sent["Line"][0]["SalesItemLineDetail"]
            assert detail["TaxCodeRef"] == {"value": "NON"}
            assert (detail if on == "line" else sent)["ClassRef"] == {"value": "200"}
            assert "ClassRef" not in (sent if on == "line" else detail)


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("Memo",), "x", "Invoice.Memo: Invoice has no such field"),
        (("TxnDate",), "11/02/2026", "Invoice.TxnDate: '11/02/2026' is not of type xs:date"),
        (("DocNumber",), 7, "Invoice.DocNumber: 7 is not of type xs:string"),
        (("DocNumber",), ["a", "b"], "Invoice.DocNumber: not a list"),
        (("CustomerRef",), "58", "Invoice.CustomerRef: a ReferenceType is an object, not '58'"),
        (("CustomerRef",), {"id": "58"}, "Invoice.CustomerRef.id: ReferenceType has no such field"),
        (("Line", 0, "Amount"), "10.00", "Invoice.Line.Amount: '10.00' is not of type xs:decimal"),
        (("Line", 0, "Amount"), 10.0, "Invoice.Line.Amount: 10.0 is not of type xs:decimal"),
        (("Line", 0, "DetailType"), "Sale", "Invoice.Line.DetailType: 'Sale' is not of type LineDetailTypeEnum"),
        (
            ("Line", 0, "SalesItemLineDetail", "Quantity"),
            1,
            "Invoice.Line.SalesItemLineDetail.Quantity: SalesItemLineDetail has no such field",
        ),
    ],
)
def test_a_wrong_name_or_type_is_found(path: tuple[str | int, ...], value: object, fault: str) -> None:
    entity, sent = body(an_invoice())
    *parents, last = path
    place: Any = sent
    for step in parents:
        place = place[step]
    place[last] = value
    assert fault in faults(entity, sent)
