"""What the ledger cannot know: it is younger than the books or than some commands, or was restored from an old copy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from models.commands import HandOver, InvoiceCommand, PostInvoice, VoidInvoice
from models.ledger import LedgerEntry
from models.quickbooks import SEEN_SECONDS_MAX
from models.record import Address

from .facts import CLOCKS_DIFFER_MAX

DATED_AHEAD_MAX = timedelta(days=31)
"""A document may be dated after the day on which it was posted: by a month that was billed in advance, or closed."""


@dataclass(frozen=True)
class LedgerAge:
    """Given to the sink at start; without anything said, the ledger has known every command.

    `first_commands`: of each partition, the offset of the first command since the ledger began; those before may have
    been carried out under another ledger. `first_facts`: the same of the topic of invoices. `ledger_since`: when it
    began beside commands of before. `log_since`: rows that were last changed before speak of a log of commands that is
    gone. `facts_since`: facts that were fetched before lay in a topic that is gone. `look_up_dated_to`: a person said
    that documents dated up to this day may stand in the books without the ledger knowing.
    """

    first_commands: Mapping[int, int] = field(default_factory=dict)
    first_facts: Mapping[int, int] = field(default_factory=dict)
    ledger_since: datetime | None = None
    log_since: datetime | None = None
    facts_since: datetime | None = None
    look_up_dated_to: date | None = None

    def misses(self, command: InvoiceCommand | HandOver, at: Address) -> bool:
        """Whether a document of this invoice may stand in the books though the ledger has none. Its webhook may come
        again, so that its command is younger than the ledger."""
        if at.offset < self.first_commands.get(at.partition, 0):
            return True
        dated_to = self._dated_to()
        if dated_to is None:
            return False
        return not isinstance(command, PostInvoice) or command.document.txn_date <= dated_to

    def _dated_to(self) -> date | None:
        if self.ledger_since is None:
            return self.look_up_dated_to
        dated_to = self.ledger_since.date() + DATED_AHEAD_MAX
        return dated_to if self.look_up_dated_to is None else max(dated_to, self.look_up_dated_to)

    def has_forgotten(self, command: InvoiceCommand | HandOver, entry: LedgerEntry | None) -> bool:
        """Whether newer facts than the command's may have been acted on under another ledger. A void is final, and so
        never too old."""
        if isinstance(command, VoidInvoice) or command.customer_id is None or not self._is_of_before(command.facts):
            return False
        return entry is None or entry.facts is None or self._is_of_before(entry.facts)

    def _is_of_before(self, facts: Address | None) -> bool:
        return facts is not None and facts.offset < self.first_facts.get(facts.partition, 0)

    def unseen_seconds(self, now: datetime) -> float:
        """How long a write of another ledger may still be under way, or not be seen yet. When the ledger began was told
        by the clock of another machine."""
        is_young = self.ledger_since is not None and now - self.ledger_since < CLOCKS_DIFFER_MAX
        return SEEN_SECONDS_MAX if is_young else 0.0

    def is_of_this_log(self, changed_at: datetime) -> bool:
        """Whether the addresses in a row that was changed then are addresses of the log as it is now."""
        return self.log_since is None or changed_at >= self.log_since

    def marked(self, entry: LedgerEntry, command: InvoiceCommand | HandOver, at: Address) -> LedgerEntry:
        """The row of a command that begins; what was never attempted here may have to be looked up first."""
        if entry.in_books or entry.attempts or entry.look_up_first or not self.misses(command, at):
            return entry
        marked: LedgerEntry = entry.replace(look_up_first=True)
        return marked


NOTHING_MISSED = LedgerAge()
