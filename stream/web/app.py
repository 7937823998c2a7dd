"""The pages: what came in, what became of it and why, read from the index; payloads from Kafka at their address.

Every page has a twin with the same data as JSON, money as strings. There is no script and nothing from outside.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from jinja2 import Environment, PackageLoader, StrictUndefined

from models.commands import COMMANDS, PostInvoice
from models.document import Document
from models.ledger import TABLES
from models.record import Address
from models.subject import RowKey
from stream import formatting as words
from stream.kafka.admin import BrokerUnreachable
from stream.kafka.log import EventLog, RawRecord, ReadFailed, RecordMissing, TopicsMissing
from stream.settings import Settings
from stream.topics import changelog, topic_names
from stream.web.history import Event
from stream.web.index import Index, history_of
from stream.web.masking import MASK, is_secret, masked_text, pretty

from . import queries

READ_TIMEOUT_SECONDS = 5
SEARCH_CHARACTERS_MAX = 200
PAYLOAD_CHARACTERS_MAX = 200_000

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}

TABLE_COLUMNS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "owners": (("realm", "Company"), ("owner_epoch", "Handed over")),
    "customers": (("name", "Name"), ("qbo_id", "QuickBooks id"), ("currency", "Currency"), ("source", "Source")),
    "items": (("name", "Name"), ("qbo_id", "QuickBooks id"), ("source", "Source")),
    "invoices": (
        ("state", "State"),
        ("doc_number", "DocNumber"),
        ("total", "Total"),
        ("currency", "Currency"),
        ("qbo_id", "QuickBooks id"),
    ),
    "doc_numbers": (("value", "Invoice"),),
    "waiting": (("waits_for", "Waits for"), ("tried_at", "Last tried")),
    "batches": (("sent", "Times sent"), ("at", "Last sent")),
    "connections": (
        ("company_name", "Company"),
        ("state", "State"),
        ("access_token_expires_at", "Access until"),
        ("refresh_token_expires_at", "Connection until"),
        ("hard_expires_at", "Hard expiry"),
    ),
}

log = structlog.get_logger()

Data = dict[str, Any]
Answer = TypeVar("Answer")


class NotThere(Exception):
    """There is no such page or thing; the message says what to do instead. Shown with status 404."""


def create_web(
    settings: Settings, index: Index, *, read_timeout_seconds: float = READ_TIMEOUT_SECONDS
) -> web.Application:
    """The pages over `index`; payloads come from `kafka.bootstrap_servers`, each within `read_timeout_seconds`."""
    pages = Pages(settings, index, read_timeout_seconds)
    templates = _templates()
    app = web.Application(middlewares=[_safe_headers, _troubles(templates)])
    for path, twin, template, handler in (
        ("/", "/index.json", "overview.html", pages.overview),
        ("/invoices", "/invoices.json", "invoices.html", pages.invoices),
        ("/invoices/{id}", "/invoices/{id}.json", "invoice.html", pages.invoice),
        ("/tables/{name}", "/tables/{name}.json", "table.html", pages.table),
        ("/deadletters", "/deadletters.json", "deadletters.html", pages.dead_letters),
        ("/records/{topic}/{partition}/{offset}", "/records/{topic}/{partition}/{offset}.json", "record.html",
         pages.record),
    ):  # fmt: skip
        app.router.add_get(twin, _as_json(handler))  # first, since {id} would match the twin too
        app.router.add_get(path, _as_page(templates, template, handler))
    app.router.add_get("/healthz", pages.health)
    app.router.add_static("/static", Path(__file__).parent / "static")
    return app


class Pages:
    """The data of each page, as plain values that are JSON as they stand."""

    def __init__(self, settings: Settings, index: Index, read_timeout_seconds: float) -> None:
        self._log = EventLog.of(settings, read_timeout_seconds)
        self._index = index
        self._page_rows = settings.web.page_rows
        self._hard_expiry_warning = timedelta(days=settings.quickbooks.hard_expiry_warning_days)
        self._topics = {*topic_names(settings).all(), *(changelog(settings, table) for table in TABLES)}

    async def overview(self, request: web.Request) -> Data:
        data = await self._ask(queries.overview)
        warn_from = words.iso(datetime.now(UTC) + self._hard_expiry_warning)
        for row in data["connections"]:
            hard = row["hard_expires_at"]
            row["ends_soon"] = row["state"] == "connected" and hard is not None and hard <= warn_from
        return data

    async def invoices(self, request: web.Request) -> Data:
        search, state, sort = _search(request), request.query.get("state", ""), request.query.get("sort", "changed")
        if sort not in queries.SORTS:
            raise NotThere(f"Invoices cannot be sorted by that. Sort by one of: {', '.join(queries.SORTS)}.")
        page, counts = await self._ask(
            lambda connection: (
                queries.invoices(
                    connection, search=search, state=state, sort=sort, page=_page(request), page_rows=self._page_rows
                ),
                queries.state_counts(connection),
            )
        )
        return {"search": search, "state": state, "sort": sort, "states": counts, **_paged(page)}

    async def invoice(self, request: web.Request) -> Data:
        invoice_id = request.match_info["id"]
        row, steps = await self._ask(
            lambda connection: (queries.invoice(connection, invoice_id), history_of(connection, invoice_id))
        )
        if row is None:
            raise NotThere(
                f"There is no invoice {invoice_id[:SEARCH_CHARACTERS_MAX]} here. Search for a part of its id, its "
                "DocNumber or its customer; an invoice appears once Metronome's webhook for it has arrived."
            )
        posted = next((step.address for step in steps if str(step.address) == row["document"]), None)
        document, unreadable = await self._document(posted)
        return {
            "invoice": row,
            "document": document and document.model_dump(mode="json"),
            "document_unreadable": unreadable,
            "story": [_step(step) for step in steps],
        }

    async def table(self, request: web.Request) -> Data:
        name, search = request.match_info["name"], _search(request)
        if name not in TABLES:
            raise NotThere(f"There is no such table. The tables are: {', '.join(TABLES)}.")
        page = await self._ask(
            lambda connection: queries.table(
                connection, name, search=search, page=_page(request), page_rows=self._page_rows
            )
        )
        for row in page.rows:
            row["value"] = _json_or_text(row["value"])
            key = RowKey(row["key"])
            row["realm"], row["id"] = key.realm, key.rest
        columns = [{"field": field, "heading": heading} for field, heading in TABLE_COLUMNS[name]]
        return {"name": name, "tables": list(TABLES), "columns": columns, "search": search, **_paged(page)}

    async def dead_letters(self, request: web.Request) -> Data:
        page = await self._ask(
            lambda connection: queries.dead_letters(connection, page=_page(request), page_rows=self._page_rows)
        )
        for row in page.rows:
            row["original_is_ours"] = row["original_topic"] in self._topics
        return _paged(page)

    async def record(self, request: web.Request) -> Data:
        parts = request.match_info
        if parts["topic"] not in self._topics:
            raise NotThere(f"Records can be read from these topics: {', '.join(sorted(self._topics))}.")
        address = Address(topic=parts["topic"], partition=_number(parts["partition"]), offset=_number(parts["offset"]))
        try:
            record = await self._log.read_one(address)
        except (RecordMissing, TopicsMissing) as error:
            raise NotThere(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        return _record(record)

    async def health(self, request: web.Request) -> web.Response:
        positions = await asyncio.to_thread(self._index.positions)
        return web.json_response({"status": "ok", "records": sum(each.next_offset for each in positions.values())})

    async def _ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        def ask() -> Answer:
            with self._index.reading() as connection:
                return question(connection)

        return await asyncio.to_thread(ask)

    async def _document(self, address: Address | None) -> tuple[Document | None, str | None]:
        """The document of the command at `address`, or why it cannot be shown now."""
        if address is None:
            return None, None
        try:
            record = await self._log.read_one(address)
            command = COMMANDS.validate_json(record.value or b"")
        except (ReadFailed, BrokerUnreachable, ValueError) as error:
            log.warning("document_unreadable", address=str(address), error=type(error).__name__)
            return None, f"The document at {address} could not be read from Kafka just now."
        return (command.document, None) if isinstance(command, PostInvoice) else (None, None)


def _step(step: Event) -> Data:
    return {
        "what": step.what,
        "state": step.state,
        "summary": step.summary,
        "at": step.at,
        "about_invoice": step.invoice_id is not None,
        **step.address.model_dump(),
    }


def _record(record: RawRecord) -> Data:
    return {
        **record.address.model_dump(),
        "at": words.iso_of_ms(record.timestamp_ms),
        "key": None if record.key is None else record.key.decode(errors="replace"),
        "headers": [
            {"name": name, "value": MASK if is_secret(name) else masked_text(value.decode(errors="replace"))}
            for name, value in record.headers
        ],
        "bytes": len(record.value or b""),
        "value": "" if record.value is None else pretty(record.value, PAYLOAD_CHARACTERS_MAX),
    }


def _paged(page: queries.Page) -> Data:
    return {"rows": page.rows, "count": page.count, "page": page.number, "pages": page.last}


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _search(request: web.Request) -> str:
    return request.query.get("q", "").strip()[:SEARCH_CHARACTERS_MAX]


def _page(request: web.Request) -> int:
    text = request.query.get("page", "1")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise NotThere("A record's address is /records/topic/partition/offset, the last two whole numbers.")
    return int(text)


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("stream.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "state_words": words.state_words,
        "amount": words.amount_text,
        "quantity": words.quantity_text,
        "moment": words.moment_text,
        "date": words.date_text,
        "seconds": words.seconds_text,
        "count_text": words.count_text,
        "query": lambda parameters: urlencode({name: each for name, each in parameters.items() if each}),
    }
    environment.globals |= {"MISMATCH": queries.MISMATCH, "SEARCH_MAX": SEARCH_CHARACTERS_MAX}
    return environment


def _as_page(
    templates: Environment, template: str, handler: Callable[[web.Request], Awaitable[Data]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def page(request: web.Request) -> web.StreamResponse:
        return _html(templates, template, 200, here=request.path, **await handler(request))

    return page


def _as_json(handler: Callable[[web.Request], Awaitable[Data]]) -> Handler:
    async def twin(request: web.Request) -> web.StreamResponse:
        return web.json_response(await handler(request))

    return twin


def _html(templates: Environment, template: str, status: int, **data: Any) -> web.Response:
    text = templates.get_template(template).render(**data)
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


@web.middleware
async def _safe_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    response.headers.update(HEADERS)
    if not request.path.startswith("/static/"):
        response.headers["Cache-Control"] = "no-store"
    return response


def _troubles(templates: Environment) -> Any:
    """Whatever goes wrong becomes a page, or JSON for a twin, that says what to do."""

    def answer(request: web.Request, status: int, title: str, advice: str) -> web.Response:
        if request.path.endswith(".json") or request.path == "/healthz":
            return web.json_response({"error": title, "advice": advice}, status=status)
        return _html(templates, "trouble.html", status, here=request.path, title=title, advice=advice)

    @web.middleware
    async def troubles(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except NotThere as reason:
            return answer(request, 404, "Not found", str(reason))
        except web.HTTPNotFound:
            return answer(request, 404, "Not found", "There is no such page. The menu above leads to all there are.")
        except web.HTTPException as error:
            return answer(request, error.status, error.reason, "Go back to the page before and try its links.")
        except (BrokerUnreachable, ReadFailed) as error:
            return answer(request, 503, "Kafka does not answer", f"{error} The other pages work without it.")
        except Exception:
            log.exception("page_failed", path=request.path)
            return answer(request, 500, "This page failed", "The log of this process says why. Try again in a minute.")

    return troubles
