"""Invoices and credit memos beyond the rules that requests show: what is kept, computed, numbered and refused."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import pytest

from simulators.quickbooks.books import new_entry
from simulators.quickbooks.sales import voided, with_invoice_link
from tests import qbo_schema
from tests.simulators.companies import recording, shape
from tests.simulators.selling import NOW, changed, company_books, invoice, line, refused, sold

PERCENT_OFF = {"DetailType": "DiscountLineDetail", "DiscountLineDetail": {"PercentBased": True, "DiscountPercent": 10}}


# Updates


def test_a_full_update_empties_what_it_leaves_out_and_a_sparse_one_keeps_it() -> None:
    books = company_books()
    optional = {
        "PrivateNote": "note",
        "CustomerMemo": {"value": "memo"},
        "BillEmail": {"Address": "a@example.com"},
        "SalesTermRef": {"value": "2"},
        "DocNumber": "A1",
        "CustomField": [{"DefinitionId": "1", "StringValue": "C"}],
        "ShipDate": "2026-01-02",
    }
    made = sold(books, invoice(**optional))
    sparse = changed(books, made, {**made, "TrackingNum": "T1"})
    assert {name: sparse[name] for name in optional if name != "CustomField"} == {
        name: value for name, value in optional.items() if name != "CustomField"
    }
    assert sparse["CustomField"][0]["StringValue"] == "C"
    full = changed(books, sparse, invoice())
    assert not set(full) & (set(optional) - {"CustomField"} | {"TrackingNum"})
    assert full["CustomField"] == [{"DefinitionId": "1", "Name": "Crew #", "Type": "StringType"}]
    assert (full["SyncToken"], full["Id"], full["MetaData"]["CreateTime"]) == (
        "2",
        made["Id"],
        made["MetaData"]["CreateTime"],
    )


def test_read_only_properties_are_ignored() -> None:
    """Balances and totals are computed; no error for sending them."""
    made = sold(company_books(), invoice(TotalAmt=5, Balance=5, HomeTotalAmt=5, InvoiceLink="x", DeliveryInfo={}))
    assert (made["TotalAmt"], made["Balance"]) == (100, 100)
    assert not {"HomeTotalAmt", "InvoiceLink", "DeliveryInfo"} & set(made)


def test_an_address_is_the_one_written_with_an_id_of_its_own_or_the_customers() -> None:
    """Recorded (create/invoice): the customer's address with its Id and its place on the map."""
    books = company_books()
    made = sold(books, invoice(BillAddr={"Line1": "1 New Street"}))
    home = books.objects["Customer"]["1"]["ShipAddr"]
    assert made["ShipAddr"] == home
    assert {**made["BillAddr"], "Id": ""} == {"Line1": "1 New Street", "Id": "", "Lat": "INVALID", "Long": "INVALID"}
    assert made["BillAddr"]["Id"] != home["Id"]
    assert changed(books, made, {**made})["BillAddr"] == made["BillAddr"]
    assert changed(books, made, invoice())["BillAddr"] == home


# Credit memos


def test_a_credit_memo_has_what_remains_of_it_and_no_due_date() -> None:
    books = company_books()
    made = sold(books, invoice(Line=[line("12.5")], DueDate="2026-12-31"), kind="CreditMemo")
    assert (made["TotalAmt"], made["Balance"], made["RemainingCredit"]) == (Decimal("12.5"),) * 3
    assert not {"DueDate", "AllowOnlineACHPayment"} & set(made)
    updated = changed(books, made, {**made, "Line": [line(7)]}, kind="CreditMemo")
    assert (updated["RemainingCredit"], updated["SyncToken"]) == (7, "1")
    assert books.balances["1"] == -7
    assert refused(books, invoice(AllowOnlineACHPayment=True), kind="CreditMemo")["code"] == "2010"


@pytest.mark.parametrize("kind", ["Invoice", "CreditMemo"])
def test_what_is_kept_has_only_names_and_values_of_intuits_schema(kind: str) -> None:
    books = company_books(tax_mode="global", multicurrency=True)
    lines = [line("100.5", Qty="1.5", UnitPrice=67, TaxCodeRef={"value": "5"}), PERCENT_OFF]
    made = sold(books, invoice(Line=lines, DocNumber="A1", BillEmail={"Address": "a@example.com"}), kind=kind)
    del made["MetaData"]
    assert qbo_schema.faults(kind, json.loads(json.dumps(made, default=float), parse_float=Decimal)) == []


def test_the_recorded_invoice_has_the_same_shape_as_ours() -> None:
    recorded = recording("create__invoice_0")
    made = sold(company_books(custom_txn_numbers=False), recorded["request"]["body"])
    assert shape(made) == shape(recorded["response"]["body"]["Invoice"])


# Numbers


@pytest.mark.parametrize("kept", [True, False])
def test_a_number_sent_to_a_company_that_numbers_itself_is_kept_or_not_by_the_switch(kept: bool) -> None:
    books = company_books(custom_txn_numbers=False, default_doc_number_kept=kept)
    made = sold(books, invoice(DocNumber="MTR-1"))
    assert made["DocNumber"] == ("MTR-1" if kept else "1001")
    assert changed(books, made, invoice(PrivateNote="n"))["DocNumber"] == made["DocNumber"]


def test_an_invoice_can_ask_for_a_number() -> None:
    books = company_books()
    assert sold(books, invoice(DocNumber="AUTO_GENERATE"))["DocNumber"] == "1001"
    made = sold(books, invoice(AutoDocNumber=True))
    assert made["DocNumber"] == "1002"
    assert changed(books, made, {**made, "DocNumber": "AUTO_GENERATE"})["DocNumber"] == "1002"
    assert sold(books, invoice(DocNumber="AUTO_GENERATE"), kind="CreditMemo")["DocNumber"] == "AUTO_GENERATE"


def test_a_duplicate_number_is_told_with_type_and_id_of_its_holder() -> None:
    books = company_books(warn_duplicate_doc_numbers=True)
    credit = sold(books, invoice(DocNumber="N1"), kind="CreditMemo")
    error = refused(books, invoice(DocNumber="N1"))
    assert error["code"] == "6140"
    assert error["Detail"].endswith(f"DocNumber=N1 is assigned to TxnType=CreditMemo with TxnId={credit['Id']}")
    assert changed(books, credit, {**credit}, kind="CreditMemo")["DocNumber"] == "N1"
    assert sold(books, invoice(DocNumber="N1"), allow_duplicate=True)["DocNumber"] == "N1"


# Dates


def test_the_term_of_the_customer_counts_when_the_sale_names_none() -> None:
    books = company_books()
    former = books.objects["Customer"]["1"]
    books.put_entry("Customer", {**former, "SalesTermRef": {"value": "2"}}, former)
    due = [sold(books, invoice(TxnDate="2026-01-15", **more))["DueDate"] for more in
           ({}, {"SalesTermRef": {"value": "1"}}, {"DueDate": "2026-03-01"})]  # fmt: skip
    assert due == ["2026-01-30", "2026-01-15", "2026-03-01"]


def test_the_last_day_of_time_has_a_due_date_too() -> None:
    assert sold(company_books(), invoice(TxnDate="9999-12-31"))["DueDate"] == "9999-12-31"


def test_the_date_is_the_servers_in_the_companys_own_zone() -> None:
    days = {hours: sold(company_books(utc_offset_hours=hours), invoice())["TxnDate"] for hours in (-12, 14)}
    assert days == {-12: "2026-11-17", 14: "2026-11-19"}


def test_closed_books_refuse_the_day_and_all_before() -> None:
    books = company_books(book_close_date=date(2026, 6, 30))
    for kind in ("Invoice", "CreditMemo"):
        assert refused(books, invoice(TxnDate="2026-06-30"), kind=kind)["code"] == "6210"
    assert sold(books, invoice(TxnDate="2026-07-01"))["TotalAmt"] == 100


# Currency


def test_the_rate_that_was_sent_is_kept_or_replaced_by_the_switch() -> None:
    totals = {}
    for switch in ("kept", "replaced"):
        books = company_books(multicurrency=True, exchange_rate_sent=switch)
        euro = {**books.objects["Customer"]["2"], "CurrencyRef": {"value": "EUR", "name": "Euro"}}
        books.put_entry("Customer", euro, books.objects["Customer"]["2"])
        stored = {"SourceCurrencyCode": "EUR", "AsOfDate": "2026-09-09", "Rate": Decimal("1.802075")}
        books.put_entry("ExchangeRate", {**new_entry(books, "1", NOW), **stored})
        more = {"CurrencyRef": {"value": "EUR"}, "CustomerRef": {"value": "2"}, "TxnDate": "2026-09-09"}
        made = sold(books, invoice(ExchangeRate="1.78", **more))
        totals[switch] = (made["TotalAmt"], made["ExchangeRate"], made["HomeTotalAmt"])
    assert totals == {
        "kept": (100, Decimal("1.78"), 178),
        "replaced": (100, Decimal("1.802075"), Decimal("180.21")),
    }


def test_the_home_currency_has_rate_one_and_a_single_currency_company_none() -> None:
    made = sold(company_books(multicurrency=True), invoice(ExchangeRate=5))
    assert (made["ExchangeRate"], made["HomeTotalAmt"]) == (1, 100)
    assert not {"ExchangeRate", "HomeTotalAmt"} & set(sold(company_books(), invoice(ExchangeRate=5)))


# Fields that depend on preferences


@pytest.mark.parametrize(
    ("tracking", "on_sale", "on_line"), [("", False, False), ("transaction", True, False), ("line", False, True)]
)
def test_classes_are_kept_where_the_company_tracks_them(tracking: str, on_sale: bool, on_line: bool) -> None:
    books = company_books(class_tracking=tracking)
    books.put_entry("Class", {**new_entry(books, "5", NOW), "Name": "West", "FullyQualifiedName": "West"})
    ref = {"ClassRef": {"value": "5"}}
    made = sold(books, invoice(Line=[line(1, **ref)], **ref))
    assert made.get("ClassRef") == ({"value": "5", "name": "West"} if on_sale else None)
    kept = made["Line"][0]["SalesItemLineDetail"].get("ClassRef")
    assert kept == ({"value": "5", "name": "West"} if on_line else None)


def test_a_department_is_kept_where_the_company_tracks_them_and_must_exist() -> None:
    ref = {"DepartmentRef": {"value": "5"}}
    assert "DepartmentRef" not in sold(company_books(), invoice(**ref))
    books = company_books(track_departments=True)
    assert refused(books, invoice(**ref))["code"] == "2500"
    books.put_entry("Department", {**new_entry(books, "5", NOW), "Name": "Berlin", "FullyQualifiedName": "Berlin"})
    assert sold(books, invoice(**ref))["DepartmentRef"] == {"value": "5", "name": "Berlin"}


def test_a_class_that_nobody_tracks_can_be_refused() -> None:
    books = company_books(untracked_references="refused")
    for written in (invoice(ClassRef={"value": "5"}), invoice(Line=[line(1, ClassRef={"value": "5"})])):
        assert refused(books, written)["code"] == "6000"
    assert sold(books, invoice())["TotalAmt"] == 100


def test_answers_of_2026_show_more() -> None:
    books = company_books(recorded_year=2026)
    made = sold(books, invoice(AllowOnlineACHPayment=False))
    first, subtotal = made["Line"]
    assert first["SalesItemLineDetail"]["ItemAccountRef"] == {"value": "1", "name": "Services"}
    assert first["CustomExtensions"] == subtotal["CustomExtensions"] == []
    assert (made["AllowOnlineCreditCardPayment"], made["AllowOnlineACHPayment"]) == (True, False)
    assert {"LastModifiedByRef"} < set(made["MetaData"])
    assert made["ShipFromAddr"]["Lat"] == "INVALID"
    again = changed(books, made, {**made})
    assert {**again, "SyncToken": "0", "MetaData": made["MetaData"]} == made
    credit = sold(books, invoice(), kind="CreditMemo")
    assert "AllowOnlineACHPayment" not in credit
    for sale, kind in ((made, "Invoice"), (credit, "CreditMemo")):
        without_stamps = {name: value for name, value in sale.items() if name != "MetaData"}
        assert qbo_schema.faults(kind, without_stamps) == []


def test_custom_fields_go_by_their_definition() -> None:
    """The name sent does not count, an unknown definition is ignored, all fields are shown."""
    fields = [
        {"DefinitionId": "2", "Name": "whatever", "Type": "StringType", "StringValue": "R1"},
        {"DefinitionId": "9", "StringValue": "lost"},
    ]
    made = sold(company_books(custom_fields=("Crew #", "Sales Rep")), invoice(CustomField=fields))
    assert made["CustomField"] == [
        {"DefinitionId": "1", "Name": "Crew #", "Type": "StringType"},
        {"DefinitionId": "2", "Name": "Sales Rep", "Type": "StringType", "StringValue": "R1"},
    ]


def test_a_link_to_what_is_not_there_is_620() -> None:
    books = company_books()
    assert refused(books, invoice(LinkedTxn=[{"TxnId": "48", "TxnType": "Estimate"}]))["code"] == "620"
    assert sold(books, invoice(LinkedTxn=[]))["LinkedTxn"] == []


def test_the_invoice_link_is_shown_on_demand_and_differs_for_each() -> None:
    books = company_books()
    first, second = (with_invoice_link(sold(books, invoice()), books)["InvoiceLink"] for _ in range(2))
    assert first.startswith("https://")
    assert first != second


# Void


def test_void_leaves_nothing_owed_and_says_so_in_front_of_the_note() -> None:
    books = company_books(tax_mode="global", multicurrency=True)
    priced = line("60", Qty=2, UnitPrice=30, TaxCodeRef={"value": "2"})
    made = sold(books, invoice(Line=[priced, PERCENT_OFF], GlobalTaxCalculation="TaxInclusive", PrivateNote="why"))
    gone = voided(made, books, NOW + 60)
    assert (gone["PrivateNote"], gone["SyncToken"]) == ("Voided - why", "1")
    assert (gone["TotalAmt"], gone["Balance"], gone["HomeTotalAmt"], gone["TxnTaxDetail"]) == (0, 0, 0, {"TotalTax": 0})
    assert [each["Amount"] for each in gone["Line"]] == [0, 0, 0]
    detail = gone["Line"][0]["SalesItemLineDetail"]
    assert (detail["Qty"], detail["TaxInclusiveAmt"]) == (0, 0)
    assert made["TotalAmt"] == 54
    books.put_sale("Invoice", gone, made)
    assert books.balances["1"] == 0


def test_an_update_does_not_turn_the_run_of_numbers_back() -> None:
    books = company_books(custom_txn_numbers=False)
    first, second = sold(books, invoice()), sold(books, invoice())
    books.put_sale("Invoice", changed(books, first, {**first, "PrivateNote": "changed"}), first)
    assert int(sold(books, invoice())["DocNumber"]) == int(second["DocNumber"]) + 1
