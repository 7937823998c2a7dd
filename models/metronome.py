"""Metronome's objects, in Metronome's words, as far as we read them (docs/vendors/metronome.md §1-§3).

Unknown fields are ignored, since Metronome adds some without notice. Numbers must have been parsed with
`models.money.parse_json`, so that they arrive as int or Decimal.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_float(number: object) -> object:
    if isinstance(number, float):
        raise ValueError("a float has lost digits; parse with models.money.parse_json")
    return number


Number = Annotated[Decimal, BeforeValidator(_no_float)]


def _with_values(fields: object) -> object:
    return {key: value for key, value in fields.items() if value is not None} if isinstance(fields, dict) else fields


CustomFields = Annotated[dict[str, str], BeforeValidator(_with_values)]
"""One without a value is as good as absent."""

FINALIZED: Literal["FINALIZED"] = "FINALIZED"
VOID: Literal["VOID"] = "VOID"
DECIDED = (FINALIZED, VOID)
"""The statuses of an invoice that will not change any more, but that a final one may be voided (§1.8)."""

CUSTOMER_FIELD = "qbo_customer_id"
ITEM_FIELD = "qbo_item_id"
MEMO_FIELD = "qbo_memo_ref"
CUSTOM_FIELDS = (("contract_product", ITEM_FIELD), ("customer", CUSTOMER_FIELD), ("contract", MEMO_FIELD))
"""Our custom fields: the entity on which each stands, and its key (docs/vendors/metronome.md §2)."""


class Vendor(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Webhook(Vendor):
    """The envelope of every webhook (§3.1). Only `invoice.finalized` is acted on."""

    type: str


class FinalizedProperties(Vendor):
    """Its `invoice_finalized_date` is not read: the invoice itself says when it was issued."""

    invoice_id: str = Field(min_length=1, max_length=100)
    customer_id: str = Field(min_length=1, max_length=100)


class InvoiceFinalized(Vendor):
    """The `invoice.finalized` webhook: which invoice, of which customer."""

    type: Literal["invoice.finalized"]
    properties: FinalizedProperties


class CreditType(Vendor):
    """The unit of an amount (§1.3): `name` says whether it counts cents."""

    id: str
    name: str


class AppliedCommit(Vendor):
    id: str
    type: str


class Tier(Vendor):
    level: Number
    starting_at: str | None = None


class Origin(Vendor):
    """Whose a line of a consolidated invoice was (§1.7)."""

    customer_id: str | None = None


class LineItem(Vendor):
    """One line (§1.2). There is no line id."""

    type: str
    name: str
    total: Number
    credit_type: CreditType
    quantity: Number | None = None
    unit_price: Number | None = None
    product_id: str | None = None
    product_custom_fields: CustomFields | None = None
    starting_at: datetime | None = None
    ending_before: datetime | None = None
    pricing_group_values: dict[str, str | None] | None = None
    presentation_group_values: dict[str, str | None] | None = None
    applied_commit_or_credit: AppliedCommit | None = None
    commit_custom_fields: CustomFields | None = None
    tier: Tier | None = None
    is_prorated: bool | None = None
    origin: Origin | None = None


class Adjustment(Vendor):
    """Money outside the lines, on invoices of legacy plans (§1.1)."""

    name: str
    total: Number
    credit_type: CreditType


class Payer(Vendor):
    customer_id: str


class Constituent(Vendor):
    """One of the invoices that a consolidated one repeats (§1.7)."""

    invoice_id: str
    customer_id: str | None = None


class Correction(Vendor):
    """Which invoice a correction corrects, and why (§1.1)."""

    corrected_invoice_id: str
    memo: str | None = None
    reason: str | None = None


class ExternalInvoice(Vendor):
    """Whose bill it is outside of Metronome (§1.6)."""

    billing_provider_type: str | None = None


class ListedInvoice(Vendor):
    """An invoice in the list of a customer's (§2), as far as `watch` looks at it."""

    id: str = Field(min_length=1, max_length=100)
    customer_id: str = Field(min_length=1, max_length=100)
    status: str
    issued_at: datetime | None = None


class InvoiceHead(Vendor):
    """What an invoice says of itself beside its money: enough to find its customer, contract and company."""

    id: str
    customer_id: str
    status: str | None = None
    regenerated_from_invoice_id: str | None = None
    credit_type: CreditType
    contract_id: str | None = None
    contract_custom_fields: CustomFields | None = None
    customer_custom_fields: CustomFields | None = None
    payer: Payer | None = None
    constituent_invoices: list[Constituent] | None = None


class Invoice(InvoiceHead):
    """An invoice as `GET /v1/customers/{customer_id}/invoices/{invoice_id}` gives it (§1.1)."""

    line_items: list[LineItem]
    status: str
    total: Number
    type: str
    issued_at: datetime | None = None
    start_timestamp: datetime | None = None
    end_timestamp: datetime | None = None
    billable_status: str | None = None
    net_payment_terms_days: Number | None = None
    correction_record: Correction | None = None
    invoice_adjustments: list[Adjustment] | None = None
    external_invoice: ExternalInvoice | None = None
    plan_name: str | None = None


class Customer(Vendor):
    id: str
    name: str
    custom_fields: CustomFields = {}


class HierarchyParent(Vendor):
    customer_id: str


class ParentBehavior(Vendor):
    invoice_consolidation_type: str | None = None


class Hierarchy(Vendor):
    """`hierarchy_configuration` of a contract (§1.7): a child's has `parent`, a parent's may have `parent_behavior`."""

    parent: HierarchyParent | None = None
    payer: str | None = None
    usage_statement_behavior: str | None = None
    parent_behavior: ParentBehavior | None = None


class Contract(Vendor):
    id: str
    name: str | None = None
    custom_fields: CustomFields = {}
    hierarchy_configuration: Hierarchy | None = None
