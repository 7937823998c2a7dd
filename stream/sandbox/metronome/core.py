"""Metronome's API as a pure core: request in, answer out (`facts/metronome.md` §1, §2, §4)."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from stream.sandbox.http import Answer, Json, Request, json_answer
from stream.sandbox.scene import Scene

PAGE_DEFAULT = 25
PAGE_MAX = 100
VALUE_LENGTH_MAX = 200
# Objects that can carry custom fields here, by the entity name of the API.
ENTITIES = ("customer", "contract", "contract_product", "invoice")


class Refusal(Exception):
    """Metronome answers `status` with {"message": …}."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Store:
    """Objects by entity and id, the values of their custom fields, and the keys that exist."""

    objects: dict[str, dict[str, Json]] = field(default_factory=lambda: {each: {} for each in ENTITIES})
    values: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    keys: dict[tuple[str, str], bool] = field(default_factory=dict)

    def add(self, entity: str, value: Json) -> None:
        """Takes an object as the API shows it; its `custom_fields` become values."""
        self.objects[entity][value["id"]] = dict(value)
        if value.get("custom_fields"):
            self.values[entity, value["id"]] = dict(value["custom_fields"])

    def fields_of(self, entity: str, entity_id: str) -> dict[str, str]:
        """The values whose key exists: a removed key makes its values unreachable."""
        held = self.values.get((entity, entity_id)) or {}
        return {key: value for key, value in held.items() if (entity, key) in self.keys}

    def find(self, entity: str, entity_id: Any) -> Json:
        found = self.objects[entity].get(str(entity_id))
        if found is None:
            raise Refusal(404, f"{entity} not found")
        return found


class Metronome:
    """Customers, products, contracts, invoices and custom fields behind one bearer token."""

    def __init__(self, scene: Scene, token: str, clock: Callable[[], float]) -> None:
        self.store = Store()
        self.calls: Counter[str] = Counter()
        self._token = token
        self._clock = clock
        self._credit_types = scene.credit_types
        self.store.keys.update(dict.fromkeys(scene.custom_field_keys, False))
        for entity, objects in (
            ("customer", scene.customers),
            ("contract", scene.contracts),
            ("contract_product", scene.products),
            ("invoice", scene.invoices),
        ):
            for each in objects:
                self.store.add(entity, each)
        self._by_customer: dict[str, list[str]] = {}
        for invoice in scene.invoices:
            self._by_customer.setdefault(invoice["customer_id"], []).append(invoice["id"])

    @property
    def invoices(self) -> dict[str, Json]:
        return self.store.objects["invoice"]

    def add_invoice(self, text: str | bytes) -> str:
        """Takes an invoice as JSON text, its numbers digit for digit, and returns its id. The custom fields that it
        shows become the values of its customer, contract and products, which are made up when they are unknown."""
        invoice: Json = json.loads(text, parse_float=Decimal)
        self._adopt("customer", invoice["customer_id"], invoice.pop("customer_custom_fields", None))
        if invoice.get("contract_id"):
            self._adopt("contract", invoice["contract_id"], invoice.pop("contract_custom_fields", None), invoice)
        for line in invoice["line_items"]:
            if line.get("product_id"):
                self._adopt("contract_product", line["product_id"], line.pop("product_custom_fields", None), line)
        if invoice["id"] not in self.invoices:
            self._by_customer.setdefault(invoice["customer_id"], []).append(invoice["id"])
        self.store.add("invoice", invoice)
        return str(invoice["id"])

    def _adopt(self, entity: str, entity_id: str, values: Mapping[str, str] | None, source: Json | None = None) -> None:
        if entity_id not in self.store.objects[entity]:
            name = (source or {}).get("name") or f"{entity.replace('_', ' ').title()} {entity_id[:8]}"
            made: Json = {"id": entity_id, "name": name}
            if entity == "contract_product":
                made = {"id": entity_id, "type": "USAGE", "current": {"name": name}, "updates": []}
            elif entity == "contract" and source is not None:
                made |= {"customer_id": source["customer_id"]}
            self.store.add(entity, made)
        for key, value in (values or {}).items():
            self.store.keys.setdefault((entity, key), False)
            self.store.values.setdefault((entity, entity_id), {})[key] = value

    def answer(self, request: Request) -> Answer:
        """Never raises for a request, whatever it holds."""
        parts = request.path.strip("/").split("/")
        self.calls[f"{request.method} /{'/'.join('{id}' if _is_id(each) else each for each in parts)}"] += 1
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return json_answer({"message": "Unauthorized"}, 401)
        try:
            value = self._read(request, parts) if request.method == "GET" else self._act(request, parts)
        except Refusal as refusal:
            return json_answer({"message": str(refusal)}, refusal.status)
        return Answer(200) if value is None else json_answer(value)

    def _read(self, request: Request, parts: list[str]) -> Json:
        match parts:
            case ["v1", "customers"]:
                wanted = set(filter(None, request.query.get("customer_ids", "").split(",")))
                found = [each for key, each in self.store.objects["customer"].items() if not wanted or key in wanted]
                return _page(request, found, self._shown_customer)
            case ["v1", "customers", customer_id]:
                return {"data": self._shown_customer(self.store.find("customer", customer_id))}
            case ["v1", "customers", customer_id, "invoices"]:
                self.store.find("customer", customer_id)
                held = [self.invoices[each] for each in self._by_customer.get(customer_id, ())]
                return _page(request, _chosen(request, held), lambda each: self.shown_invoice(each, request.query))
            case ["v1", "customers", customer_id, "invoices", invoice_id]:
                invoice = self.store.find("invoice", invoice_id)
                if invoice["customer_id"] != customer_id:
                    raise Refusal(404, "invoice not found")
                return {"data": self.shown_invoice(invoice, request.query)}
            case ["v1", "credit-types", "list"]:
                return _page(request, self._credit_types, dict)
        raise Refusal(404, "Not Found")

    def _act(self, request: Request, parts: list[str]) -> Json | None:
        if request.method != "POST":
            raise Refusal(404, "Not Found")
        body = _object(request.body)
        match parts:
            case ["v2", "contracts", "get"]:
                contract = self.store.find("contract", body.get("contract_id"))
                if contract["customer_id"] != body.get("customer_id"):
                    raise Refusal(404, "contract not found")
                return {"data": self._with_fields("contract", contract)}
            case ["v1", "contract-pricing", "products", "get"]:
                product = self.store.find("contract_product", body.get("id"))
                return {"data": self._with_fields("contract_product", product)}
            case ["v1", "contract-pricing", "products", "list"]:
                products = list(self.store.objects["contract_product"].values())
                return _page(request, products, lambda each: self._with_fields("contract_product", each))
            case ["v1", "customFields", action]:
                return self._custom_fields(action, request, body)
            case ["v1", "invoices", "void"]:
                return {"data": {"id": self._void(body)}}
            case ["v1", "invoices", "regenerate"]:
                return {"data": {"id": self._regenerate(body)}}
        raise Refusal(404, "Not Found")

    def shown_invoice(self, invoice: Json, query: Mapping[str, str] | None = None) -> Json:
        """The invoice with the custom fields of the moment, and without zero-quantity lines when asked so."""
        lines = invoice["line_items"]
        if query and query.get("skip_zero_qty_line_items") == "true":
            lines = [each for each in lines if each.get("quantity") != 0]
        shown = {
            **invoice,
            "customer_custom_fields": self.store.fields_of("customer", invoice["customer_id"]),
            "custom_fields": self.store.fields_of("invoice", invoice["id"]),
            "line_items": [self._shown_line(each) for each in lines],
        }
        if invoice.get("contract_id"):
            shown["contract_custom_fields"] = self.store.fields_of("contract", invoice["contract_id"])
        return shown

    def _shown_line(self, line: Json) -> Json:
        if not line.get("product_id"):
            return line
        return {**line, "product_custom_fields": self.store.fields_of("contract_product", line["product_id"])}

    def _shown_customer(self, customer: Json) -> Json:
        return self._with_fields("customer", customer)

    def _with_fields(self, entity: str, value: Json) -> Json:
        return {**value, "custom_fields": self.store.fields_of(entity, value["id"])}

    def finalize(self, invoice_id: str) -> Json:
        """Makes a draft final, as the end of the grace period does, and returns the invoice. Raises Refusal."""
        invoice = self.store.find("invoice", invoice_id)
        if invoice["status"] == "DRAFT":
            invoice["status"] = "FINALIZED"
        return invoice

    def _void(self, body: Json) -> str:
        invoice = self.store.find("invoice", body.get("id"))
        if invoice["status"] != "FINALIZED":
            raise Refusal(400, "Only finalized invoices can be voided")
        invoice["status"] = "VOID"
        return str(invoice["id"])

    def _regenerate(self, body: Json) -> str:
        """A new finalized invoice in place of a voided one; it keeps the lines."""
        former = self.store.find("invoice", body.get("id"))
        if former["status"] != "VOID":
            raise Refusal(400, "Only voided invoices can be regenerated")
        new_id = str(uuid5(UUID(former["id"]), "regenerated"))
        if new_id in self.invoices:
            raise Refusal(409, "The invoice has been regenerated already")
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        renewed = {"id": new_id, "status": "FINALIZED", "regenerated_from_invoice_id": former["id"], "issued_at": now}
        self.store.add("invoice", {**former, **renewed})
        self._by_customer[former["customer_id"]].append(new_id)
        return new_id

    def _custom_fields(self, action: str, request: Request, body: Json) -> Json | None:
        if action == "listKeys":
            wanted = body.get("entities") or ()
            keys = [
                {"entity": entity, "key": key, "enforce_uniqueness": unique}
                for (entity, key), unique in self.store.keys.items()
                if not wanted or entity in wanted
            ]
            return _page(request, keys, dict)
        entity = str(body.get("entity"))
        if entity not in ENTITIES:
            raise Refusal(400, f"Unknown entity {entity}")
        match action:
            case "addKey":
                self._add_key(entity, body)
            case "removeKey":
                self.store.keys.pop((entity, str(body.get("key"))), None)
            case "setValues":
                self._set_values(entity, body)
            case "deleteValues":
                held = self.store.values.get((entity, str(body.get("entity_id"))), {})
                for key in body.get("keys") or ():
                    held.pop(str(key), None)
            case _:
                raise Refusal(404, "Not Found")
        return None

    def _add_key(self, entity: str, body: Json) -> None:
        key, unique = body.get("key"), body.get("enforce_uniqueness")
        if not isinstance(key, str) or not key or not isinstance(unique, bool):
            raise Refusal(400, "entity, key and enforce_uniqueness are required")
        if (entity, key) in self.store.keys:
            raise Refusal(409, f"Custom field key {key} already exists for entity {entity}")
        self.store.keys[entity, key] = unique

    def _set_values(self, entity: str, body: Json) -> None:
        """All or nothing: overwrites the keys that are given and keeps the others."""
        entity_id, given = str(body.get("entity_id")), body.get("custom_fields")
        if not isinstance(given, dict) or not all(isinstance(each, str) for each in given.values()):
            raise Refusal(400, "custom_fields must map keys to strings")
        if any((entity, key) not in self.store.keys for key in given):
            raise Refusal(400, "Invalid custom field keys")
        if any(len(each) > VALUE_LENGTH_MAX for each in given.values()):
            raise Refusal(400, f"Custom field values are limited to {VALUE_LENGTH_MAX} characters")
        self.store.find(entity, entity_id)
        for (other_entity, other_id), held in self.store.values.items():
            if (other_entity, other_id) == (entity, entity_id) or other_entity != entity:
                continue
            if any(self.store.keys[entity, key] and held.get(key) == value for key, value in given.items()):
                raise Refusal(409, "Custom field value must be unique")
        self.store.values.setdefault((entity, entity_id), {}).update(given)


def _object(body: bytes) -> Json:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refusal(400, "The body must be a JSON object")
    return value


def _is_id(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4


def _chosen(request: Request, invoices: Iterable[Json]) -> list[Json]:
    """Filter and order of the invoice list; dates filter on the billing period, not on the day of issue."""
    query = request.query
    chosen = [
        each
        for each in invoices
        if query.get("status") in (None, "", each["status"])
        and query.get("type") in (None, "", each["type"])
        and query.get("contract_id") in (None, "", each.get("contract_id"))
        and query.get("credit_type_id") in (None, "", each["credit_type"]["id"])
    ]
    if since := query.get("starting_on"):
        chosen = [each for each in chosen if each.get("start_timestamp") and _at(each["start_timestamp"]) >= _at(since)]
    if until := query.get("ending_before"):
        chosen = [each for each in chosen if each.get("end_timestamp") and _at(each["end_timestamp"]) < _at(until)]
    sort = query.get("sort") or "date_asc"
    if sort not in ("date_asc", "date_desc"):
        raise Refusal(400, "sort must be date_asc or date_desc")
    return sorted(chosen, key=lambda each: each.get("issued_at") or "", reverse=sort == "date_desc")


def _at(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(400, f"Invalid date {text[:40]}") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _page(request: Request, found: Sequence[Json], shown: Callable[[Json], Json]) -> Json:
    limit = request.query.get("limit") or str(PAGE_DEFAULT)
    if not limit.isdigit() or not 1 <= int(limit) <= PAGE_MAX:
        raise Refusal(400, f"limit must be between 1 and {PAGE_MAX}")
    start = 0
    if cursor := request.query.get("next_page"):
        try:
            start = int(base64.urlsafe_b64decode(cursor).removeprefix(b"from:"))
        except ValueError:
            raise Refusal(400, "Invalid next_page") from None
    end = start + int(limit)
    next_page = base64.urlsafe_b64encode(f"from:{end}".encode()).decode() if end < len(found) else None
    return {"data": [shown(each) for each in found[start:end]], "next_page": next_page}
