"""What happened: facts fetched from Metronome, and what became of a company's connection."""

from typing import Literal

from .record import Address, Moment, Record


class InvoiceEnriched(Record):
    """Everything about one finalized invoice that Metronome could tell, when it was asked.

    `answer` is the body of Metronome's answer to the one GET of the invoice, verbatim, so that every later
    reading of it (a replay under another policy, a better parser) starts from the same bytes.
    """

    type: Literal["InvoiceEnriched"] = "InvoiceEnriched"
    realm: str
    invoice_id: str
    customer_id: str
    answer: str
    customer_name: str
    contract_name: str | None = None
    memo_ref: str | None = None
    fetched_at: Moment
    received_at: Moment
    webhook: Address


class ConnectionChanged(Record):
    """A company was connected, its tokens were refreshed, or it needs a person to connect it again.

    Tokens are encrypted (`stream/encryption.py`) before they enter this record. The newest `changed_at` wins.
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
    reason: str | None = None
