"""Several operations in one request, each with its own fault (`docs/vendors/quickbooks.md` §4.1; recorded:
batch/basic).
"""

from __future__ import annotations

from typing import Any

from simulators.http import Json
from simulators.quickbooks.books import Books
from simulators.quickbooks.changes import run_cdc
from simulators.quickbooks.errors import Refusal, missing, unsupported
from simulators.quickbooks.query import run_query
from simulators.quickbooks.settings import QuickBooksSettings

from . import operations

ITEM_PROPERTIES = ("bId", "operation", "optionsData")
KINDS = frozenset(operations.ENTITIES.values())


def batch_items(written: Json) -> list[Json]:
    """The BatchItemRequest objects. Raises Refusal 2010 when they are none, 2020 when they are missing."""
    items = written.get("BatchItemRequest")
    if items is None or items == []:
        raise missing("BatchItemRequest")
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        detail = "Property Name:BatchItemRequest specified is unsupported or invalid"
        raise Refusal("2010", "Request has invalid or unsupported property", detail)
    return items


def bids_of(items: list[Json]) -> list[str]:
    return [str(each.get("bId") or "") for each in items]


def run_batch(items: list[Json], books: Books, now: float, settings: QuickBooksSettings) -> list[Json]:
    """One BatchItemResponse for each item, in their order. Raises Refusal 1040 when they are too many."""
    if len(items) > settings.batch_items_max:
        raise Refusal(
            "1040",
            "Too Many Batch Items",
            f"The maximum number of batch items in a single request is {settings.batch_items_max}",
        )
    return [_answered(each, books, now, settings) for each in items]


def _answered(item: Json, books: Books, now: float, settings: QuickBooksSettings) -> Json:
    try:
        answer = _run(item, books, now, settings)
    except Refusal as refusal:
        answer = {"Fault": refusal.fault}
    return {**answer, "bId": str(item.get("bId") or "")}


def _run(item: Json, books: Books, now: float, settings: QuickBooksSettings) -> Json:
    subjects = [name for name in item if name not in ITEM_PROPERTIES]
    if len(subjects) != 1:
        raise missing("an entity or a Query")
    [subject] = subjects
    value: Any = item[subject]
    operation, options = (_text(item.get(name)) for name in ("operation", "optionsData"))
    if subject == "Query" and isinstance(value, str):
        return {"QueryResponse": run_query(value, books, now, settings)}
    if subject == "CDCQuery" and isinstance(value, dict):
        entities, since = _text(value.get("Entities")), _text(value.get("ChangedSince"))
        return {"CDCResponse": run_cdc(entities, since, books, now, settings)}
    if subject not in KINDS or not isinstance(value, dict):
        raise unsupported(f"batch item {subject[:100]}")
    if operation == "send" and value.get("Id"):
        sale = operations.send(subject, _text(value["Id"]), books, now, "")
        return {subject: sale}
    if operation not in ("create", "update", "delete", "void"):
        raise unsupported(f"{subject.lower()}?operation={operation[:50]}")
    if operation != "create" and not value.get("Id"):
        raise missing("Id")
    if operation == "create":
        value = {name: each for name, each in value.items() if name not in ("Id", "SyncToken")}
    return {subject: operations.write(subject, value, books, now, operation, options)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
