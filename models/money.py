"""Exact money: units, currencies, cents. Decimal from the first byte to the last; a float never comes near.

Sources: docs/vendors/metronome.md §1.3 (units), docs/vendors/quickbooks.md §1.4 (precision and rounding).
"""

import json
import re
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import Annotated, Any

from pydantic import AfterValidator

EXACT = Context(prec=60, rounding=ROUND_HALF_UP)
"""Enough digits that no product or sum of invoice figures is ever rounded on the way."""

CENTS_SUFFIX = " (cents)"

# ISO 4217 exponents of the currencies that Metronome bills in (docs/vendors/metronome.md §1.3), and of those with none
# or three decimals, which a careless hundredth would change tenfold or more.
EXPONENTS = {
    "USD": 2, "AUD": 2, "BRL": 2, "CAD": 2, "CHF": 2, "CZK": 2, "EUR": 2, "GBP": 2, "INR": 2, "MXN": 2,
    "NGN": 2, "NOK": 2, "PLN": 2, "SEK": 2, "TRY": 2, "ZAR": 2, "NZD": 2, "SGD": 2, "HUF": 2,
    "JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0,
    "KWD": 3, "BHD": 3, "OMR": 3, "JOD": 3, "TND": 3,
}  # fmt: skip


_QUANTUMS = {0: Decimal(1), 2: Decimal("0.01"), 3: Decimal("0.001")}


class UnknownUnit(ValueError):
    """The pricing unit is not a currency that we know; an unknown unit is refused, never guessed."""


DIGITS_MAX = 1000
"""No number in a record of ours has more digits: to write out 1E+999999999 takes minutes and gigabytes."""


def bounded(number: Decimal) -> Decimal:
    """The number itself; raises ValueError when it has more than `DIGITS_MAX` digits before or behind its point."""
    exponent = number.as_tuple().exponent
    if not (isinstance(exponent, int) and exponent >= -DIGITS_MAX and number.adjusted() <= DIGITS_MAX):
        raise ValueError(f"a number of more than {DIGITS_MAX} digits")
    return number


Amount = Annotated[Decimal, AfterValidator(bounded)]
"""A number in a record of ours, or in a document of QuickBooks'."""


_DECODER = json.JSONDecoder(parse_float=Decimal)
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(raw: bytes | str) -> Any:
    """Parse a vendor's JSON with every number that has a fraction as `Decimal`; raises ValueError and nothing else.

    Half an emoji, which JSON can spell and no encoding can carry, is left out: every vendor's text comes in here.
    """
    text = raw if isinstance(raw, str) else raw.decode()
    try:
        parsed = _DECODER.decode(text)
        return _without_surrogates(parsed) if _ESCAPED_SURROGATE.search(text) else parsed
    except (ArithmeticError, RecursionError) as error:
        raise ValueError(f"unreadable: {type(error).__name__}") from None


def _without_surrogates(parsed: Any) -> Any:
    """Without recursion, which nests less deep than the decoder."""
    whole = [parsed]
    unseen: list[Any] = [whole]
    while unseen:
        container = unseen.pop()
        items: list[tuple[Any, Any]]
        if isinstance(container, dict):
            items = [(_SURROGATE.sub("", key), value) for key, value in container.items()]
            container.clear()
        else:
            items = list(enumerate(container))
        for key, value in items:
            container[key] = _SURROGATE.sub("", value) if isinstance(value, str) else value
            if isinstance(value, dict | list):
                unseen.append(value)
    return whole[0]


class Unit:
    """What the numbers of a Metronome amount mean: a currency, and how many of them make one of it."""

    __slots__ = ("_divisor", "currency", "per_major")

    def __init__(self, currency: str, per_major: int) -> None:
        self.currency = currency
        self.per_major = per_major
        self._divisor = Decimal(per_major)

    def major(self, amount: Decimal) -> Decimal:
        """`amount` in whole units of the currency (dollars, not cents), exactly."""
        return EXACT.divide(amount, self._divisor) if self.per_major != 1 else amount


def unit_of(name: str) -> Unit:
    """The unit called `name` by Metronome: "USD (cents)" counts cents, every other currency whole units.

    Raises UnknownUnit for anything else: custom pricing units, and cents of a currency that has no hundredths.
    """
    code, per_major = (name.removesuffix(CENTS_SUFFIX), 100) if name.endswith(CENTS_SUFFIX) else (name, 1)
    if code not in EXPONENTS or (per_major == 100 and EXPONENTS[code] != 2):
        known = ", ".join(sorted(EXPONENTS))
        raise UnknownUnit(f"unit {name!r} is not a known currency; known are {known}, and a code with '(cents)' behind")
    return Unit(code, per_major)


def quantum(currency: str) -> Decimal:
    """The smallest amount of a currency: Decimal("0.01") for USD."""
    return _QUANTUMS[EXPONENTS[currency]]


def round_half_up(amount: Decimal, step: Decimal) -> Decimal:
    """`amount` to the nearest `step`, halves away from zero, as QuickBooks does (docs/vendors/quickbooks.md §1.4)."""
    return amount.quantize(step, rounding=ROUND_HALF_UP, context=EXACT)


def exact_sum(amounts: "list[Decimal]") -> Decimal:
    """The sum with no rounding at any step."""
    with localcontext(EXACT):
        return sum(amounts, Decimal(0))
