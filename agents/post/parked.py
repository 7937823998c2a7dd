"""Who waits for what, and who resumes when it comes.

A command that is parked or uncertain is remembered by its address. It resumes when its cause is gone: a mapping was
set, the company was connected, another command that waited for the same succeeded. Since some causes go without a
word (a period is opened, an item is made active), one command of each cause tries again from time to time, and
when it succeeds the others follow. In the order in which they first came.
"""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agents.translate.requirements import ensure_commands
from agents.watch import asked_again
from models.commands import Command, DeclineInvoice, PostInvoice
from models.events import Announcement
from models.ledger import Waiting
from models.policy import Policy
from models.record import Address
from models.subject import RowKey

RESUMED_MAX = 500
"""As many resume at a time; when one of them succeeds, the next follow."""

LOOKED_LATELY = timedelta(seconds=5)
"""After a success the table is looked through at most this often for each cause."""


@dataclass(frozen=True)
class Recalled:
    """Commands as they were read again, in order; `gone` are the addresses at which there is none any more."""

    commands: list[Command]
    gone: frozenset[Address] = frozenset()


@dataclass(frozen=True)
class ParkedCommands:
    """The table of waiting commands, by `realm/subject`.

    Who tried within the last `rest` does not resume because another succeeded: those who fail again come to rest. Rows
    from before `log_since` speak of a log of commands that is gone.
    """

    rows: MutableMapping[str, Waiting]
    rest: timedelta = timedelta(seconds=60)
    log_since: datetime | None = None
    _looked: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def park(self, realm: str, subject: str, waits_for: str, command: Address, now: datetime) -> None:
        if self._newest(realm, subject, command):
            self.rows[RowKey.of(realm, subject)] = Waiting(
                realm=realm, subject=subject, waits_for=waits_for, command=command, tried_at=now
            )

    def unpark(self, realm: str, subject: str, command: Address) -> str | None:
        """What the subject waited for until now; None when it did not, or a later command of it still waits."""
        row = self.rows.get(RowKey.of(realm, subject))
        if row is None or not self._newest(realm, subject, command):
            return None
        del self.rows[RowKey.of(realm, subject)]
        return row.waits_for

    def _newest(self, realm: str, subject: str, command: Address) -> bool:
        row = self.rows.get(RowKey.of(realm, subject))
        if row is None or row.command.partition != command.partition or self._is_of_a_former_log(row):
            return True
        return row.command.offset <= command.offset

    def take_lost(self, realm: str, gone: frozenset[Address]) -> list[Waiting]:
        """Those whose command is gone, or lay in a log that is: they can never be tried again, and wait no more."""
        lost = [row for row in self._of(realm) if row.command in gone or self._is_of_a_former_log(row)]
        for row in lost:
            del self.rows[RowKey.of(realm, row.subject)]
        return lost

    def _is_of_a_former_log(self, row: Waiting) -> bool:
        return self.log_since is not None and row.tried_at < self.log_since

    def released_by(self, realm: str, waits_for: str, now: datetime) -> list[Address]:
        """Those who resume now that `waits_for` is known to have come, the first that came first."""
        return self._sent(self._for(realm, waits_for)[:RESUMED_MAX], now)

    def released_after_success(self, realm: str, waits_for: str, now: datetime) -> list[Address]:
        """Those who resume because one that waited for the same succeeded; it need not mean that all will."""
        looked = self._looked.get((realm, waits_for))
        if looked is not None and now < looked + LOOKED_LATELY:
            return []
        self._looked[realm, waits_for] = now
        rested = [row for row in self._for(realm, waits_for) if row.tried_at + self.rest <= now]
        return self._sent(rested[:RESUMED_MAX], now)

    def due_for_probe(self, realm: str, now: datetime) -> list[Address]:
        """One command of each cause: the one whose last try is longest ago."""
        oldest: dict[str, Waiting] = {}
        for row in self._of(realm):
            standing = oldest.get(row.waits_for)
            if row.tried_at + self.rest <= now and (standing is None or row.tried_at < standing.tried_at):
                oldest[row.waits_for] = row
        return self._sent(sorted(oldest.values(), key=_came), now)

    def _for(self, realm: str, waits_for: str) -> list[Waiting]:
        return sorted((row for row in self._of(realm) if row.waits_for == waits_for), key=_came)

    def _of(self, realm: str) -> list[Waiting]:
        return [row for row in self.rows.values() if row.realm == realm]

    def _sent(self, chosen: Sequence[Waiting], now: datetime) -> list[Address]:
        for row in chosen:
            self.rows[RowKey.of(row.realm, row.subject)] = row.replace(tried_at=now)
        return [row.command for row in chosen]


def _came(row: Waiting) -> tuple[int, int]:
    return row.command.partition, row.command.offset


def again(commands: Sequence[Command], policy: Policy, now: datetime) -> list[Command | Announcement]:
    """The commands to publish anew: each with what it needs of customers and items before it. Where Metronome had not
    decided, it is asked again."""
    published: list[Command | Announcement] = []
    for command in commands:
        if isinstance(command, DeclineInvoice):
            published.append(asked_again(command, now))
            continue
        if isinstance(command, PostInvoice):
            published += ensure_commands(
                command.document,
                realm=command.realm,
                facts=command.facts,
                received_at=command.received_at,
                policy=policy,
            )
        published.append(command)
    return published
