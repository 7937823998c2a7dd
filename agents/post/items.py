"""Which QuickBooks item a Metronome product is: known, found by name, or created. For customers see `customers.py`."""

from collections.abc import Mapping

from models.commands import EnsureItem
from models.document import DEFAULT_ITEM, ItemReference
from models.ledger import ItemMapping
from models.policy import Policy
from models.quickbooks import ITEM_NAME_CHARACTERS_MAX, tidy_name, with_suffix
from models.record import Address
from models.subject import Cause, RowKey, Subject

from .find_or_create import Json, ListEntryQuery, NameTaken, describe, find_or_create, is_active
from .sink import Parked, Sink

NOT_FOR_LINES = ("Category", "Group")
"""Types of items that no line of an invoice can name (docs/vendors/quickbooks.md §2.2)."""


def item_ref(realm: str, need: ItemReference, items: Mapping[str, ItemMapping]) -> str:
    """The QuickBooks id of a line's item: an operator's word, custom field, table, default; of a prepayment only what
    a person said. Raises Parked."""
    row = items.get(RowKey.of(realm, need.product_id)) if need.product_id else None
    if row is not None and row.source == "operator":
        return row.qbo_id
    if need.qbo_id is not None:
        return need.qbo_id
    if row is not None and not need.is_prepayment:
        return row.qbo_id
    default = items.get(RowKey.of(realm, DEFAULT_ITEM)) if need.product_id is None else None
    fallback = default.qbo_id if default is not None else need.default_qbo_id
    if fallback is not None:
        return fallback
    product = need.product_id or DEFAULT_ITEM
    raise Parked(
        f"no QuickBooks item is known for {need.name!r} (product {product})",
        waits_for=Subject.item(product),
        remedy=f"metronome-qbo map item '{product}' QBO_ID --realm {realm}; or set the custom field qbo_item_id in "
        "Metronome, and send the invoice's webhook again",
    )


async def ensure_item(command: EnsureItem, since: Address, sink: Sink) -> tuple[ItemMapping, str]:
    """The item's mapping, and `mapped`, `found` or `created`. Raises Parked, or what outlasted every retry."""
    realm, need = command.realm, command.item
    product = need.product_id or DEFAULT_ITEM
    key = RowKey.of(realm, product)
    known = sink.tables.items.get(key)
    if known is not None:
        return known, "mapped"
    query = _query(need, product, realm, sink.policy_of(realm))
    found, created = await find_or_create(
        query, realm, books=sink.books, retries=sink.retries(realm), command=str(since)
    )
    mapping = ItemMapping(
        realm=realm,
        product_id=product,
        qbo_id=found["Id"],
        name=found.get("Name") or need.name,
        source="created" if created else "matched",
        since=since,
    )
    sink.tables.items[key] = mapping
    return mapping, "created" if created else "found"


def _query(need: ItemReference, product: str, realm: str, policy: Policy) -> ListEntryQuery:
    """What to look for in QuickBooks. Raises Parked when policy lacks what a new item needs."""
    name = tidy_name(need.name, ITEM_NAME_CHARACTERS_MAX)
    subject, remedy = Subject.item(product), f"metronome-qbo map item '{product}' QBO_ID --realm {realm}"
    if not name:
        raise Parked(
            f"product {product} has no name that QuickBooks would take",
            waits_for=subject,
            remedy=f"name it in Metronome, or {remedy}",
        )

    names = [name]
    if policy.name_clash == "suffix":
        names.append(with_suffix(name, policy.name_suffix, ITEM_NAME_CHARACTERS_MAX))
    return item_query(
        tuple(dict.fromkeys(names)),
        income_account=_income_account(policy, name),
        subject=subject,
        remedy=remedy,
        may_create=policy.missing_item == "create",
        reactivate=policy.inactive == "reactivate",
    )


def item_query(
    names: tuple[str, ...], *, income_account: str, subject: Subject, remedy: str, may_create: bool, reactivate: bool
) -> ListEntryQuery:
    """An item that lines can name; `names` as in ListEntryQuery."""

    def choose(entries: list[Json]) -> Json | NameTaken | None:
        usable = [entry for entry in entries if entry.get("Type") not in NOT_FOR_LINES]
        active = [entry for entry in usable if is_active(entry)]
        if len(candidates := active or usable) > 1:
            raise Parked(
                f"several QuickBooks items are named {names[0]!r}: {describe(candidates, 'FullyQualifiedName')}",
                waits_for=subject,
                remedy=remedy,
            )
        unusable = [entry for entry in entries if entry not in usable and is_active(entry)]
        if not active and unusable:
            return NameTaken(
                f"{describe(unusable, 'Name')}, which is a {unusable[0]['Type'].lower()} and no item for lines"
            )
        return candidates[0] if candidates else None

    return ListEntryQuery(
        entity="Item",
        name_field="Name",
        names=names,
        body={"Type": "Service", "IncomeAccountRef": {"value": income_account}},
        subject=subject,
        remedy=remedy,
        may_create=may_create,
        reactivate=reactivate,
        choose=choose,
        ours=lambda entry: False,  # an item may serve many products, so there is no whose
    )


def _income_account(policy: Policy, name: str) -> str:
    if policy.income_account_id is None:
        raise Parked(
            f"the item {name!r} cannot be created without an income account",
            waits_for=Cause.setting("policy.income_account_id"),
            remedy="set policy.income_account_id, or missing_item to park or default",
        )
    return policy.income_account_id
