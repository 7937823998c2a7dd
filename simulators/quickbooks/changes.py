"""Change data capture: what was written or deleted since a moment (`docs/vendors/quickbooks.md` §4.2; recorded:
cdc/basic).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from simulators.http import Json
from simulators.quickbooks.books import LISTS, SALES, Books
from simulators.quickbooks.errors import Refusal, missing
from simulators.quickbooks.lists import shown_entry
from simulators.quickbooks.rules import bad_date
from simulators.quickbooks.settings import QuickBooksSettings

DAYS_MAX = 30
OBJECTS_MAX = 1000
KINDS = {name.lower(): name for name in (*SALES, *LISTS)}


def run_cdc(entities: str, since: str, books: Books, now: float, settings: QuickBooksSettings) -> list[Json]:
    """The CDCResponse: one QueryResponse for each of the entities (names with commas between), oldest change first.

    `since` is an ISO date or timestamp; without an offset it is the company's own time.
    """
    names = [each.strip() for each in entities.split(",") if each.strip()]
    if not names:
        raise missing("entities")
    if not since:
        raise missing("changedSince")
    try:
        moment = datetime.fromisoformat(since.replace(" ", "+"))
        moment = moment.replace(tzinfo=books.zone) if moment.tzinfo is None else moment.astimezone(books.zone)
    except (ValueError, OverflowError):
        raise bad_date("changedSince", since) from None
    oldest = datetime.fromtimestamp(now, books.zone) - timedelta(days=DAYS_MAX)
    if moment < oldest and settings.cdc_beyond_thirty_days == "refuse":
        raise bad_date("changedSince", since)
    start = moment.isoformat(timespec="seconds")
    return [{"QueryResponse": [_changed(each, start, books) for each in dict.fromkeys(names)]}]


def _changed(name: str, start: str, books: Books) -> Json:
    """Timestamps of one company share an offset, so that their texts compare like their instants."""
    kind = KINDS.get(name.lower())
    if kind is None:
        raise Refusal("4001", "Invalid query", f"QueryValidationError: invalid context declaration: {name[:100]}")
    live = [each for each in books.objects[kind].values() if each["MetaData"]["LastUpdatedTime"] >= start]
    found = [shown_entry(kind, each, books) for each in live]
    found += [
        {"domain": "QBO", "status": "Deleted", "Id": number, "MetaData": {"LastUpdatedTime": moment}}
        for (deleted_kind, number), moment in books.deleted.items()
        if deleted_kind == kind and moment >= start
    ]
    found.sort(key=lambda each: (each["MetaData"]["LastUpdatedTime"], len(each["Id"]), each["Id"]))
    page = found[:OBJECTS_MAX]
    return {kind: page, "startPosition": 1, "maxResults": len(page)} if page else {}
