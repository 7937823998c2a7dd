"""The lines of a sale: what QuickBooks makes of the written ones, and their sum (`docs/vendors/quickbooks.md` §1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal
from functools import cache
from typing import Any

from simulators.http import Json
from simulators.quickbooks.books import Books
from simulators.quickbooks.errors import Refusal, business, missing
from simulators.quickbooks.rules import CENT, money, reference
from simulators.quickbooks.tax import TaxedLine, line_code, net_of

AMOUNT_LIMIT = Decimal(10) ** 10
TAXABLE_LINES_MAX = 750
DISCOUNTS_GIVEN = {"value": "86", "name": "Discounts given"}


@dataclass(slots=True)
class Lines:
    """`stored` as the sale shows them; `remaining` is what discounts leave of the lines, 1 for all."""

    stored: list[Json] = field(default_factory=list)
    taxed: list[TaxedLine] = field(default_factory=list)
    subtotal: Decimal = Decimal(0)
    discount: Decimal = Decimal(0)
    remaining: Decimal = Decimal(1)


def made_lines(written: Any, books: Books, calculation: str, former: Sequence[Json] = ()) -> Lines:
    """The lines to store, then their subtotal, then discounts. `calculation` is the sale's GlobalTaxCalculation.

    A line keeps its Id when `former`, the stored lines before an update, has it; others get the next ones. Raises
    Refusal 2020, 2140, 2170, 2250, 2500, 610, 6000, 6070, 6100, 6430, 6440, 6520.
    """
    if not written:
        raise missing("Line")
    _check_count(written, books, calculation)
    lines = Lines()
    ids = _Ids(former)
    discounts = []
    for line in written:
        match line.get("DetailType"):
            case "SalesItemLineDetail":
                stored = _sales_item(line, books, calculation, lines)
            case "DescriptionOnly":
                stored = _text_only(line.get("DescriptionLineDetail") or {})
            case "DiscountLineDetail":
                discounts.append(line)
                continue
            case "SubTotalLineDetail":
                continue
            case kind:
                raise _not_allowed(kind)
        head: Json = {"Id": ids.of(line), "LineNum": len(lines.stored) + 1}
        if line.get("Description"):
            head["Description"] = line["Description"]
        lines.stored.append({**head, **stored})
    subtotal: Json = {"Amount": money(lines.subtotal), "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}}
    lines.stored.append(subtotal)
    for line in discounts:
        lines.stored.append(_discount(line, books, lines))
    return lines


def _check_count(written: Sequence[Json], books: Books, calculation: str) -> None:
    taxable = bool(calculation) or any(
        ((line.get("SalesItemLineDetail") or {}).get("TaxCodeRef") or {}).get("value") == "TAX" for line in written
    )
    limit = min(books.company.line_limit, TAXABLE_LINES_MAX) if taxable else books.company.line_limit
    if len(written) > limit:
        raise Refusal("2250", "Invalid Number of Lines", f"Line count {len(written)} is more than {limit}", "Line")


def _not_allowed(kind: Any) -> Refusal:
    if not kind:
        return missing("Line.DetailType")
    return Refusal("6430", "Invalid Line Type", f"Line type {kind} is not allowed in this transaction", "Line")


class _Ids:
    """Numbers for new lines, above all that the sale has had."""

    def __init__(self, former: Sequence[Json]) -> None:
        self._known = {line["Id"] for line in former if "Id" in line}
        self._last = max((int(each) for each in self._known), default=0)

    def of(self, line: Json) -> str:
        asked = line.get("Id")
        if asked in self._known:
            self._known.remove(asked)
            return str(asked)
        self._last += 1
        return str(self._last)


def _text_only(detail: Json) -> Json:
    return {"DetailType": "DescriptionOnly", "DescriptionLineDetail": detail}


def _sales_item(line: Json, books: Books, calculation: str, lines: Lines) -> Json:
    detail = line.get("SalesItemLineDetail") or {}
    item = reference(books, "Item", detail.get("ItemRef"), "Item")
    if item is None:
        # Intuit's schema says of ItemRef: without it the line is text and its amount is ignored.
        return _text_only({})
    _check_item(item, detail)
    code = line_code(detail, item, books, calculation)
    kept: Json = {"ItemRef": {"value": item["Id"], "name": item["Name"]}}
    if class_ref := kept_reference("Class", detail.get("ClassRef"), books, books.company.class_tracking == "line"):
        kept["ClassRef"] = class_ref
    quantity, unit_price = _given(detail, "Qty"), _given(detail, "UnitPrice")
    if not quantity and not unit_price and _given(line, "Amount"):
        # python-quickbooks writes both as 0 when nobody set them, and its own tests against Intuit pass so.
        quantity = unit_price = None
    if calculation == "TaxInclusive":
        gross = _gross(line, detail, quantity, unit_price)
        net = net_of(gross, code, books)
        if quantity and unit_price is not None:
            unit_price = (net / quantity).quantize(_quantum(books.company.decimals_kept), ROUND_HALF_UP)
        kept["TaxInclusiveAmt"] = money(gross)
    else:
        gross = net = _amount(line, quantity, unit_price, books)
    if unit_price is not None:
        kept["UnitPrice"] = _shown(unit_price, books)
    if quantity is not None:
        kept["Qty"] = _shown(quantity, books)
    if code:
        kept["TaxCodeRef"] = {"value": code}
    if detail.get("ServiceDate"):
        kept["ServiceDate"] = detail["ServiceDate"]
    lines.subtotal += net
    if code:
        lines.taxed.append(TaxedLine(code, net, gross))
    return {"Amount": money(net), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": kept}


def _check_item(item: Json, detail: Json) -> None:
    if item["Type"] == "Category":
        raise Refusal("6440", "Invalid Reference Type", f"{item['Name']} is a category", "ItemRef")
    if item["Type"] == "Inventory" and _given(detail, "Qty") is None:
        quantity = "Quantity required for inventory item"
        raise Refusal("6520", quantity, f"{quantity} : {item['Name']}", "Line.Qty")


def kept_reference(kind: str, ref: Json | None, books: Books, tracked: bool) -> Json | None:
    """A class or department reference with its name where the company tracks them; elsewhere ignored, or refused
    with 6000 (the facts say only that tracking is needed: `Company.untracked_references`, both answers)."""
    if not ref or not ref.get("value"):
        return None
    if tracked:
        found = reference(books, kind, ref, kind)
        return {"value": found["Id"], "name": found["Name"]} if found else None
    if books.company.untracked_references == "refused":
        raise business(f"{kind} tracking is switched off for this company.")
    return None


def _given(value: Json, name: str) -> Decimal | None:
    found = value.get(name)
    return None if found is None or found == "" else Decimal(found)


def _amount(line: Json, quantity: Decimal | None, unit_price: Decimal | None, books: Books) -> Decimal:
    """The line's amount to the cent: computed when left out, and when Qty and UnitPrice are both there exactly their
    product rounded half up (docs/vendors/quickbooks.md §1.4)."""
    amount = _given(line, "Amount")
    if quantity is not None and unit_price is not None:
        if books.company.amount_check_uses == "stored":
            quantity, unit_price = _cut(quantity, books), _cut(unit_price, books)
        product = _half_up(quantity * unit_price, books)
        if amount is not None and amount != product:
            raise Refusal(
                "6070",
                "Amount calculation incorrect in the request.",
                f"Amount is not equal to UnitPrice * Qty. Supplied value:{amount:,}",
                "Line.Amount",
            )
        amount = product
    return _checked(amount)


def _gross(line: Json, detail: Json, quantity: Decimal | None, unit_price: Decimal | None) -> Decimal:
    """What a line costs with its tax: UnitPrice decides, not Amount; TaxInclusiveAmt is what an answer said before."""
    gross = _given(detail, "TaxInclusiveAmt") or None
    if gross is None and quantity is not None and unit_price is not None:
        gross = quantity * unit_price
    return _checked(_given(line, "Amount") if gross is None else gross)


def _checked(amount: Decimal | None) -> Decimal:
    """The amount to the cent. Raises Refusal 2020 without one, 2140 above 10 digits before the point."""
    if amount is None:
        raise missing("Line.Amount")
    if abs(amount) >= AMOUNT_LIMIT:
        raise Refusal("2140", "Invalid Number", f"Invalid Number : Amount. Supplied value:{amount}", "Line.Amount")
    return amount.quantize(CENT, ROUND_HALF_UP)


def _half_up(value: Decimal, books: Books) -> Decimal:
    """To the cent, half up; which way a negative half goes is not known (docs/vendors/quickbooks.md §11.3)."""
    upwards = value < 0 and books.company.negative_half == "toward-positive"
    return value.quantize(CENT, ROUND_HALF_DOWN if upwards else ROUND_HALF_UP)


@cache
def _quantum(decimals: int) -> Decimal:
    return Decimal(1).scaleb(-decimals)


def _cut(value: Decimal, books: Books) -> Decimal:
    """Qty and UnitPrice keep so many decimals; the next is dropped (docs/vendors/quickbooks.md §1.4)."""
    return value.quantize(_quantum(books.company.decimals_kept), ROUND_DOWN)


def _shown(value: Decimal, books: Books) -> Decimal | int:
    cut = _cut(value, books)
    whole = int(cut)
    return whole if cut == whole else cut.normalize()


def _discount(line: Json, books: Books, lines: Lines) -> Json:
    """A discount on the subtotal; recorded behind it, without an Id."""
    if not books.company.allow_discount:
        raise business("Discounts are switched off for this company.")
    detail = line.get("DiscountLineDetail") or {}
    kept: Json = {"PercentBased": bool(detail.get("PercentBased"))}
    if kept["PercentBased"]:
        percent = _given(detail, "DiscountPercent") or Decimal(0)
        kept["DiscountPercent"] = _shown(percent, books)
        amount: Decimal | None = lines.subtotal * percent / 100
    else:
        amount = _given(line, "Amount")
    account = reference(books, "Account", detail.get("DiscountAccountRef"), "Account")
    kept["DiscountAccountRef"] = {"value": account["Id"], "name": account["Name"]} if account else DISCOUNTS_GIVEN
    cents = _checked(amount)
    lines.discount += cents
    if lines.subtotal and amount is not None:
        lines.remaining -= amount / lines.subtotal
    return {"Amount": money(cents), "DetailType": "DiscountLineDetail", "DiscountLineDetail": kept}
