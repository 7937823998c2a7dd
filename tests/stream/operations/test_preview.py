"""What a preview says of an invoice: exactly what would be posted, why, and what is missing."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.clients.quickbooks import encode
from agents.enrich import Routes
from models.ledger import CustomerMapping, ItemMapping
from models.money import parse_json
from models.policy import Policy
from stream.operations.preview import NOWHERE, Mappings, Preview, choices, preview_of
from stream.operations.preview_sources import Unreadable, address_in, facts_in_file, invoices_in_file
from tests import FIXTURES
from tests.agents.in_process import World
from tests.agents.translate.translating import UNMAPPED, commands
from tests.builders import AT, CREDITS, CUSTOMER_ID, EUROS, Json, a_line, an_invoice, facts_of, json_of

FIXTURE = FIXTURES / "metronome_invoices.json"
NOW = datetime(2026, 11, 2, tzinfo=UTC)
NO_ROUTES = Routes("qbo_realm_id", {}, None)
REALM = "9130355377388383"


def previewed(invoice: Json, policy: Policy | None = None, mappings: Mappings | None = None, **facts: Any) -> Preview:
    return preview_of(facts_of(invoice, **facts), policy or Policy(), mappings or Mappings(), AT)


def unmapped_invoice() -> Json:
    return an_invoice([a_line(), a_line(**UNMAPPED)], customer_custom_fields={})


def choice(invoice: Json, name: str, policy: Policy | None = None) -> Any:
    found = {each.field: each.value for each in choices(facts_of(invoice), policy or Policy(), Mappings())}
    return found.get(name, "did not matter")


# The document


async def test_the_body_is_the_bytes_that_the_sink_would_post() -> None:
    invoice = an_invoice([a_line(Decimal("33.33"), quantity=Decimal("0.1")), a_line(Decimal("66.67"))])
    world = World()
    [post] = commands(invoice)
    await world.run(post)
    [sent] = world.transport.writes()
    body = previewed(invoice).body
    assert body is not None
    assert encode(body) == sent.body


def test_amounts_are_numbers_with_all_digits_and_the_total_is_text() -> None:
    invoice = an_invoice([a_line(Decimal("12500000"), quantity=Decimal("2.50"), unit_price=Decimal("5000000"))])
    line = previewed(invoice).as_json().decode()
    assert '"total":"125000.00"' in line
    assert '"Amount":125000.00,' in line
    assert '"Qty":2.5,' in line


def test_a_credit_memo_is_told_with_a_positive_total() -> None:
    preview = previewed(an_invoice([a_line(-2000)]))
    assert (preview.outcome, preview.kind, preview.total, preview.currency) == ("post", "creditmemo", "20.00", "USD")


def test_yen_have_no_decimals() -> None:
    yen = {"id": "y", "name": "JPY"}
    assert previewed(an_invoice([a_line(201, credit_type=yen)], credit_type=yen)).total == "201"


# What is not posted


@pytest.mark.parametrize(
    ("changes", "policy", "expected"),
    [
        ({"status": "DRAFT"}, {}, ("skip", "not finalized", "10.00")),
        ({"status": "VOID"}, {}, ("skip", "voided", "10.00")),
        ({"total": 1001}, {}, ("refuse", "sum", "10.01")),
        ({"credit_type": CREDITS}, {}, ("refuse", "unknown unit", None)),
        ({}, {"not_before": date(2027, 1, 1)}, ("skip", "imported history", "10.00")),
        ({"line_items": None}, {}, ("refuse", "unreadable answer", "10.00")),
        ({"total": "ten"}, {}, ("refuse", "unreadable answer", None)),
    ],
)
def test_what_is_not_posted_says_by_which_rule(changes: Json, policy: Json, expected: Any) -> None:
    preview = previewed(an_invoice(**changes), Policy(**policy))
    assert (preview.outcome, preview.rule, preview.total) == expected
    assert preview.reason
    assert (preview.kind, preview.body) == (None, None)


# What is missing


def test_what_has_no_mapping_stands_in_the_body_and_says_how_to_map_it() -> None:
    preview = previewed(unmapped_invoice())
    assert preview.body is not None
    assert preview.body["CustomerRef"] == {"value": f"unmapped:{CUSTOMER_ID}", "name": "Acme GmbH"}
    refs = [line["SalesItemLineDetail"]["ItemRef"] for line in preview.body["Line"]]
    product = UNMAPPED["product_id"]
    assert refs == [{"value": "31"}, {"value": f"unmapped:{product}", "name": "API Calls"}]
    assert [each.command for each in preview.missing] == [
        f"metronome-qbo map customer {CUSTOMER_ID} QBO_ID --realm {REALM}",
        f"metronome-qbo map item {product} QBO_ID --realm {REALM}",
    ]
    assert preview.waits
    assert preview.commands == ("EnsureCustomer", "PostInvoice")


def test_the_tables_map_what_custom_fields_do_not() -> None:
    product = UNMAPPED["product_id"]
    customer = CustomerMapping(
        realm=REALM, customer_id=CUSTOMER_ID, qbo_id="77", name="Acme", currency="USD", source="matched", since=AT
    )
    item = ItemMapping(realm=REALM, product_id=product, qbo_id="12", name="API", source="operator", since=AT)
    tables = Mappings({f"{REALM}/{CUSTOMER_ID}": customer}, {f"{REALM}/{product}": item})
    preview = previewed(unmapped_invoice(), mappings=tables)
    assert preview.body is not None
    assert preview.missing == ()
    assert preview.body["CustomerRef"] == {"value": "77"}
    euro = an_invoice([a_line(10, credit_type=EUROS)], credit_type=EUROS, customer_custom_fields={})
    [other] = previewed(euro, mappings=tables).missing
    assert other.command == f"metronome-qbo map customer {CUSTOMER_ID}/EUR QBO_ID --realm {REALM}"
    assert other.waits
    [other] = previewed(euro, Policy(customer_currency="per-currency"), tables).missing
    assert not other.waits


@pytest.mark.parametrize(
    ("policy", "waits", "then"),
    [
        ({}, False, "is taken, else it is created"),
        ({"missing_customer": "park"}, True, "is taken, else the invoice waits"),
        ({"customer_matching": "ask"}, False, "a person is asked"),
        ({"customer_matching": "off"}, False, "it is created in QuickBooks"),
        ({"customer_matching": "off", "missing_customer": "park"}, True, "the invoice waits"),
    ],
)
def test_what_becomes_of_an_unmapped_customer_is_said(policy: Json, waits: bool, then: str) -> None:
    preview = previewed(an_invoice(customer_custom_fields={}), Policy(**policy))
    [missing] = preview.missing
    assert (missing.waits, preview.waits) == (waits, waits)
    assert then in missing.then


def test_an_item_that_would_be_created_does_not_make_the_invoice_wait() -> None:
    preview = previewed(an_invoice([a_line(**UNMAPPED)]), Policy(missing_item="create", income_account_id="1"))
    [missing] = preview.missing
    assert not missing.waits
    assert "created" in missing.then


# The choices that mattered


def test_a_choice_is_told_when_another_would_have_given_another_document() -> None:
    thirds = an_invoice([a_line(Decimal("33.33")) for _ in range(3)], total=Decimal("99.99"))
    assert choice(thirds, "rounding") == "largest-remainder"
    assert choice(an_invoice(), "rounding") == "did not matter"
    assert choice(an_invoice(), "zero_total") == "did not matter"
    assert choice(an_invoice([a_line(0)]), "zero_total") == "post"


def test_the_time_zone_matters_to_an_invoice_of_midnight() -> None:
    assert choice(an_invoice(), "time_zone") == "UTC"
    no_service = a_line(1000, starting_at=None, ending_before=None)
    assert (
        choice(an_invoice([no_service], issued_at="2026-11-02T10:30:00Z", end_timestamp=None), "txn_date")
        == "did not matter"
    )


def test_a_choice_that_refuses_is_told() -> None:
    closed = Policy(books_closed_through=date(2026, 11, 30))
    assert choice(an_invoice(), "books_closed_through", closed) == date(2026, 11, 30)
    assert choice(an_invoice(), "closed_books", closed) == "refuse"


# Files


def in_file(tmp_path: Path, value: Any) -> list[Any]:
    path = tmp_path / "invoices.json"
    path.write_text(json_of(value))
    return [facts_in_file(each, NO_ROUTES, NOW) for each in invoices_in_file(path)]


@pytest.mark.parametrize("wrapped", ["bare", "data", "list", "list of data", "data of list", "samples"])
def test_an_invoice_is_found_however_it_is_wrapped(tmp_path: Path, wrapped: str) -> None:
    invoice = an_invoice()
    value = {
        "bare": invoice,
        "data": {"data": invoice},
        "list": [invoice],
        "list of data": [{"data": invoice}],
        "data of list": {"data": [invoice], "next_page": None},
        "samples": {"samples": [{"name": "x", "invoice": invoice}]},
    }[wrapped]
    [facts] = in_file(tmp_path, value)
    assert facts.invoice_id == invoice["id"]
    assert preview_of(facts, Policy(), Mappings()).total == "10.00"


def test_a_broken_invoice_in_a_list_names_its_field_and_the_others_go_on(tmp_path: Path) -> None:
    no_customer = an_invoice(id="broken-1", customer_id=None)
    bad_total = an_invoice(id="broken-2", total="ten")
    found = in_file(tmp_path, [no_customer, 7, bad_total, an_invoice()])
    assert found[0] == Unreadable("broken-1", "field customer_id: Field required")
    assert isinstance(found[1], Unreadable)
    outcomes = [preview_of(each, Policy(), Mappings()) for each in found[2:]]
    assert [each.outcome for each in outcomes] == ["refuse", "post"]
    assert "total" in (outcomes[0].reason or "")


def test_every_digit_of_a_file_arrives(tmp_path: Path) -> None:
    exact = Decimal("1000.00000000000000000001")
    [facts] = in_file(tmp_path, an_invoice([a_line(exact)], total=exact))
    assert parse_json(facts.answer)["data"]["total"] == exact


def test_strange_numbers_and_texts_of_a_file_refuse_that_invoice_only(tmp_path: Path) -> None:
    path = tmp_path / "strange.json"
    nested = "[" * 500 + "]" * 500
    strange = ['{"id":"a","customer_id":"c","total":1e999999999}', '{"id":"b","x":' + nested + "}", nested]
    path.write_text(f"[{','.join(strange)},{json_of(an_invoice(name=chr(0x1F600)))}]")
    found = [facts_in_file(each, NO_ROUTES, NOW) for each in invoices_in_file(path)]
    assert len(found) == 4
    assert all(isinstance(each, Unreadable) for each in found[:3])
    assert preview_of(found[3], Policy(), Mappings()).outcome == "post"  # type: ignore[arg-type]


def test_the_invoices_of_the_fixture_have_their_expected_totals() -> None:
    """Each total was computed by the fixture's generator, by the sum rule alone."""
    samples = {each["invoice"]["id"]: each["expected"] for each in parse_json(FIXTURE.read_bytes())["samples"]}
    told = {}
    for invoice in invoices_in_file(FIXTURE):
        facts = facts_in_file(invoice, NO_ROUTES, NOW)
        assert not isinstance(facts, Unreadable)
        preview = preview_of(facts, Policy(), Mappings(), NOWHERE)
        told[preview.invoice_id] = preview
        expected = abs(Decimal(samples[facts.invoice_id]["major_unit_total_unrounded"])).quantize(Decimal("0.01"))
        assert preview.total == str(expected)
        lines = orjson.loads(preview.as_json())["body"]["Line"]
        assert sum(Decimal(str(line["Amount"])) for line in lines) == expected
    assert [(each.total, each.currency, each.kind) for each in told.values()] == [
        ("167.21", "USD", "invoice"),
        ("125000.00", "USD", "invoice"),
        ("61.98", "EUR", "invoice"),
        ("100.00", "USD", "invoice"),
        ("20.00", "USD", "creditmemo"),
        ("75.00", "USD", "invoice"),
    ]


# Addresses


def test_an_address_is_written_in_two_ways() -> None:
    one = address_in("metronome.invoices[3]@120")
    assert one is not None
    assert (one.topic, one.partition, one.offset) == ("metronome.invoices", 3, 120)
    assert address_in("metronome.invoices:3:120") == one
    assert address_in("56e22c64-e225-57d0-be12-ef64d1f05078") is None
