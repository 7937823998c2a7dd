"""Which QuickBooks customer and item a Metronome customer and product are: known, found by name, or created."""

from collections.abc import Mapping
from typing import Any

from models.commands import EnsureCustomer, EnsureItem
from models.document import CustomerNeed, ItemNeed
from models.ledger import CustomerMapping, ItemMapping
from models.policy import Policy
from models.quickbooks import quoted
from models.record import Address

from .failures import Doubtful, DuplicateName, DuplicateRequest, Wait
from .persistence import Tries
from .quickbooks_client import encode
from .sink import Parked, Sink, requestid

CUSTOMER_NAME_CHARACTERS_MAX = 500
ITEM_NAME_CHARACTERS_MAX = 100
DEFAULT_ITEM = "*"
INACTIVE_SUFFIX = " (deleted)"
"""QuickBooks puts it behind the name of a list entry that is made inactive (facts/quickbooks.md §2.1)."""

_NOT_IN_NAMES = str.maketrans({":": " ", "\t": " ", "\n": " ", "\r": " "})


def customer_ref(realm: str, need: CustomerNeed, customers: Mapping[str, CustomerMapping]) -> str:
    """The QuickBooks id of a document's customer: an operator's word, the custom field, the table. Raises Parked."""
    row = customers.get(f"{realm}/{need.customer_id}")
    if row is not None and row.source == "operator":
        return row.qbo_id
    if need.qbo_id is not None:
        return need.qbo_id
    if row is not None:
        return row.qbo_id
    raise Parked(
        f"no QuickBooks customer is known for {need.name!r}",
        waits_for=f"customer/{need.customer_id}",
        remedy=f"metronome-qbo map customer {need.customer_id} QBO_ID --realm {realm}, then metronome-qbo "
        "redrive; or set the custom field qbo_customer_id in Metronome, and send the invoice's webhook again",
    )


def item_ref(realm: str, need: ItemNeed, items: Mapping[str, ItemMapping]) -> str:
    """The QuickBooks id of a line's item: an operator's word, custom field, table, default. Raises Parked."""
    row = items.get(f"{realm}/{need.product_id}") if need.product_id else None
    if row is not None and row.source == "operator":
        return row.qbo_id
    if need.qbo_id is not None:
        return need.qbo_id
    if row is not None:
        return row.qbo_id
    default = items.get(f"{realm}/{DEFAULT_ITEM}") if need.product_id is None else None
    fallback = default.qbo_id if default is not None else need.default_qbo_id
    if fallback is not None:
        return fallback
    product = need.product_id or DEFAULT_ITEM
    raise Parked(
        f"no QuickBooks item is known for {need.name!r} (product {product})",
        waits_for=f"item/{product}",
        remedy=f"metronome-qbo map item '{product}' QBO_ID --realm {realm}, then metronome-qbo redrive; or set the "
        "custom field qbo_item_id in Metronome, and send the invoice's webhook again",
    )


async def ensure_customer(command: EnsureCustomer, since: Address, sink: Sink) -> tuple[CustomerMapping, str]:
    """The customer's mapping, and `mapped`, `found` or `created`. Raises Parked, or what outlasted all patience."""
    realm, need = command.realm, command.customer
    key = f"{realm}/{need.customer_id}"
    known = sink.tables.customers.get(key)
    if known is not None:
        return known, "mapped"
    name = tidy_name(need.name, CUSTOMER_NAME_CHARACTERS_MAX)
    policy = sink.policy_of(realm)
    body: dict[str, Any] = {"DisplayName": name}
    if policy.send_currency:
        body["CurrencyRef"] = {"value": command.currency}
    subject, may_create = f"customer/{need.customer_id}", policy.missing_customer == "create"
    found, created = await _find_or_create(
        realm, "Customer", "DisplayName", name, body, subject, may_create, sink, sink.tries(realm)
    )
    _refuse_strangers(found, need, command.currency, realm, sink)
    mapping = CustomerMapping(
        realm=realm,
        customer_id=need.customer_id,
        qbo_id=found["Id"],
        name=found.get("DisplayName", name),
        currency=(found.get("CurrencyRef") or {}).get("value"),
        source="created" if created else "matched",
        since=since,
    )
    sink.tables.customers[key] = mapping
    return mapping, "created" if created else "found"


async def ensure_item(command: EnsureItem, since: Address, sink: Sink) -> tuple[ItemMapping, str]:
    """The item's mapping, and `mapped`, `found` or `created`. Raises Parked, or what outlasted all patience."""
    realm, need = command.realm, command.item
    product = need.product_id or DEFAULT_ITEM
    key = f"{realm}/{product}"
    known = sink.tables.items.get(key)
    if known is not None:
        return known, "mapped"
    name = tidy_name(need.name, ITEM_NAME_CHARACTERS_MAX)
    policy = sink.policy_of(realm)
    body = {"Name": name, "Type": "Service", "IncomeAccountRef": {"value": _income_account(policy, name)}}
    found, created = await _find_or_create(
        realm, "Item", "Name", name, body, f"item/{product}", policy.missing_item == "create", sink, sink.tries(realm)
    )
    mapping = ItemMapping(
        realm=realm,
        product_id=product,
        qbo_id=found["Id"],
        name=found.get("Name", name),
        source="created" if created else "matched",
        since=since,
    )
    sink.tables.items[key] = mapping
    return mapping, "created" if created else "found"


def tidy_name(name: str, characters_max: int) -> str:
    """A name as QuickBooks takes it: no colon, tab or newline, no blank at its ends, not too long (§2.1, §2.2)."""
    return " ".join(name.translate(_NOT_IN_NAMES).split())[:characters_max].strip()


async def _find_or_create(
    realm: str,
    entity: str,
    name_field: str,
    name: str,
    body: dict[str, Any],
    subject: str,
    may_create: bool,
    sink: Sink,
    tries: Tries,
) -> tuple[dict[str, Any], bool]:
    """The object of that name, and whether we created it. Every new attempt looks first, so none creates twice."""
    names = f"{quoted(name)}, {quoted(name + INACTIVE_SUFFIX)}"
    statement = f"SELECT * FROM {entity} WHERE {name_field} IN ({names}) AND Active IN (true, false)"  # noqa: S608
    content = encode(body)
    duplicate: DuplicateName | None = None
    while True:
        try:
            same_name = (await sink.books.query(realm, statement)).get(entity) or []
            active = _active(same_name, entity, name_field, name, subject)
            if active is not None:
                return active, False
            if duplicate is not None:
                raise Parked(
                    f"the name {name!r} belongs to another list entry in QuickBooks, such as a vendor or an employee",
                    waits_for=subject,
                    remedy=f"rename one of them, or run metronome-qbo map {subject.replace('/', ' ')} QBO_ID",
                    error=duplicate.facts,
                )
            if not may_create:
                raise Parked(
                    f"QuickBooks has no {entity.lower()} named {name!r}, and policy says not to create one",
                    waits_for=subject,
                    remedy=f"create it in QuickBooks, or run metronome-qbo map {subject.replace('/', ' ')} QBO_ID",
                )
            identity = requestid(realm, subject, "create", content)
            found, _ = await sink.books.write(realm, entity, content, requestid=identity)
            return found, True
        except DuplicateName as failure:
            duplicate = failure
        except (Wait, Doubtful, DuplicateRequest) as failure:
            await tries.pause(failure)


def _active(
    same_name: list[dict[str, Any]], entity: str, name_field: str, name: str, subject: str
) -> dict[str, Any] | None:
    """The active entry of that name, None without any. Raises Parked when the only one is inactive."""
    for found in same_name:
        if found.get("Active", True) and not str(found.get(name_field)).endswith(INACTIVE_SUFFIX):
            return found
    if all(found.get("Active", True) for found in same_name):
        return None
    raise Parked(
        f"the {entity.lower()} {name!r} is inactive in QuickBooks",
        waits_for=subject,
        remedy=f"make it active, or run metronome-qbo map {subject.replace('/', ' ')} QBO_ID",
    )


def _refuse_strangers(found: dict[str, Any], need: CustomerNeed, currency: str, realm: str, sink: Sink) -> None:
    """A customer that is another Metronome customer already, or bills in another currency, is not adopted."""
    remedy = f"metronome-qbo map customer {need.customer_id} QBO_ID --realm {realm}"
    taken_by = next(
        (row.customer_id for row in sink.tables.customers.values() if row.realm == realm and row.qbo_id == found["Id"]),
        None,
    )
    if taken_by is not None:
        raise Parked(
            f"QuickBooks customer {found['Id']} named {need.name!r} is already Metronome customer {taken_by}",
            waits_for=f"customer/{need.customer_id}",
            remedy=remedy,
        )
    theirs = (found.get("CurrencyRef") or {}).get("value")
    if theirs is not None and theirs != currency:
        raise Parked(
            f"QuickBooks customer {found['Id']} named {need.name!r} is kept in {theirs}, the invoice is in {currency}",
            waits_for=f"customer/{need.customer_id}",
            remedy=remedy,
        )


def _income_account(policy: Policy, name: str) -> str:
    if policy.income_account_id is None:
        raise Parked(
            f"the item {name!r} cannot be created without an income account",
            waits_for="setting/policy.income_account_id",
            remedy="set policy.income_account_id, or missing_item to park or default",
        )
    return policy.income_account_id
