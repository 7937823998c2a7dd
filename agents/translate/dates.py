"""The dates of a document: when it counts, and when it is due. The company's zone decides the date of an instant."""

from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from models.events import InvoiceEnriched
from models.metronome import Invoice
from models.policy import Policy
from models.record import utc

from .declined import refused

TERMS_DAYS_MAX = 3650


class TxnDate(NamedTuple):
    """The document's date, and the day of issue; `original` is what the date would have been, had the books not been
    closed for that day."""

    day: date
    issued: date
    original: date | None = None


class Due(NamedTuple):
    """When it is due: a date, or a QuickBooks term that says so, or neither, which leaves it to QuickBooks."""

    day: date | None = None
    sales_term_id: str | None = None


def issued_on(invoice: Invoice, facts: InvoiceEnriched, policy: Policy) -> date:
    """The day of issue. Raises OverflowError for an instant beyond the calendar, as all functions here do."""
    return _local_date(invoice.issued_at or invoice.end_timestamp or facts.received_at, policy)


def txn_date(invoice: Invoice, facts: InvoiceEnriched, policy: Policy) -> TxnDate:
    """TxnDate by policy: never later than the day of issue, unless closed books move it. Raises Declined when it lies
    in the closed period (docs/vendors/quickbooks.md §1.9)."""
    wanted = issued = issued_on(invoice, facts, policy)
    if policy.txn_date == "service-end" and (end := _service_end(invoice)) is not None:
        wanted = min(end, issued)
    closed = policy.books_closed_through
    if closed is None or wanted > closed:
        return TxnDate(wanted, issued)
    if policy.closed_books == "refuse":
        raise refused("closed books", f"the document's date is {wanted}, and the books are closed through {closed}")
    return TxnDate(closed + timedelta(days=1), issued, original=wanted)


def _service_end(invoice: Invoice) -> date | None:
    """The last day of the billing period; of an invoice without one, such as a true-up, of its lines' own."""
    if invoice.end_timestamp is not None:
        return last_day_of(invoice.start_timestamp, invoice.end_timestamp)
    ends = [last_day_of(line.starting_at, line.ending_before) for line in invoice.line_items if line.ending_before]
    return max(ends, default=None)


def last_day_of(start: datetime | None, end: datetime | None) -> date:
    """A period of no length is its day, and not the one before."""
    assert end is not None
    return last_day(end) if start is None else max(utc(start).date(), last_day(end))


def due(invoice: Invoice, dated: TxnDate, policy: Policy, term_id: str | None) -> Due:
    """By policy; `term_id` is the term that a custom field names, which wins.

    Terms count from the day of issue: neither the end of the service nor closed books move what the customer was told.
    Nothing is due before the document's own date. An `end_timestamp` before the day of issue, as usual, makes no due
    date; then terms count. Raises Declined.
    """
    if term_id is not None:
        return Due(sales_term_id=term_id)
    if policy.due_date == "end_timestamp" and invoice.end_timestamp is not None:
        end = _local_date(invoice.end_timestamp, policy)
        if end >= max(dated.day, dated.issued):
            return Due(end)
    days = _terms_days(invoice, policy)
    if policy.due_date == "sales-term":
        return Due(sales_term_id=_sales_term(days, policy))
    return Due() if days is None else Due(max(dated.day, dated.issued + timedelta(days=days)))


def _terms_days(invoice: Invoice, policy: Policy) -> int | None:
    terms = invoice.net_payment_terms_days
    if terms is None:
        return policy.payment_terms_days
    if not 0 <= terms <= TERMS_DAYS_MAX:
        raise refused("payment terms", f"net_payment_terms_days is {terms}, not between 0 and {TERMS_DAYS_MAX}")
    return int(terms)


def _sales_term(days: int | None, policy: Policy) -> str:
    term = policy.sales_term_ids.get(str(days)) or policy.sales_term_id
    if term is None:
        terms = "without payment terms" if days is None else f"of {days} days"
        raise refused(
            "no sales term",
            f"no QuickBooks term for an invoice {terms}: set sales_term_id or sales_term_ids, then replay",
        )
    return term


def _local_date(moment: datetime, policy: Policy) -> date:
    return utc(moment).astimezone(ZoneInfo(policy.time_zone)).date()


def days(start: datetime | None, end: datetime | None) -> tuple[date, date] | None:
    """First and last day, both included, of the time from `start` to before `end`; None unless both are known.

    Days in UTC, which is how Metronome cuts its periods.
    """
    if start is None or end is None:
        return None
    return utc(start).date(), last_day_of(start, end)


def last_day(end: datetime) -> date:
    """The last day, in UTC, of a time that ends before `end` (docs/vendors/metronome.md §7)."""
    return (utc(end) - timedelta(microseconds=1)).date()
