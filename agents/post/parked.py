"""Who waits for what, and who resumes when it comes.

A command that is parked or uncertain is remembered by its address. It resumes when its cause is gone: a mapping was
set, the company was connected, another command that waited for the same succeeded. Since some causes go without a
word (a period is opened, an item is made active), one command of each cause tries again from time to time, and
when it succeeds the others follow. In the order in which they first came.

Most of these probes cost a metered read, and a person may take days: so the pause before the next one is twice the last
one, up to hours. Whatever is said to have come lets go on at once, however long the pause is.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agents.translate.requirements import ensure_commands
from agents.watch import asked_again
from models.commands import Command, DeclineInvoice, PostInvoice
from models.events import Announcement
from models.ledger import Waiting
from models.policy import Policy
from models.record import Address
from models.subject import FINALIZATION, MAPPING, OPEN_PERIOD, QUICKBOOKS, QUOTA, RowKey

from .searched_table import SearchedTable, saying

RESUMED_MAX = 500
"""As many resume at a time; when one of them succeeds, the next follow."""

PROBE_PAUSE_MAX = timedelta(hours=6)
"""The longest pause between two probes of a cause that a person has to remove."""

UNASKED = (QUICKBOOKS, QUOTA, FINALIZATION)
PROBE_PAUSE_MAX_UNASKED = timedelta(minutes=30)
"""The longest one where nobody does anything for it: QuickBooks answers again, or Metronome finalizes an invoice."""

DOUBLINGS_MAX = 30

VAGUE = (MAPPING, OPEN_PERIOD, FINALIZATION, QUICKBOOKS)
"""Causes that may be another thing for each who waits: one customer is corrected, one period opened. Of all others it
is enough that one finds out."""

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
    from before `log_since` speak of a log of commands that is gone. `probe` is the first pause before a probe.
    """

    rows: SearchedTable[Waiting]
    rest: timedelta = timedelta(seconds=60)
    log_since: datetime | None = None
    probe: timedelta = timedelta(seconds=300)
    _looked: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def park(self, realm: str, subject: str, waits_for: str, command: Address, now: datetime) -> None:
        if self._newest(realm, subject, command):
            before = self.rows.get(RowKey.of(realm, subject))
            probes = 0  # what comes unasked, a redrive or newer facts, is somebody's act
            if before is not None and before.waits_for == waits_for and (before.is_asked or before.command == command):
                probes = before.probes
            self.rows[RowKey.of(realm, subject)] = Waiting(
                realm=realm, subject=subject, waits_for=waits_for, command=command, tried_at=now, probes=probes
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
        return self._sent(self._for(realm, waits_for)[:RESUMED_MAX], now, probes=0)

    def released_after_success(self, realm: str, waits_for: str, now: datetime) -> list[Address]:
        """Those who resume because one that waited for the same succeeded; it need not mean that all will."""
        looked = self._looked.get((realm, waits_for))
        if looked is not None and now < looked + LOOKED_LATELY:
            return []
        self._looked[realm, waits_for] = now
        rested = [row for row in self._for(realm, waits_for) if row.tried_at + self.rest <= now]
        return self._sent(rested[:RESUMED_MAX], now, probes=0)

    def due_for_probe(self, realm: str, now: datetime) -> list[Address]:
        """One command of each cause with one whose pause is over: the one whose last try is longest ago."""
        chosen: dict[str, list[Waiting]] = {}
        for rows in sorted(self._due(self._of(realm), now), key=_last_tried, reverse=True):
            chosen[rows[0].waits_for] = rows
        sent: list[Address] = []
        for rows in sorted(chosen.values(), key=lambda rows: _came(_longest_untried(rows))):
            sent += self._sent([_longest_untried(rows)], now, probes=_probes(rows) + 1)
        return sent

    def realms_to_probe(self, now: datetime) -> set[str]:
        """The companies of which something is due for a probe."""
        return {rows[0].realm for rows in self._due(self.rows.values(), now)}

    def _due(self, rows: Iterable[Waiting], now: datetime) -> list[list[Waiting]]:
        """Those whose pause is over, together with the others that wait for the very same thing."""
        together: defaultdict[tuple[str, str, str], list[Waiting]] = defaultdict(list)
        for row in rows:
            together[row.realm, row.waits_for, row.subject if row.waits_for in VAGUE else ""].append(row)
        return [each for each in together.values() if _last_tried(each) + self._pause(each) <= now]

    def _pause(self, rows: list[Waiting]) -> timedelta:
        if not (probes := _probes(rows)):
            return self.rest
        longest = PROBE_PAUSE_MAX_UNASKED if rows[0].waits_for in UNASKED else PROBE_PAUSE_MAX
        # A little less, or a probe that comes at its time would find it not quite over.
        pause: timedelta = self.probe * 2 ** min(probes, DOUBLINGS_MAX)
        return min(pause, longest) - self.rest

    def _for(self, realm: str, waits_for: str) -> list[Waiting]:
        found = [self.rows[key] for key in self.rows.keys_containing(saying("waits_for", waits_for))]
        ours = [row for row in found if row.realm == realm and row.waits_for == waits_for]
        return sorted((row for row in ours if not self._is_of_a_former_log(row)), key=_came)

    def _of(self, realm: str) -> list[Waiting]:
        return [row for row in self.rows.values() if row.realm == realm]

    def _sent(self, chosen: Sequence[Waiting], now: datetime, *, probes: int) -> list[Address]:
        for row in chosen:
            self.rows[RowKey.of(row.realm, row.subject)] = row.replace(tried_at=now, probes=probes, is_asked=True)
        return [row.command for row in chosen]


def _probes(rows: list[Waiting]) -> int:
    return max(row.probes for row in rows)


def _last_tried(rows: list[Waiting]) -> datetime:
    """Of those that wait for the same, whoever tried last found out for all of them."""
    return max(row.tried_at for row in rows)


def _longest_untried(rows: list[Waiting]) -> Waiting:
    return min(rows, key=lambda row: row.tried_at)


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
