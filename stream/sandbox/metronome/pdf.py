"""An invoice as a plain PDF: its lines as text, in as many pages as it takes."""

from __future__ import annotations

from stream.sandbox.http import Json

LINES_PER_PAGE = 60
LINE_LENGTH_MAX = 110


def pdf_of(invoice: Json) -> bytes:
    """PDF 1.4 with one built-in font; what Latin-1 cannot write becomes a question mark."""
    lines = _text_of(invoice)
    pages = [lines[start : start + LINES_PER_PAGE] for start in range(0, len(lines), LINES_PER_PAGE)]
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, page in enumerate(pages):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >>"
            + f" /Contents {5 + 2 * index} 0 R >>".encode()
        )
        content = b"BT /F1 9 Tf 12 TL 40 800 Td\n" + b"".join(b"(%s) Tj T*\n" % _escaped(each) for each in page) + b"ET"
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    return _file_of(objects)


def _text_of(invoice: Json) -> list[str]:
    unit = invoice["credit_type"]["name"]
    return [
        f"Invoice {invoice['id']}",
        f"Customer {invoice['customer_id']}",
        f"Issued {invoice.get('issued_at') or ''}",
        "",
        *(f"{line['total']} {line['credit_type']['name']}  {line['name']}" for line in invoice["line_items"]),
        "",
        f"Total {invoice['total']} {unit}",
    ]


def _escaped(text: str) -> bytes:
    plain = "".join(each if each.isprintable() else " " for each in text[:LINE_LENGTH_MAX])
    return plain.encode("latin-1", "replace").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _file_of(objects: list[bytes]) -> bytes:
    """The objects numbered from 1, the table of their places, and the trailer."""
    whole, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(whole))
        whole += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return (
        whole
        + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
        + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(whole))
    )
