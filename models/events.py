"""What happened: facts fetched from Metronome, and what became of a company's connection."""

import json
from typing import Literal
from uuid import UUID, uuid5

from pydantic import Field

from .record import Address, Moment, Record, Value


class ContractHierarchy(Value):
    """Where the invoice's contract stands between parent and children, in Metronome's words (docs/vendors/metronome.md
    §1.7).

    A child names its parent, who pays, and how its usage statements go; a parent says whether it gets a consolidated
    invoice.
    """

    parent_customer_id: str | None = None
    payer: str | None = None
    usage_statement_behavior: str | None = None
    invoice_consolidation_type: str | None = None


class InvoiceEnriched(Record):
    """Everything about one finalized invoice that Metronome could tell, when it was asked.

    `answer` is the body of Metronome's answer to the one GET of the invoice, verbatim, so that every later
    reading of it (a replay under another policy, a better parser) starts from the same bytes. `payer_name` and
    `payer_custom_fields` are there when another customer pays, `constituent_names` by customer on a consolidated
    invoice. Records from before a fact was recorded lack it. `realm` is the company that has the invoice, since its
    owner epoch `owner_epoch`; `routed_to` another one, when that is where the routing would have it by now. `home` is
    the company in which the customer was billed first.
    """

    type: Literal["InvoiceEnriched"] = "InvoiceEnriched"
    realm: str
    owner_epoch: int = 0
    routed_to: str | None = None
    home: str | None = None
    invoice_id: str
    customer_id: str
    answer: str
    customer_name: str
    contract_name: str | None = None
    memo_ref: str | None = None
    hierarchy: ContractHierarchy | None = None
    payer_name: str | None = None
    payer_custom_fields: dict[str, str] | None = None
    constituent_names: dict[str, str] = Field(default_factory=dict)
    fetched_at: Moment
    received_at: Moment
    webhook: Address


ANNOUNCEMENTS = UUID("6c1f0a53-9b1e-5c57-8c3e-6f8d5b1f2a47")
"""The namespace of the ids of our announcements."""


class Announcement(Value):
    """A webhook of our own, so that Metronome is asked about an invoice: it goes the way of one (§3.1).

    `received_at` is when we first heard of the invoice, None for now.
    """

    invoice_id: str
    customer_id: str
    status: str
    received_at: Moment | None = None

    @property
    def id(self) -> UUID:
        """The same for the same invoice and status, by any announcer, however often."""
        return uuid5(ANNOUNCEMENTS, f"{self.invoice_id}/{self.status}")

    def encode(self) -> bytes:
        properties = {"invoice_id": self.invoice_id, "customer_id": self.customer_id}
        return json.dumps({"id": str(self.id), "type": "invoice.finalized", "properties": properties}).encode()


class InvoiceHandedOver(Record):
    """A company gave an invoice that it had never attempted to the one where the routing has it now, `realm`."""

    type: Literal["InvoiceHandedOver"] = "InvoiceHandedOver"
    realm: str
    invoice_id: str
    customer_id: str
    owner_epoch: int


class ConnectionChanged(Record):
    """A company was connected, its tokens were refreshed, or it needs a person to connect it again.

    Tokens are encrypted (`stream/wiring.py`) before they enter this record. The newest `changed_at` wins. At
    `hard_expires_at` no refresh helps any more, and a person has to connect the company again
    (docs/vendors/quickbooks.md §7).
    """

    type: Literal["ConnectionChanged"] = "ConnectionChanged"
    realm: str
    state: Literal["connected", "reconnect needed", "disconnected"]
    changed_at: Moment
    company_name: str | None = None
    access_token: str | None = None
    access_token_expires_at: Moment | None = None
    refresh_token: str | None = None
    refresh_token_expires_at: Moment | None = None
    hard_expires_at: Moment | None = None
    reason: str | None = None
