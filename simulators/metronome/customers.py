"""Customers: list, get, create, rename, aliases, archive (`docs/vendors/metronome.md` §2, Customers)."""

from __future__ import annotations

from uuid import uuid5

from simulators.http import Json
from simulators.metronome.reading import TRUE, Call, Refusal, page, timestamp
from simulators.metronome.store import NAMESPACE, Store

from . import custom_fields

NAME_LENGTH_MAX = 160
FILTER_IDS_MAX = 100
ALIASES_MAX = 1_000


def list_customers(store: Store, call: Call) -> Json:
    """Active ones, or with `only_archived` only the archived ones."""
    wanted, accounts = _ids(call, "customer_ids"), _ids(call, "salesforce_account_ids")
    archived, alias = call.query("only_archived") == TRUE, call.query("ingest_alias")
    found = [
        each
        for each in store.objects["customer"].values()
        if bool(each.get("archived_at")) is archived
        and (not wanted or each["id"] in wanted)
        and (not alias or alias in each.get("ingest_aliases", ()))
        and (not accounts or (each.get("customer_config") or {}).get("salesforce_account_id") in accounts)
    ]
    return page(call, found, lambda each: _detail(store, each))


def get(store: Store, call: Call) -> Json:
    return {"data": _detail(store, store.find("customer", call.ids[0]))}


def create(store: Store, call: Call) -> Json:
    name, aliases = call.text("name"), _aliases(call)
    external_id = call.body.get("external_id")
    if isinstance(external_id, str) and external_id and external_id not in aliases:
        aliases = [external_id, *aliases]
    number = len(store.objects["customer"]) + 1
    customer_id = str(uuid5(NAMESPACE, f"customer/{number}/{name}"))
    _refuse_taken(store, customer_id, aliases)
    given: dict[str, str] = {}
    if call.body.get("custom_fields"):
        given = custom_fields.checked(store, "customer", call.body)
        custom_fields.refuse_duplicates(store, "customer", customer_id, given)
    now = timestamp(store.clock())
    customer: Json = {
        "id": customer_id,
        "external_id": aliases[0] if aliases else customer_id,
        "name": name[:NAME_LENGTH_MAX],
        "ingest_aliases": aliases,
        "customer_config": {"salesforce_account_id": None},
        "created_at": now,
        "updated_at": now,
        "custom_fields": given,
    }
    store.add("customer", customer)
    store.log("customer", customer_id, "create", "Customer created")
    return {"data": _brief(store, customer)}


def set_name(store: Store, call: Call) -> Json:
    customer = store.find("customer", call.ids[0])
    _change(store, customer, "Customer renamed", name=call.text("name")[:NAME_LENGTH_MAX])
    return {"data": _brief(store, customer)}


def set_ingest_aliases(store: Store, call: Call) -> None:
    """Replaces them. One of another customer is refused, also of an archived one: it must be removed there first."""
    customer = store.find("customer", call.ids[0])
    aliases = _aliases(call)
    _refuse_taken(store, customer["id"], aliases)
    _change(store, customer, "Ingest aliases replaced", ingest_aliases=aliases)


def archive(store: Store, call: Call) -> Json:
    """Archiving again changes nothing (NOT DOCUMENTED)."""
    customer = store.find("customer", call.text("id"))
    if not customer.get("archived_at"):
        customer["archived_at"] = timestamp(store.clock())
        _change(store, customer, "Customer archived", "archive")
    return {"data": {"id": customer["id"]}}


def _change(store: Store, customer: Json, description: str, action: str = "update", **changes: object) -> None:
    store.change("customer", customer, updated_at=timestamp(store.clock()), **changes)
    store.log("customer", customer["id"], action, description)


def _detail(store: Store, customer: Json) -> Json:
    """A customer that was made up for an invoice shows what every customer has all the same."""
    usual: Json = {
        "external_id": customer["id"],
        "ingest_aliases": [],
        "customer_config": {"salesforce_account_id": None},
        "created_at": "2025-01-01T00:00:00+00:00",
        "updated_at": "2025-01-01T00:00:00+00:00",
    }
    return store.with_fields("customer", usual | customer)


def _brief(store: Store, customer: Json) -> Json:
    """The shape that create and setName answer with."""
    shown = _detail(store, customer)
    return {name: shown[name] for name in ("id", "external_id", "ingest_aliases", "name", "custom_fields")}


def _aliases(call: Call) -> list[str]:
    aliases = call.texts("ingest_aliases")
    if len(aliases) > ALIASES_MAX:
        raise Refusal(400, f"At most {ALIASES_MAX} ingest_aliases")
    return list(dict.fromkeys(aliases))


def _refuse_taken(store: Store, customer_id: str, aliases: list[str]) -> None:
    wanted = set(aliases)
    for other in store.objects["customer"].values():
        if other["id"] != customer_id and wanted.intersection(other.get("ingest_aliases", ())):
            raise Refusal(409, f"ingest_alias is in use by customer {other['id']}")


def _ids(call: Call, name: str) -> set[str]:
    """Ids joined by commas, as the official clients send them."""
    wanted = set(filter(None, call.query(name).split(",")))
    if len(wanted) > FILTER_IDS_MAX:
        raise Refusal(400, f"At most {FILTER_IDS_MAX} {name}")
    return wanted
