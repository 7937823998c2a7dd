"""Which facts are newer: nothing that was decided from older ones goes over what was decided from newer ones.

A command may come long after newer facts of its invoice: resumed, redriven, or replayed. Facts of one partition are as
old as their offsets say. Offsets of another partition, or of a topic that was made anew, say nothing: there it is when
the facts were fetched that counts. `since`: when the topic was made anew, if it was.
"""

from datetime import datetime, timedelta
from typing import Any

from models.commands import HandOver, InvoiceCommand, VoidInvoice
from models.ledger import LedgerEntry

CLOCKS_DIFFER_MAX = timedelta(hours=1)
"""Facts with a lower offset that were fetched so much later are of a topic that was made anew; less may be the clocks
of two machines."""


def is_older(command: InvoiceCommand, entry: LedgerEntry, since: datetime | None) -> bool:
    """Whether newer facts than the command's were acted on already. A void is final, and so never too old."""
    return not isinstance(command, VoidInvoice) and _has_older_facts(command, entry, since)


def is_newer(command: InvoiceCommand, entry: LedgerEntry, since: datetime | None) -> bool:
    """Whether the command's facts are newer than all that were acted on, for all that is known."""
    return command.facts is not None and command.facts != entry.facts and not _has_older_facts(command, entry, since)


def newest_facts(command: InvoiceCommand | HandOver, entry: LedgerEntry, since: datetime | None) -> dict[str, Any]:
    """The fields of the entry that say which facts were acted on, once the command is."""
    if command.facts is None or _has_older_facts(command, entry, since):
        return {}
    return {"facts": command.facts, "facts_fetched_at": command.facts_fetched_at}


def _has_older_facts(command: InvoiceCommand | HandOver, entry: LedgerEntry, since: datetime | None) -> bool:
    ours, theirs = command.facts, entry.facts
    if ours is None or theirs is None or ours == theirs:
        return False
    later_by = None
    if command.facts_fetched_at is not None and entry.facts_fetched_at is not None:
        later_by = command.facts_fetched_at - entry.facts_fetched_at
        if since is not None and (command.facts_fetched_at < since) != (entry.facts_fetched_at < since):
            return command.facts_fetched_at < since
    if (ours.topic, ours.partition) == (theirs.topic, theirs.partition):
        made_anew = later_by is not None and later_by > CLOCKS_DIFFER_MAX
        return ours.offset < theirs.offset and not made_anew
    return later_by is not None and later_by < timedelta(0)
