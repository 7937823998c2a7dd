"""Records as nobody should write them: spoiled copies of what lies in each topic, under odd keys and headers."""

import re
from random import Random
from uuid import UUID

from agents.delivery import ERROR_HEADER, POSTPONED_FROM_HEADER, POSTPONED_TIMES_HEADER, POSTPONED_UNTIL_HEADER
from agents.enrich import FORWARDED_FROM_HEADER
from agents.watch import RECEIVED_AT_HEADER, SOURCE_HEADER
from models.record import TopicRole
from tests.chaos.log import partition_of
from tests.chaos.worker import TOPICS, Installation

from .odd import VALUES, spoiled

FRESH_SHARE = 0.5
"""Of the records, those that are in order: without traffic there are no answers to be spoiled."""
SHARES: dict[TopicRole, int] = {
    "webhooks": 8,
    "invoices": 8,
    "commands": 10,
    "outcomes": 3,
    "connections": 2,
    "deadletters": 2,
}
_ID = re.compile(rb'"invoice_id": ?"([0-9a-f-]{36})"')
_NUMBER = re.compile(rb"MTR-[0-9A-F]{8}")
HEADERS = (
    *(POSTPONED_UNTIL_HEADER, POSTPONED_TIMES_HEADER, POSTPONED_FROM_HEADER),
    *(RECEIVED_AT_HEADER, SOURCE_HEADER, FORWARDED_FROM_HEADER),
    *(ERROR_HEADER + name for name in ("topic", "partition", "offset", "exception.message", "class.name")),
)
TEXTS = [str(each).encode("utf-8", "replace") for each in VALUES] + [b"\xff\xfe", b"9" * 400, b"-" + b"9" * 30]
HONEST_SHARE = 0.2
"""Of the inputs, those that are copies of what was there, or belong into another topic, unspoiled."""


def put(at: Installation, dice: Random) -> tuple[str, int, int]:
    """One more record in some topic; where it lies."""
    role: TopicRole = dice.choices(tuple(SHARES), tuple(SHARES.values()))[0]
    if dice.random() < FRESH_SHARE:
        role = dice.choice(("webhooks", "invoices", "commands", "commands"))
        key, value, headers = _fresh(at, dice, role)
    else:
        key, value, headers = _made(at, dice, role)
    count = {"deadletters": 1, "webhooks": at.webhook_partitions}.get(role, at.company_partitions)
    partition = partition_of((key or b"").decode(errors="replace"), count)
    if dice.random() < 0.1:
        partition = dice.randrange(count)
    return TOPICS[role], partition, at.log.append(TOPICS[role], partition, key, value, headers)


def _made(at: Installation, dice: Random, role: TopicRole) -> tuple[bytes | None, bytes, dict[str, bytes]]:
    standing = [stored for _, stored in at.log.records(TOPICS[role])]
    if not standing or dice.random() < 0.05:
        standing = [stored for topic in TOPICS.values() for _, stored in at.log.records(topic)]
    model = dice.choice(standing)
    value, headers, key = model.value, dict(model.headers), model.key
    if dice.random() >= HONEST_SHARE:
        value = spoiled(dice, value, [stored.value for stored in standing])
    if dice.random() < 0.2:
        headers[dice.choice(HEADERS)] = dice.choice(TEXTS)
    if dice.random() < 0.1:
        key = dice.choice((None, b"", b"\xff\xfe", b"x" * 300, *(stored.key for stored in standing)))
    return key, value, headers


def _fresh(at: Installation, dice: Random, role: TopicRole) -> tuple[bytes | None, bytes, dict[str, bytes]]:
    """An honest webhook again, or the facts of an invoice or a command about it as if it were another one."""
    standing = [stored for _, stored in at.log.records(TOPICS[role]) if stored.key and _ID.search(stored.value)]
    model = dice.choice(standing)
    if role == "webhooks":
        return model.key, model.value, {}
    found = _ID.search(model.value)
    assert found is not None
    value = model.value.replace(found[1], str(UUID(int=dice.getrandbits(128))).encode())
    if dice.random() < 0.5:
        value = _NUMBER.sub(b"MTR-%08X" % dice.getrandbits(32), value)
    return model.key, value, {}
