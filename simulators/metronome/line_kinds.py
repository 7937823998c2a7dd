"""Kinds of invoices that differ in their lines (`docs/vendors/metronome.md` §1.2 to §1.5). Each docstring tells the
kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import chain

from simulators.http import Json
from simulators.metronome.lines import Lines, plain
from simulators.metronome.maker import Make, Maker
from simulators.metronome.world import COMMIT_PRODUCT
from simulators.scene import AGENT_CREDITS

LARGE_LINES = 2_000
CONVERSION_PRICE = "0.0087"
CONTROL_CHARACTERS = "".join(map(chr, (0, 7, 8, 9, 10, 13, 27, 31, 127, 0x85)))
UNICODE = "Größe 漢字 عربي e\u0301 👩\u200d🚀 \u202eright to left\u202c <b>&amp;</b> \"quoted\" \\ 'single'"


def all_line_types(maker: Maker) -> list[Json]:
    """Every line type on one usage invoice, scheduled charges among them."""
    lines, custom = maker.lines(), maker.lines(AGENT_CREDITS, "credits")
    return [
        maker.invoice(
            chain(lines.plain(), lines.seats(), lines.drawn_down(), _converted(lines, custom), _charges(lines))
        )
    ]


def tiers(maker: Maker) -> list[Json]:
    """One line per tier; bounds are strings, the last size is null."""
    return [maker.invoice(maker.lines().tiered())]


def groups(maker: Maker) -> list[Json]:
    """Lines by pricing group and by presentation group, with null values among the latter."""
    lines = maker.lines()
    return [maker.invoice(chain(lines.grouped(), lines.tokens()))]


def fractional_quantity(maker: Maker) -> list[Json]:
    """Quantities with many decimals, such as 33.333333 hours."""
    lines = maker.lines()
    more = lines.line("usage", 4, lines.quantity(1, 90, 11))
    return [maker.invoice([lines.line("usage", 1, Decimal("33.333333")), more])]


def fractional_cents(maker: Maker) -> list[Json]:
    """Lines of fractions of a cent whose sum is one too."""
    lines = maker.lines()
    return [maker.invoice(lines.line("usage", 0, Decimal(each), price="0.0035") for each in (1, 3, 7, 11))]


def long_prices(maker: Maker) -> list[Json]:
    """Unit prices with more than seven decimals: a prorated seat and tokens."""
    lines = maker.lines()
    seat = lines.line("subscription", 5, Decimal(3), price="19.6451612903", subscription_id=lines.id_of("seat"))
    tokens = lines.line("usage", 3, lines.quantity(1_000_000, 90_000_000, 0), price="0.0000000375")
    return [maker.invoice([seat | {"is_prorated": True}, tokens])]


def zero_quantity(maker: Maker) -> list[Json]:
    """A line of nothing used beside one that was."""
    lines = maker.lines()
    return [maker.invoice([*lines.plain(), lines.line("usage", 9, Decimal(0)), lines.line("usage", 2, Decimal(0))])]


def subscription(maker: Maker) -> list[Json]:
    """Seats: a full month and a prorated part of one."""
    lines = maker.lines()
    seats = [lines.line("subscription", 5, Decimal(each), subscription_id=lines.id_of("seats")) for each in (12, 3)]
    seats[1] |= {"unit_price": plain(Decimal("15.5") * lines.scale), "total": plain(Decimal("46.5") * lines.scale)}
    return [maker.invoice([seats[0] | {"is_prorated": False}, seats[1] | {"is_prorated": True}])]


def composite(maker: Maker) -> list[Json]:
    """A composite product: a usage line priced as a part of the other lines."""
    product, lines = maker.world.composite_product(), maker.lines()
    used = list(lines.plain())
    share = {"unit_price": plain(Decimal(used[0]["total"]) / 10), "total": plain(Decimal(used[0]["total"]) / 10)}
    named = {"name": product["current"]["name"], "product_id": product["id"]}
    line = lines.line("usage", 0, Decimal(1), product_type="CompositeProductListItem")
    return [maker.invoice([*used, line | named | share | {"product_tags": []}])]


def prepaid(maker: Maker) -> list[Json]:
    """Usage covered in part by a prepaid commit: a line, its equal negative, and what was used beyond."""
    lines = maker.lines()
    covered = lines.covered(4, lines.quantity(10, 500, 3), _applied(lines, "PREPAID"))
    return [maker.invoice([*covered, lines.line("usage", 4, lines.quantity(1, 200, 3))])]


def credit(maker: Maker) -> list[Json]:
    """Usage covered in part by a free credit, which names itself a PrepaidCommit too."""
    lines = maker.lines()
    covered = lines.covered(1, lines.quantity(1, 20, 2), _applied(lines, "CREDIT"))
    return [maker.invoice([*covered, lines.line("usage", 1, Decimal(4))])]


def quantity_commit(maker: Maker) -> list[Json]:
    """Usage covered by a commit that counts units, not money."""
    lines = maker.lines()
    quantity = Decimal(maker.dice.randint(10, 90))
    applied = _applied(lines, "PREPAID") | {"access_type": "QUANTITY"}
    covered = list(lines.covered(9, quantity, applied))
    covered[1] |= {"quantity_consumed": int(quantity)}
    return [maker.invoice([*covered, lines.line("usage", 9, Decimal(2))])]


def postpaid(maker: Maker) -> list[Json]:
    """Usage applied to a postpaid commit: the negative line is shown but not counted in the total."""
    lines = maker.lines()
    return [maker.invoice(lines.covered(4, lines.quantity(10, 5000, 3), _applied(lines, "POSTPAID")))]


def cpu_conversion(maker: Maker) -> list[Json]:
    """Lines in a custom pricing unit, and a conversion line without product that bills the rest in money."""
    return [maker.invoice(_converted(maker.lines(), maker.lines(AGENT_CREDITS, "credits")))]


def negative_line(maker: Maker) -> list[Json]:
    """A negative usage line on an invoice whose total is positive."""
    lines = maker.lines()
    return [maker.invoice([lines.line("usage", 1, Decimal(50)), lines.line("usage", 1, Decimal("-7.25"))])]


def negative_total(maker: Maker) -> list[Json]:
    """A total below zero: a metric fell by more than was used."""
    return [maker.invoice(maker.lines().negative())]


def zero_total(maker: Maker) -> list[Json]:
    """A total of zero: all of the usage is covered by a prepaid commit."""
    lines = maker.lines()
    return [maker.invoice(lines.covered(4, lines.quantity(10, 5000, 3), _applied(lines, "PREPAID")))]


def no_lines(maker: Maker) -> list[Json]:
    """An invoice without a line, total zero."""
    return [maker.invoice(())]


def large(maker: Maker) -> list[Json]:
    """2,000 lines, one for each team."""
    lines = maker.lines()

    def of_teams() -> Iterator[Json]:
        for team in range(LARGE_LINES):
            groups: Json = {"presentation_group_values": {"team": f"team-{team:04}"}}
            yield lines.line("usage", team % 5, lines.quantity(1, 900, 4), **groups)

    return [maker.invoice(of_teams())]


def long_texts(maker: Maker) -> list[Json]:
    """Names of 4,500 characters, any Unicode, control characters, and a hundred group values."""
    lines = maker.lines()
    line = lines.line("usage", 1, Decimal(2))
    many = {f"label-{each:03}": f"value {each} {UNICODE}" for each in range(100)}
    named = [
        line | {"name": "A very long name " * 265},
        line | {"name": UNICODE},
        line | {"name": f"control {CONTROL_CHARACTERS} characters"},
        line | {"name": "", "presentation_group_values": many},
    ]
    return [maker.invoice(named)]


def _applied(lines: Lines, kind: str) -> Json:
    return {"id": lines.id_of("commit"), "type": kind, "access_type": "SPEND"}


def _charges(lines: Lines) -> Iterator[Json]:
    yield lines.line("scheduled", 6, Decimal(1), scheduled_charge_id=lines.id_of("charge"))
    paid = {"commit_id": lines.id_of("commit", "bought"), "commit_type": "PrepaidCommit"}
    yield lines.line("commit_purchase", COMMIT_PRODUCT, Decimal(1), **paid)


def _converted(lines: Lines, custom: Lines) -> Iterator[Json]:
    """Used in the custom unit, covered there by a credit in part, the rest turned into money."""
    used, free = Decimal(lines.dice.randint(400, 900)), Decimal(100)
    line = custom.line("usage", 3, used, price="1")
    yield line
    applied = _applied(custom, "CREDIT")
    named: Json = {"name": "Free credits applied", "commit_id": applied["id"], "commit_type": "PrepaidCommit"}
    covered: Json = {"type": "applied_commit_or_credit", "quantity": None, "unit_price": None, "total": plain(-free)}
    yield line | named | covered | {"applied_commit_or_credit": applied}
    price = Decimal(CONVERSION_PRICE) * lines.scale
    yield {
        "name": f"{custom.unit['name']} conversion",
        "type": "cpu_conversion",
        "quantity": plain(used - free),
        "unit_price": plain(price),
        "total": plain((used - free) * price),
        "credit_type": lines.unit,
        **lines.window,
    }


LINE_KINDS: dict[str, Make] = {
    "all-line-types": all_line_types,
    "tiers": tiers,
    "groups": groups,
    "fractional-quantity": fractional_quantity,
    "fractional-cents": fractional_cents,
    "long-prices": long_prices,
    "zero-quantity": zero_quantity,
    "subscription": subscription,
    "composite": composite,
    "prepaid": prepaid,
    "credit": credit,
    "quantity-commit": quantity_commit,
    "postpaid": postpaid,
    "cpu-conversion": cpu_conversion,
    "negative-line": negative_line,
    "negative-total": negative_total,
    "zero-total": zero_total,
    "no-lines": no_lines,
    "large": large,
    "long-texts": long_texts,
}
