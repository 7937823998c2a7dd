"""How one company wants its invoices kept: the choices that `translate` and the sink follow."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Policy(BaseModel):
    """The accounting choices for one QuickBooks company; every field has a safe default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item_strategy: Literal["per-product", "single-item"] = Field(
        "per-product", description="one QuickBooks item per Metronome product, or one for all lines"
    )
    default_item_id: str | None = Field(
        None, description="QuickBooks item id for the single-item strategy, and for lines that no mapping covers"
    )
    missing_item: Literal["park", "create", "default"] = Field(
        "park", description="a product that no mapping covers: park the invoice, create an item, or use the default"
    )
    income_account_id: str | None = Field(
        None, description="QuickBooks income account id for items that we create; needed by missing_item = create"
    )
    missing_customer: Literal["create", "park"] = Field(
        "create", description="a customer that is not found by name: create it, or park the invoice"
    )
    time_zone: str = Field("UTC", description="the company's time zone (IANA), which decides the date of an instant")
    due_date: Literal["terms", "end_timestamp"] = Field(
        "terms", description="due date from net_payment_terms_days, or the invoice's end_timestamp"
    )
    payment_terms_days: int | None = Field(
        None, ge=0, le=3650, description="days from TxnDate when Metronome gives no net_payment_terms_days"
    )
    zero_total: Literal["post", "skip"] = Field("post", description="what to do with invoices whose total is zero")
    zero_quantity_lines: Literal["keep", "drop"] = Field("keep", description="lines with quantity 0 and total 0")
    send_currency: bool = Field(True, description="send CurrencyRef; needed when the company has multicurrency on")
