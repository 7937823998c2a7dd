"""What a document needs in QuickBooks before it can be posted: a customer, and items."""

from models.commands import Command, EnsureCustomer, EnsureItem
from models.document import RESERVED_ITEMS, Document, ItemReference
from models.policy import Policy
from models.record import Address, Moment


def ensure_commands(
    document: Document, *, realm: str, facts: Address | None, received_at: Moment | None, policy: Policy
) -> list[Command]:
    """A command for the customer, and one for each product that only a new item can cover, in line order.

    Never for our own items, nor for a commit that is purchased: which account a draw-down, a rounding or a prepayment
    belongs to is for a person to say.
    """
    needed: list[Command] = []
    customer = document.customer
    # The custom field names one customer of one company, which keeps one currency; any other needs another customer.
    if customer.qbo_id is None or customer.away or policy.customer_currency == "per-currency":
        needed.append(
            EnsureCustomer(
                realm=realm,
                facts=facts,
                received_at=received_at,
                customer=customer,
                currency=document.currency,
            )
        )
    if policy.missing_item == "create":
        items = [line.item for line in document.lines]
        products = {
            item.product_id: item
            for item in items
            if item.product_id is not None and item.qbo_id is None and _may_be_created(item)
        }
        needed += [
            EnsureItem(realm=realm, facts=facts, received_at=received_at, item=item) for item in products.values()
        ]
    return needed


def _may_be_created(item: ItemReference) -> bool:
    return item.product_id not in RESERVED_ITEMS and not item.is_prepayment
