"""List entries of the simulated QuickBooks: customers, vendors, employees, items, accounts and the small lists."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tests.simulators.companies import Client, code_of, line, read, recording, shape

SERVICE = {"Type": "Service", "IncomeAccountRef": {"value": "45"}}
STOCK = {
    "Type": "Inventory",
    "TrackQtyOnHand": True,
    "QtyOnHand": 10,
    "InvStartDate": "2026-01-01",
    "IncomeAccountRef": {"value": "45"},
    "ExpenseAccountRef": {"value": "80"},
    "AssetAccountRef": {"value": "81"},
}


def sparse(entry: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {"Id": entry["Id"], "SyncToken": entry["SyncToken"], "sparse": True, **changes}


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("Customer", {"DisplayName": "New"}),
        ("Vendor", {"DisplayName": "New"}),
        ("Employee", {"GivenName": "New", "FamilyName": "One"}),
        ("Item", {"Name": "New", **SERVICE}),
        ("Account", {"Name": "New", "AccountType": "Income"}),
        ("Term", {"Name": "New", "DueDays": 7}),
        ("Class", {"Name": "New"}),
        ("Department", {"Name": "New"}),
        ("PaymentMethod", {"Name": "New"}),
        ("CompanyCurrency", {"Code": "CHF"}),
    ],
)
def test_each_list_can_be_written_read_found_changed_and_made_inactive(kind: str, written: dict[str, Any]) -> None:
    client = Client(multicurrency=True)
    made = client.made(kind, written)
    assert (made["SyncToken"], made["Active"]) == ("0", True)
    assert read(client.send("GET", f"{kind.lower()}/{made['Id']}"))[kind] == made
    assert client.query(f"select * from {kind} where Id = '{made['Id']}'")[kind] == [made]
    assert code_of(client.post(kind.lower(), written)) == "6240"
    gone = client.made(kind, sparse(made, Active=False))
    assert (gone["SyncToken"], gone["Active"]) == ("1", False)
    assert client.query(f"select * from {kind} where Id = '{made['Id']}'") == {}
    assert code_of(client.post(kind.lower(), sparse(made, Active=True))) == "5010"
    back = client.made(kind, sparse(gone, Active=True))
    assert {**back, "SyncToken": "0", "MetaData": made["MetaData"]} == made


@pytest.mark.parametrize("kind", ["taxcode", "taxrate"])
def test_tax_codes_and_rates_are_not_written(kind: str) -> None:
    assert code_of(Client().post(kind, {"Name": "New"})) == "500"


def test_us_tax_codes_are_found_though_they_do_not_say_that_they_are_active() -> None:
    client = Client()
    assert {each["Id"] for each in client.query("select * from TaxCode")["TaxCode"]} == {"TAX", "NON"}
    assert read(client.send("GET", "taxcode/TAX"))["TaxCode"]["Name"] == "TAX"


def test_an_inactive_name_is_free_again_until_its_owner_comes_back() -> None:
    client = Client()
    first = client.made("Vendor", {"DisplayName": "Acme"})
    gone = client.made("Vendor", sparse(first, Active=False))
    assert gone["DisplayName"] == "Acme (deleted)"
    client.made("Customer", {"DisplayName": "acme"})
    assert code_of(client.post("vendor", sparse(gone, Active=True))) == "6240"


def test_an_update_that_changes_nothing_keeps_token_and_time_as_recorded() -> None:
    """deactivate/account and deactivate/employee: inactive ones made inactive once more."""
    client = Client()
    account = client.made("Account", {"Name": "Fees Billed", "AccountType": "Income"})
    gone = client.made("Account", sparse(account, Active=False))
    client.clock.now += 100
    again = client.made("Account", sparse(gone, Active=False, Name="Fees Billed (deleted)"))
    assert again == gone
    assert shape(again) == shape(recording_of("deactivate__account_1")["Account"])
    assert client.made("Account", sparse(gone, Description="used"))["SyncToken"] == "2"


def recording_of(name: str) -> dict[str, Any]:
    return recording(name)["response"]["body"]  # type: ignore[no-any-return]


def test_a_sub_customer_is_named_by_its_way_and_its_debt_shows_above() -> None:
    client = Client()
    parent = client.made("Customer", {"DisplayName": "Freeman"})
    inner = {"DisplayName": "55 Twin Lane", "Job": True, "ParentRef": {"value": parent["Id"]}}
    child = client.made("Customer", inner)
    assert (child["FullyQualifiedName"], child["Level"], child["Job"]) == ("Freeman:55 Twin Lane", 1, True)
    client.invoice(CustomerRef={"value": child["Id"]}, Line=[line(85)])
    shown = read(client.send("GET", f"customer/{parent['Id']}"))["Customer"]
    assert (shown["Balance"], shown["BalanceWithJobs"]) == (0, 85)
    client.made("Customer", sparse(parent, DisplayName="Freeman & Co"))
    moved = read(client.send("GET", f"customer/{child['Id']}"))["Customer"]
    assert moved["FullyQualifiedName"] == "Freeman & Co:55 Twin Lane"


def test_a_sub_customer_may_have_the_name_of_one_above_and_not_of_its_sibling() -> None:
    client = Client()
    parent = client.made("Customer", {"DisplayName": "Doe, Jack"})
    client.made("Customer", {"DisplayName": "Jack Doe"})
    inner = {"DisplayName": "Jack Doe", "Job": True, "ParentRef": {"value": parent["Id"]}}
    client.made("Customer", inner)
    assert code_of(client.post("customer", inner)) == "6240"


def test_customers_nest_four_levels_deep_and_never_in_themselves() -> None:
    client = Client()
    top = parent = client.made("Customer", {"DisplayName": "Level 0"})
    for level in range(1, 5):
        written = {"DisplayName": f"Level {level}", "Job": True, "ParentRef": {"value": parent["Id"]}}
        parent = client.made("Customer", written)
    too_deep = {"DisplayName": "Level 5", "Job": True, "ParentRef": {"value": parent["Id"]}}
    assert code_of(client.post("customer", too_deep)) == "6000"
    inside_itself = sparse(top, Job=True, ParentRef={"value": parent["Id"]})
    assert code_of(client.post("customer", inside_itself)) == "6000"
    assert code_of(client.post("customer", {"DisplayName": "X", "Job": True})) == "2020"


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ({"DisplayName": "a:b"}, "6000"),
        ({"DisplayName": "a\tb"}, "6000"),
        ({"DisplayName": "  "}, "2020"),
        ({"DisplayName": "x" * 501}, "2050"),
        ({"GivenName": "x" * 101}, "2050"),
        ({"GivenName": "A", "Title": "x" * 17}, "2050"),
        ({"DisplayName": "A", "PrimaryEmailAddr": {"Address": "nobody"}}, "2210"),
        ({"DisplayName": "A", "CurrencyRef": {"value": "XXX"}}, "2220"),
        ({"DisplayName": "A", "CurrencyRef": {"value": "EUR"}}, "6000"),
        ({"DisplayName": "A", "SalesTermRef": {"value": "99"}}, "2500"),
        ({"DisplayName": "A", "Taxable": "perhaps"}, "2010"),
        ({"DisplayName": "A", "CreditLimit": "much"}, "2140"),
        ({"DisplayName": "A", "OpenBalanceDate": "soon"}, "2150"),
        ({"DisplayName": "A", "Notes": {"text": "x"}}, "2010"),
    ],
)
def test_each_rule_of_a_customer_has_its_code(written: dict[str, Any], code: str) -> None:
    client = Client()
    assert code_of(client.post("customer", written)) == code
    assert client.query("select count(*) from Customer") == {"totalCount": 2}


def test_texts_that_hold_numbers_become_numbers_and_the_other_way_round() -> None:
    client = Client()
    body = b'{"DisplayName": 5, "CreditLimit": "12.50", "Taxable": "false", "Notes": 1000000000000000000000000000000}'
    made = read(client.send("POST", "customer", body))["Customer"]
    assert (made["DisplayName"], made["CreditLimit"], made["Taxable"]) == ("5", Decimal("12.50"), False)
    assert made["Notes"] == "1" + "0" * 30


def test_the_name_is_built_of_its_parts_and_a_sparse_update_cannot_clear_it() -> None:
    client = Client()
    made = client.made("Customer", {"Title": "Ms", "GivenName": "Ada", "FamilyName": "Byron"})
    assert (made["DisplayName"], made["PrintOnCheckName"]) == ("Ms Ada Byron", "Ada Byron")
    assert client.made("Customer", sparse(made, DisplayName="", Notes="n"))["DisplayName"] == "Ms Ada Byron"


def test_the_currency_of_a_customer_stays() -> None:
    client = Client(multicurrency=True)
    made = client.made("Customer", {"DisplayName": "Lune", "CurrencyRef": {"value": "EUR"}})
    changed = client.made("Customer", sparse(made, CurrencyRef={"value": "USD"}, Notes="n"))
    assert changed["CurrencyRef"] == {"value": "EUR", "name": "Euro"}


def test_addresses_get_an_id_and_a_place_and_keep_them() -> None:
    client = Client()
    made = client.made("Customer", {"DisplayName": "A", "BillAddr": {"Line1": "1 Main St."}})
    assert made["BillAddr"] == {"Line1": "1 Main St.", "Id": "4", "Lat": "INVALID", "Long": "INVALID"}
    same = client.made("Customer", sparse(made, BillAddr={"Line1": "1 Main St."}, Notes="n"))
    assert same["BillAddr"] == made["BillAddr"]
    assert client.made("Customer", sparse(same, BillAddr={"Line1": "2"}))["BillAddr"]["Id"] == "5"


def test_vendors_accounts_and_employees_look_as_recorded() -> None:
    client = Client()
    vendor = client.made("Vendor", {"DisplayName": "Boraski Family Store"})
    recorded = recording_of("batch__basic_0")["BatchItemResponse"][0]["Vendor"]
    assert shape(vendor) == shape(recorded)
    employee = client.made("Employee", {"GivenName": "Emily", "FamilyName": "Plath"})
    gone = client.made("Employee", sparse(employee, Active=False))
    assert shape(gone) == shape(recording_of("deactivate__employee_1")["Employee"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Type": "Bundle"}, "2170"),
        ({"Type": "Nonsense"}, "2170"),
        ({"IncomeAccountRef": {"value": "81"}}, "6000"),
        ({"UnitPrice": 99_999_999_999}, None),
        ({"UnitPrice": 100_000_000_000}, "2140"),
        ({"PurchaseDesc": "x" * 1001}, "2050"),
        ({"Sku": "x" * 101}, "2050"),
        ({"ExpenseAccountRef": {"value": "45"}}, "6000"),
        ({**STOCK}, None),
        ({**STOCK, "QtyOnHand": None}, "2020"),
        ({**STOCK, "InvStartDate": None}, "2020"),
        ({**STOCK, "AssetAccountRef": None}, "2020"),
        ({**STOCK, "ExpenseAccountRef": None}, "2020"),
        ({**STOCK, "IncomeAccountRef": {"value": "1"}}, "6000"),
    ],
)
def test_each_rule_of_an_item_has_its_code(changes: dict[str, Any], code: str | None) -> None:
    answer = Client().post("item", {"Name": "New", **SERVICE, **changes})
    assert answer.status == 200 if code is None else code_of(answer) == code


def test_items_lie_in_categories() -> None:
    client = Client()
    category = client.made("Item", {"Name": "Cloud", "Type": "Category"})
    assert "UnitPrice" not in category
    inner = client.made(
        "Item", {"Name": "Services", **SERVICE, "SubItem": True, "ParentRef": {"value": category["Id"]}}
    )
    assert (inner["FullyQualifiedName"], inner["Level"]) == ("Cloud:Services", 1)
    assert [each["Id"] for each in client.query("select * from Item where Name = 'Services'")["Item"]] == [
        inner["Id"],
        "1",
    ]


def test_canadian_and_british_items_need_an_expense_account_too() -> None:
    client = Client(country="CA", tax_mode="global", currency="CAD")
    assert code_of(client.post("item", {"Name": "New", **SERVICE})) == "2020"
    client.made("Item", {"Name": "New", **SERVICE, "ExpenseAccountRef": {"value": "80"}})


def test_an_account_knows_its_class_by_its_type_or_subtype() -> None:
    client = Client()
    assert client.made("Account", {"Name": "A", "AccountType": "Bank"})["Classification"] == "Asset"
    assert client.made("Account", {"Name": "B", "AccountSubType": "SalesOfProductIncome"})["AccountType"] == "Income"
    assert code_of(client.post("account", {"Name": "C"})) == "2020"
    assert code_of(client.post("account", {"Name": "C", "AccountType": "Nonsense"})) == "2170"


def test_a_term_is_due_after_days_or_on_a_day() -> None:
    client = Client()
    assert client.made("Term", {"Name": "A", "DueDays": 7})["Type"] == "STANDARD"
    assert client.made("Term", {"Name": "B", "DayOfMonthDue": 15})["Type"] == "DATE_DRIVEN"
    assert code_of(client.post("term", {"Name": "C"})) == "2020"


def test_stored_rates_need_their_token_and_others_are_the_same_whenever_asked() -> None:
    client = Client(multicurrency=True)
    ask = {"sourcecurrencycode": "EUR", "asofdate": "2026-01-05"}
    own = read(client.send("GET", "exchangerate", **ask))["ExchangeRate"]
    assert own == read(client.send("GET", "exchangerate", **ask))["ExchangeRate"]
    assert "Id" not in own
    other_day = read(client.send("GET", "exchangerate", sourcecurrencycode="EUR", asofdate="2026-01-06"))
    assert other_day["ExchangeRate"]["Rate"] != own["Rate"]
    written = {"SourceCurrencyCode": "EUR", "AsOfDate": "2026-01-05", "Rate": "2.5"}
    stored = client.made("ExchangeRate", written)
    assert (stored["Rate"], stored["SyncToken"], stored["TargetCurrencyCode"]) == (Decimal("2.5"), "0", "USD")
    assert code_of(client.post("exchangerate", written)) == "2020"
    assert code_of(client.post("exchangerate", {**written, "SyncToken": "7"})) == "5010"
    assert client.made("ExchangeRate", {**written, "SyncToken": "0", "Rate": 3})["SyncToken"] == "1"
    assert read(client.send("GET", "exchangerate", **ask))["ExchangeRate"]["Rate"] == 3
    assert code_of(client.send("GET", "exchangerate", sourcecurrencycode="XXX")) == "2220"
    assert code_of(client.send("GET", "exchangerate")) == "2020"


def test_preferences_are_changed_sparsely_with_their_own_token() -> None:
    client = Client(custom_txn_numbers=True, multicurrency=False)
    changes = {
        "SyncToken": "0",
        "sparse": True,
        "SalesFormsPrefs": {"CustomTxnNumbers": False, "AllowDiscount": False},
        "AccountingInfoPrefs": {"ClassTrackingPerTxnLine": True, "TrackDepartments": True},
        "CurrencyPrefs": {"MultiCurrencyEnabled": True},
    }
    changed = client.made("Preferences", changes)
    assert changed["SyncToken"] == "1"
    assert changed["AccountingInfoPrefs"]["ClassTrackingPerTxnLine"] is True
    assert client.invoice()["DocNumber"] == "1001"
    assert code_of(client.post("preferences", changes)) == "5010"
    off = {"SyncToken": "1", "CurrencyPrefs": {"MultiCurrencyEnabled": False}}
    assert code_of(client.post("preferences", off)) == "6000"
    assert client.query("select * from Preferences")["Preferences"] == [
        read(client.send("GET", "preferences"))["Preferences"]
    ]


def test_the_day_when_the_books_were_closed_is_told_only_by_those_who_do() -> None:
    for shows in (False, True):
        client = Client(book_close_date=date(2026, 6, 30), shows_book_close_date=shows)
        told = read(client.send("GET", "preferences"))["Preferences"]["AccountingInfoPrefs"].get("BookCloseDate")
        assert told == ("2026-06-30" if shows else None)
