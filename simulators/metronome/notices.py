"""The JSON bodies of webhooks, in their two shapes (`docs/vendors/metronome.md` §3.1). Nothing tells of a void."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from simulators.http import Json, dump

NAMESPACE = UUID("3f0a8f0e-6b1c-5d53-9d0e-7765626f6f6b")
_ALERTS = (
    "low_remaining_credit_balance_reached",
    "spend_threshold_reached",
    "low_remaining_commit_balance_reached",
    "usage_threshold_reached",
    "invoice_total_reached",
    "low_remaining_contract_credit_and_commit_balance_reached",
    "low_remaining_seat_balance_reached",
)
_GATES = ("threshold_reached", "payment_status", "payment_pending_action_required", "external_initiate")
# Types whose fields stand in `properties`, with the fields that they have: documented for invoices and integrations,
# inferred for the others.
NESTED: Mapping[str, tuple[str, ...]] = {
    "invoice.finalized": ("invoice_id", "customer_id", "invoice_finalized_date"),
    "invoice.billing_provider_error": ("invoice_id", "customer_id", "billing_provider", "billing_provider_error"),
    "integration.issue": ("integration", "error", "error_code", "timestamp"),
    **{f"alerts.{each}": ("customer_id", "alert_id", "timestamp") for each in _ALERTS},
    **{f"payment_gate.{each}": ("customer_id", "contract_id", "invoice_id") for each in _GATES},
    **{f"marketplaces.{each}_metering_disabled": ("customer_id", "timestamp") for each in ("aws", "azure", "gcp")},
}
_SPAN = ("create", "edit", "archive", "segment.start", "segment.end")
# Types whose fields stand beside `type`, all of which carry `timestamp` and `environment_type` too.
FLAT: Mapping[str, tuple[str, ...]] = {
    **{f"contract.{each}": ("customer_id", "contract_id") for each in ("create", "start", "edit", "end", "archive")},
    **{f"commit.{each}": ("customer_id", "contract_id", "commit_id") for each in _SPAN},
    **{f"credit.{each}": ("customer_id", "contract_id", "credit_id") for each in _SPAN},
    "invoice.invoice_sync_status": ("invoice_id", "customer_id", "contract_id", "sync_type", "external_invoice"),
    "payment.payment_status_sync": ("invoice_id", "customer_id", "contract_id"),
}
ENVIRONMENT = "SANDBOX"


@dataclass(frozen=True, slots=True)
class Notice:
    """One webhook: what it is about, and its exact body, which stays the same however often it is sent."""

    subject_id: str
    body: bytes


def notice(kind: str, subject_id: str, now: float, fields: Mapping[str, Any]) -> Notice:
    """The webhook of this kind about an object; its id depends on these two only: a repeat is recognised by it.

    Raises ValueError for a kind that is not documented, or fields that it does not have.
    """
    wanted = NESTED.get(kind) or FLAT.get(kind)
    if wanted is None:
        raise ValueError(f"unknown kind of webhook: {kind}")
    if set(fields) != set(wanted):
        raise ValueError(f"{kind} has the fields {', '.join(wanted)}")
    head: Json = {"id": str(uuid5(NAMESPACE, f"{kind}/{subject_id}")), "type": kind}
    if kind in NESTED:
        return Notice(subject_id, dump(head | {"properties": dict(fields)}))
    return Notice(subject_id, dump(head | {"timestamp": instant(now), "environment_type": ENVIRONMENT} | dict(fields)))


def finalized(invoice: Json, now: float) -> Notice:
    """`invoice.finalized`, compact."""
    properties = {
        "invoice_id": invoice["id"],
        "customer_id": invoice["customer_id"],
        "invoice_finalized_date": instant(now),
    }
    body = {"id": str(uuid5(UUID(invoice["id"]), "finalized")), "type": "invoice.finalized", "properties": properties}
    return Notice(invoice["id"], dump(body))


def instant(now: float) -> str:
    """As webhooks write it: milliseconds and Z."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
