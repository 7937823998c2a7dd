"""What leaves QuickBooks for the customer: the e-mailed sale and its PDF (`facts/quickbooks.md` §1.1)."""

from __future__ import annotations

from collections.abc import Iterator

from stream.sandbox.http import Json
from stream.sandbox.quickbooks.books import Books
from stream.sandbox.quickbooks.errors import Refusal
from stream.sandbox.quickbooks.rules import BILL_EMAIL_MAX, check_length

TITLES = {"Invoice": "INVOICE", "CreditMemo": "CREDIT MEMO"}
LINES_PER_PAGE = 48
LINE_WIDTH_MAX = 95
TOP_POINTS, LEADING_POINTS, MARGIN_POINTS = 740, 14, 50


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
    """The code is Intuit's (facts/quickbooks.md §6.2); its words are not known."""
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
    """A small PDF 1.4 file, as many pages as its lines need. Letters outside Latin-1 become question marks."""
    rows = list(_rows(kind, sale, books))
    pages = [rows[start : start + LINES_PER_PAGE] for start in range(0, len(rows), LINES_PER_PAGE)]
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>",
    ]
    for index, page in enumerate(pages):
        content = _content(page)
        resources = "/MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R {resources} /Contents {5 + 2 * index} 0 R >>".encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    return _file(objects)


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


def _content(page: list[str]) -> bytes:
    """The page's text operators: one row per line of the page."""
    rows = b"".join(b"(%s) Tj T*\n" % _escaped(row[:LINE_WIDTH_MAX]) for row in page)
    start = f"BT /F1 9 Tf {LEADING_POINTS} TL {MARGIN_POINTS} {TOP_POINTS} Td\n"
    return start.encode() + rows + b"ET"


def _escaped(text: str) -> bytes:
    printable = "".join(each if each.isprintable() else "?" for each in text)
    raw = printable.encode("latin-1", "replace")
    return raw.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _file(objects: list[bytes]) -> bytes:
    """Header, numbered objects, the table of their offsets, trailer."""
    written = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = len(written)
    written += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    written += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    written += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(written)
