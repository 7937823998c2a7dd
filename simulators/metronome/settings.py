"""Switches of the simulated Metronome: what its documentation leaves open, or differs between accounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests in each second of the clock, of the whole client or of each customer."""

    per_second: int
    scope: Literal["client", "customer"] = "client"


@dataclass(frozen=True, slots=True)
class MetronomeSettings:
    """What is not documented, or differs between accounts; each default is the likelier answer.

    `limits` by endpoint as `calls` counts it, e.g. "GET /v1/customers/{id}/invoices/{id}": Metronome publishes no
    numbers (`docs/vendors/metronome.md` §4.3). `read_only_token` gets 401 for a write, `forbidden_customers` answer 403
    (§4.2). `errors_stored`: errors are replayed for an idempotency key like results, 500 included (§4.5).
    `sort_default`: the documentation of the invoice list says both (§2). `undated_listed`: a list by billing period
    holds invoices that have none (§7).
    """

    limits: Mapping[str, RateLimit] = field(default_factory=dict)
    read_only_token: str = ""
    forbidden_customers: frozenset[str] = frozenset()
    errors_stored: bool = True
    idempotency_seconds: int = 24 * 3600
    sort_default: Literal["date_asc", "date_desc"] = "date_asc"
    undated_listed: bool = False
