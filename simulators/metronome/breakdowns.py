"""Invoices by hour or day (`docs/vendors/metronome.md` §2): this simulator spreads each line evenly over its period."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from simulators.http import Json
from simulators.metronome.reading import Call, Refusal, limit_of, moment, slice_of
from simulators.metronome.store import Store

from . import invoices

# Width of a window, and how many windows a page holds at most.
WIDTHS = {"DAY": (timedelta(days=1), 35), "HOUR": (timedelta(hours=1), 24)}
DIGIT = Decimal("1e-10")


@dataclass(frozen=True, slots=True)
class Window:
    """The part number `index` of `count` equal parts of an invoice's period."""

    invoice: Json
    index: int
    count: int
    start: datetime
    end: datetime


def list_breakdowns(store: Store, call: Call) -> Json:
    """Whole windows of usage invoices between `starting_on` and `ending_before`, which are required."""
    since, until = call.moment("starting_on"), call.moment("ending_before")
    if since is None or until is None:
        raise Refusal(400, "starting_on and ending_before are required")
    name = call.query("window_size") or "DAY"
    if name not in WIDTHS:
        raise Refusal(400, "window_size must be HOUR or DAY")
    width, per_page_max = WIDTHS[name]
    found = [
        window
        for invoice in invoices.chosen(store, call)
        if invoice["type"] == "USAGE" and invoice.get("start_timestamp") and invoice.get("end_timestamp")
        for window in _windows(invoice, width)
        if window.start >= since and window.end <= until
    ]
    limit = limit_of(call.query("limit"), per_page_max, per_page_max)
    numbers, cursor = slice_of(found, call.query("next_page"), limit)
    return {"data": [_shown(store, call, each) for each in numbers], "next_page": cursor}


def _windows(invoice: Json, width: timedelta) -> Iterator[Window]:
    start = moment(invoice["start_timestamp"], "start_timestamp")
    count = (moment(invoice["end_timestamp"], "end_timestamp") - start) // width
    for index in range(count):
        yield Window(invoice, index, count, start + index * width, start + (index + 1) * width)


def _shown(store: Store, call: Call, window: Window) -> Json:
    whole = invoices.shown(store, window.invoice, call.request.query)
    parts = {name: part for name in ("total", "subtotal") if (part := _part(whole.get(name), window)) is not None}
    lines = [
        each | {name: _part(each.get(name), window) for name in ("quantity", "total")} for each in whole["line_items"]
    ]
    return {
        **whole,
        **parts,
        "line_items": lines,
        "breakdown_start_timestamp": window.start.isoformat(),
        "breakdown_end_timestamp": window.end.isoformat(),
    }


def _part(amount: Decimal | int | None, window: Window) -> Decimal | None:
    """The parts of all windows sum up to the amount exactly."""
    return None if amount is None else _until(amount, window.index + 1, window) - _until(amount, window.index, window)


def _until(amount: Decimal | int, windows: int, window: Window) -> Decimal:
    if windows == window.count:
        return Decimal(amount)
    return (Decimal(amount) * windows / window.count).quantize(DIGIT)
