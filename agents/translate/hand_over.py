"""What becomes of facts of an invoice that one company has and that the routing now has in another: both readings of
them, of which the company that has it chooses one (`agents/post/hand_over.py`)."""

from collections.abc import Callable
from typing import cast

from models.commands import HandOver, OfFacts, PostInvoice
from models.events import InvoiceEnriched
from models.policy import Policy
from models.record import Address

from .translate import of_facts, translate


def hand_over(facts: InvoiceEnriched, to: str, at: Address, *, policy_of: Callable[[str], Policy]) -> HandOver:
    """The command for the company that has the invoice. `at` is where `facts` lies."""
    there = facts.replace(realm=to, routed_to=None, owner_epoch=facts.owner_epoch + 1)
    stays = _commands(facts, at, policy_of)
    return HandOver(
        **of_facts(facts, at),
        invoice_id=facts.invoice_id,
        to=to,
        goes=_commands(there, at, policy_of),
        stays=tuple(each.replace(routed_to=to) if isinstance(each, PostInvoice) else each for each in stays),
    )


def _commands(facts: InvoiceEnriched, at: Address, policy_of: Callable[[str], Policy]) -> tuple[OfFacts, ...]:
    return tuple(cast(list[OfFacts], translate(facts, at, policy=policy_of(facts.realm))))
