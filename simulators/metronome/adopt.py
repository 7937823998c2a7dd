"""What an invoice presupposes: its customer, contract, products and commits, made up when nobody knows them."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid5

from simulators.http import Json
from simulators.metronome.store import NAMESPACE, Store

# Where a line names an object, and under which name it shows the custom fields of that object.
LINKS = (
    ("product_id", "product_custom_fields", "contract_product"),
    ("commit_id", "commit_custom_fields", "commit"),
    ("subscription_id", "subscription_custom_fields", "subscription"),
    ("scheduled_charge_id", "scheduled_charge_custom_fields", "scheduled_charge"),
    ("discount_id", "discount_custom_fields", "discount"),
    ("professional_service_id", "professional_service_custom_fields", "professional_service"),
)


def adopt(store: Store, invoice: Json) -> None:
    """Makes known what the invoice and its lines name; custom fields that they show become values of these objects."""
    customer_id, contract_id = invoice["customer_id"], invoice.get("contract_id")
    _adopt(store, "customer", customer_id, {"name": f"Customer {customer_id[:8]}"}, invoice)
    if contract_id:
        made = {"name": f"Contract {contract_id[:8]}", "customer_id": customer_id}
        _adopt(store, "contract", contract_id, made, invoice)
    _take_values(store, "invoice", invoice["id"], invoice.get("custom_fields"))
    for line in invoice["line_items"]:
        for id_name, shown_as, entity in LINKS:
            linked_id = line.get(id_name)
            if not linked_id:
                continue
            kind = entity_of(line, entity)
            if linked_id not in store.objects[kind]:
                store.add(kind, _made(store, kind, linked_id, invoice, line))
            _take_values(store, kind, linked_id, line.get(shown_as))


def entity_of(line: Json, entity: str) -> str:
    """A line's `commit_id` may be the id of a credit (`docs/vendors/metronome.md` §1.2)."""
    applied = line.get("applied_commit_or_credit") or {}
    return "contract_credit" if entity == "commit" and applied.get("type") == "CREDIT" else entity


def _adopt(store: Store, kind: str, object_id: str, made: Json, invoice: Json) -> None:
    if object_id not in store.objects[kind]:
        store.add(kind, {"id": object_id, **made})
    _take_values(store, kind, object_id, invoice.get(f"{kind}_custom_fields"))


def _made(store: Store, kind: str, object_id: str, invoice: Json, line: Json) -> Json:
    match kind:
        case "contract_product":
            return {"id": object_id, "type": "USAGE", "current": {"name": line["name"]}, "updates": []}
        case "commit" | "contract_credit":
            return _commit(store, kind, object_id, invoice, line)
    return {"id": object_id, "name": line["name"], "customer_id": invoice["customer_id"]}


def _commit(store: Store, kind: str, commit_id: str, invoice: Json, line: Json) -> Json:
    """A commit has a product of its own: that of the line that pays for it, never that of a line that it covers."""
    paid = line["type"] in ("commit_purchase", "scheduled") and line.get("product_id")
    product_id = paid or str(uuid5(NAMESPACE, f"product/{commit_id}"))
    if product_id not in store.objects["contract_product"]:
        name = line["name"] if paid else "Commit"
        store.add("contract_product", {"id": product_id, "type": "FIXED", "current": {"name": name}, "updates": []})
    postpaid = line.get("commit_type") == "PostpaidCommit"
    commit_type = "CREDIT" if kind == "contract_credit" else "POSTPAID" if postpaid else "PREPAID"
    start, end = line.get("starting_at"), line.get("ending_before")
    amount = abs(line["total"])
    span = {"id": str(uuid5(NAMESPACE, f"segment/{commit_id}")), "amount": amount, "starting_at": start}
    return {
        "id": commit_id,
        "customer_id": invoice["customer_id"],
        "type": commit_type,
        "name": line["name"],
        "product": {"id": product_id, "name": store.objects["contract_product"][product_id]["current"]["name"]},
        "created_at": "2025-01-01T00:00:00+00:00",
        "contract": {"id": invoice["contract_id"]} if invoice.get("contract_id") else None,
        "access_schedule": {
            "schedule_items": [{**span, "ending_before": end}] if start and end else [],
            "credit_type": line["credit_type"],
        },
    }


def _take_values(store: Store, entity: str, entity_id: str, values: Mapping[str, str] | None) -> None:
    for key in values or {}:
        if (entity, key) not in store.keys:
            store.set_key(entity, key, unique=False)
    if values:
        store.set_values(entity, entity_id, values)
