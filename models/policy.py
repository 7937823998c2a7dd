"""How one company wants its invoices kept: the choices that `translate` and the sink follow."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .document import GlobalTax

QboId = Annotated[str, Field(pattern=r"^[0-9]+$")]
"""An id of QuickBooks is a string of digits (docs/vendors/quickbooks.md §1.1)."""

CurrencyCode = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Rate = Annotated[Decimal, Field(gt=0)]
Days = Annotated[str, Field(pattern=r"^[0-9]+$")]

TEMPLATE_LENGTH_MAX = 10_000
CUSTOM_FIELDS_MAX = 12


class Policy(BaseModel):
    """The accounting choices for one QuickBooks company; every field has a safe default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Items
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
    draw_down_item: Literal["product", "own"] = Field(
        "product", description="draw-downs of commits and credits: the consumed product's item, or items of their own"
    )
    draw_down_item_id: QboId | None = Field(
        None, description="item for draw-downs of prepaid commits when own; else map item '~draw-down'"
    )
    credit_item_id: QboId | None = Field(
        None, description="item for draw-downs of free credits when own; else map item '~credit'"
    )
    commit_purchase_item: Literal["product", "own"] = Field(
        "product", description="purchases of commits: the product's item, or an item of their own (deferred revenue)"
    )
    commit_purchase_item_id: QboId | None = Field(
        None, description="item for purchases of commits when own; else map item '~commit-purchase'"
    )

    # Customers
    missing_customer: Literal["create", "park"] = Field(
        "create", description="a customer that is not found by name: create it, or park the invoice"
    )
    customer_matching: Literal["off", "exact", "ask"] = Field(
        "exact", description="matching customers by name: never, when exact and unique, or let a person confirm it"
    )
    name_clash: Literal["park", "suffix"] = Field(
        "park", description="a name that a vendor or employee has already: park the invoice, or add name_suffix"
    )
    name_suffix: str = Field(
        " (Metronome)", min_length=1, max_length=30, description="put behind a name that is taken already"
    )
    inactive: Literal["park", "reactivate"] = Field(
        "park", description="a customer or item that is inactive in QuickBooks: park the invoice, or make it active"
    )
    customer_currency: Literal["refuse", "per-currency"] = Field(
        "refuse", description="a customer kept in another currency: refuse, or one QuickBooks customer per currency"
    )
    payer: Literal["refuse", "payer"] = Field(
        "refuse", description="an invoice that another customer pays: refuse it, or bill that customer"
    )

    # Which invoices
    not_before: date | None = Field(
        None, description="invoices issued before this date are imported history, and skipped"
    )
    billing_providers: dict[str, Literal["skip", "post", "refuse"]] = Field(
        {}, description="invoices that another billing provider of Metronome bills, by its name; the others are skipped"
    )
    zero_total: Literal["post", "skip"] = Field("post", description="what to do with invoices whose total is zero")
    zero_quantity_lines: Literal["keep", "drop"] = Field("keep", description="lines with quantity 0 and total 0")
    line_limit: int = Field(750, ge=1, le=10_000, description="the most lines of one document in this company")
    too_many_lines: Literal["group", "refuse"] = Field(
        "group", description="above line_limit: group the lines by product, the total unchanged, or refuse"
    )

    # Figures
    line_figures: Literal["amount-only", "quantity-one", "rescaled"] = Field(
        "amount-only",
        description="where quantity times price is not the amount: amount alone, quantity 1, or per 1,000 or 1,000,000",
    )
    rounding: Literal["largest-remainder", "rounding-line"] = Field(
        "largest-remainder", description="fractions of a cent: spread over the lines, or one explicit rounding line"
    )
    rounding_line_max: int = Field(
        1, ge=0, le=100, description="the most cents (yen, …) that a rounding line takes of one item; more is spread"
    )
    rounding_item_id: QboId | None = Field(None, description="item for the rounding line; else map item '~rounding'")

    # Dates
    time_zone: str = Field("UTC", description="the company's time zone (IANA), which decides the date of an instant")
    txn_date: Literal["issued", "service-end"] = Field(
        "issued", description="the document's date: day of issue, or last day of service"
    )
    service_date: Literal["none", "start", "end"] = Field(
        "none", description="ServiceDate of each line: not sent, or the first or last day of the line's service"
    )
    due_date: Literal["terms", "end_timestamp", "sales-term"] = Field(
        "terms", description="due date from net_payment_terms_days, the invoice's end_timestamp, or a QuickBooks term"
    )
    payment_terms_days: int | None = Field(
        None, ge=0, le=3650, description="days from TxnDate when Metronome gives no net_payment_terms_days"
    )
    sales_term_ids: dict[Days, QboId] = Field(
        {}, description="QuickBooks term id for each number of days, for due_date = sales-term"
    )
    sales_term_id: QboId | None = Field(
        None, description="QuickBooks term id for all other numbers of days, for due_date = sales-term"
    )
    books_closed_through: date | None = Field(
        None, description="last day of the closed period, as in QuickBooks's account and settings"
    )
    closed_books: Literal["refuse", "first-open-day"] = Field(
        "refuse", description="a document dated in the closed period: refuse it, or date it on the first open day"
    )

    # Texts
    line_text: Literal["guide", "customer"] = Field(
        "guide",
        description="Description of a line: all that tells it from others, or what a customer reads, without ids",
    )
    memo_contract_name: bool = Field(False, description="whether CustomerMemo names the contract, or the legacy plan")
    private_note_template: str | None = Field(
        None, max_length=TEMPLATE_LENGTH_MAX, description="Jinja template of PrivateNote, below its line with the id"
    )
    customer_memo_template: str | None = Field(
        None, max_length=TEMPLATE_LENGTH_MAX, description="Jinja template of CustomerMemo"
    )
    description_template: str | None = Field(
        None, max_length=TEMPLATE_LENGTH_MAX, description="Jinja template of each line's Description"
    )

    # Currency and tax
    send_currency: bool = Field(True, description="send CurrencyRef; needed when the company has multicurrency on")
    exchange_rates: dict[CurrencyCode, Rate] = Field(
        {}, description="ExchangeRate to send for each currency code; QuickBooks's own rate for the others"
    )
    tax_code_order: tuple[Literal["customer", "contract", "product"], ...] = Field(
        ("customer", "contract", "product"),
        description="whose custom field says a line's tax code, the first that does",
    )
    tax_code: str | None = Field(
        None, pattern=r"^[A-Za-z0-9]{1,30}$", description="tax code of every line: TAX or NON in the US, else an id"
    )
    tax_code_field: str = Field(
        "qbo_tax_code", description="custom field of the Metronome product whose tax code wins over tax_code"
    )
    global_tax_calculation: GlobalTax | None = Field(
        None, description="GlobalTaxCalculation of companies outside the US"
    )

    # Further fields: names of Metronome custom fields of product, contract or customer
    class_field: str | None = Field(None, description="custom field with a QuickBooks class id")
    class_on: Literal["line", "transaction"] = Field("line", description="where the company tracks classes")
    department_field: str | None = Field(None, description="custom field with a QuickBooks department (location) id")
    term_field: str | None = Field(None, description="custom field with a QuickBooks term id; wins over due_date")
    email_field: str | None = Field(None, description="custom field with the e-mail address of the bill")
    custom_fields: dict[QboId, str] = Field(
        {},
        max_length=CUSTOM_FIELDS_MAX,
        description="custom field of Metronome for each DefinitionId of a QuickBooks custom field",
    )

    # Voids
    voids: Literal["void", "credit-memo", "flag"] = Field(
        "void",
        description="an invoice that Metronome voids: void its document, take it back by a credit memo of today, or "
        "leave it to a person",
    )
