"""Everything that the simulated Metronome remembers, as rows: a key like `customer/<id>` and a JSON value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID, uuid5

from simulators.http import Json
from simulators.metronome.reading import Refusal, timestamp

NAMESPACE = UUID("0d2a4ad2-6b6c-5d0a-9b43-6d6574726f6e")
AUDIT_RECORDS_MAX = 10_000
ACTOR = {"id": str(uuid5(NAMESPACE, "actor")), "name": "sandbox-token"}
# Kinds of objects; all but credit types carry custom fields under the same name (`docs/vendors/metronome.md` §2).
OBJECTS = (
    "customer",
    "contract",
    "contract_product",
    "invoice",
    "commit",
    "contract_credit",
    "subscription",
    "scheduled_charge",
    "discount",
    "professional_service",
    "credit_type",
)


class Store:
    """Objects by kind and id, custom-field keys and values, audit log and stored answers.

    `touched` collects the keys of the rows that changed, when `track` is set; its reader empties it. Changes made
    directly to an object that `find` or `objects` gave are not seen.
    """

    def __init__(self, clock: Callable[[], float], track: bool) -> None:
        self.clock = clock
        self.track = track
        self.touched: set[str] = set()
        self._empty()

    def _empty(self) -> None:
        self.objects: dict[str, dict[str, Json]] = {each: {} for each in OBJECTS}
        self.values: dict[tuple[str, str], dict[str, str]] = {}
        self.keys: dict[tuple[str, str], bool] = {}
        self.audit: dict[int, Json] = {}
        self.answers: dict[str, Json] = {}
        self._invoices_of: dict[str, list[str]] = {}
        self._commits_of: dict[tuple[str, str], list[str]] = {}

    def touch(self, key: str) -> None:
        if self.track:
            self.touched.add(key)

    def add(self, kind: str, value: Json) -> None:
        """Takes an object as the API shows it; its `custom_fields` become values. Replaces one of the same id."""
        kept = {name: each for name, each in value.items() if name != "custom_fields"}
        if value["id"] not in self.objects[kind]:
            self._index(kind, value)
        self.objects[kind][value["id"]] = kept
        self.touch(f"{kind}/{value['id']}")
        if value.get("custom_fields"):
            self.set_values(kind, value["id"], value["custom_fields"])

    def _index(self, kind: str, value: Json) -> None:
        if kind == "invoice":
            self._invoices_of.setdefault(value["customer_id"], []).append(value["id"])
        elif kind in ("commit", "contract_credit") and value.get("contract"):
            self._commits_of.setdefault((kind, value["contract"]["id"]), []).append(value["id"])

    def change(self, kind: str, value: Json, **changes: Any) -> None:
        value.update(changes)
        self.touch(f"{kind}/{value['id']}")

    def find(self, kind: str, object_id: Any) -> Json:
        """Raises Refusal 404."""
        found = self.objects.get(kind, {}).get(str(object_id))
        if found is None:
            raise Refusal(404, f"{kind} not found")
        return found

    def invoices_of(self, customer_id: str) -> list[Json]:
        return [self.objects["invoice"][each] for each in self._invoices_of.get(customer_id, ())]

    def commits_of(self, kind: str, contract_id: str) -> list[Json]:
        """Commits, or with `kind` "contract_credit" credits, that belong to a contract."""
        return [self.objects[kind][each] for each in self._commits_of.get((kind, contract_id), ())]

    def fields_of(self, entity: str, entity_id: str) -> dict[str, str]:
        """The values whose key exists: a removed key makes its values unreachable."""
        held = self.values.get((entity, entity_id)) or {}
        return {key: value for key, value in held.items() if (entity, key) in self.keys}

    def with_fields(self, entity: str, value: Json) -> Json:
        return {**value, "custom_fields": self.fields_of(entity, value["id"])}

    def set_values(self, entity: str, entity_id: str, given: Mapping[str, str]) -> None:
        self.values.setdefault((entity, entity_id), {}).update(given)
        self.touch(f"values/{entity}/{entity_id}")

    def delete_values(self, entity: str, entity_id: str, keys: Iterable[str]) -> None:
        held = self.values.get((entity, entity_id), {})
        for key in keys:
            held.pop(key, None)
        self.touch(f"values/{entity}/{entity_id}")

    def set_key(self, entity: str, key: str, unique: bool) -> None:
        self.keys[entity, key] = unique
        self.touch(f"keys/{entity}/{key}")

    def remove_key(self, entity: str, key: str) -> None:
        self.keys.pop((entity, key), None)
        self.touch(f"keys/{entity}/{key}")

    def log(self, kind: str, object_id: str, action: str, description: str) -> None:
        """A record for the audit log; the oldest goes when there are too many (`docs/vendors/metronome.md` §2)."""
        number = next(reversed(self.audit), 0) + 1
        self.audit[number] = {
            "id": str(uuid5(NAMESPACE, f"audit/{number}")),
            "timestamp": timestamp(self.clock()),
            "actor": ACTOR,
            "request": {"id": str(uuid5(NAMESPACE, f"request/{number}"))},
            "resource_type": kind,
            "resource_id": object_id,
            "action": action,
            "status": "success",
            "description": description,
        }
        self.touch(f"audit/{number}")
        if len(self.audit) > AUDIT_RECORDS_MAX:
            oldest = next(iter(self.audit))
            del self.audit[oldest]
            self.touch(f"audit/{oldest}")

    def store_answer(self, key: str, value: Json) -> None:
        self.answers.pop(key, None)
        self.answers[key] = value
        self.touch(f"idempotency/{key}")

    def forget_answer(self, key: str) -> None:
        del self.answers[key]
        self.touch(f"idempotency/{key}")

    def row(self, key: str) -> Json | None:
        """The value of a row as it is now; None when it is gone."""
        kind, _, name = key.partition("/")
        match kind:
            case "values":
                entity, _, entity_id = name.partition("/")
                return self.values.get((entity, entity_id))
            case "keys":
                entity, _, field_key = name.partition("/")
                unique = self.keys.get((entity, field_key))
                return None if unique is None else {"enforce_uniqueness": unique}
            case "audit":
                return self.audit.get(int(name))
            case "idempotency":
                return self.answers.get(name)
        return self.objects[kind].get(name)

    def rows(self) -> Iterator[tuple[str, Json]]:
        """All rows, in an order in which they can be restored."""
        for kind, objects in self.objects.items():
            yield from ((f"{kind}/{object_id}", value) for object_id, value in objects.items())
        for (entity, key), unique in self.keys.items():
            yield f"keys/{entity}/{key}", {"enforce_uniqueness": unique}
        for (entity, entity_id), held in self.values.items():
            yield f"values/{entity}/{entity_id}", held
        yield from ((f"audit/{number}", record) for number, record in self.audit.items())
        yield from ((f"idempotency/{key}", answer) for key, answer in self.answers.items())

    def restore(self, rows: Iterable[tuple[str, Json]]) -> None:
        """Forgets everything and takes `rows`. Raises KeyError or ValueError for a row that is none of ours."""
        self._empty()
        for key, value in rows:
            kind, _, name = key.partition("/")
            match kind:
                case "values":
                    entity, _, entity_id = name.partition("/")
                    self.values[entity, entity_id] = dict(value)
                case "keys":
                    entity, _, field_key = name.partition("/")
                    self.keys[entity, field_key] = bool(value["enforce_uniqueness"])
                case "audit":
                    self.audit[int(name)] = value
                case "idempotency":
                    self.answers[name] = value
                case _:
                    if value["id"] != name:
                        raise ValueError(f"row {key} holds another id")
                    self.objects[kind][name] = value
                    self._index(kind, value)
        self.audit = dict(sorted(self.audit.items()))
        self.answers = dict(sorted(self.answers.items(), key=lambda each: each[1]["at_ms"]))
        self.touched.clear()
