"""What leaves QuickBooks for the customer: the e-mailed sale and its PDF (`docs/vendors/quickbooks.md` §1.1)."""

from __future__ import annotations

from collections.abc import Iterator

from simulators.http import Json
from simulators.pdf import pdf_of
from simulators.quickbooks.books import Books
from simulators.quickbooks.errors import Refusal
from simulators.quickbooks.rules import BILL_EMAIL_MAX, check_length

TITLES = {"Invoice": "INVOICE", "CreditMemo": "CREDIT MEMO"}


def sent(kind: str, sale: Json, books: Books, now: float, send_to: str) -> Json:
    """The sale after it was e-mailed to `send_to`, or without one to its own BillEmail.

    Raises Refusal 6420 when there is no address, 2210 for one without @ and dot, 2050 for one too long.
    """
    address = send_to or (sale.get("BillEmail") or {}).get("Address") or ""
    if not address:
        raise no_address(kind)
    check_address(address)
    moment = books.timestamp(now)
    return {
        **sale,
        "SyncToken": str(int(sale["SyncToken"]) + 1),
        "MetaData": {**sale["MetaData"], "LastUpdatedTime": moment},
        "EmailStatus": "EmailSent",
        "BillEmail": {"Address": address},
        "DeliveryInfo": {"DeliveryType": "Email", "DeliveryTime": moment},
    }


def no_address(kind: str) -> Refusal:
    """The code is Intuit's (docs/vendors/quickbooks.md §6.2); its words are not known."""
    return Refusal("6420", "Email address is required", f"A {kind} that is to be e-mailed needs BillEmail", "BillEmail")


def check_address(address: str) -> None:
    """One address, or several with commas between. Raises Refusal 2050 when too long, 2210 for one without an @ and a
    dot behind it."""
    check_length(address, BILL_EMAIL_MAX, "BillEmail.Address")
    for each in address.split(","):
        name, _, host = each.strip().rpartition("@")
        if not name or "." not in host.strip("."):
            raise Refusal("2210", "Invalid Email", f"Invalid email address : {each}", "BillEmail.Address")


def pdf(kind: str, sale: Json, books: Books) -> bytes:
    """The sale on paper; its layout is ours."""
    return pdf_of(_rows(kind, sale, books))


def _rows(kind: str, sale: Json, books: Books) -> Iterator[str]:
    currency = sale["CurrencyRef"]["value"]
    yield books.company.name
    yield ""
    yield f"{TITLES[kind]} {sale.get('DocNumber', '')}".rstrip()
    yield f"Date {sale['TxnDate']}" + (f"   Due {sale['DueDate']}" if "DueDate" in sale else "")
    yield f"To   {sale['CustomerRef']['name']}"
    yield ""
    for line in sale["Line"]:
        name = line.get("SalesItemLineDetail", {}).get("ItemRef", {}).get("name", "")
        text = "Subtotal" if line["DetailType"] == "SubTotalLineDetail" else line.get("Description") or name
        amount = f"{line['Amount']:.2f}" if "Amount" in line else ""
        yield f"{_one_line(text):<70.70} {amount:>18}"
    if "TxnTaxDetail" in sale:
        yield f"{'Tax':<70} {sale['TxnTaxDetail']['TotalTax']:>18.2f}"
    yield f"{'TOTAL ' + currency:<70} {sale['TotalAmt']:>18.2f}"
    yield f"{'BALANCE ' + currency:<70} {sale['Balance']:>18.2f}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
