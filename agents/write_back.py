"""Stores in Metronome what QuickBooks answered: which customer, and which item, so that the next invoice says it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from agents.clients.failures import NotFound, OutcomeUnknown, Refused, TokenRefused, Wait
from agents.clients.retry import RetryPolicy
from models.document import DEFAULT_ITEM
from models.metronome import CUSTOMER_FIELD, ITEM_FIELD
from models.outcomes import Outcome

from .delivery import Claims, Delivered, Published

log = structlog.get_logger()


class CustomFields(Protocol):
    async def set_custom_field(self, entity: str, entity_id: str, key: str, value: str) -> None: ...


@dataclass(frozen=True)
class WriteBack:
    metronome: CustomFields
    retry: RetryPolicy
    customers: bool
    items: bool


FIELDS = {"customer": ("customer", CUSTOMER_FIELD), "item": ("contract_product", ITEM_FIELD)}
"""Our subjects, with Metronome's entity and the custom field (docs/vendors/metronome.md §2)."""


def claims(outcome: Outcome) -> Claims:
    return Claims(establishes=frozenset({(outcome.realm, outcome.subject)}))


async def write_back(delivered: Delivered[Outcome], *, into: WriteBack) -> Sequence[Published]:
    """Sets one custom field for a newly found or created customer or item; repeating it changes nothing.

    Money does not wait for this: what Metronome will not take is logged with its remedy, and left.
    """
    outcome = delivered.record
    subject, subject_id = outcome.subject.kind, outcome.subject.id
    wanted = {"customer": into.customers, "item": into.items and subject_id != DEFAULT_ITEM}
    if outcome.result not in ("found", "created") or outcome.away or not wanted.get(subject) or outcome.qbo_id is None:
        return []
    entity, key = FIELDS[subject]
    retries = into.retry.start()
    while True:
        try:
            await into.metronome.set_custom_field(entity, subject_id, key, outcome.qbo_id)
            return []
        except (Refused, NotFound) as failure:
            log.error(
                "write_back_refused", entity=entity, id=subject_id, reason=str(failure), remedy="metronome-qbo setup"
            )
            return []
        except (Wait, OutcomeUnknown, TokenRefused) as failure:
            log.warning("metronome_waits", entity=entity, id=subject_id, reason=str(failure))
            await retries.wait(failure)
