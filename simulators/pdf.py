"""Rows of text as a small PDF, for both vendors' invoices."""

from __future__ import annotations

from collections.abc import Iterable

ROWS_PER_PAGE = 48
ROW_LENGTH_MAX = 95
TOP_POINTS, LEADING_POINTS, MARGIN_POINTS = 740, 14, 50


def pdf_of(text: Iterable[str]) -> bytes:
    """A PDF 1.4 file with one built-in font, as many pages as the rows need; long rows are cut, and letters outside
    Latin-1 become question marks."""
    rows = list(text)
    pages = [rows[start : start + ROWS_PER_PAGE] for start in range(0, len(rows), ROWS_PER_PAGE)]
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


def _content(page: list[str]) -> bytes:
    """The page's text operators: one row per line of the page."""
    rows = b"".join(b"(%s) Tj T*\n" % _escaped(row[:ROW_LENGTH_MAX]) for row in page)
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
