"""What the simulated QuickBooks refuses and keeps: amounts, references, numbers, names, request ids."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from simulators.quickbooks.settings import QuickBooksSettings
from tests.simulators.companies import Client, code_of, invoice, line, read

NOTE = "Metronome invoice d23458e0-c9a0-5538-8a5b-000000000001"


@pytest.mark.parametrize(
    ("amount", "quantity", "price", "accepted"),
    [
        ("7599.42", "140.73", "54.00", True),
        ("1861.08", "128.350", "14.50", True),
        ("1861.07", "128.350", "14.50", False),
        ("1861.075", "128.350", "14.50", False),
        ("-1861.08", "-128.350", "14.50", True),
        ("0.01", "1", "0.005", True),
    ],
)
def test_amount_is_quantity_times_price_rounded_half_up(amount: str, quantity: str, price: str, accepted: bool) -> None:
    """The measured case: 128.350 x 14.50 = 1861.075 is 1861.08, and not a cent less."""
    sold = line(Decimal(amount), Qty=Decimal(quantity), UnitPrice=Decimal(price))
    answer = Client().post("invoice", invoice(Line=[line(5000), sold]))
    assert answer.status == 200 if accepted else code_of(answer) == "6070"


def test_6070_prints_the_amount_with_thousands_separators() -> None:
    error = read(Client().post("invoice", invoice(Line=[line(1000, Qty=1, UnitPrice=2)])))["Fault"]["Error"][0]
    assert error["Detail"] == "Amount is not equal to UnitPrice * Qty. Supplied value:1,000"
    assert error["element"] == "Line.Amount"


def test_quantity_and_price_keep_seven_decimals() -> None:
    sold = line("0.12", Qty="1", UnitPrice="0.12345678")
    detail = Client().invoice(Line=[sold])["Line"][0]["SalesItemLineDetail"]
    assert detail["UnitPrice"] == Decimal("0.1234567")


def test_amount_may_stand_alone_and_may_be_computed() -> None:
    client = Client()
    assert client.invoice(Line=[line("12.5")])["TotalAmt"] == Decimal("12.5")
    assert client.invoice(Line=[{**line(Qty=3, UnitPrice="1.335"), "Amount": None}])["TotalAmt"] == Decimal("4.01")


def test_a_line_without_an_item_is_text_and_its_amount_does_not_count() -> None:
    made = Client().invoice(Line=[line(5), {**line(95), "SalesItemLineDetail": {}}])
    assert made["TotalAmt"] == 5


def test_negative_total_is_6000_and_zero_is_accepted() -> None:
    client = Client()
    answer = client.post("invoice", invoice(Line=[line(5), line("-5.01")]))
    assert code_of(answer) == "6000"
    assert "Enter a transaction amount that is 0 or greater." in read(answer)["Fault"]["Error"][0]["Detail"]
    assert client.invoice(Line=[line(5), line(-5)])["TotalAmt"] == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"CustomerRef": None}, "2020"),
        ({"Line": None}, "2020"),
        ({"Line": [{"Amount": 1}]}, "2020"),
        ({"CustomerRef": {"value": "999"}}, "2500"),
        ({"Line": [line(1, ItemRef={"value": "999"})]}, "2500"),
        ({"SalesTermRef": {"value": "999"}}, "2500"),
        ({"DocNumber": "X" * 22}, "2050"),
        ({"PrivateNote": "X" * 4001}, "2050"),
        ({"CustomerMemo": {"value": "X" * 1001}}, "2050"),
        ({"Line": [{**line(), "Description": "X" * 4001}]}, "2050"),
        ({"Line": [line("a lot")]}, "2140"),
        ({"Line": [line(10**12)]}, "2140"),
        ({"Line": [{**line(), "DetailType": "Nonsense"}]}, "2170"),
        ({"Line": [line(1, TaxCodeRef={"value": "10"})]}, "6100"),
        ({"CurrencyRef": {"value": "EUR"}}, "6000"),
        ({"Id": "1.5", "SyncToken": "0"}, "2030"),
        ({"Id": "77", "SyncToken": "0"}, "610"),
    ],
)
def test_each_broken_rule_has_its_code_and_nothing_is_kept(changes: dict[str, object], code: str) -> None:
    client = Client()
    assert code_of(client.post("invoice", invoice(**changes))) == code
    assert client.query("select count(*) from Invoice") == {"totalCount": 0}


def test_an_inactive_reference_is_610() -> None:
    client = Client()
    deactivated = client.made("Customer", {"Id": "1", "SyncToken": "0", "sparse": True, "Active": False})
    assert deactivated["DisplayName"] == "Amy's Bird Sanctuary (deleted)"
    assert code_of(client.post("invoice", invoice())) == "610"


def test_closed_books_refuse_new_and_old_documents() -> None:
    client = Client(book_close_date=date(2026, 6, 30))
    assert code_of(client.post("invoice", invoice(TxnDate="2026-06-30"))) == "6210"
    assert client.invoice(TxnDate="2026-07-01")["TxnDate"] == "2026-07-01"


def test_due_date_comes_from_the_request_the_term_or_thirty_days() -> None:
    client = Client()
    due = [client.invoice(TxnDate="2026-01-15", **more)["DueDate"] for more in
           ({}, {"SalesTermRef": {"value": "2"}}, {"DueDate": "2026-01-20"})]  # fmt: skip
    assert due == ["2026-02-14", "2026-01-30", "2026-01-20"]


def test_duplicate_number_is_taken_silently_unless_the_owner_asked_for_a_warning() -> None:
    client = Client()
    assert [client.invoice(DocNumber="MTR-1")["Id"] for _ in range(2)] == ["1", "2"]
    strict = Client(warn_duplicate_doc_numbers=True)
    first = strict.invoice(DocNumber="MTR-1")
    answer = strict.post("invoice", invoice(DocNumber="MTR-1"))
    assert code_of(answer) == "6140"
    detail = read(answer)["Fault"]["Error"][0]["Detail"]
    assert detail.endswith(f"DocNumber=MTR-1 is assigned to TxnType=Invoice with TxnId={first['Id']}")
    assert strict.post("invoice", invoice(DocNumber="MTR-1"), include="allowduplicatedocnum").status == 200


def test_system_numbers_go_on_from_the_last_one_prefix_included() -> None:
    client = Client(custom_txn_numbers=False)
    assert [client.invoice()["DocNumber"], client.invoice(DocNumber="App_1009")["DocNumber"]] == ["1001", "App_1009"]
    assert client.invoice()["DocNumber"] == "App_1010"


def test_a_number_left_out_stays_out_when_the_company_numbers_by_hand() -> None:
    assert "DocNumber" not in Client().invoice()


def test_sparse_update_keeps_and_full_update_forgets() -> None:
    client = Client()
    made = client.invoice(DocNumber="A1", PrivateNote=NOTE)
    sparse = client.made("Invoice", {"Id": made["Id"], "SyncToken": "0", "sparse": True, "Line": [line(7)]})
    assert (sparse["PrivateNote"], sparse["TotalAmt"], sparse["SyncToken"]) == (NOTE, 7, "1")
    full = client.made("Invoice", {**invoice(), "Id": made["Id"], "SyncToken": "1"})
    assert "PrivateNote" not in full
    assert "DocNumber" not in full
    assert (full["SyncToken"], full["MetaData"]["CreateTime"]) == ("2", made["MetaData"]["CreateTime"])
    assert client.query("select * from Invoice where DocNumber = 'A1'") == {}


def test_an_answer_can_be_sent_back_as_a_full_update() -> None:
    client = Client()
    made = client.invoice(DocNumber="A1")
    again = client.made("Invoice", made)
    assert {**again, "SyncToken": "0", "MetaData": made["MetaData"]} == made


def test_update_without_a_sync_token_is_2020() -> None:
    client = Client()
    made = client.invoice()
    assert code_of(client.post("invoice", invoice(Id=made["Id"]))) == "2020"


def test_a_repeated_requestid_gives_the_first_answer_and_one_invoice() -> None:
    client = Client()
    first = client.post("invoice", invoice(), requestid="r-1")
    again = client.post("invoice", invoice(Line=[line(7)]), requestid="r-1")
    assert again.body == first.body
    assert client.query("select count(*) from Invoice") == {"totalCount": 1}


def test_a_requestid_is_forgotten_after_its_time_and_never_kept_at_zero() -> None:
    client = Client(QuickBooksSettings(limits=False, requestid_seconds=60))
    for wait, count in ((0, 1), (59, 1), (2, 2)):
        client.clock.now += wait
        client.post("invoice", invoice(), requestid="r-1")
        assert client.query("select count(*) from Invoice") == {"totalCount": count}
    without = Client(QuickBooksSettings(limits=False, requestid_seconds=0))
    assert [without.made("Invoice", invoice(), requestid="r-1")["Id"] for _ in range(2)] == ["1", "2"]


def test_a_refusal_is_replayed_only_when_the_setting_says_so() -> None:
    for keeps, second in ((False, 200), (True, 400)):
        client = Client(QuickBooksSettings(limits=False, requestid_keeps_faults=keeps))
        assert client.post("invoice", invoice(Line=[]), requestid="r").status == 400
        assert client.post("invoice", invoice(), requestid="r").status == second


def test_a_requestid_of_more_than_fifty_characters_is_2130() -> None:
    assert code_of(Client().post("invoice", invoice(), requestid="x" * 51)) == "2130"


def test_credit_memos_are_kept_beside_invoices() -> None:
    client = Client(custom_txn_numbers=False)
    made = client.made("CreditMemo", invoice(Line=[line(50)]))
    assert (made["TotalAmt"], made["RemainingCredit"], made["Balance"], made["DocNumber"]) == (50, 50, 50, "1001")
    assert client.invoice()["DocNumber"] == "1002"
    changed = client.made("CreditMemo", {"Id": made["Id"], "SyncToken": "0", "sparse": True, "PrivateNote": "n"})
    assert changed["SyncToken"] == "1"
    assert code_of(client.post("creditmemo", {"Id": made["Id"], "SyncToken": "1"}, operation="void")) == "500"


def test_a_discount_lowers_the_total() -> None:
    discount = {"DetailType": "DiscountLineDetail", "DiscountLineDetail": {"PercentBased": True, "DiscountPercent": 10}}
    assert Client().invoice(Line=[line(50), discount])["TotalAmt"] == 45
    assert code_of(Client(allow_discount=False).post("invoice", invoice(Line=[line(50), discount]))) == "6000"


def test_a_foreign_customer_is_invoiced_in_its_own_currency_only() -> None:
    client = Client(multicurrency=True)
    made = client.made("Customer", {"DisplayName": "Lune SARL", "CurrencyRef": {"value": "EUR"}})
    ref = {"CustomerRef": {"value": made["Id"]}}
    assert client.invoice(**ref, CurrencyRef={"value": "EUR"})["CurrencyRef"]["value"] == "EUR"
    for currency in (None, {"value": "USD"}):
        assert code_of(client.post("invoice", invoice(**ref, CurrencyRef=currency))) == "6000"


def test_names_are_shared_by_customers_and_vendors_whatever_their_case() -> None:
    client = Client()
    assert code_of(client.post("customer", {"DisplayName": "books by bessie"})) == "6240"
    assert code_of(client.post("customer", {"DisplayName": "Amy's Bird Sanctuary"})) == "6240"
    assert code_of(client.post("item", {"Name": "Services", "IncomeAccountRef": {"value": "1"}})) == "6240"
    renamed = client.made("Customer", {"Id": "1", "SyncToken": "0", "sparse": True, "DisplayName": "Amy"})
    assert (renamed["DisplayName"], renamed["SyncToken"]) == ("Amy", "1")
    assert client.made("Customer", {"DisplayName": "Amy's Bird Sanctuary"})["Id"] not in ("1", "2", "30")


def test_an_item_needs_a_name_and_an_income_account() -> None:
    client = Client()
    made = client.made("Item", {"Name": "Usage", "Type": "Service", "IncomeAccountRef": {"value": "45"}})
    assert made["IncomeAccountRef"] == {"value": "45", "name": "Sales of Product Income"}
    assert code_of(client.post("item", {"Name": "Other", "Type": "Service"})) == "2020"
    assert code_of(client.post("item", {"Name": "Other", "IncomeAccountRef": {"value": "79"}})) == "2500"
    assert code_of(client.post("item", {"Name": "X" * 101, "IncomeAccountRef": {"value": "45"}})) == "2050"


def test_a_customer_shows_what_it_owes() -> None:
    client = Client()
    made = client.invoice(Line=[line("12.34")])
    assert read(client.send("GET", "customer/1"))["Customer"]["Balance"] == Decimal("12.34")
    client.post("invoice", {"Id": made["Id"], "SyncToken": "0"}, operation="void")
    assert read(client.send("GET", "customer/1"))["Customer"]["Balance"] == 0
