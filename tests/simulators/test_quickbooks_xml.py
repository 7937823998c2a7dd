"""XML bodies: held to Intuit's schema and to recorded XML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from simulators.http import Json
from simulators.quickbooks.errors import Refusal, bad_reference
from simulators.quickbooks.xml import from_xml, sends_xml, to_xml, wants_xml
from tests import FIXTURES
from tests.simulators.selling import company_books, invoice, line, sold

XML = FIXTURES / "quickbooks" / "xml"
TIME = "2026-09-29T05:58:07.300-07:00"
RECORDED = [
    ("Invoice", "fetch_invoice_by_id"),
    ("Invoice", "invoice_send"),
    ("Invoice", "invoice_with_discount_line_item_response"),
    ("Invoice", "invoice_with_bundle_line_item"),
    ("CreditMemo", "fetch_credit_memo"),
    ("Customer", "fetch_customer_by_id"),
    ("Item", "fetch_item_by_id"),
]


@pytest.fixture(scope="module")
def schema() -> Any:
    etree = pytest.importorskip("lxml.etree")
    return etree.XMLSchema(etree.parse(str(FIXTURES / "qbo_xsd" / "IntuitRestServiceDef.xsd")))


def faults(schema: Any, envelope: Json) -> list[str]:
    etree = pytest.importorskip("lxml.etree")
    schema.validate(etree.fromstring(to_xml(envelope)))
    return [str(each) for each in schema.error_log]


def outline(element: ElementTree.Element) -> Iterator[tuple[str, dict[str, str], str]]:
    """Every element below, in order: name, attributes, text."""
    for each in element.iter():
        yield each.tag.rpartition("}")[2], each.attrib, (each.text or "").strip()


@pytest.mark.parametrize(("kind", "name"), RECORDED)
def test_a_recorded_entity_is_read_and_written_back_as_it_was(kind: str, name: str) -> None:
    """The same elements, in the same order, with the same attributes and texts."""
    recorded = ElementTree.parse(XML / f"{name}.xml").getroot()[0]
    read = from_xml(kind, ElementTree.tostring(recorded))
    written = ElementTree.fromstring(to_xml({kind: read, "time": TIME}))[0]
    assert list(outline(written)) == list(outline(recorded))


@pytest.mark.parametrize("name", ["customer_duplicate_error", "generic_error", "throttle_exceeded_error"])
def test_a_recorded_fault_is_written_as_it_was(name: str) -> None:
    recorded = ElementTree.parse(XML / f"{name}.xml").getroot()
    [fault] = recorded
    errors = [{**each.attrib, **{part.tag.rpartition("}")[2]: part.text for part in each}} for each in fault]
    written = to_xml({"Fault": {"Error": errors, "type": fault.get("type")}, "time": recorded.get("time")})
    assert list(outline(ElementTree.fromstring(written))) == list(outline(recorded))


def test_every_kind_of_answer_is_valid_by_intuits_schema(schema: Any) -> None:
    books = company_books(custom_fields=(), tax_mode="global")
    taxed = [line("100.5", Qty="1.5", UnitPrice=67, TaxCodeRef={"value": each}) for each in ("2", "5")]
    made = sold(books, invoice(Line=taxed, BillEmail={"Address": "a@b.example"}, CustomerMemo={"value": "Thanks"}))
    credit = sold(books, invoice(Line=taxed), kind="CreditMemo")
    gone = {"domain": "QBO", "status": "Deleted", "Id": "7"}
    refused = {"Error": [bad_reference("Item", 9).error], "type": "ValidationFault"}
    page = {"Invoice": [made, made], "startPosition": 1, "maxResults": 2, "totalCount": 2}
    customer, item = books.objects["Customer"]["1"], books.objects["Item"]["1"]
    for envelope in (
        {"Invoice": made},
        {"CreditMemo": credit},
        {"Customer": customer},
        {"Item": item},
        {"TaxCode": books.objects["TaxCode"]["5"]},
        {"TaxRate": books.objects["TaxRate"]["5"]},
        {"Invoice": gone},
        {"QueryResponse": page},
        {"QueryResponse": {}},
        {"QueryResponse": {"totalCount": 29}},
        {"Fault": refused},
        {"BatchItemResponse": [{"Invoice": made, "bId": "1"}, {"Fault": refused, "bId": "2"}]},
        {"CDCResponse": [{"QueryResponse": [page, {"CreditMemo": [gone]}, {}]}]},
    ):
        assert faults(schema, {**envelope, "time": TIME}) == []


def test_definitions_of_custom_fields_name_their_type_as_recorded() -> None:
    """Recorded (preferences): `<CustomField xsi:type="StringTypeCustomFieldDefinition">` around the fields."""
    recorded = ElementTree.parse(XML / "preferences.xml").getroot().find("SalesFormsPrefs/CustomField[2]")
    assert recorded is not None
    name, kind, value = (str(each.text) for each in recorded[0])
    fields = [{"CustomField": [{"Name": name, "Type": kind, "StringValue": value}]}]
    written = to_xml({"Preferences": {"SalesFormsPrefs": {"CustomField": fields}}, "time": TIME})
    found = ElementTree.fromstring(written)[0][0][0]
    assert list(outline(found)) == list(outline(recorded))


def test_the_schema_notices_what_is_out_of_order(schema: Any) -> None:
    """The judge of the test above does judge: a property that no type has stands where no element may."""
    made = sold(company_books(custom_fields=()), invoice())
    assert faults(schema, {"Invoice": {**made, "Nonsense": "x"}, "time": TIME})


def test_amounts_have_two_decimals_and_other_numbers_what_they_have() -> None:
    made = sold(company_books(), invoice(Line=[line("12.5", Qty="2.5", UnitPrice=5)]))
    text = to_xml({"Invoice": made, "time": TIME}).decode()
    for expected in (
        "<Amount>12.50</Amount>",
        "<TotalAmt>12.50</TotalAmt>",
        "<Qty>2.5</Qty>",
        "<TotalTax>0</TotalTax>",
    ):
        assert expected in text


def test_tiny_numbers_are_written_without_an_exponent() -> None:
    made = sold(company_books(), invoice(Line=[line("0.01", Qty=100000, UnitPrice="0.0000001")]))
    assert "<UnitPrice>0.0000001</UnitPrice>" in to_xml({"Invoice": made, "time": TIME}).decode()


def test_text_stays_text_whatever_it_holds() -> None:
    made = sold(company_books(), invoice(PrivateNote="<b>&amp; \x00\x1f \ud7ff \U0001f600"))
    read = from_xml("Invoice", ElementTree.tostring(ElementTree.fromstring(to_xml({"Invoice": made, "time": TIME}))[0]))
    assert read["PrivateNote"] == "<b>&amp; ?? \ud7ff \U0001f600"


def test_the_gateways_401_keeps_its_code_and_type() -> None:
    recorded = json.loads((FIXTURES / "quickbooks" / "error__401_0.json").read_text())["response"]["body"]
    [fault] = ElementTree.fromstring(to_xml(recorded))
    error = fault[0]
    assert (fault.attrib, error.attrib) == ({"type": "AUTHENTICATION"}, {"code": "3200"})
    assert error[0].text == "message=AuthenticationFailed; errorCode=003200; statusCode=401"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/xml", True),
        ("text/XML; q=0.9", True),
        ("application/json", False),
        ("application/json, application/xml", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_xml_is_sent_to_those_who_ask_for_it_and_not_for_json(accept: str, expected: bool) -> None:
    assert wants_xml({"accept": accept}) is expected
    assert wants_xml({}) is False


def test_a_body_is_xml_when_its_content_type_says_so() -> None:
    assert sends_xml({"content-type": "application/xml; charset=utf-8"})
    assert not sends_xml({"content-type": "application/json"})
    assert not sends_xml({})


def test_the_recorded_request_makes_an_invoice() -> None:
    """Texts become numbers by the rules that JSON bodies go through too."""
    written = from_xml("Invoice", (XML / "invoice_sparse_create_request.xml").read_bytes())
    assert written["sparse"] is False
    made = sold(company_books(), written)
    assert (made["DocNumber"], made["TotalAmt"], made["Line"][0]["Description"]) == ("1001", 50, "Plush Baby Doll")
    assert made["Line"][0]["SalesItemLineDetail"]["UnitPrice"] == 50


def test_a_batch_request_keeps_its_items_apart() -> None:
    body = b"""<IntuitBatchRequest xmlns="http://schema.intuit.com/finance/v3">
      <BatchItemRequest bId="1" operation="create"><Invoice><CustomerRef>1</CustomerRef></Invoice></BatchItemRequest>
      <BatchItemRequest bId="2"><Query>select * from Invoice</Query></BatchItemRequest></IntuitBatchRequest>"""
    assert from_xml("Batch", body)["BatchItemRequest"] == [
        {"bId": "1", "operation": "create", "Invoice": {"CustomerRef": {"value": "1"}}},
        {"bId": "2", "Query": "select * from Invoice"},
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<Invoice>", "2010"),
        (b"", "2010"),
        (b"<Customer/>", "2010"),
        (b"<Invoice><DocNumber>1</DocNumber><DocNumber>2</DocNumber></Invoice>", "2010"),
        (b'<!DOCTYPE x [<!ENTITY a "aaaa">]><Invoice><PrivateNote>&a;</PrivateNote></Invoice>', "2010"),
        (b'<!DOCTYPE Invoice SYSTEM "http://127.0.0.1/x.dtd"><Invoice/>', "2010"),
        (b"<Invoice>&unknown;</Invoice>", "2010"),
        (b"<Invoice>" + b"<Line>" * 5000 + b"</Line>" * 5000 + b"</Invoice>", "2010"),
        (b"<Invoice><PrivateNote>" + b"x" * 4 * 1024 * 1024 + b"</PrivateNote></Invoice>", "2010"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><Invoice><PrivateNote>\xe9</PrivateNote></Invoice>', "500"),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        from_xml("Invoice", body)
    assert refused.value.error["code"] == code


def test_unknown_elements_are_left_for_the_rules_to_name() -> None:
    written = from_xml("Invoice", b"<Invoice><CustomerRef>1</CustomerRef><Nonsense>1</Nonsense></Invoice>")
    with pytest.raises(Refusal, match='Unrecognized field "Nonsense"'):
        sold(company_books(), written)


def test_an_answer_without_a_value_has_no_element_for_it() -> None:
    made = sold(company_books(), invoice())
    text = to_xml({"Invoice": {**made, "PrivateNote": None, "LinkedTxn": []}, "time": TIME}).decode()
    assert "PrivateNote" not in text
    assert "LinkedTxn" not in text
