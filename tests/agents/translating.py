"""Short ways to say, in tests, what an invoice was translated to."""

from typing import Any

from agents.translate import translate
from models.commands import Command, DeclineInvoice, PostInvoice
from models.document import Document
from models.policy import Policy
from tests.builders import AT, facts_of

UNMAPPED: dict[str, Any] = {"product_id": "c592a2d1-bdc0-5bfc-90b7-c9a250bad915", "product_custom_fields": {}}
"""The fields of a line whose product has no QuickBooks item in its custom fields."""


def commands(invoice: dict[str, Any], policy: Policy | None = None, **facts: Any) -> list[Command]:
    return translate(facts_of(invoice, **facts), AT, policy=policy or Policy())


def posted(invoice: dict[str, Any], policy: Policy | None = None, **facts: Any) -> Document:
    last = commands(invoice, policy, **facts)[-1]
    assert isinstance(last, PostInvoice), last
    return last.document


def declined(invoice: dict[str, Any], policy: Policy | None = None, **facts: Any) -> DeclineInvoice:
    [only] = commands(invoice, policy, **facts)
    assert isinstance(only, DeclineInvoice), only
    return only
