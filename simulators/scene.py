"""What a generated world consists of: Metronome's objects, and the QuickBooks entries that their custom fields name."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import NAMESPACE_OID, uuid5

from simulators.http import Json

USD = {"id": "2714e483-4ff1-48e4-9e25-ac732e8f24f2", "name": "USD (cents)"}
EUR = {"id": "58f0be15-cc47-4220-bdaf-072ab0e44f96", "name": "EUR"}
GBP = {"id": "0f99b795-a801-4653-ad4b-b99922be625d", "name": "GBP"}
# The currencies that Metronome bills in; all but USD count in whole units (`docs/vendors/metronome.md` §1.3).
FIAT = (
    "USD", "AUD", "BRL", "CAD", "CHF", "CZK", "EUR", "GBP", "INR",
    "MXN", "NGN", "NOK", "PLN", "SEK", "TRY", "ZAR", "NZD", "SGD",
)  # fmt: skip
AGENT_CREDITS = {"id": "4738fad1-6f9b-507e-9609-3f357812b281", "name": "Agent Credits"}


def unit_of(currency: str) -> Json:
    """The unit that an invoice of this currency counts in; ids that no source names are invented."""
    known: dict[str, Json] = {"USD": USD, "EUR": EUR, "GBP": GBP}
    return known.get(currency) or {"id": str(uuid5(NAMESPACE_OID, f"credit-type/{currency}")), "name": currency}


@dataclass(frozen=True, slots=True)
class QuickBooksEntry:
    """A customer or item that the QuickBooks books must hold because a custom field names its id."""

    id: str
    name: str
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Scene:
    """Objects as Metronome's API shows them; numbers are int or Decimal. Invoices carry no custom fields of their
    customer, contract or products: the server adds those of the moment when it is asked. `commits` are commits and
    credits, each with its `type`, `customer_id`, and `contract` when it belongs to one."""

    customers: tuple[Json, ...] = ()
    products: tuple[Json, ...] = ()
    contracts: tuple[Json, ...] = ()
    commits: tuple[Json, ...] = ()
    invoices: tuple[Json, ...] = ()
    custom_field_keys: tuple[tuple[str, str], ...] = ()
    quickbooks_customers: tuple[QuickBooksEntry, ...] = ()
    quickbooks_items: tuple[QuickBooksEntry, ...] = ()
    credit_types: tuple[Json, ...] = field(
        default=(
            {**USD, "is_currency": True},
            {**EUR, "is_currency": True},
            {**GBP, "is_currency": True},
            {**AGENT_CREDITS, "is_currency": False},
        )
    )
