"""A preview as a person reads it: the invoice, the JSON beside it, the choices, and what is missing."""

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from models.document import Document
from models.events import InvoiceEnriched
from models.policy import Policy
from models.quickbooks import plain_number
from stream.formatting import amount_text, quantity_text
from stream.operations.preview import Choice, Mappings, Preview, choices
from stream.operations.preview_sources import Unreadable
from stream.settings import Settings, file_of

from .common import err, out
from .config import VARIABLE_PREFIX, shown

SIDE_BY_SIDE_COLUMNS = 170
OUTCOME_WORDS = {"post": "would be posted", "skip": "would be skipped", "refuse": "would be refused"}
STYLES = {"post": "green", "skip": "yellow", "refuse": "red"}


def show_page(preview: Preview, facts: InvoiceEnriched | Unreadable, settings: Settings, mappings: Mappings) -> None:
    """Print everything about one invoice."""
    out.print(Rule(Text(f"Metronome invoice {preview.invoice_id or '?'}")))
    out.print(_outcome(preview))
    if preview.document is not None and preview.body is not None:
        document, posted = _document(preview.document), _json(preview.body)
        if out.width >= SIDE_BY_SIDE_COLUMNS:
            width = out.width // 2 - 1
            out.print(Columns([document, posted], width=width))
        else:
            out.print(Group(document, posted))
    if isinstance(facts, InvoiceEnriched):
        policy = settings.policy_of(facts.realm)
        out.print(_choices(choices(facts, policy, mappings), facts.realm, settings))
    for each in preview.missing:
        out.print(Text(f"Missing: {each.reason}; {each.then}.\n  {each.command}", "yellow"), soft_wrap=True)
    out.print()


def _outcome(preview: Preview) -> Text:
    words = "would wait" if preview.outcome == "post" and preview.waits else OUTCOME_WORDS[preview.outcome]
    total = f" · {amount_text(preview.total)} {preview.currency}" if preview.total is not None else ""
    why = f"\n{preview.rule}: {preview.reason}" if preview.rule else ""
    return Text(f"It {words}{total}{why}", STYLES[preview.outcome])


def _document(document: Document) -> RenderableType:
    head = Table.grid(padding=(0, 2))
    facts = {
        "Document": "Credit memo" if document.kind == "creditmemo" else "Invoice",
        "Number": document.doc_number,
        "Customer": " ".join(dict.fromkeys((document.customer.name, document.customer.customer_id))),
        "Date": str(document.txn_date),
        "Due": _due(document),
        "E-mail": document.email,
        "Replaces": document.replaces,
        "Consolidates": ", ".join(document.constituents),
    }
    for name, value in facts.items():
        if value:
            head.add_row(name, Text(value))
    lines = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    lines.add_column("Description", ratio=1)
    for name in ("Quantity", "Price", document.currency):
        lines.add_column(name, justify="right", no_wrap=True)
    for line in document.lines:
        lines.add_row(Text(line.description), _figure(line.quantity), _figure(line.unit_price), str(line.amount))
    lines.add_row(Text("Total", "bold"), "", "", Text(amount_text(document.total), "bold"))
    texts = Text(f"Memo to the customer: {document.customer_memo}\nPrivate note: {document.private_note}")
    return Panel(Group(head, Text(), lines, Text(), texts), title="The document")


def _due(document: Document) -> str:
    if document.kind == "creditmemo":
        return ""
    if document.sales_term_id is not None:
        return f"by QuickBooks term {document.sales_term_id}"
    return str(document.due_date or "as QuickBooks decides")


def _figure(number: Decimal | None) -> str:
    return "" if number is None else quantity_text(number)


def _json(body: dict[str, Any]) -> RenderableType:
    return Panel(Syntax(indented(body), "json", word_wrap=True, background_color="default"), title="The JSON to POST")


def indented(body: dict[str, Any]) -> str:
    """JSON over several lines, its Decimals as numbers with their own digits."""
    return orjson.dumps(
        body, default=lambda number: orjson.Fragment(plain_number(number)), option=orjson.OPT_INDENT_2
    ).decode()


def _choices(mattered: list[Choice], realm: str, settings: Settings) -> RenderableType:
    table = Table("Choice that mattered", "Value", "From", "Meaning", title_justify="left")
    for choice in mattered:
        meaning = Policy.model_fields[choice.field].description or ""
        value = shown(choice.value)
        table.add_row(
            f"policy.{choice.field}",
            Text("not set" if value is None else str(value)),
            Text(origin_of(choice.field, realm, settings)),
            Text(meaning),
        )
    return table


def origin_of(field: str, realm: str, settings: Settings) -> str:
    """Where the value of a choice of the policy comes from."""
    environment = {name.upper() for name in os.environ}
    section, policy = "policy", settings.policy
    variables = [f"{VARIABLE_PREFIX}POLICY__{field.upper()}", f"{VARIABLE_PREFIX}POLICY"]
    if realm in settings.policies:
        section, policy = f"policies.{realm}", settings.policies[realm]
        variables = [f"{VARIABLE_PREFIX}POLICIES"]
    if field not in policy.model_fields_set:
        return "default"
    found = next((name for name in variables if name in environment), None)
    return f"environment, {found}" if found else f"{file_of(settings)}, [{section}]"


@dataclass
class Summary:
    """The invoices of a period, in a line each, and what they come to."""

    counts: Counter[str] = field(default_factory=Counter)
    totals: defaultdict[tuple[str, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    waiting: int = 0
    _rows: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def refused(self) -> int:
        return self.counts["refuse"]

    def add(self, preview: Preview, facts: InvoiceEnriched | Unreadable) -> None:
        self.counts[preview.outcome] += 1
        self.waiting += preview.waits
        if preview.total is not None and preview.currency is not None:
            sign = -1 if preview.kind == "creditmemo" else 1
            self.totals[preview.outcome, preview.currency] += sign * Decimal(preview.total)
        customer = facts.customer_name if isinstance(facts, InvoiceEnriched) else "?"
        self._rows.append(
            (
                preview.invoice_id or "?",
                customer,
                "wait" if preview.outcome == "post" and preview.waits else preview.outcome,
                preview.kind or "",
                f"{amount_text(preview.total)} {preview.currency}" if preview.total is not None else "",
                _why(preview),
            )
        )

    def show(self, *, table: bool) -> None:
        """The table on stdout; beside JSON only the summary, on stderr."""
        console = out if table else err
        if table:
            rows = Table()
            rows.add_column("Invoice", no_wrap=True)
            for name in ("Customer", "Outcome", "Document"):
                rows.add_column(name)
            rows.add_column("Total", justify="right")
            rows.add_column("Why, or what is missing")
            for row in self._rows:
                rows.add_row(*map(Text, row))
            console.print(rows)
        for outcome, words in OUTCOME_WORDS.items():
            amounts = ", ".join(
                f"{amount_text(total)} {currency}"
                for (each, currency), total in sorted(self.totals.items())
                if each == outcome
            )
            console.print(Text(f"{self.counts[outcome]:>7,} {words}{': ' if amounts else ''}{amounts}"))
        if self.waiting:
            console.print(f"{self.waiting:>7,} of them would first wait for a mapping")


def _why(preview: Preview) -> str:
    if preview.rule:
        return f"{preview.rule}: {preview.reason}"
    return "; ".join(f"{each.kind} {each.metronome_id} ({each.name}): {each.then}" for each in preview.missing)
