"""What the ledger cannot know: it is younger than the books or than some commands, or was restored from an old copy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from models.commands import HandOver, InvoiceCommand, PostInvoice
from models.ledger import LedgerEntry
from models.record import Address


@dataclass(frozen=True)
class LedgerAge:
    """Given to the sink at start; without anything said, the ledger has known every command.

    `first_commands`: of each partition, the offset of the first command since the ledger began; those before may have
    been carried out under another ledger. `log_since`: rows that were last changed before speak of a log of commands
    that is gone. `look_up_dated_to`: a person said that documents dated up to this day may stand in the books without
    the ledger knowing.
    """

    first_commands: Mapping[int, int] = field(default_factory=dict)
    log_since: datetime | None = None
    look_up_dated_to: date | None = None

    def misses(self, command: InvoiceCommand | HandOver, at: Address) -> bool:
        """Whether a document of this invoice may stand in the books though the ledger has none."""
        if at.offset < self.first_commands.get(at.partition, 0):
            return True
        if self.look_up_dated_to is None:
            return False
        return not isinstance(command, PostInvoice) or command.document.txn_date <= self.look_up_dated_to

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
