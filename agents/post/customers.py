"""Which QuickBooks customer a Metronome customer is: known, matched by name as policy says, or created.

A QuickBooks customer has one currency for ever (docs/vendors/quickbooks.md §1.7). So a Metronome customer may have
several: the main one under `realm/customer_id`, and by policy one more for each other currency,
`realm/customer_id/EUR`. Those that we create say in their Notes whose they are.
"""

import re
from collections.abc import Mapping
from functools import partial

from agents.clients.failures import MappingBroken, NotFound, OutcomeUnknown, Wait
from models.commands import EnsureCustomer
from models.document import CustomerReference
from models.ledger import CustomerMapping
from models.policy import Policy
from models.quickbooks import CUSTOMER_NAME_CHARACTERS_MAX, tidy_name, with_suffix
from models.record import Address
from models.subject import RowKey, Subject

from .find_or_create import Json, ListEntryQuery, NameTaken, describe, find_or_create, is_active
from .searched_table import SearchedTable, saying
from .sink import Parked, Sink

NOTE = "Metronome customer {customer_id}"
"""The line of a customer's Notes by which it is known as ours; QuickBooks's schema has Notes, and no limit for it."""

_NOTED = re.compile(r"^Metronome customer (\S+)\s*$", re.MULTILINE)


def customer_ref(realm: str, need: CustomerReference, customers: Mapping[str, CustomerMapping]) -> str:
    """The QuickBooks id of a document's customer, in the document's currency.

    The mapping for that currency goes first, then an operator's word, the custom field, and the table. Raises Parked
    when none says anything, or when the customer is known to be kept in another currency.
    """
    of_currency = customers.get(RowKey.of(realm, need.customer_id, need.currency)) if need.currency else None
    if of_currency is not None:
        return of_currency.qbo_id
    row = customers.get(RowKey.of(realm, need.customer_id))
    if need.qbo_id is not None and not need.away and not _speaks_for(row, need):
        return need.qbo_id
    if row is None:
        raise Parked(
            f"no QuickBooks customer is known for {need.name!r}",
            waits_for=Subject.customer(need.customer_id),
            remedy=f"metronome-qbo map customer {need.customer_id} QBO_ID --realm {realm}; or set the custom field "
            "qbo_customer_id in Metronome, and send the invoice's webhook again",
        )
    if need.currency is not None and row.currency not in (None, need.currency):
        raise _other_currency(row, need.customer_id, need.currency)
    return row.qbo_id


async def ensure_customer(command: EnsureCustomer, since: Address, sink: Sink) -> tuple[CustomerMapping, str]:
    """The customer's mapping, and `mapped`, `found` or `created`. Raises Parked, or what outlasted every retry.

    A customer of a further currency is always `mapped`, since its id is not what qbo_customer_id should say.
    """
    realm, need, currency = command.realm, command.customer, command.currency
    known = sink.tables.customers.get(RowKey.of(realm, need.customer_id, currency))
    if known is not None:
        return known, "mapped"
    row, result = await _main(command, since, sink)
    if row.currency in (None, currency):
        return row, result
    policy = sink.policy_of(realm)
    if policy.customer_currency == "refuse" or not policy.send_currency:
        raise _other_currency(row, need.customer_id, currency)
    return await _of_currency(command, since, sink), "mapped"


async def _main(command: EnsureCustomer, since: Address, sink: Sink) -> tuple[CustomerMapping, str]:
    """The mapping under the customer's own id; its currency is asked for where policy needs to know it."""
    realm, need = command.realm, command.customer
    key = RowKey.of(realm, need.customer_id)
    row = sink.tables.customers.get(key)
    if row is not None and (need.qbo_id is None or need.away or _speaks_for(row, need)):
        if row.currency is None and sink.policy_of(realm).customer_currency == "per-currency":
            row = row.replace(currency=_currency_of(await _fetch(realm, row.qbo_id, sink)))
            sink.tables.customers[key] = row
        return row, "mapped"
    named = await _named(command, sink)
    if named is not None:
        row, result = _row(command, named, "custom field", since), "mapped"
    else:
        name = tidy_name(need.name, CUSTOMER_NAME_CHARACTERS_MAX)
        found, created = await _find_or_create(_query(command, name, sink, need.customer_id), since, sink, realm)
        source, result = ("created", "created") if created else ("matched", "found")
        row = _row(command, found, source, since)
    sink.tables.customers[key] = row
    return row, result


async def _named(command: EnsureCustomer, sink: Sink) -> Json | None:
    """The QuickBooks customer that the custom field names. It names one of the company in which the customer was billed
    first: in another it counts when it is one of that name and nobody else's, and for nothing when there is none, or
    when another Metronome customer has it. Else raises Parked.
    """
    need, realm = command.customer, command.realm
    if need.qbo_id is None:
        return None
    try:
        named = await _fetch(realm, need.qbo_id, sink)
    except (NotFound, MappingBroken):
        if need.away:
            return None
        raise
    if need.away and _owner(realm, named, sink.tables.customers) not in (None, need.customer_id):
        return None
    if not need.away or _noted(named) == need.customer_id or _is_named(named, need.name):
        return named
    raise Parked(
        f"qbo_customer_id says {need.qbo_id}, which in company {realm} is {named.get('DisplayName')!r} and not "
        f"{need.name!r}; it may be the id in another company, where this customer was billed first",
        waits_for=Subject.customer(need.customer_id),
        remedy=f"metronome-qbo map customer {need.customer_id} QBO_ID --realm {realm}",
    )


def _is_named(entry: Json, name: str) -> bool:
    tidy = tidy_name(name, CUSTOMER_NAME_CHARACTERS_MAX)
    return tidy_name(str(entry.get("DisplayName") or ""), CUSTOMER_NAME_CHARACTERS_MAX).casefold() == tidy.casefold()


async def _of_currency(command: EnsureCustomer, since: Address, sink: Sink) -> CustomerMapping:
    """The mapping of a further currency: a QuickBooks customer of its own, such as `Acme GmbH (EUR)`."""
    realm, need, currency = command.realm, command.customer, command.currency
    tidy = tidy_name(need.name, CUSTOMER_NAME_CHARACTERS_MAX)
    name = with_suffix(tidy, f" ({currency})", CUSTOMER_NAME_CHARACTERS_MAX)
    query = _query(command, name, sink, f"{need.customer_id}/{currency}")
    found, created = await _find_or_create(query, since, sink, realm)
    row = _row(command, found, "created" if created else "matched", since)
    if row.currency not in (None, currency):
        raise _other_currency(row, need.customer_id, currency)
    sink.tables.customers[RowKey.of(realm, need.customer_id, currency)] = row
    return row


async def _find_or_create(query: ListEntryQuery, since: Address, sink: Sink, realm: str) -> tuple[Json, bool]:
    return await find_or_create(query, realm, books=sink.books, retries=sink.retries(realm), command=str(since))


def _query(command: EnsureCustomer, name: str, sink: Sink, mapped_as: str) -> ListEntryQuery:
    """What to look for in QuickBooks. `mapped_as`: what an operator would map."""
    realm, need, policy = command.realm, command.customer, sink.policy_of(command.realm)
    remedy = f"metronome-qbo map customer {mapped_as} QBO_ID --realm {realm}"
    if not name:
        raise Parked(
            f"Metronome customer {need.customer_id} has no name that QuickBooks would take",
            waits_for=Subject.customer(mapped_as),
            remedy=f"name it in Metronome, or {remedy}",
        )
    body: Json = {"Notes": NOTE.format(customer_id=need.customer_id)}
    if policy.send_currency:
        body["CurrencyRef"] = {"value": command.currency}
    names = [name]
    if policy.name_clash == "suffix":
        names.append(with_suffix(name, policy.name_suffix, CUSTOMER_NAME_CHARACTERS_MAX))
    return ListEntryQuery(
        entity="Customer",
        name_field="DisplayName",
        names=tuple(dict.fromkeys(names)),
        body=body,
        subject=Subject.customer(mapped_as),
        remedy=remedy,
        may_create=policy.missing_customer == "create",
        reactivate=policy.inactive == "reactivate",
        choose=partial(_choose, command=command, policy=policy, mapped_as=mapped_as, customers=sink.tables.customers),
        ours=lambda entry: _noted(entry) == need.customer_id,
    )


def _choose(
    entries: list[Json],
    *,
    command: EnsureCustomer,
    policy: Policy,
    mapped_as: str,
    customers: SearchedTable[CustomerMapping],
) -> Json | NameTaken | None:
    """Which of the QuickBooks customers of one name this one is, by policy. Raises Parked where a person must say."""
    need, realm = command.customer, command.realm
    remedy = f"metronome-qbo map customer {mapped_as} QBO_ID --realm {realm}"

    def parked(reason: str) -> Parked:
        return Parked(reason, waits_for=Subject.customer(mapped_as), remedy=remedy)

    free = []
    for entry in entries:
        owner = _owner(realm, entry, customers)
        if owner in (None, need.customer_id):
            free.append(entry)
        elif is_active(entry):
            raise parked(
                f"QuickBooks customer {describe([entry], 'DisplayName')} is already Metronome customer {owner}, "
                f"and so not Metronome customer {need.customer_id} named {need.name!r}"
            )
    active = [entry for entry in free if is_active(entry)]
    if policy.customer_matching == "off":
        return NameTaken(f"QuickBooks customer {describe(active, 'DisplayName')}") if active else None
    if not free:
        return None
    if policy.customer_matching == "ask":
        raise parked(
            f"a person must say whether {need.name!r} is one of these QuickBooks customers: "
            + describe(free, "DisplayName")
        )
    candidates = active or free
    if len(candidates) > 1:
        raise parked(f"several QuickBooks customers are named {need.name!r}: {describe(candidates, 'DisplayName')}")
    theirs = _currency_of(candidates[0])
    if policy.customer_currency == "refuse" and theirs not in (None, command.currency):
        raise parked(
            f"QuickBooks customer {describe(candidates, 'DisplayName')} is kept in {theirs}, "
            f"the invoice is in {command.currency}"
        )
    return candidates[0]


async def _fetch(realm: str, qbo_id: str, sink: Sink) -> Json:
    """The QuickBooks customer of that id."""
    retries = sink.retries(realm)
    while True:
        try:
            return await sink.books.fetch(realm, "Customer", qbo_id)
        except (Wait, OutcomeUnknown) as failure:
            await retries.wait(failure)


def _row(command: EnsureCustomer, found: Json, source: str, since: Address) -> CustomerMapping:
    need = command.customer
    return CustomerMapping.model_validate(
        {
            "realm": command.realm,
            "customer_id": need.customer_id,
            "qbo_id": found["Id"],
            "name": found.get("DisplayName") or need.name,
            "currency": _currency_of(found),
            "source": source,
            "since": since,
        }
    )


def _speaks_for(row: CustomerMapping | None, need: CustomerReference) -> bool:
    """Whether the row decides, and not the custom field: an operator's does, or one that says the same."""
    return row is not None and (row.source == "operator" or row.qbo_id == need.qbo_id)


def _currency_of(entry: Json) -> str | None:
    return (entry.get("CurrencyRef") or {}).get("value")


def _noted(entry: Json) -> str | None:
    """The Metronome customer that a QuickBooks customer's Notes name."""
    found = _NOTED.search(str(entry.get("Notes") or ""))
    return found[1] if found else None


def _owner(realm: str, entry: Json, customers: SearchedTable[CustomerMapping]) -> str | None:
    """The Metronome customer whose a QuickBooks customer is: by its Notes, or mapped already, whatever its currency."""
    if (noted := _noted(entry)) is not None:
        return noted
    rows = (customers.get(key) for key in customers.keys_containing(saying("qbo_id", entry["Id"])))
    return next((row.customer_id.partition("/")[0] for row in rows if row is not None and row.realm == realm), None)


def _other_currency(row: CustomerMapping, customer_id: str, currency: str) -> Parked:
    return Parked(
        f"QuickBooks customer {row.qbo_id} {row.name!r} is kept in {row.currency}, the invoice is in {currency}",
        waits_for=Subject.customer(customer_id, currency),
        remedy=f"metronome-qbo map customer {customer_id}/{currency} QBO_ID --realm {row.realm}, with the id of a "
        f'customer kept in {currency}; or set policy.customer_currency = "per-currency"',
    )
