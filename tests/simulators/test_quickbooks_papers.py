"""The e-mailed sale and its PDF."""

from __future__ import annotations

import re

import pytest

from simulators.quickbooks.errors import Refusal
from simulators.quickbooks.papers import pdf, sent
from tests.simulators.selling import NOW, changed, company_books, invoice, line, refused, sold


def test_sending_marks_the_sale_and_says_when() -> None:
    """Recorded: EmailStatus EmailSent, DeliveryInfo, SyncToken one higher."""
    books = company_books()
    made = sold(books, invoice(BillEmail={"Address": "a@example.com"}))
    mailed = sent("Invoice", made, books, NOW + 60, "")
    moment = books.timestamp(NOW + 60)
    assert mailed == {
        **made,
        "SyncToken": "1",
        "MetaData": {"CreateTime": books.timestamp(NOW), "LastUpdatedTime": moment},
        "EmailStatus": "EmailSent",
        "DeliveryInfo": {"DeliveryType": "Email", "DeliveryTime": moment},
    }
    books.put_sale("Invoice", mailed, made)
    kept = changed(books, mailed, {**mailed, "PrivateNote": "n"})
    assert (kept["DeliveryInfo"], kept["EmailStatus"]) == (mailed["DeliveryInfo"], "EmailSent")


def test_the_address_asked_for_becomes_the_sales_own() -> None:
    books = company_books()
    made = sold(books, invoice(BillEmail={"Address": "a@example.com"}))
    assert sent("Invoice", made, books, NOW, "b@example.com")["BillEmail"] == {"Address": "b@example.com"}


@pytest.mark.parametrize(
    ("send_to", "code"), [("", "6420"), ("nobody", "2210"), ("a@b", "2210"), ("a@example." + "x" * 100, "2050")]
)
def test_a_sale_cannot_be_sent_nowhere(send_to: str, code: str) -> None:
    books = company_books()
    made = sold(books, invoice())
    with pytest.raises(Refusal) as found:
        sent("Invoice", made, books, NOW, send_to)
    assert found.value.error["code"] == code


def test_a_sale_that_is_to_be_sent_needs_an_address() -> None:
    books = company_books()
    assert refused(books, invoice(EmailStatus="NeedToSend"))["code"] == "6420"
    assert refused(books, invoice(BillEmail={"Address": "nobody"}))["code"] == "2210"
    address = {"Address": "a@example.com, b@example.com"}
    made = sold(books, invoice(EmailStatus="NeedToSend", BillEmail=address))
    assert (made["EmailStatus"], made["BillEmail"]) == ("NeedToSend", address)


def test_the_pdf_is_one_that_readers_can_open() -> None:
    """Header, trailer, every offset of the table at its object, every stream as long as it says."""
    books = company_books()
    lines = [line(1) | {"Description": f"Line {number}"} for number in range(120)]
    raw = pdf("Invoice", sold(books, invoice(Line=lines)), books)
    assert raw.startswith(b"%PDF-1.4\n")
    assert raw.endswith(b"%%EOF\n")
    table = int(re.findall(rb"startxref\n(\d+)\n", raw)[0])
    count, *entries = re.findall(rb"(?m)^0 (\d+)$|^(\d{10}) (?:\d{5}) n $", raw[table:])
    offsets = [int(offset) for _, offset in entries]
    assert len(offsets) == int(count[0]) - 1
    for number, offset in enumerate(offsets, start=1):
        assert raw[offset:].startswith(b"%d 0 obj\n" % number)
    streams = re.findall(rb"/Length (\d+) >>\nstream\n(.*?)\nendstream", raw, re.DOTALL)
    assert [int(length) for length, _ in streams] == [len(content) for _, content in streams]
    assert len(streams) == 3 == int(re.findall(rb"/Count (\d+)", raw)[0])
    assert b"Line 119" in raw


def test_the_pdf_shows_the_lines_and_escapes_what_would_break_it() -> None:
    books = company_books()
    written = invoice(DocNumber="MTR-1", Line=[line("1234.5") | {"Description": "Calls (EU) \\ caf\u00e9 \u2603\nnew"}])
    raw = pdf("CreditMemo", sold(books, written, kind="CreditMemo"), books)
    assert rb"Calls \(EU\) \\ caf" + b"\xe9 ? new" in raw
    assert b"CREDIT MEMO MTR-1" in raw
    assert re.search(rb"TOTAL USD +1234\.50", raw)


def test_the_pdf_of_a_sale_without_tax_has_no_line_for_it() -> None:
    books = company_books(tax_mode="global")
    raw = pdf("Invoice", sold(books, invoice(GlobalTaxCalculation="NotApplicable")), books)
    assert b"(Tax " not in raw
