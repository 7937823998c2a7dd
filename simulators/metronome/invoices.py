"""Invoices: get, list, PDF, void, regenerate (`docs/vendors/metronome.md` §1, §2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID, uuid5

from simulators.http import Answer, Json
from simulators.metronome.adopt import LINKS, entity_of
from simulators.metronome.reading import TRUE, Call, Refusal, moment, page, timestamp
from simulators.metronome.store import Store
from simulators.pdf import pdf_of

TYPES = ("USAGE", "USAGE_CONSOLIDATED", "SCHEDULED")
FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)


def get(store: Store, call: Call) -> Json:
    return {"data": shown(store, own(store, call), call.request.query)}


def list_invoices(store: Store, call: Call) -> Json:
    """Dates filter on the billing period, not on the day of issue."""
    since, until, undated = call.moment("starting_on"), call.moment("ending_before"), call.settings.undated_listed
    found = [each for each in chosen(store, call) if _within(each, since, until, undated)]
    return page(call, found, lambda each: shown(store, each, call.request.query))


def pdf(store: Store, call: Call) -> Answer:
    return Answer(200, pdf_of(_printed(own(store, call))), {"Content-Type": "application/pdf"})


def void(store: Store, call: Call) -> Json:
    """The invoice keeps its lines; no webhook is sent (`docs/vendors/metronome.md` §0.8)."""
    invoice = store.find("invoice", call.text("id"))
    if invoice["status"] != "FINALIZED":
        raise Refusal(400, "Only finalized invoices can be voided")
    store.change("invoice", invoice, status="VOID")
    store.log("invoice", invoice["id"], "void", "Invoice voided")
    return {"data": {"id": invoice["id"]}}


def regenerate(store: Store, call: Call) -> Json:
    """A new finalized invoice in place of a voided one; recalculated from what has not changed, its lines are equal."""
    former = store.find("invoice", call.text("id"))
    if former["status"] != "VOID":
        raise Refusal(400, "Only voided invoices can be regenerated")
    new_id = str(uuid5(UUID(former["id"]), "regenerated"))
    if new_id in store.objects["invoice"]:
        raise Refusal(409, "The invoice has been regenerated already")
    renewed = {
        "id": new_id,
        "status": "FINALIZED",
        "regenerated_from_invoice_id": former["id"],
        "issued_at": timestamp(store.clock()),
        "external_invoice": None,
    }
    store.add("invoice", {**former, **renewed})
    store.log("invoice", new_id, "regenerate", f"Invoice regenerated from {former['id']}")
    return {"data": {"id": new_id}}


def finalize(store: Store, invoice_id: str) -> Json:
    """Makes a draft final, as the end of the grace period does, and returns the invoice. Raises Refusal 404."""
    invoice = store.find("invoice", invoice_id)
    if invoice["status"] == "DRAFT":
        store.change("invoice", invoice, status="FINALIZED")
    return invoice


def own(store: Store, call: Call) -> Json:
    """The invoice that the path names, when it is of the customer that the path names."""
    invoice = store.find("invoice", call.ids[1])
    if invoice["customer_id"] != call.ids[0]:
        raise Refusal(404, "invoice not found")
    return invoice


def chosen(store: Store, call: Call) -> list[Json]:
    """A customer's invoices by every filter but the dates, ordered by issue date."""
    customer_id = store.find("customer", call.ids[0])["id"]
    wanted = {name: call.query(name) for name in ("status", "type", "contract_id")}
    if wanted["type"] not in ("", *TYPES):
        raise Refusal(400, f"type must be one of {', '.join(TYPES)}")
    unit = call.query("credit_type_id")
    found = [
        each
        for each in store.invoices_of(customer_id)
        if all(value in ("", each.get(name)) for name, value in wanted.items())
        and unit in ("", each["credit_type"]["id"])
    ]
    sort = call.query("sort") or call.settings.sort_default
    if sort not in ("date_asc", "date_desc"):
        raise Refusal(400, "sort must be date_asc or date_desc")
    return sorted(found, key=_issued, reverse=sort == "date_desc")


def _within(invoice: Json, since: datetime | None, until: datetime | None, undated: bool) -> bool:
    start, end = invoice.get("start_timestamp"), invoice.get("end_timestamp")
    if since and not (moment(start, "start_timestamp") >= since if start else undated):
        return False
    return not until or (moment(end, "end_timestamp") < until if end else undated)


def _issued(invoice: Json) -> datetime:
    return moment(invoice["issued_at"], "issued_at") if invoice.get("issued_at") else FIRST_MOMENT


def shown(store: Store, invoice: Json, query: Mapping[str, str]) -> Json:
    """The invoice with the custom fields of the moment, and without zero-quantity lines when asked so."""
    lines = invoice["line_items"]
    if query.get("skip_zero_qty_line_items") == TRUE:
        lines = [each for each in lines if each.get("quantity") != 0]
    whole = {
        **invoice,
        "customer_custom_fields": store.fields_of("customer", invoice["customer_id"]),
        "custom_fields": store.fields_of("invoice", invoice["id"]),
        "line_items": [_shown_line(store, each) for each in lines],
    }
    if invoice.get("contract_id"):
        whole["contract_custom_fields"] = store.fields_of("contract", invoice["contract_id"])
    return whole


def _shown_line(store: Store, line: Json) -> Json:
    fields = {
        shown_as: store.fields_of(entity_of(line, entity), line[id_name])
        for id_name, shown_as, entity in LINKS
        if line.get(id_name)
    }
    return {**line, **fields} if fields else line


def _printed(invoice: Json) -> list[str]:
    """The rows of its PDF; their layout is ours."""
    unit = invoice["credit_type"]["name"]
    return [
        f"Invoice {invoice['id']}",
        f"Customer {invoice['customer_id']}",
        f"Issued {invoice.get('issued_at') or ''}",
        "",
        *(f"{line['total']} {line['credit_type']['name']}  {line['name']}" for line in invoice["line_items"]),
        "",
        f"Total {invoice['total']} {unit}",
    ]
