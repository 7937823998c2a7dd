"""Which kinds of invoices are posted at all; each other one ends here, by name (docs/mapping.md)."""

from models.commands import NOT_FINALIZED
from models.events import InvoiceEnriched
from models.metronome import DECIDED, Invoice
from models.policy import Policy

from .dates import issued_on
from .declined import parked, refused, skipped

CONSOLIDATED = "USAGE_CONSOLIDATED"
USAGE = "USAGE"
QUICKBOOKS_PROVIDER = "quickbooks"
BILLED_ELSEWHERE = "billed elsewhere"


def check_final(status: str) -> None:
    """Raises Declined while Metronome may still change the invoice: its webhook came too early."""
    if status not in DECIDED:
        raise parked(NOT_FINALIZED, f"the invoice's status is {status}, only FINALIZED is posted")


def check_kind(invoice: Invoice, facts: InvoiceEnriched, policy: Policy) -> None:
    """Raises Declined for an invoice that is not finalized, not billable, imported, or billed elsewhere."""
    check_final(invoice.status)
    if invoice.billable_status == "unbillable":
        raise skipped("unbillable", "Metronome marks the invoice as unbillable")
    if policy.not_before is not None and issued_on(invoice, facts, policy) < policy.not_before:
        raise skipped("imported history", f"the invoice was issued before {policy.not_before}, the policy's not_before")
    _decline_billed_elsewhere(invoice, policy)
    _skip_constituents(invoice, facts)
    payer_id = other_payer(invoice)
    if payer_id is not None and policy.payer == "refuse":
        raise refused(
            "billed to another customer",
            f"customer {payer_id} pays for customer {invoice.customer_id}: posting it here too would bill it twice",
        )
    if payer_id is not None and facts.payer_name is None:
        raise refused(
            "payer unknown",
            f"customer {payer_id} pays, but the recorded facts do not hold its name: "
            "send the invoice's webhook again, so that it is fetched",
        )


def _decline_billed_elsewhere(invoice: Invoice, policy: Policy) -> None:
    """A marketplace or another provider bills and collects: posted here too it would be revenue twice
    (docs/vendors/metronome.md §1.6)."""
    provider = invoice.external_invoice.billing_provider_type if invoice.external_invoice is not None else None
    if not provider or provider.startswith(QUICKBOOKS_PROVIDER):
        return
    decision = policy.billing_providers.get(provider, "skip")
    if decision == "post":
        return
    reason = f"{provider} bills the invoice: posted here too, it would be billed twice"
    raise skipped(BILLED_ELSEWHERE, reason) if decision == "skip" else refused(BILLED_ELSEWHERE, reason)


def other_payer(invoice: Invoice) -> str | None:
    """The id of the customer who pays instead of the invoice's own; the consolidated invoice is its payer's already."""
    payer = invoice.payer
    if payer is None or payer.customer_id == invoice.customer_id or invoice.type == CONSOLIDATED:
        return None
    return payer.customer_id


def _skip_constituents(invoice: Invoice, facts: InvoiceEnriched) -> None:
    """Usage statements that a consolidated invoice repeats are not to be billed (docs/vendors/metronome.md §1.7)."""
    hierarchy = facts.hierarchy
    if hierarchy is None or invoice.type != USAGE:
        return
    if hierarchy.usage_statement_behavior == "CONSOLIDATE" and hierarchy.payer == "PARENT":
        parent = f"of customer {hierarchy.parent_customer_id}"
    elif hierarchy.invoice_consolidation_type == "CONCATENATE":
        parent = "of the same customer"
    else:
        return
    raise skipped(
        "billed on the consolidated invoice",
        f"this usage is billed on the consolidated invoice {parent}, not by itself",
    )
