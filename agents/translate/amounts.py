"""The arithmetic of an invoice: which lines count, whether they add up, and what figures each can say.

Everything is Decimal and exact; the one rounding is in `rounding.py`. Sources: docs/vendors/metronome.md §1.3-§1.4
(units, sum rule), docs/vendors/quickbooks.md §1.4 (precision).
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from models.metronome import Invoice, LineItem
from models.money import EXACT, Unit, exact_sum, quantum, round_half_up

APPLIED = "applied_commit_or_credit"
ADJUSTMENT = "adjustment"
"""Our own line type, for the adjustments that legacy plans keep beside their lines (docs/vendors/metronome.md §1.1)."""

AMOUNT_LIMIT = Decimal(10) ** 10
"""An amount of QuickBooks has at most 10 digits before the point (docs/vendors/quickbooks.md §1.3)."""
FIGURE_LIMIT = Decimal(10) ** 24
"""No quantity or unit price is larger; beyond lie only damaged numbers, and exact arithmetic runs out of digits."""

# Metronome's JSON numbers may have passed through doubles, whose sums differ from the decimal sum in the last place:
# a double carries 1.1e-16 of its size, so 1e-12 covers some 9,000 additions (recorded: 61.980483870967744 against
# 61.980483870967745). The floor is for totals near zero. A tenth of a cent is never noise, however large the figures.
NOISE_RELATIVE = Decimal("1e-12")
NOISE_UNITS = Decimal("1e-9")
NOISE_QUANTUMS_MAX = Decimal("0.1")

QUANTITY_DECIMALS_MAX = 7
"""QuickBooks drops the eighth decimal of Qty and UnitPrice (docs/vendors/quickbooks.md §1.4)."""
QUANTITY_DIGITS_MAX = 15
"""Every decimal of 15 digits survives a parser that reads JSON numbers as doubles."""
QUANTITY_LIMIT = Decimal(10) ** 11
"""UnitPrice is at most 99,999,999,999 (docs/vendors/quickbooks.md §2.2); a quantity is held to the same."""
CENT = Decimal("0.01")
"""QuickBooks keeps two decimals of an amount, whatever the currency (docs/vendors/quickbooks.md §1.4)."""
_WHOLE = Decimal(1)
SCALES = (1_000, 1_000_000)
"""What a unit price may be said per, when the price of a single one has too many decimals."""


def counted_lines(invoice: Invoice) -> list[LineItem]:
    """The lines whose totals make up the invoice's total, in order, adjustments last (docs/vendors/metronome.md §1.4).

    Left out are lines in another unit (custom pricing units) and the draw-down of a postpaid commit, which Metronome
    shows but does not count.
    """
    adjustments = [
        LineItem(type=ADJUSTMENT, name=adjustment.name, total=adjustment.total, credit_type=adjustment.credit_type)
        for adjustment in invoice.invoice_adjustments or ()
    ]
    return [line for line in (*invoice.line_items, *adjustments) if _counts(line, invoice)]


def _counts(line: LineItem, invoice: Invoice) -> bool:
    applied = line.applied_commit_or_credit
    is_postpaid = line.type == APPLIED and applied is not None and applied.type == "POSTPAID"
    return line.credit_type.id == invoice.credit_type.id and not is_postpaid


def figure_out_of_range(invoice: Invoice, lines: Sequence[LineItem], unit: Unit) -> str | None:
    """A sentence about the first number that no QuickBooks document can hold, or None when there is none."""
    limit = AMOUNT_LIMIT * unit.per_major
    if invoice.total.copy_abs() >= limit:
        return f"the invoice's total {invoice.total} reaches the limit of {limit:f} ({invoice.credit_type.name})"
    for line in lines:
        if line.total.copy_abs() >= limit:
            return f"line {line.name!r}: total {line.total} reaches the limit of {limit:f} ({invoice.credit_type.name})"
        for figure in (line.quantity, line.unit_price):
            if figure is not None and figure.copy_abs() >= FIGURE_LIMIT:
                return f"line {line.name!r}: quantity or unit price {figure} reaches the limit of {FIGURE_LIMIT:f}"
    return None


def broken_sum(invoice: Invoice, lines: Sequence[LineItem], unit: Unit) -> str | None:
    """A sentence with both numbers and the likely line when `lines` do not add up to the total, else None."""
    added = exact_sum([line.total for line in lines])
    difference = EXACT.subtract(added, invoice.total)
    if difference.copy_abs() <= _noise(invoice, lines, unit):
        return None
    return (
        f"the lines add up to {added}, but the invoice's total is {invoice.total} ({invoice.credit_type.name}), "
        f"off by {difference}{_suspect(invoice, lines, difference)}"
    )


def _noise(invoice: Invoice, lines: Sequence[LineItem], unit: Unit) -> Decimal:
    largest = max(figure.copy_abs() for figure in (invoice.total, *(line.total for line in lines)))
    most = EXACT.multiply(NOISE_QUANTUMS_MAX * unit.per_major, quantum(unit.currency))
    return min(max(EXACT.multiply(NOISE_RELATIVE, largest), NOISE_UNITS), most)


def _suspect(invoice: Invoice, lines: Sequence[LineItem], difference: Decimal) -> str:
    """Which line the difference points at: the one that should not count, should count, or is wrong in itself."""
    for line in lines:
        if line.total == difference:
            return f", which is the total of line {line.name!r}"
        if line.quantity is not None and line.unit_price is not None:
            product = EXACT.multiply(line.quantity, line.unit_price)
            if EXACT.subtract(line.total, product) == difference:
                return f"; line {line.name!r} has total {line.total}, but its quantity × unit price is {product}"
    for line in invoice.line_items:
        if line not in lines and line.total == difference.copy_negate():
            return f", which is the total of line {line.name!r}, left out of the sum"
    return ""


class Figures(NamedTuple):
    """Qty and UnitPrice as QuickBooks will multiply them; the price is for `per` of what Metronome counts."""

    quantity: Decimal
    unit_price: Decimal
    per: int = 1


def rescaled(line: LineItem, amount: Decimal, unit: Unit, *, negated: bool = False) -> Figures | None:
    """Quantity and price per 1,000 or per 1,000,000, the smaller where it works, that multiply to `amount`."""
    for per in SCALES:
        found = quantity_and_price(line, amount, unit, negated=negated, per=per)
        if found is not None:
            return found
    return None


def quantity_and_price(
    line: LineItem, amount: Decimal, unit: Unit, *, negated: bool = False, per: int = 1
) -> Figures | None:
    """Qty and UnitPrice (in whole units of the currency) that QuickBooks will multiply to `amount`, or None.

    None, so Amount only, when one is missing, has more decimals or digits than survive the way, is negative (how
    QuickBooks rounds products below zero is not known), or when the product rounds to something else.
    `negated`: the document is a credit memo, so the quantity changes its sign.
    """
    if line.quantity is None or line.unit_price is None:
        return None
    quantity, price = line.quantity, unit.major(line.unit_price)
    if per != 1:
        quantity, price = EXACT.divide(quantity, Decimal(per)), EXACT.multiply(price, Decimal(per))
    return multiplied(quantity.copy_negate() if negated else quantity, price, amount, per)


def multiplied(quantity: Decimal, price: Decimal, amount: Decimal, per: int = 1) -> Figures | None:
    """The figures if QuickBooks keeps both, and their product, rounded half up to the cent, is `amount`."""
    sent_quantity, sent_price = _as_sent(quantity), _as_sent(price)
    if sent_quantity is None or sent_price is None:
        return None
    product = round_half_up(EXACT.multiply(sent_quantity, sent_price), CENT)
    return Figures(sent_quantity, sent_price, per) if product == amount else None


def _as_sent(number: Decimal) -> Decimal | None:
    """`number` as plain digits without an exponent, or None when QuickBooks would not keep it as it is."""
    if number < 0 or number >= QUANTITY_LIMIT:
        return None
    short = number.normalize(EXACT).copy_abs()  # a zero may have a minus
    _, digits, exponent = short.as_tuple()
    assert isinstance(exponent, int), "a figure is finite"
    if exponent < -QUANTITY_DECIMALS_MAX or len(digits) > QUANTITY_DIGITS_MAX or short != number:
        return None
    return short.quantize(_WHOLE, context=EXACT) if exponent > 0 else short
