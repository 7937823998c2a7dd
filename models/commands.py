"""What is to be done in QuickBooks: one command, one write, one outcome.

A command refers to customers and items by their Metronome ids; the sink resolves them from the tables when it
executes. `facts` is the address of the record that the command was decided from (None: an operator's command).
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from .document import DEFAULT_ITEM, CustomerReference, Document, ItemReference
from .record import Address, Moment, Record
from .subject import Subject


class _Command(Record):
    realm: str
    facts: Address | None = None
    received_at: Moment | None = None


class EnsureCustomer(_Command):
    """Have a QuickBooks customer for this Metronome customer: find it by name, or create it."""

    type: Literal["EnsureCustomer"] = "EnsureCustomer"
    customer: CustomerReference
    currency: str


class EnsureItem(_Command):
    """Have a QuickBooks item for this Metronome product: find it by name, or create it."""

    type: Literal["EnsureItem"] = "EnsureItem"
    item: ItemReference


class _InvoiceCommand(_Command):
    """`facts_fetched_at`: when Metronome gave the facts; `customer_id`: whose invoice it is in Metronome; records from
    before they were recorded lack them. `owner_epoch`: how often the invoice had been handed over when the command was
    decided.
    """

    invoice_id: str
    customer_id: str | None = None
    facts_fetched_at: Moment | None = None
    owner_epoch: int = 0


class PostInvoice(_InvoiceCommand):
    """Have exactly this document in the books: create it, or update in place what is there.

    `routed_to` is the company where the routing has the invoice by now, although it was attempted in this one.
    """

    type: Literal["PostInvoice"] = "PostInvoice"
    document: Document
    routed_to: str | None = None

    @model_validator(mode="after")
    def _is_about_one_invoice(self) -> "PostInvoice":
        if self.document.invoice_id != self.invoice_id:
            raise ValueError(f"document.invoice_id is {self.document.invoice_id}, invoice_id {self.invoice_id}")
        return self


class VoidInvoice(_InvoiceCommand):
    """Metronome voided the invoice: void its document, if one was posted.

    With `by_hand` the document stays, and that is what a person is told to do about it.
    """

    type: Literal["VoidInvoice"] = "VoidInvoice"
    reason: str
    by_hand: str | None = None


class DeclineInvoice(_InvoiceCommand):
    """Post nothing for this invoice, and say why: skipped by a policy, or refused by a rule.

    `parked`: Metronome has not decided yet, and is asked again.
    """

    type: Literal["DeclineInvoice"] = "DeclineInvoice"
    decision: Literal["skipped", "refused", "parked"]
    rule: str
    reason: str


class HandOver(_InvoiceCommand):
    """The routing now has the invoice in company `to`: a company that never attempted it gives it away for good.

    `goes` are the commands for the other company, `stays` those for this one, of which exactly one kind is published.
    """

    type: Literal["HandOver"] = "HandOver"
    customer_id: str
    to: str
    goes: tuple["OfFacts", ...]
    stays: tuple["OfFacts", ...]


class SetCustomerMapping(_Command):
    """An operator says which QuickBooks customer a Metronome customer is."""

    type: Literal["SetCustomerMapping"] = "SetCustomerMapping"
    customer_id: str
    qbo_id: str
    name: str = ""


class SetItemMapping(_Command):
    """An operator says which QuickBooks item a Metronome product is; product `*` is the default item."""

    type: Literal["SetItemMapping"] = "SetItemMapping"
    product_id: str
    qbo_id: str
    name: str = ""


class ResumeParked(_Command):
    """What waits may resume. `waits_for` names the cause that is gone; None asks one command of each cause to try."""

    type: Literal["ResumeParked"] = "ResumeParked"
    waits_for: str | None = None


NOT_FINALIZED = "not finalized"
"""The rule by which an invoice is declined that Metronome has not decided about."""

InvoiceCommand = PostInvoice | VoidInvoice | DeclineInvoice
OfFacts = Annotated[EnsureCustomer | EnsureItem | InvoiceCommand, Field(discriminator="type")]
"""What facts become in one company."""

HandOver.model_rebuild()

Command = EnsureCustomer | EnsureItem | InvoiceCommand | HandOver | SetCustomerMapping | SetItemMapping | ResumeParked

COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])


def subject_of(command: Command) -> Subject:
    """What the command is about."""
    match command:
        case PostInvoice() | VoidInvoice() | DeclineInvoice() | HandOver():
            return Subject.invoice(command.invoice_id)
        case EnsureCustomer():
            return Subject.customer(command.customer.customer_id)
        case SetCustomerMapping():
            return Subject.customer(command.customer_id)
        case EnsureItem():
            return Subject.item(command.item.product_id or DEFAULT_ITEM)
        case SetItemMapping():
            return Subject.item(command.product_id)
        case ResumeParked():
            return Subject.parked(command.waits_for)
