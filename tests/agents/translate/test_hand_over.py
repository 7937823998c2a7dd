"""Facts of an invoice that one company has, and that the routing has in another: both readings of them."""

from datetime import UTC, datetime

from agents.translate.hand_over import hand_over
from models.commands import EnsureCustomer, HandOver, PostInvoice
from models.policy import Policy
from models.record import Address
from tests.builders import an_invoice, facts_of

AT = Address(topic="metronome.invoices", partition=0, offset=3)


def handed(**custom_fields: str) -> HandOver:
    facts = facts_of(an_invoice(customer_custom_fields=custom_fields))
    facts = facts.replace(realm="A", home="A", routed_to="B", owner_epoch=1)
    policies = {"A": Policy(private_note_template="of A"), "B": Policy(private_note_template="of B")}
    return hand_over(facts, "B", AT, policy_of=policies.__getitem__)


def test_each_company_has_its_own_policy_and_the_other_one_a_newer_epoch() -> None:
    command = handed(qbo_customer_id="58")
    assert (command.realm, command.to, command.owner_epoch, command.facts) == ("A", "B", 1, AT)
    here, there = command.stays[-1], command.goes[-1]
    assert isinstance(here, PostInvoice)
    assert isinstance(there, PostInvoice)
    assert (here.realm, here.owner_epoch, here.routed_to) == ("A", 1, "B")
    assert (there.realm, there.owner_epoch, there.routed_to) == ("B", 2, None)
    assert (here.document.private_note[-4:], there.document.private_note[-4:]) == ("of A", "of B")


def test_it_says_when_its_facts_were_fetched_as_the_commands_in_it_do() -> None:
    """Else nobody could tell which facts are newer once the topic of facts was made anew."""
    facts = facts_of(an_invoice()).replace(realm="A", home="A", fetched_at=datetime(2026, 11, 2, tzinfo=UTC))
    command = hand_over(facts, "B", AT, policy_of=lambda realm: Policy())
    assert command.facts_fetched_at == facts.fetched_at == command.stays[-1].facts_fetched_at  # type: ignore[union-attr]


def test_what_a_custom_field_says_of_one_company_is_asked_for_in_the_other() -> None:
    command = handed(qbo_customer_id="58")
    assert [type(each) for each in command.stays] == [PostInvoice]
    ensure, post = command.goes
    assert isinstance(ensure, EnsureCustomer)
    assert isinstance(post, PostInvoice)
    assert (ensure.customer.qbo_id, ensure.customer.away, post.document.customer.away) == ("58", True, True)
