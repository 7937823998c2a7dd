"""Custom fields: keys, values and their uniqueness (`docs/vendors/metronome.md` §2, Custom fields)."""

from __future__ import annotations

from simulators.http import Json
from simulators.metronome.reading import Call, Refusal, page
from simulators.metronome.store import Store

VALUE_LENGTH_MAX = 200
KEY_LENGTH_MAX = 200
KEYS_MAX = 1_000
ENTITIES = (
    "alert",
    "billable_metric",
    "charge",
    "commit",
    "contract_credit",
    "contract_product",
    "contract",
    "credit_grant",
    "customer_plan",
    "customer",
    "discount",
    "invoice",
    "plan",
    "professional_service",
    "product",
    "rate_card",
    "scheduled_charge",
    "subscription",
    "package_commit",
    "package_credit",
    "package_subscription",
    "package_scheduled_charge",
)


def list_keys(store: Store, call: Call) -> Json:
    wanted = call.texts("entities")
    keys = [
        {"entity": entity, "key": key, "enforce_uniqueness": unique}
        for (entity, key), unique in store.keys.items()
        if not wanted or entity in wanted
    ]
    return page(call, keys)


def add_key(store: Store, call: Call) -> None:
    entity, key, unique = _entity(call), call.text("key"), call.body.get("enforce_uniqueness")
    if not isinstance(unique, bool):
        raise Refusal(400, "enforce_uniqueness is required and must be a boolean")
    if len(key) > KEY_LENGTH_MAX or len(store.keys) >= KEYS_MAX:
        raise Refusal(400, f"At most {KEYS_MAX} keys of {KEY_LENGTH_MAX} characters")
    if (entity, key) in store.keys:
        raise Refusal(409, f"Custom field key {key} already exists for entity {entity}")
    store.set_key(entity, key, unique)
    store.log("custom_field_key", f"{entity}/{key}", "create", "Custom field key added")


def remove_key(store: Store, call: Call) -> None:
    entity, key = _entity(call), call.text("key")
    store.remove_key(entity, key)
    store.log("custom_field_key", f"{entity}/{key}", "delete", "Custom field key removed")


def set_values(store: Store, call: Call) -> None:
    """All or nothing: overwrites the keys that are given and keeps the others."""
    entity, entity_id, given = _entity(call), call.text("entity_id"), checked(store, _entity(call), call.body)
    store.find(entity, entity_id)
    refuse_duplicates(store, entity, entity_id, given)
    store.set_values(entity, entity_id, given)
    store.log(entity, entity_id, "update", f"Custom fields set: {', '.join(given)}")


def delete_values(store: Store, call: Call) -> None:
    entity, entity_id, keys = _entity(call), call.text("entity_id"), call.texts("keys")
    store.find(entity, entity_id)
    store.delete_values(entity, entity_id, keys)
    store.log(entity, entity_id, "update", f"Custom fields deleted: {', '.join(keys)}")


def checked(store: Store, entity: str, body: Json) -> dict[str, str]:
    """The `custom_fields` of a body, all of them with a key that exists. Raises Refusal 400."""
    given = body.get("custom_fields")
    if not isinstance(given, dict) or not all(isinstance(each, str) for each in given.values()):
        raise Refusal(400, "custom_fields must map keys to strings")
    if any((entity, key) not in store.keys for key in given):
        raise Refusal(400, "Invalid custom field keys")
    if any(len(each) > VALUE_LENGTH_MAX for each in given.values()):
        raise Refusal(400, f"Custom field values are limited to {VALUE_LENGTH_MAX} characters")
    return given


def refuse_duplicates(store: Store, entity: str, entity_id: str, given: dict[str, str]) -> None:
    """Where a key enforces uniqueness, archived objects hold their values too. Raises Refusal 409."""
    unique = {key: value for key, value in given.items() if store.keys[entity, key]}
    if not unique:
        return
    for (other_entity, other_id), held in store.values.items():
        if other_entity == entity and other_id != entity_id and unique.items() & held.items():
            raise Refusal(409, "Custom field value must be unique")


def _entity(call: Call) -> str:
    entity = call.text("entity")
    if entity not in ENTITIES:
        raise Refusal(400, f"Unknown entity {entity[:40]}")
    return entity
