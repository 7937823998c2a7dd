"""The DocNumbers of an invoice: which it may have, which is free, and what a claimed one tells.

A number is claimed, confirmed by the broker, before the first attempt under it leaves, and given up only when that
did not leave after all. So it tells of an attempt also when the invoice's row does not, because a worker that had been
given up, which knew of no attempt, wrote over it.
"""

from collections.abc import Container, Mapping

from models.document import DOC_NUMBER_HEX_MAX, DOC_NUMBER_HEX_MIN, doc_number
from models.ledger import LedgerEntry
from models.subject import RowKey


def numbers_of(invoice_id: str) -> list[str]:
    """The shortest first."""
    return [doc_number(invoice_id, digits) for digits in range(DOC_NUMBER_HEX_MIN, DOC_NUMBER_HEX_MAX + 1)]


def free_number(entry: LedgerEntry, taken: Container[str], holders: Mapping[str, str]) -> str:
    """The shortest number of this invoice that neither another invoice of ours has nor QuickBooks calls `taken`.

    The longest one when there is none such. `holders`: the invoice that claimed each number, by `realm/number`.
    """
    numbers = numbers_of(entry.invoice_id)
    holder = {number: holders.get(RowKey.of(entry.realm, number)) for number in numbers}
    free = [number for number in numbers if number not in taken and holder[number] in (None, entry.invoice_id)]
    return free[0] if free else numbers[-1]


def was_overwritten(entry: LedgerEntry, holders: Mapping[str, str]) -> bool:
    """Whether the row knows of no attempt although there was one; or of no result, since a worker that had been given
    up took its own attempt back, over the result of its successor."""
    taken_back = entry.state == "attempting" and entry.attempt is None and entry.qbo_id is None
    if entry.ever_attempted and not taken_back:
        return False
    return any(
        holders.get(RowKey.of(entry.realm, number)) == entry.invoice_id for number in numbers_of(entry.invoice_id)
    )


def marked(entry: LedgerEntry, holders: Mapping[str, str]) -> LedgerEntry:
    """The row, which says that the document is to be looked up first where an attempt was overwritten."""
    if entry.look_up_first or not was_overwritten(entry, holders):
        return entry
    row: LedgerEntry = entry.replace(look_up_first=True)
    return row
