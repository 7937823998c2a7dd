"""XML bodies recorded from Intuit: what we answer in XML has the same elements, in the same order.

Each recorded object is written to the simulated company as XML, without what the server adds, and then read. The
recordings are of 2013 to 2019; `DIFFERENCES` says why an element is only in one of the two.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from functools import cache
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from simulators.http import Answer, Request
from simulators.quickbooks.settings import QuickBooksSettings
from tests.simulators.companies import REALM, RECORDINGS, Client
from tests.simulators.test_recorded_exchanges import ADDED_BY_THE_SERVER, matches_one

FOLDER = RECORDINGS / "xml"
NAMESPACE = "http://schema.intuit.com/finance/v3"
REFERENCES = {"CustomerRef": "1", "ItemRef": "1", "SalesTermRef": "2", "IncomeAccountRef": "1", "CurrencyRef": "USD"}
Element = ElementTree.Element

# Recording (a pattern) -> difference (a pattern) -> why. "-" is only in the recording, "+" only in ours, "~" unlike.
NEWER = "recorded in JSON in 2020 (create__invoice_0)"
DIFFERENCES: dict[str, dict[str, str]] = {
    "company_info": {
        "- .CompanyInfo.*Addr.*": "another company's address",
        "+ .CompanyInfo.*Addr.CountrySubDivisionCode": "another company's address",
        "- .CompanyInfo.PrimaryPhone*": "another company's choice",
        "- .CompanyInfo.WebAddr*": "another company's choice",
        "- .CompanyInfo.MetaData*": "the company's own times are not simulated",
        "+ .CompanyInfo.FiscalYearStartMonth": "newer: in the reference",
    },
    "customer": {"~ .Customer: *": "made up for a client's tests: not in the schema's order"},
    "customer_duplicate_error": {"- .Fault.Error@element": "none in 2020 (error__validation_0)"},
    "fetch_credit_memo": {
        "+ .CreditMemo.ApplyTaxAfterDiscount": NEWER,
        "+ .CreditMemo.CustomField*": NEWER,
        "+ .CreditMemo.TxnTaxDetail*": NEWER,
        "+ .CreditMemo.Line.SalesItemLineDetail.TaxCodeRef": "theirs is a Brazilian company, ours an American one",
        "- .CreditMemo.GlobalTaxCalculation": "theirs is a Brazilian company, ours an American one",
    },
    "fetch_customer_by_id": {
        "+ .Customer.CurrencyRef*": "newer: recorded in JSON in 2020 (create__customer_0)",
        "+ .Customer.DefaultTaxCodeRef": "newer: recorded in JSON in 2020 (create__customer_0)",
    },
    "item": {"+ .Item.FullyQualifiedName": "newer: in the reference"},
    "fetch_item_by_id": {"+ .Item.FullyQualifiedName": "newer: in the reference"},
    "*invoice*": {
        "+ .Invoice.CustomField*": NEWER,
        "+ .Invoice.TxnTaxDetail*": NEWER,
        "+ .Invoice.CurrencyRef*": NEWER,
        "- .Invoice.Deposit": "none in 2020 (create__invoice_0)",
    },
    "invoice_line_item_description_only": {
        "+ .Invoice.*Addr.L*": "their address has not been looked up on a map",
    },
    "preferences_query": {
        "- .QueryResponse.Preferences.*": "settings that are not simulated",
        "+ .QueryResponse.Preferences.SalesFormsPrefs.CustomField.CustomField.StringValue": "a name for a field is set",
        "+ .QueryResponse.Preferences.SalesFormsPrefs.DefaultTerms": "the sample company has default terms",
        "+ .QueryResponse@startPosition": "recorded of other queries (items, all__customers_1)",
    },
}


def send(client: Client, method: str, path: str, body: Element | None = None, **query: str) -> Answer:
    headers = {"authorization": f"Bearer {client.token}", "accept": "application/xml"}
    content = b""
    if body is not None:
        headers["content-type"] = "application/xml"
        content = ElementTree.tostring(body)
    return client.core.answer(Request(method, f"/v3/company/{REALM}/{path}", query, headers, content))


def recorded(name: str) -> Element:
    """The recorded element; some files hold the entity alone, without its envelope or namespace."""
    root = ElementTree.fromstring((FOLDER / f"{name}.xml").read_text())
    for each in root.iter():
        each.tag = local(each)
    if root.tag == "IntuitResponse":
        return root
    envelope = Element("IntuitResponse", {"time": ""})
    root.attrib.pop("time", None)
    envelope.append(root)
    return envelope


def local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def entity(name: str) -> Element:
    """The first object of a recorded answer."""
    [first, *_] = recorded(name)
    return first[0] if first.tag == "QueryResponse" else first


def as_written(element: Element) -> Element:
    """What a client sends for a recorded object: nothing that the server adds, and our ids."""
    written = Element(element.tag)
    written.text = REFERENCES.get(element.tag, element.text)
    for child in element:
        subtotal = child.tag == "Line" and child.findtext("DetailType") == "SubTotalLineDetail"
        if child.tag not in ADDED_BY_THE_SERVER and not subtotal and child.tag != "DiscountAccountRef":
            written.append(as_written(child))
    return written


def body_of(name: str) -> Element:
    body = as_written(entity(name))
    body.set("xmlns", NAMESPACE)
    return body


def write(client: Client, name: str) -> str:
    """Creates the recorded object; returns its id."""
    body = body_of(name)
    answer = send(client, "POST", body.tag.lower(), body)
    assert answer.status == 200, answer.body
    number = ElementTree.fromstring(answer.body)[0].findtext(f"{{{NAMESPACE}}}Id")
    assert number
    return number


def read_back(name: str) -> Answer:
    client = Client(custom_txn_numbers=False)
    return send(client, "GET", f"{entity(name).tag.lower()}/{write(client, name)}")


def queried(name: str) -> Answer:
    client = Client(custom_txn_numbers=False)
    number = write(client, name)
    return send(client, "GET", "query", query=f"select * from {entity(name).tag} where Id = '{number}'")


def sent(name: str) -> Answer:
    client = Client(custom_txn_numbers=False)
    return send(client, "POST", f"invoice/{write(client, name)}/send")


def ended(operation: str) -> Callable[[str], Answer]:
    def end(name: str) -> Answer:
        client = Client(custom_txn_numbers=False)
        number = write(client, "fetch_invoice_by_id")
        body = Element("Invoice", {"xmlns": NAMESPACE})
        for tag, text in (("Id", number), ("SyncToken", "0")):
            ElementTree.SubElement(body, tag).text = text
        return send(client, "POST", "invoice", body, operation=operation)

    return end


def a_taken_name(name: str) -> Answer:
    client = Client(custom_txn_numbers=False)
    write(client, "customer")
    return send(client, "POST", "customer", body_of("customer"))


def a_size_of_zero(name: str) -> Answer:
    return send(Client(), "GET", "query", query="select * from Customer maxresults 0")


def too_many(name: str) -> Answer:
    client = Client(QuickBooksSettings())
    return [send(client, "GET", "preferences") for _ in range(11)][-1]


def preferences(name: str) -> Answer:
    return send(Client(), "GET", "query", query="select * from Preferences")


def company(name: str) -> Answer:
    return send(Client(), "GET", f"companyinfo/{REALM}")


EXCHANGES: dict[str, Callable[[str], Answer]] = {
    "class": read_back,
    "company_info": company,
    "customer": read_back,
    "customer_duplicate_error": a_taken_name,
    "department": read_back,
    "fetch_credit_memo": read_back,
    "fetch_customer_by_id": read_back,
    "fetch_invoice_by_id": read_back,
    "fetch_item_by_id": read_back,
    "invoice_delete_success_response": ended("delete"),
    "invoice_line_item_description_only": read_back,
    "invoice_send": sent,
    "invoice_void_success_response": ended("void"),
    "invoice_with_discount_line_item_response": read_back,
    "item": read_back,
    "preferences_query": preferences,
    "query_validation_error": a_size_of_zero,
    "too_many_requests_error": too_many,
}
NOT_REPLAYED = {
    "batch_response": "made up for a client's tests: elements that no schema has",
    "change_data_capture_response": "bills and estimates, which are not simulated",
    "company_currency": "read-only here: no request makes one",
    "credit_memo_change": "a part of a CDC answer",
    "customers": "as customer",
    "deleted_customer": "as customer",
    "exchange_rate": "not well-formed",
    "fault": "made up for a client's tests",
    "generic_error": "a system failure; faults on demand send any body",
    "invoice": "as fetch_invoice_by_id",
    "invoice_change": "a part of a CDC answer",
    "invoice_sparse_create_request": "a request",
    "invoice_with_bundle_line_item": "bundles are not simulated",
    "invoices": "as fetch_invoice_by_id",
    "items": "as fetch_item_by_id",
    "preferences": "as preferences_query",
    "tax_code": "tax agencies' own; no request makes one",
    "tax_codes": "tax agencies' own; no request makes one",
    "term": "date-driven; ours are by days",
    "terms": "date-driven; ours are by days",
    "throttle_exceeded_error": "the same with 403, of before 429",
}


def paths(element: Element, path: str = "") -> list[str]:
    """Each element and attribute, by its path."""
    found: list[str] = []
    for child in element:
        here = f"{path}.{local(child)}"
        found += [here, *(f"{here}@{name.rpartition('}')[2]}" for name in child.attrib), *paths(child, here)]
    return found


def disorder(theirs: Element, ours: Element, path: str = "") -> list[str]:
    """Elements that stand the other way round, among those that both have."""
    found: list[str] = []
    their_names, our_names = [list(dict.fromkeys(local(child) for child in each)) for each in (theirs, ours)]
    common = [name for name in our_names if name in their_names]
    found += [f"~ {path}: {b} before {a}" for a, b in pairwise(common) if their_names.index(a) > their_names.index(b)]
    for name in common:
        their_child = next(child for child in theirs if local(child) == name)
        our_child = next(child for child in ours if local(child) == name)
        found += disorder(their_child, our_child, f"{path}.{name}")
    return found


@cache
def found_differences(name: str) -> frozenset[str]:
    theirs, answer = recorded(name), EXCHANGES[name](name)
    assert answer.headers["Content-Type"].startswith("application/xml")
    ours = ElementTree.fromstring(answer.body)
    assert ours.tag == f"{{{NAMESPACE}}}IntuitResponse"
    assert "time" in ours.attrib
    their_error, our_error = theirs.find(".//Error"), ours.find(f".//{{{NAMESPACE}}}Error")
    if their_error is not None:
        assert our_error is not None
        assert our_error.attrib["code"] == their_error.attrib["code"]
        assert our_error.findtext(f"{{{NAMESPACE}}}Message") == their_error.findtext("Message")
    their_paths, our_paths = set(paths(theirs)), set(paths(ours))
    only = [f"- {each}" for each in their_paths - our_paths] + [f"+ {each}" for each in our_paths - their_paths]
    return frozenset(only + disorder(theirs, ours))


@pytest.mark.parametrize("name", EXCHANGES)
def test_the_xml_answer_is_as_recorded(name: str) -> None:
    listed = [pattern for names, table in DIFFERENCES.items() if fnmatch(name, names) for pattern in table]
    assert [each for each in sorted(found_differences(name)) if not matches_one(each, listed)] == []


def test_every_listed_difference_is_one() -> None:
    """One that has gone must leave the list."""
    for names, table in DIFFERENCES.items():
        found = {each for name in EXCHANGES if fnmatch(name, names) for each in found_differences(name)}
        for pattern in table:
            assert [each for each in found if matches_one(each, [pattern])], (names, pattern)


def test_each_recording_is_replayed_or_its_absence_explained() -> None:
    names = {path.stem for path in FOLDER.glob("*.xml")}
    assert names == {*EXCHANGES, *NOT_REPLAYED}
    assert not EXCHANGES.keys() & NOT_REPLAYED.keys()
