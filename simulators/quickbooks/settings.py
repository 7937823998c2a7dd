"""How the simulated service behaves where it can be chosen, and where nobody has published what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ThrottleBody = Literal["xml-429", "xml-403", "json"]


@dataclass(frozen=True, slots=True)
class QuickBooksSettings:
    """Limits are those of docs/vendors/quickbooks.md §5.1. Where the facts say `?`, the switch has both answers:

    `requestid_seconds`: how long an answer is remembered under its `requestid`; 0 remembers nothing.
    `requestid_keeps_faults`: whether a refusal is replayed too.
    `requestid_other_body`: what a repeat with another body does. A repeat while the first is still running does not
    occur: requests are run one after the other, however late their answers leave.
    `refused_requests_count`: whether a throttled request fills the window that refused it.
    `throttle_body`: `xml-429` and `xml-403` are recorded, `json` is the gateway's shape of a 401.
    `throttle_retry_after_seconds`: sent as Retry-After unless it is 0; in no recording.
    `metered_reads_max`: the monthly quota of all companies together, 0 for none (§5.4). `quota_blocks`: what is
    refused above it, until the next month; `quota_body`: in which shape.
    `batch_metered_as`: whether a batch is one metered call, or as many as it has items.
    `query_lag_seconds`: how long a query does not see what was made; reads by id do. `query_beyond_latin1`: whether one
    with other characters is parsed.
    `cdc_beyond_thirty_days`: the documentation refuses, the recording answers (cdc/basic asks for nine years).
    `default_xml`: XML for requests without an Accept header.
    """

    limits: bool = True
    requests_per_second_max: int = 10
    requests_per_minute_max: int = 500
    batches_per_minute_max: int = 40
    batch_items_max: int = 30
    refused_requests_count: bool = False
    throttle_body: ThrottleBody = "xml-429"
    throttle_retry_after_seconds: int = 0
    metered_reads_max: int = 0
    quota_blocks: Literal["everything", "reads"] = "everything"
    quota_body: ThrottleBody = "xml-429"
    batch_metered_as: Literal["call", "items"] = "call"
    requestid_seconds: float = 86_400
    requestid_count_max: int = 100_000
    requestid_keeps_faults: bool = False
    requestid_other_body: Literal["replay", "refuse-600", "execute"] = "replay"
    query_lag_seconds: float = 0.0
    query_beyond_latin1: Literal["answer", "refuse"] = "answer"
    cdc_beyond_thirty_days: Literal["answer", "refuse"] = "answer"
    default_xml: bool = False
