"""Which item a line goes to: its product's, one of its own kind, or the single one (docs/mapping.md, Items)."""

from collections.abc import Sequence

from models.document import COMMIT_PURCHASE_ITEM, CREDIT_ITEM, DRAW_DOWN_ITEM, ROUNDING_ITEM, ItemReference
from models.metronome import ITEM_FIELD, LineItem
from models.policy import Policy
from models.quickbooks import clean

from .amounts import APPLIED
from .custom_fields import id_in
from .declined import refused

COMMIT_PURCHASE = "commit_purchase"

ALL_PRODUCTS = "*"
"""The name of the item that stands for every product, in the single-item strategy."""


def product_names(billed: Sequence[LineItem]) -> dict[str, str]:
    """A name for each product: its first line's, but not that of a draw-down, which is named after the commit."""
    draw_downs_last = sorted(billed, key=lambda line: line.type == APPLIED)
    names: dict[str, str] = {}
    for line in draw_downs_last:
        if line.product_id is not None and line.product_id not in names:
            names[line.product_id] = clean(line.name)
    return names


def item_of(line: LineItem, names: dict[str, str], policy: Policy) -> ItemReference:
    """The item that a line needs. Raises Declined for a custom field that holds no id."""
    own = _own_item(line, policy) if line.type in (APPLIED, COMMIT_PURCHASE) else None
    if own is not None:
        return own
    if policy.item_strategy == "single-item":
        if policy.default_item_id is None:
            raise refused(
                "no default item", "the single-item strategy needs the policy's default_item_id: set it, then replay"
            )
        return ItemReference(name=ALL_PRODUCTS, qbo_id=policy.default_item_id)
    if line.product_id is None:
        return ItemReference(name=clean(line.name), default_qbo_id=policy.default_item_id)
    is_prepayment = line.type == COMMIT_PURCHASE
    return ItemReference(
        name=names[line.product_id],
        product_id=clean(line.product_id),
        qbo_id=id_in(line.product_custom_fields, ITEM_FIELD, f"product {line.product_id} (line {line.name!r})"),
        default_qbo_id=policy.default_item_id if policy.missing_item == "default" and not is_prepayment else None,
        is_prepayment=is_prepayment,
    )


def rounding_item(policy: Policy) -> ItemReference:
    return ItemReference(name="Rounding", product_id=ROUNDING_ITEM, qbo_id=policy.rounding_item_id)


def _own_item(line: LineItem, policy: Policy) -> ItemReference | None:
    """The item of the commit itself: what its custom field says, else by policy; None leaves it to the product."""
    by_commit = id_in(line.commit_custom_fields, ITEM_FIELD, f"the commit of line {line.name!r}")
    if by_commit is not None:
        return ItemReference(name=clean(line.name), qbo_id=by_commit)
    if line.type == COMMIT_PURCHASE:
        if policy.commit_purchase_item == "product":
            return None
        return ItemReference(
            name="Commit purchase", product_id=COMMIT_PURCHASE_ITEM, qbo_id=policy.commit_purchase_item_id
        )
    if policy.draw_down_item == "product":
        return None
    applied = line.applied_commit_or_credit
    if applied is not None and applied.type == "CREDIT":
        return ItemReference(name="Credit draw-down", product_id=CREDIT_ITEM, qbo_id=policy.credit_item_id)
    return ItemReference(name="Commit draw-down", product_id=DRAW_DOWN_ITEM, qbo_id=policy.draw_down_item_id)
