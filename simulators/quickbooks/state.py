"""Everything that a simulated QuickBooks knows as rows, key and JSON value, for snapshots and for a database.

Keys: `<realm>/company`, `<realm>/counters`, `<realm>/meters`, `<realm>/<Entity>/<id>`, `<realm>/deleted/<Entity>/<id>`,
`<realm>/requestid/<id>`, `oauth/…`, `service/counters`. Not among them: the last minute of the rate limits' windows,
which start empty after a restore.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import date
from typing import Protocol

from simulators.http import Answer, Json
from simulators.quickbooks.books import LISTS, SALES, Books, Company
from simulators.quickbooks.meters import Meters
from simulators.quickbooks.oauth import OAuthServer
from simulators.quickbooks.requestids import Remembered, RequestIds

SERVICE = "service"
OAUTH = "oauth"


class QuickBooksState(Protocol):
    """What there is to keep of a simulated QuickBooks: its core, as far as this file sees it."""

    oauth: OAuthServer
    books: dict[str, Books]
    meters: dict[str, Meters]
    remembered: dict[str, RequestIds]
    answered: int

    @property
    def touched(self) -> set[str]: ...


def row(core: QuickBooksState, key: str) -> Json | None:
    """The value under this key, None when there is none (any more)."""
    realm, _, rest = key.partition("/")
    if realm == OAUTH:
        return core.oauth.row(rest)
    if realm == SERVICE:
        return {"answered": core.answered}
    books = core.books.get(realm)
    if books is None:
        return None
    match rest.split("/", 1):
        case ["company"]:
            return _company_row(books)
        case ["counters"]:
            counters: Json = {"last_id": dict(books.last_id), "last_doc_number": books.last_doc_number}
            return counters
        case ["meters"]:
            return _meters_row(core.meters[realm])
        case ["requestid", request_id]:
            return _remembered_row(core.remembered[realm].answers.get(request_id))
        case ["deleted", which]:
            kind, _, number = which.partition("/")
            moment = books.deleted.get((kind, number))
            return None if moment is None else {"time": moment}
        case [kind, number] if kind in books.objects:
            return books.objects[kind].get(number)
    return None


def rows(core: QuickBooksState) -> Iterator[tuple[str, Json]]:
    """All of them; what they hold at one moment, as long as nothing is answered meanwhile."""
    for key in _keys(core):
        value = row(core, key)
        if value is not None:
            yield key, value


def _keys(core: QuickBooksState) -> Iterator[str]:
    yield f"{SERVICE}/counters"
    yield from (f"{OAUTH}/{each}" for each in core.oauth.row_keys())
    for realm, books in core.books.items():
        yield from (f"{realm}/{each}" for each in ("company", "counters", "meters"))
        for kind in (*SALES, *LISTS):
            yield from (f"{realm}/{kind}/{number}" for number in books.objects[kind])
        yield from (f"{realm}/deleted/{kind}/{number}" for kind, number in books.deleted)
        yield from (f"{realm}/requestid/{each}" for each in core.remembered[realm].answers)


def restore(core: QuickBooksState, restored: Iterable[tuple[str, Json]]) -> None:
    """Replaces everything that `core` knows. Raises ValueError when a realm's company is missing."""
    by_realm: dict[str, dict[str, Json]] = {}
    for key, value in restored:
        realm, _, rest = key.partition("/")
        by_realm.setdefault(realm, {})[rest] = value
    core.answered = by_realm.pop(SERVICE, {}).get("counters", {}).get("answered", 0)
    oauth_rows = by_realm.pop(OAUTH, {})
    for realm, values in by_realm.items():
        if "company" not in values:
            raise ValueError(f"the rows of {realm} have no company")
    for held in (core.books, core.meters, core.remembered):
        held.clear()
    for realm, values in by_realm.items():
        core.books[realm] = _books(values, core)
        core.meters[realm] = _meters(values.get("meters", {}))
        core.remembered[realm] = _remembered(realm, values, core)
    core.oauth.restore(oauth_rows, {realm: books.company.name for realm, books in core.books.items()})
    core.touched.clear()


def _company_row(books: Books) -> Json:
    company = asdict(books.company)
    closed = books.company.book_close_date
    company["book_close_date"] = closed.isoformat() if closed else None
    return {**company, "custom_fields": list(books.company.custom_fields), "preferences_token": books.preferences_token}


def _books(values: dict[str, Json], core: QuickBooksState) -> Books:
    settings = dict(values["company"])
    preferences_token = settings.pop("preferences_token")
    settings["custom_fields"] = tuple(settings["custom_fields"])
    closed = settings["book_close_date"]
    settings["book_close_date"] = date.fromisoformat(closed) if closed else None
    books = Books(Company(**settings), core.oauth.changes, preferences_token=preferences_token)
    counters = values.get("counters", {})
    books.last_id.update(counters.get("last_id", {}))
    books.last_doc_number = counters.get("last_doc_number", books.last_doc_number)
    deleted: list[tuple[str, tuple[str, str]]] = []
    for key, value in sorted(values.items(), key=lambda each: (len(each[0]), each[0])):
        kind, _, number = key.partition("/")
        if kind in SALES:
            books.index_sale(kind, value)
        elif kind in LISTS:
            books.index_entry(kind, value)
        elif kind == "deleted":
            deleted_kind, _, deleted_id = number.partition("/")
            deleted.append((value["time"], (deleted_kind, deleted_id)))
    books.deleted.update({which: moment for moment, which in sorted(deleted)})
    return books


def _meters_row(meters: Meters) -> Json:
    return {
        "calls": dict(meters.calls),
        "throttled": meters.throttled,
        "metered_reads": meters.metered_reads,
        "free_writes": meters.free_writes,
        "month": meters.month,
        "metered_this_month": meters.metered_this_month,
    }


def _meters(value: Json) -> Meters:
    return Meters(**{**value, "calls": Counter(value.get("calls", {}))})


def _remembered_row(remembered: Remembered | None) -> Json | None:
    if remembered is None:
        return None
    answer = remembered.answer
    return {
        "at": remembered.at,
        "digest": remembered.digest,
        "status": answer.status,
        "body": answer.body.decode(),
        "headers": dict(answer.headers),
    }


def _remembered(realm: str, values: dict[str, Json], core: QuickBooksState) -> RequestIds:
    memory = RequestIds(realm, core.oauth.changes)
    kept = [(key.partition("/")[2], value) for key, value in values.items() if key.startswith("requestid/")]
    for key, value in sorted(kept, key=lambda each: each[1]["at"]):
        answer = Answer(value["status"], value["body"].encode(), value["headers"])
        memory.answers[key] = Remembered(float(value["at"]), value["digest"], answer)
    return memory
