"""What preflight reads, once: one QuickBooks company, and Metronome's lists. Nothing is written, no token refreshed."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agents.clients.failures import OutcomeUnknown, TokenRefused, Wait
from agents.clients.metronome import MetronomeClient
from agents.clients.quickbooks import QuickBooksClient
from agents.clients.retry import RetryPolicy
from models.metronome import CUSTOMER_FIELD, ITEM_FIELD
from models.policy import Policy
from models.quickbooks import quoted
from stream import OperatorError
from stream.operations.connection_log import ConnectionLog
from stream.operations.preview import Mappings
from stream.settings import Settings
from stream.wiring import TokenCipher

IDS_PER_QUERY_MAX = 100
ROWS_MAX = 1000
"""The most that one query gives (docs/vendors/quickbooks.md §2.4)."""

POLICY_ITEMS = (
    *("default_item_id", "draw_down_item_id", "credit_item_id", "commit_purchase_item_id", "rounding_item_id"),
)
"""The fields of the policy that hold an item's id."""

Json = dict[str, Any]
Progress = Callable[[str], None]


class NoToken(OperatorError):
    """There is no access token with which to read the company; the message says what to do."""


class StandingToken:
    """An access token as it is: preflight never refreshes one, since rotating them belongs to the worker."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._is_rejected = False

    async def access_token(self, realm: str) -> str:
        """Raises TokenRefused when it was rejected."""
        if self._is_rejected:
            raise TokenRefused(
                f"QuickBooks does not accept the access token of company {realm}: it ran out, was taken back, or is "
                "for another company. preflight never refreshes one; a running worker does"
            )
        return self._token

    def reject(self, realm: str, token: str) -> None:
        self._is_rejected = True

    def accept(self, realm: str, token: str) -> None:
        pass


async def recorded_token(settings: Settings, realm: str) -> str:
    """The company's newest access token. Raises NoToken, and as `ConnectionLog` and `TokenCipher`."""
    connection = await ConnectionLog(settings).newest(realm)
    if connection is None or connection.state == "disconnected" or connection.access_token is None:
        raise NoToken(f"company {realm} is not connected: metronome-qbo connect --realm {realm}")
    if connection.state == "reconnect needed":
        raise NoToken(f"company {realm} must be connected again: metronome-qbo connect --realm {realm}")
    expires_at = connection.access_token_expires_at
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise NoToken(
            f"the access token of company {realm} ran out at {expires_at:%Y-%m-%d %H:%M} UTC. preflight never "
            "refreshes one: let the worker run and post something, or metronome-qbo connect"
        )
    return TokenCipher(settings.encryption_keys).decrypt(connection.access_token)


@dataclass(frozen=True)
class Catalog:
    """What Metronome lists: custom-field keys as (entity, key), and objects as it gives them."""

    keys: frozenset[tuple[str, str]] = frozenset()
    products: tuple[Json, ...] = ()
    customers: tuple[Json, ...] = ()
    units: tuple[Json, ...] = ()

    def ids_in(self, objects: Iterable[Json], key: str) -> set[str]:
        """The QuickBooks ids that a custom field of these objects holds."""
        values = {fields_of(each).get(key, "").strip() for each in objects}
        return {value for value in values if value.isascii() and value.isdigit()}


def fields_of(entity: Json) -> dict[str, str]:
    return entity.get("custom_fields") or {}


@dataclass(frozen=True)
class Company:
    """What QuickBooks tells of a company; list entries by id, the inactive ones too."""

    info: Json = field(default_factory=dict)
    preferences: Json = field(default_factory=dict)
    items: dict[str, Json] = field(default_factory=dict)
    customers: dict[str, Json] = field(default_factory=dict)
    accounts: dict[str, Json] = field(default_factory=dict)
    terms: dict[str, Json] = field(default_factory=dict)
    tax_codes: dict[str, Json] = field(default_factory=dict)

    @property
    def country(self) -> str:
        return str(self.info.get("Country") or "US")

    def preference(self, section: str, name: str) -> Any:
        """A preference, None where QuickBooks says nothing; a reference as its value."""
        value = (self.preferences.get(section) or {}).get(name)
        return value.get("value") if isinstance(value, dict) else value


async def read_catalog(
    metronome: MetronomeClient, retry: RetryPolicy, realm: str, customer_field: str, progress: Progress
) -> Catalog:
    """Metronome's lists. Raises Failure.

    Customers whose `customer_field` routes them to another company are left out.
    """
    progress("Reading Metronome's custom fields and pricing units …")
    keys = {(each["entity"], each["key"]) async for each in metronome.every_custom_field_key(retry)}
    units = [each async for each in metronome.every_pricing_unit(retry)]
    products: list[Json] = []
    async for each in metronome.every_product(retry):
        products.append(each)
        progress(f"{len(products):,} products of Metronome …")
    customers: list[Json] = []
    async for each in metronome.every_customer(retry, archived=False):
        if fields_of(each).get(customer_field) in (None, "", realm):
            customers.append(each)
        progress(f"{len(customers):,} customers of Metronome …")
    return Catalog(frozenset(keys), tuple(products), tuple(customers), tuple(units))


def items_used(policy: Policy, mappings: Mappings, realm: str, catalog: Catalog) -> dict[str, str]:
    """Each QuickBooks item id that policy, tables or custom fields name, with who names it."""
    named = {id_: f"policy.{name}" for name in POLICY_ITEMS if (id_ := getattr(policy, name)) is not None}
    for row in mappings.items.values():
        if row.realm == realm:
            named.setdefault(row.qbo_id, f"the mapping of product {row.product_id}")
    for id_ in catalog.ids_in(catalog.products, ITEM_FIELD):
        named.setdefault(id_, f"custom field {ITEM_FIELD}")
    return named


def customers_used(mappings: Mappings, realm: str, catalog: Catalog) -> dict[str, str]:
    """Each QuickBooks customer id that tables or custom fields name, with who names it."""
    named = {
        row.qbo_id: f"the mapping of customer {row.customer_id}"
        for row in mappings.customers.values()
        if row.realm == realm
    }
    for id_ in catalog.ids_in(catalog.customers, CUSTOMER_FIELD):
        named.setdefault(id_, f"custom field {CUSTOMER_FIELD}")
    return named


class CompanyReader:
    """Reads one company; each query is tried again within `retry_seconds`. Raises Failure."""

    def __init__(self, client: QuickBooksClient, realm: str, retry_seconds: float, progress: Progress) -> None:
        self._client = client
        self._realm = realm
        self._retry = RetryPolicy(retry_seconds, retry_seconds, time.monotonic)
        self._progress = progress

    async def read(self, policy: Policy, items: Iterable[str], customers: Iterable[str]) -> Company:
        """Everything about the company, and the list entries that are named."""
        [preferences] = await self._rows("Preferences") or [{}]
        [info] = await self._rows("CompanyInfo") or [{}]
        found = await self._by_id("Item", items)
        default_term = ((preferences.get("SalesFormsPrefs") or {}).get("DefaultTerms") or {}).get("value")
        terms = {default_term, policy.sales_term_id, *policy.sales_term_ids.values()} - {None}
        accounts = {(each.get("IncomeAccountRef") or {}).get("value") for each in found.values()}
        accounts = (accounts | {policy.income_account_id}) - {None}
        codes = await self._rows("TaxCode", f"WHERE Active IN (true, false) MAXRESULTS {ROWS_MAX}")
        return Company(
            info,
            preferences,
            found,
            await self._by_id("Customer", customers),
            await self._by_id("Account", accounts),
            await self._by_id("Term", terms),
            {str(each["Id"]): each for each in codes},
        )

    async def _by_id(self, entity: str, ids: Iterable[str | None]) -> dict[str, Json]:
        wanted = sorted({each for each in ids if each is not None})
        found: dict[str, Json] = {}
        for start in range(0, len(wanted), IDS_PER_QUERY_MAX):
            these = ", ".join(quoted(each) for each in wanted[start : start + IDS_PER_QUERY_MAX])
            where = f"WHERE Id IN ({these}) AND Active IN (true, false) MAXRESULTS {IDS_PER_QUERY_MAX}"
            found |= {str(each["Id"]): each for each in await self._rows(entity, where)}
        return found

    async def _rows(self, entity: str, where: str = "") -> list[Json]:
        self._progress(f"Reading {entity} of company {self._realm} …")
        retries = self._retry.start()
        while True:
            try:
                response = await self._client.query(self._realm, f"SELECT * FROM {entity} {where}".strip())  # noqa: S608
                return list(response.get(entity) or [])
            except (Wait, OutcomeUnknown) as failure:
                await retries.wait(failure)
