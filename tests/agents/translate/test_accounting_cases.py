"""Every rule by hand: one case a line, what is billed on the left, what the books get on the right.

The arithmetic stands in each case's name. Figures are as an accountant writes them down; nothing here is computed by
the code under test. Lines read `amount` or `amount=quantity×price`; USD counts cents, all other currencies whole units.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from models.commands import PostInvoice
from models.events import ContractHierarchy
from models.policy import Policy
from tests.agents.translate.translating import commands, fact, summary
from tests.builders import CENTS, CREDITS, CUSTOMER_ID, EUROS, INVOICE_ID, Json, a_line, an_invoice

D = Decimal
NOTHING: Mapping[str, Any] = MappingProxyType({})


def unit(name: str) -> Json:
    return {"id": name, "name": name}


YEN, DINAR, EURO_CENTS = unit("JPY"), unit("KWD"), unit("EUR (cents)")
PREPAID, CREDIT, POSTPAID = ({"id": "c", "type": kind} for kind in ("PREPAID", "CREDIT", "POSTPAID"))
OLD = "86824bf6-56e7-5185-8ce7-f972748ac9e9"
PARENT = "33fb6be1-abb3-52e1-a55c-75d6355236c8"
CHILD = ContractHierarchy(parent_customer_id=PARENT, payer="PARENT", usage_statement_behavior="CONSOLIDATE")
APART = ContractHierarchy(parent_customer_id=PARENT, payer="PARENT", usage_statement_behavior="SEPARATE")
HEAD = ContractHierarchy(invoice_consolidation_type="CONCATENATE")
LOOSE_HEAD = ContractHierarchy(invoice_consolidation_type="NONE")
PAID = {"payer_name": "Acme Holding", "payer_custom_fields": {"qbo_customer_id": "60"}}


def line(total: Any, quantity: Any = None, price: Any = None, **changes: Any) -> Json:
    numbers = (D(str(each)) if each is not None else None for each in (total, quantity, price))
    total, quantity, price = numbers
    return a_line(total, quantity=quantity, unit_price=price, **changes)


def drawn(total: Any, applied: Json, **changes: Any) -> Json:
    return line(total, type="applied_commit_or_credit", applied_commit_or_credit=applied, **changes)


def bill(*lines: Json, **changes: Any) -> Json:
    return an_invoice(list(lines), **changes)


def bill_in(money: Json, *lines: Json, **changes: Any) -> Json:
    return bill(*(each | {"credit_type": money} for each in lines), credit_type=money, **changes)


def with_fields(**fields: str) -> dict[str, Any]:
    return {"product_custom_fields": {"qbo_item_id": "31", **fields}}


class Case(NamedTuple):
    """`expected` is the summary of the commands; `more` are single facts of the document."""

    why: str
    invoice: Json
    expected: str
    policy: Mapping[str, Any] = NOTHING
    facts: Mapping[str, Any] = NOTHING
    more: Mapping[str, Any] = NOTHING


# fmt: off
UNITS = [
    Case("12345 cents / 100", bill(line(12345)), "invoice 123.45 USD: 123.45"),
    Case("unit price in cents too: 3 × 41.15", bill(line(12345, 3, 4115)), "invoice 123.45 USD: 123.45=3×41.15"),
    Case("EUR counts euros", bill_in(EUROS, line("123.45", 3, "41.15")), "invoice 123.45 EUR: 123.45=3×41.15"),
    Case("EUR (cents) counts cents", bill_in(EURO_CENTS, line(12345)), "invoice 123.45 EUR: 123.45"),
    Case("JPY has no hundredths", bill_in(YEN, line(1234)), "invoice 1234 JPY: 1234"),
    Case("100.4 + 100.4 = 200.8 -> 201 yen", bill_in(YEN, line("100.4"), line("100.4")), "invoice 201 JPY: 101 100"),
    Case("2.5 × 33 = 82.5 -> 83 yen, not 82.50", bill_in(YEN, line("82.5", "2.5", 33)), "invoice 83 JPY: 83"),
    Case("1.230 dinar needs two decimals", bill_in(DINAR, line("1.23")), "invoice 1.230 KWD: 1.230"),
    Case("1.234 dinar needs three", bill_in(DINAR, line("1.234")), "refused: more than two decimals"),
    Case("1.004 + 1.006: lines do", bill_in(DINAR, line("1.004"), line("1.006")), "refused: more than two decimals"),
    Case("yen have no cents", bill_in(unit("JPY (cents)"), line(5)), "refused: unknown unit"),
    Case("dinar have no cents", bill_in(unit("KWD (cents)"), line(5)), "refused: unknown unit"),
    Case("custom units are no money", bill_in(CREDITS, line(5)), "refused: unknown unit"),
]
COUNTED = [
    Case("450 credits are not 450 cents", bill(line(700), line(450, credit_type=CREDITS), total=700),
         "invoice 7.00 USD: 7.00"),
    Case("postpaid -40 is shown, not summed", bill(line(100), drawn(-40, POSTPAID), total=100),
         "invoice 1.00 USD: 1.00"),
    Case("prepaid counts: 50 - 50", bill(line(5000), drawn(-5000, PREPAID)), "invoice 0.00 USD: 50.00 -50.00"),
    Case("credit counts: 50 - 20", bill(line(5000), drawn(-2000, CREDIT)), "invoice 30.00 USD: 50.00 -20.00"),
    Case("1 + adjustment 9 = 10", bill(line(100), total=1000, invoice_adjustments=[
         {"name": "Minimum", "total": 900, "credit_type": CENTS}]), "invoice 10.00 USD: 1.00 9.00"),
    Case("sub lines are detail", bill(line(100, sub_line_items=[{"name": "s", "quantity": 1, "subtotal": 100}])),
         "invoice 1.00 USD: 1.00"),
    Case("10.00 + 2.50 is not 12.51", bill(line(1000), line(250), total=1251), "refused: sum"),
    Case("a line counted that should not be", bill(line(5), line(9), total=5), "refused: sum"),
    Case("a thousandth of a cent is no noise", bill(line(1000), total=D("1000.001")), "refused: sum"),
    Case("3.045 + 58.9354… = 61.9804…745 but for a double's last place: 3.04|5 + 58.93|548 -> the cent to the second",
         bill_in(EUROS, line("3.045"), line("58.935483870967744"), total=D("61.980483870967745")),
         "invoice 61.98 EUR: 3.04 58.94"),
    Case("1e12 cents are 11 digits", bill(line(10**12)), "refused: figure out of range"),
    Case("nothing billed", bill(), "skipped: no lines"),
]
FIGURES = [
    Case("140.73 × 54.00 = 7599.42", bill(line(759942, "140.73", 5400)), "invoice 7599.42 USD: 7599.42=140.73×54"),
    Case("128.35 × 14.50 = 1861.075 -> .08", bill(line("186107.5", "128.35", 1450)),
         "invoice 1861.08 USD: 1861.08=128.35×14.5"),
    Case("15 decimals: amount only", bill(line(10000, "33.333333333333336", 300)), "invoice 100.00 USD: 100.00"),
    Case("7 decimals are kept", bill(line(350, 1000000, "0.00035")), "invoice 3.50 USD: 3.50=1000000×0.0000035"),
    Case("8 decimals are not", bill(line(350, 10000000, "0.000035")), "invoice 3.50 USD: 3.50"),
    Case("per 1,000: 10,000 × 0.00035", bill(line(350, 10000000, "0.000035")),
         "invoice 3.50 USD: 3.50=10000×0.00035", {"line_figures": "rescaled"}, more={"description": "per 1,000"}),
    Case("per 1,000,000: 5,000 × 0.000123 = 0.615 -> 0.62", bill(line("61.5", 5 * 10**9, "0.0000000123")),
         "invoice 0.62 USD: 0.62=5000×0.000123", {"line_figures": "rescaled"}, more={"description": "per 1,000,000"}),
    Case("no scale helps 33.333333333333336", bill(line(10000, "33.333333333333336", 300)),
         "invoice 100.00 USD: 100.00", {"line_figures": "rescaled"},
         more={"description": "33.3333333 × 3 USD"}),
    Case("what multiplies is not rescaled", bill(line(12345, 3, 4115)), "invoice 123.45 USD: 123.45=3×41.15",
         {"line_figures": "rescaled"}),
    Case("quantity 1 of 100.00", bill(line(10000, "33.333333333333336", 300)),
         "invoice 100.00 USD: 100.00=1×100.00", {"line_figures": "quantity-one"},
         more={"description": "33.3333333 × 3 USD"}),
    Case("quantity 1 not below zero", bill(line(1000, 1, 1000), line(-500)), "invoice 5.00 USD: 10.00=1×10 -5.00",
         {"line_figures": "quantity-one"}),
    Case("-10 × 3: no negative product", bill(line(5000), line(-3000, -10, 300)), "invoice 20.00 USD: 50.00 -30.00"),
    Case("11 digits, not 12", bill(line(0, 99999999999, 0), line(0, 100000000000, 0)),
         "invoice 0.00 USD: 0.00=99999999999×0 0.00"),
    Case("3 × 0.005 = 0.015 -> 0.02: two get the cent, the third is not 1 × 0.005 any more",
         bill_in(EUROS, *(line("0.005", 1, "0.005") for _ in range(3))),
         "invoice 0.02 EUR: 0.01=1×0.005 0.01=1×0.005 0.00"),
]
ROUNDING = [
    Case("3 × 33.33 c = 99.99 c -> 1.00", bill(*(line("33.33") for _ in range(3))), "invoice 1.00 USD: 0.34 0.33 0.33"),
    Case("0.33 × 3 + 0.01", bill(*(line("33.33") for _ in range(3))), "invoice 1.00 USD: 0.33 0.33 0.33 0.01",
         {"rounding": "rounding-line"}, more={"items": "31 31 31 ~rounding"}),
    Case("3 × 0.5 c = 1.5 c -> 0.02 = 0.03 - 0.01", bill(*(line("0.5") for _ in range(3))),
         "invoice 0.02 USD: 0.01 0.01 0.01 -0.01", {"rounding": "rounding-line", "rounding_item_id": "99"},
         more={"items": "31 31 31 99"}),
    Case("nothing to round, no line", bill(line(33), line(67)), "invoice 1.00 USD: 0.33 0.67",
         {"rounding": "rounding-line"}),
    Case("-99.99 c -> credit 1.00 = 3 × 0.33 + 0.01", bill(*(line("-33.33") for _ in range(3))),
         "creditmemo 1.00 USD: 0.33 0.33 0.33 0.01", {"rounding": "rounding-line"}),
    Case("1.001 + 1.004 + 1.003 = 3.008 -> 3.01: the cent to .004",
         bill_in(EUROS, line("1.001"), line("1.004"), line("1.003")), "invoice 3.01 EUR: 1.00 1.01 1.00"),
    Case("-0.4 c is 0.00, without a minus", bill(line("-0.4")), "invoice 0.00 USD: 0.00",
         {"rounding": "rounding-line"}),
    Case("5 × 0.0104 = 0.052 = 5 × 0.010 + 0.002", bill_in(DINAR, *(line("0.0104") for _ in range(5))),
         "refused: more than two decimals", {"rounding": "rounding-line"}),
    Case("10.005 and -10.005 stay opposite", bill_in(EUROS, line("-10.005"), line("10.005")),
         "invoice 0.00 EUR: -10.01 10.01"),
]
SIGNS = [
    Case("1.00 - 0.30", bill(line(100), line(-30)), "invoice 0.70 USD: 1.00 -0.30"),
    Case("10 - 30 = -20", bill(line(1000), line(-3000)), "creditmemo 20.00 USD: -10.00 30.00", more={"due_date": None}),
    Case("-(-10 × 3)", bill(line(-3000, -10, 300)), "creditmemo 30.00 USD: 30.00=10×3"),
    Case("-1 + 0 × 0.09: no -0 either", bill(line(-100), line(0, 0, 9)), "creditmemo 1.00 USD: 1.00 0.00=0×0.09"),
    Case("-0.4 c rounds to nothing", bill(line("-0.4")), "invoice 0.00 USD: 0.00"),
    Case("-0.5 c rounds away from zero", bill(line("-0.5")), "creditmemo 0.01 USD: 0.01"),
    Case("a zero total is posted", bill(line(0)), "invoice 0.00 USD: 0.00"),
    Case("or skipped", bill(line(0)), "skipped: zero total", {"zero_total": "skip"}),
    Case("0 of it is kept", bill(line(5), line(0, 0, 9)), "invoice 0.05 USD: 0.05 0.00=0×0.09"),
    Case("or dropped", bill(line(5), line(0, 0, 9)), "invoice 0.05 USD: 0.05", {"zero_quantity_lines": "drop"}),
]
OWN_DRAW_DOWNS = {"draw_down_item": "own", "draw_down_item_id": "90", "credit_item_id": "91"}
PURCHASE = line(5000, type="commit_purchase")
ITEMS = [
    Case("draw-down on its product", bill(line(50), drawn(-20, PREPAID)), "invoice 0.30 USD: 0.50 -0.20",
         more={"items": "31 31"}),
    Case("prepaid on its own", bill(line(50), drawn(-20, PREPAID)), "invoice 0.30 USD: 0.50 -0.20", OWN_DRAW_DOWNS,
         more={"items": "31 90"}),
    Case("credit on its own", bill(line(50), drawn(-20, CREDIT)), "invoice 0.30 USD: 0.50 -0.20", OWN_DRAW_DOWNS,
         more={"items": "31 91"}),
    Case("own, waiting for a mapping", bill(line(50), drawn(-20, PREPAID), drawn(-10, CREDIT)),
         "invoice 0.20 USD: 0.50 -0.20 -0.10", {"draw_down_item": "own"}, more={"items": "31 ~draw-down ~credit"}),
    Case("the commit's own word wins, but not for the usage it covers",
         bill(line(50, commit_custom_fields={"qbo_item_id": "77"}),
              drawn(-20, PREPAID, commit_custom_fields={"qbo_item_id": "77"})),
         "invoice 0.30 USD: 0.50 -0.20", OWN_DRAW_DOWNS, more={"items": "31 77"}),
    Case("a purchase is its product", bill(PURCHASE), "invoice 50.00 USD: 50.00", more={"items": "31"}),
    Case("a purchase is deferred", bill(PURCHASE), "invoice 50.00 USD: 50.00",
         {"commit_purchase_item": "own", "commit_purchase_item_id": "92"}, more={"items": "92"}),
    Case("a purchase waits", bill(PURCHASE), "invoice 50.00 USD: 50.00", {"commit_purchase_item": "own"},
         more={"items": "~commit-purchase"}),
    Case("no product, default item", bill(line(5, type="cpu_conversion", product_id=None)), "invoice 0.05 USD: 0.05",
         {"default_item_id": "1"}, more={"items": "default 1"}),
    Case("one item for all but the draw-down", bill(line(50), drawn(-20, PREPAID)), "invoice 0.30 USD: 0.50 -0.20",
         {"item_strategy": "single-item", "default_item_id": "7", **OWN_DRAW_DOWNS}, more={"items": "7 90"}),
    Case("an item is digits", bill(line(5, product_custom_fields={"qbo_item_id": "Item 31"})),
         "refused: bad custom field"),
]
SCHEDULED = {"type": "SCHEDULED", "start_timestamp": None, "end_timestamp": None}
CONSOLIDATED = {"type": "USAGE_CONSOLIDATED",
                "constituent_invoices": [{"invoice_id": OLD, "customer_id": "c", "contract_id": "k"}]}
KINDS = [
    Case("scheduled, no period", bill(line(100), **SCHEDULED), "invoice 1.00 USD: 1.00",
         more={"txn_date": "2026-11-02", "customer_memo": "Charges billed November 2, 2026."}),
    Case("draft", bill(line(100), status="DRAFT"), "parked: not finalized"),
    Case("void", bill(line(100), status="VOID"), f"void {INVOICE_ID}"),
    Case("unbillable", bill(line(100), billable_status="unbillable"), "skipped: unbillable"),
    Case("issued on Nov 2, before Nov 3", bill(line(100)), "skipped: imported history",
         {"not_before": date(2026, 11, 3)}),
    Case("issued on Nov 2, from Nov 2 on", bill(line(100)), "invoice 1.00 USD: 1.00",
         {"not_before": date(2026, 11, 2)}),
    Case("Nov 2 in UTC is Nov 1 in Los Angeles", bill(line(100)), "skipped: imported history",
         {"not_before": date(2026, 11, 2), "time_zone": "America/Los_Angeles"}),
    Case("another pays: not here", bill(line(100), payer={"customer_id": PARENT}),
         "refused: billed to another customer"),
    Case("another pays: there", bill(line(100), payer={"customer_id": PARENT}), "invoice 1.00 USD: 1.00",
         {"payer": "payer"}, PAID, {"customer": [PARENT, "Acme Holding", "60"]}),
    Case("another pays, facts from before", bill(line(100), payer={"customer_id": PARENT}), "refused: payer unknown",
         {"payer": "payer"}),
    Case("pays itself", bill(line(100), payer={"customer_id": CUSTOMER_ID}), "invoice 1.00 USD: 1.00",
         more={"customer": [CUSTOMER_ID, "Acme GmbH", "58"]}),
    Case("child's usage is on the parent's", bill(line(100), payer={"customer_id": PARENT}),
         "skipped: billed on the consolidated invoice", {"payer": "payer"}, PAID | {"hierarchy": CHILD}),
    Case("child with statements apart", bill(line(100), payer={"customer_id": PARENT}), "invoice 1.00 USD: 1.00",
         {"payer": "payer"}, PAID | {"hierarchy": APART}),
    Case("child's scheduled charge is no usage", bill(line(100), payer={"customer_id": PARENT}, **SCHEDULED),
         "refused: billed to another customer", facts={"hierarchy": CHILD}),
    Case("parent's own usage is on its own", bill(line(100)), "skipped: billed on the consolidated invoice",
         facts={"hierarchy": HEAD}),
    Case("parent that consolidates nothing", bill(line(100)), "invoice 1.00 USD: 1.00",
         facts={"hierarchy": LOOSE_HEAD}),
    Case("the consolidated one", bill(line(100), **CONSOLIDATED), "invoice 1.00 USD: 1.00", facts={"hierarchy": HEAD},
         more={"constituents": [OLD]}),
    Case("regenerated: void the old, link the new", bill(line(100), regenerated_from_invoice_id=OLD),
         f"void {OLD}; invoice 1.00 USD: 1.00", more={"replaces": OLD, "note": f"Replaces: {OLD}"}),
    Case("regenerated, but refused: the old is void all the same",
         bill(line(100), total=99, regenerated_from_invoice_id=OLD), f"void {OLD}; refused: sum"),
    Case("a correction says of what and why", bill(line(100), correction_record={
         "corrected_invoice_id": OLD, "memo": "wrong rate", "reason": "PRICING"}), "invoice 1.00 USD: 1.00",
         more={"note": f"Corrects: {OLD} (PRICING: wrong rate)"}),
]
DATES = [
    Case("Nov 2 + 30", bill(line(1)), "invoice 0.01 USD: 0.01",
         more={"txn_date": "2026-11-02", "due_date": "2026-12-02"}),
    Case("last day of service, + 30", bill(line(1)), "invoice 0.01 USD: 0.01", {"txn_date": "service-end"},
         more={"txn_date": "2026-10-31", "due_date": "2026-12-02"}),
    Case("no period: the line's last day", bill(line(1), **SCHEDULED), "invoice 0.01 USD: 0.01",
         {"txn_date": "service-end"}, more={"txn_date": "2026-10-31"}),
    Case("the last of the lines' last days, before the issue",
         bill(line(1, ending_before="2026-10-15T00:00:00+00:00"), line(1, ending_before="2026-10-20T00:00:00+00:00"),
              **SCHEDULED), "invoice 0.02 USD: 0.01 0.01", {"txn_date": "service-end"},
         more={"txn_date": "2026-10-19"}),
    Case("no service at all: day of issue", bill(line(1, ending_before=None), **SCHEDULED), "invoice 0.01 USD: 0.01",
         {"txn_date": "service-end"}, more={"txn_date": "2026-11-02"}),
    Case("billed in advance: not after the issue", bill(line(1), end_timestamp="2027-11-01T00:00:00+00:00"),
         "invoice 0.01 USD: 0.01", {"txn_date": "service-end"},
         more={"txn_date": "2026-11-02", "due_date": "2026-12-02"}),
    Case("a period of no length is its day", bill(line(1), start_timestamp="2026-11-01T00:00:00+00:00",
         end_timestamp="2026-11-01T00:00:00+00:00"), "invoice 0.01 USD: 0.01", {"txn_date": "service-end"},
         more={"txn_date": "2026-11-01", "due_date": "2026-12-02"}),
    Case("the term of 30 days", bill(line(1)), "invoice 0.01 USD: 0.01",
         {"due_date": "sales-term", "sales_term_ids": {"30": "3"}, "sales_term_id": "9"},
         more={"sales_term_id": "3", "due_date": None}),
    Case("another term for 45", bill(line(1), net_payment_terms_days=45), "invoice 0.01 USD: 0.01",
         {"due_date": "sales-term", "sales_term_ids": {"30": "3"}, "sales_term_id": "9"}, more={"sales_term_id": "9"}),
    Case("no term for 45", bill(line(1), net_payment_terms_days=45), "refused: no sales term",
         {"due_date": "sales-term", "sales_term_ids": {"30": "3"}}),
    Case("no terms at all: policy's 14", bill(line(1), net_payment_terms_days=None), "invoice 0.01 USD: 0.01",
         {"payment_terms_days": 14}, more={"due_date": "2026-11-16"}),
    Case("-1 days", bill(line(1), net_payment_terms_days=-1), "refused: payment terms"),
    Case("closed through Nov 2", bill(line(1)), "refused: closed books", {"books_closed_through": date(2026, 11, 2)}),
    Case("closed through Nov 1", bill(line(1)), "invoice 0.01 USD: 0.01",
         {"books_closed_through": date(2026, 11, 1)}, more={"txn_date": "2026-11-02"}),
    Case("first open day: Nov 16, due as it was told", bill(line(1)), "invoice 0.01 USD: 0.01",
         {"books_closed_through": date(2026, 11, 15), "closed_books": "first-open-day"},
         more={"txn_date": "2026-11-16", "due_date": "2026-12-02", "note": "Original date: 2026-11-02"}),
]
DE = {"contract_custom_fields": {"cost": "200", "loc": "4"},
      "customer_custom_fields": {"qbo_customer_id": "58", "loc": "5", "mail": "ap@acme.example",
                               "mails": " ap@acme.example;cfo@acme.example, "}}
REFERENCES = [
    Case("tax code of every line", bill(line(1), line(2)), "invoice 0.03 USD: 0.01 0.02", {"tax_code": "NON"},
         more={"tax": "NON NON"}),
    Case("a product's tax code wins", bill(line(1, **with_fields(qbo_tax_code="TAX")), line(2)),
         "invoice 0.03 USD: 0.01 0.02", {"tax_code": "NON"}, more={"tax": "TAX NON"}),
    Case("a tax code is no sentence", bill(line(1, **with_fields(qbo_tax_code="20 % VAT"))),
         "refused: bad custom field"),
    Case("class of the product, else of the contract", bill(line(1, **with_fields(cost="100")), line(2), **DE),
         "invoice 0.03 USD: 0.01 0.02", {"class_field": "cost"}, more={"classes": "100 200", "class_id": None}),
    Case("one class for all", bill(line(1), **DE), "invoice 0.01 USD: 0.01",
         {"class_field": "cost", "class_on": "transaction"}, more={"classes": "None", "class_id": "200"}),
    Case("two classes are not one", bill(line(1, **with_fields(cost="100")), line(2), **DE),
         "refused: bad custom field", {"class_field": "cost", "class_on": "transaction"}),
    Case("the contract's location before the customer's", bill(line(1), **DE), "invoice 0.01 USD: 0.01",
         {"department_field": "loc"}, more={"department_id": "4"}),
    Case("the customer's address", bill(line(1), **DE), "invoice 0.01 USD: 0.01", {"email_field": "mail"},
         more={"email": "ap@acme.example"}),
    Case("two addresses", bill(line(1), **DE), "invoice 0.01 USD: 0.01", {"email_field": "mails"},
         more={"email": "ap@acme.example, cfo@acme.example"}),
    Case("no address", bill(line(1), **DE), "refused: bad custom field", {"email_field": "cost"}),
    Case("a term by field", bill(line(1), **DE), "invoice 0.01 USD: 0.01", {"term_field": "loc"},
         more={"sales_term_id": "4", "due_date": None}),
    Case("QuickBooks's own field 2", bill(line(1), **DE), "invoice 0.01 USD: 0.01", {"custom_fields": {"2": "cost"}},
         more={"custom_fields": {"2": "200"}}),
    Case("a rate that is listed", bill_in(EUROS, line(1)), "invoice 1.00 EUR: 1.00",
         {"exchange_rates": {"EUR": D("1.0845")}}, more={"exchange_rate": "1.0845"}),
    Case("a rate that is not", bill(line(1)), "invoice 0.01 USD: 0.01", {"exchange_rates": {"EUR": D("1.0845")}},
         more={"exchange_rate": None}),
]
SERVICE = [
    Case("the first day", bill(line(1)), "invoice 0.01 USD: 0.01", {"service_date": "start"},
         more={"service_dates": "2026-10-01"}),
    Case("the last day", bill(line(1)), "invoice 0.01 USD: 0.01", {"service_date": "end"},
         more={"service_dates": "2026-10-31"}),
    Case("a line that says no days", bill(line(1, starting_at=None, ending_before=None)), "invoice 0.01 USD: 0.01",
         {"service_date": "end"}, more={"service_dates": "None"}),
    Case("not sent", bill(line(1)), "invoice 0.01 USD: 0.01", more={"service_dates": "None"}),
    Case("of many lines the last of the last days",
         bill(line(1, ending_before="2026-10-11T00:00:00Z"), line(2, ending_before="2026-10-21T00:00:00Z")),
         "invoice 0.03 USD: 0.03", {"service_date": "end", "line_limit": 1}, more={"service_dates": "2026-10-20"}),
]
MANY = [line(100, 1, 100), line(200, 2, 100), line(300, 1, 300), line(-50), line(-25)]
LARGE = [
    Case("5 lines, 5 allowed", bill(*MANY), "invoice 5.25 USD: 1.00=1×1 2.00=2×1 3.00=1×3 -0.50 -0.25",
         {"line_limit": 5}),
    Case("by price: (1 + 2) × 1, 1 × 3, -0.75", bill(*MANY), "invoice 5.25 USD: 3.00=3×1 3.00=1×3 -0.75",
         {"line_limit": 4}),
    Case("by product: 3 + 3 - 0.75", bill(*MANY), "invoice 5.25 USD: 5.25", {"line_limit": 2}),
    Case("two products in one line", bill(*MANY, line(1, product_id="other", product_custom_fields=None)),
         "refused: too many lines", {"line_limit": 1}),
    Case("no grouping wanted", bill(*MANY), "refused: too many lines", {"line_limit": 4, "too_many_lines": "refuse"}),
    Case("0.006 + 0.006 = 0.012 -> 0.01 + 0.00, and 0.00 is not 1 × 0.006, so 0.01 has no factors",
         bill_in(EUROS, line("0.006", 1, "0.006"), line("0.006", 1, "0.006")), "invoice 0.01 EUR: 0.01",
         {"line_limit": 1}),
]
# fmt: on
ALL = [*UNITS, *COUNTED, *FIGURES, *ROUNDING, *SIGNS, *ITEMS, *KINDS, *DATES, *REFERENCES, *SERVICE, *LARGE]


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.why)
def test_what_the_books_get(case: Case) -> None:
    made = commands(case.invoice, Policy(**case.policy), **case.facts)
    assert summary(made) == case.expected
    if case.more:
        [document] = [command.document for command in made if isinstance(command, PostInvoice)]
        shown = document.model_dump(mode="json")
        assert {name: fact(document, shown, name, wanted) for name, wanted in case.more.items()} == case.more


def test_there_are_enough_cases_and_each_has_its_own_arithmetic() -> None:
    assert len({case.why for case in ALL}) == len(ALL) >= 100
