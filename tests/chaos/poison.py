"""One invoice for which Metronome answers 5xx, for an hour or for ever: all others are done meanwhile, and Metronome is
asked for it less and less often.
"""

from collections.abc import Sequence
from random import Random

from agents.delivery import POSTPONED_FROM_HEADER
from agents.enrich import FORWARDED_FROM_HEADER, read_webhook
from models.events import InvoiceEnriched
from models.metronome import InvoiceFinalized
from models.record import Address

from .log import Log
from .worker import TOPICS

EVERY = 4
"""In every so manieth seed."""
NEVER_HEALS_SHARE = 0.4
"""Of those."""
HOUR_SECONDS = 3600.0
RESTARTED_SECONDS = 300.0
"""Until the last worker that was killed is back, and its pauses are as long as those of the others."""
TRAFFIC_SECONDS_MAX = 240.0
"""Between two webhooks of others, should it not heal."""
ASKED_IN_AN_HOUR_MAX = 120
"""While it is tried without a break, every half minute."""
ASKED_IN_AN_HOUR_BY_A_WEBHOOK_MAX = 75
"""By each webhook that waits for its turn: some seven or eight requests of a minute, after at last ten minutes of rest;
and half as many more, since its rests begin with half a minute."""
ASKED_IN_A_MINUTE_MAX = 20
"""By two workers that try it anew, of which the second has a clock that says that its rest is over: pauses that double
from a quarter of a second on."""


def is_poisoned(seed: int) -> bool:
    return seed % EVERY == 0


def heals(seed: int) -> bool:
    return Random(f"heals {seed}").random() >= NEVER_HEALS_SHARE


def without_facts(log: Log, poison: str) -> set[str]:
    """The other invoices that were announced and did not come to facts yet."""
    webhooks = [read_webhook(stored.value) for _, stored in log.records(TOPICS["webhooks"])]
    announced = {each.properties.invoice_id for each in webhooks if isinstance(each, InvoiceFinalized)}
    facts = [stored.value for _, stored in log.records(TOPICS["invoices"])]
    return announced - {InvoiceEnriched.model_validate_json(each).invoice_id for each in facts} - {poison}


def webhooks_passed_on(log: Log) -> set[str]:
    """The addresses of those that became facts, or were put off to another record."""
    facts = [InvoiceEnriched.model_validate_json(stored.value) for _, stored in log.records(TOPICS["invoices"])]
    headers = [stored.headers for _, stored in log.records(TOPICS["webhooks"])]
    passed_on = {each.get(name, b"").decode() for each in headers for name in _NAMING}
    return passed_on | {str(each.webhook) for each in facts}


_NAMING = (FORWARDED_FROM_HEADER, POSTPONED_FROM_HEADER)


def is_about(value: bytes, invoice_id: str | None) -> bool:
    webhook = read_webhook(value)
    return isinstance(webhook, InvoiceFinalized) and webhook.properties.invoice_id == invoice_id


def waiting(log: Log, poison: str) -> tuple[list[Address], list[Address]]:
    """The webhooks that wait: those of the poisoned invoice, and those of others that are not acknowledged either."""
    passed_on, ours, others = webhooks_passed_on(log), [], []
    for at, stored in log.records(TOPICS["webhooks"]):
        if str(at) in passed_on or not isinstance(read_webhook(stored.value), InvoiceFinalized):
            continue
        if is_about(stored.value, poison):
            ours.append(at)
        elif at.offset >= log.committed.get((at.topic, at.partition), 0):
            others.append(at)
    return ours, others


def asked_too_often(asked: Sequence[float], hour: tuple[float, float], webhooks: int) -> str | None:
    """What is wrong with the times at which Metronome was asked for it within an hour of fair weather."""
    began, ended = hour
    within = [at for at in asked if began <= at < ended]
    if len(within) > ASKED_IN_AN_HOUR_MAX + ASKED_IN_AN_HOUR_BY_A_WEBHOOK_MAX * webhooks:
        return f"{len(within)} requests in an hour for {webhooks} webhooks"
    busiest = max((sum(at < other + 60.0 for at in within if at >= other) for other in within), default=0)
    if busiest > ASKED_IN_A_MINUTE_MAX * webhooks:
        return f"{busiest} requests in a minute for {webhooks} webhooks"
    return None
