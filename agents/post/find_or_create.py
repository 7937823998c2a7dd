"""One entry of a QuickBooks list, a customer or an item: found by its name, made active, or created exactly once.

Every attempt looks before it writes, and a write has the same requestid for ever, so that a lost answer or a crash
makes no twin, whether QuickBooks remembers a requestid or not (docs/vendors/quickbooks.md §3.2).

A name is looked for as it is, and before it is created by a pattern in ASCII too: a person may have typed two blanks,
and what is beyond Latin-1 QuickBooks may not be able to parse (§12.5). A name that it calls taken, by nobody that can
be seen, may be that of our own entry of a moment ago: it is looked for until it would be seen, or somebody else has it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from agents.clients.failures import DuplicateName, DuplicateRequest, Failure, OutcomeUnknown, Refused, StaleObject, Wait
from agents.clients.quickbooks import encode
from agents.clients.quickbooks_errors import checked, listed
from agents.clients.retry import Retries
from models.quickbooks import INACTIVE_SUFFIX, SEEN_SECONDS_MAX, name_pattern, quoted, same_name

from .sink import Books, Parked, requestid

Json = dict[str, Any]
PAGE_ENTRIES = 1000
"""As many as a query answers with at most (§2.4)."""
PAGES_MAX = 200
"""Of the entries that fit a name's pattern; each is a metered read."""
CANDIDATES_SHOWN_MAX = 10
NOT_ANSWERED = ("4000", "4001", "4002")
"""Codes of a query that QuickBooks cannot parse or execute (§6.2, §12.5, §12.10): asked again it would be the same."""
SHARE_NAMES = {"Customer": ("Vendor", "Employee"), "Item": ()}
"""The other lists with which a list shares its names (§2.1)."""


@dataclass(frozen=True)
class NameTaken:
    """A name that belongs to an entry which is not to be used; `by` says to which."""

    by: str


@dataclass(frozen=True)
class ListEntryQuery:
    """What is looked for, and what is created where it is missing.

    `names`: the name, and by policy the one to take when it is taken. `choose` is given the entries of one name, and
    says which is meant: that entry, None for a name that is free, or NameTaken; it may raise Parked. `ours` knows an
    entry as our own whatever its name.
    """

    entity: Literal["Customer", "Item"]
    name_field: Literal["DisplayName", "Name"]
    names: tuple[str, ...]
    body: Json
    subject: str
    remedy: str
    may_create: bool
    reactivate: bool
    choose: Callable[[list[Json]], "Json | NameTaken | None"]
    ours: Callable[[Json], bool]


async def find_or_create(
    query: ListEntryQuery, realm: str, *, books: Books, retries: Retries, command: str
) -> tuple[Json, bool]:
    """The entry, and whether we created it. Raises Parked, or what outlasted every retry.

    `command` says who asks: asked again after a crash it is the same, and so is the requestid of what it creates;
    another one makes another request, should QuickBooks remember a refusal.
    """
    return await _Search(query, realm, books, retries, command).run()


def is_active(entry: Json) -> bool:
    return bool(entry.get("Active", True))


def describe(entries: list[Json], name_field: str) -> str:
    """`58 'Acme GmbH', 77 'Acme GmbH (deleted)'`."""
    shown = [f"{each['Id']} {each.get(name_field)!r}" for each in entries[:CANDIDATES_SHOWN_MAX]]
    return ", ".join(shown) + (", …" if len(entries) > len(shown) else "")


@dataclass
class _Search:
    """One search; `refused` are the names that QuickBooks called taken, with what it said, and when each one would be
    seen at last. `unseen`: why the names could not be looked for at all.
    """

    query: ListEntryQuery
    realm: str
    books: Books
    retries: Retries
    command: str
    refused: dict[str, tuple[DuplicateName, float]] = field(default_factory=dict)
    unseen: Refused | None = None

    async def run(self) -> tuple[Json, bool]:
        while True:
            try:
                found = self._chosen(await self._entries())
                if isinstance(found, str):
                    return await self._created(found), True
                return (found if is_active(found) else await self._reactivated(found)), False
            except (Wait, OutcomeUnknown, DuplicateRequest, StaleObject) as failure:
                await self.retries.wait(failure)
            except DuplicateName as failure:
                await self._seen_or_taken(failure)

    async def _seen_or_taken(self, failure: DuplicateName) -> None:
        """Before the next look at a name that is called taken. Raises Parked when it cannot be waited for."""
        try:
            await self.retries.wait(failure)
        except DuplicateName:
            raise self._taken(self.query.names[0], "a list entry that cannot be seen yet", failure) from None

    async def _entries(self) -> list[Json]:
        """All that have one of the names, whatever a person typed between its words."""
        query, self.unseen = self.query, None
        names = ", ".join(quoted(form) for name in query.names for form in (name, name + INACTIVE_SUFFIX))
        entries = await self._asked(query.entity, f"IN ({names})")
        pattern = name_pattern(query.names[0])
        if not isinstance(entries, list) or not (self._of_name(query.names[0], entries) or pattern == query.names[0]):
            alike = await self._asked(query.entity, f"LIKE {quoted(pattern)}")
            if isinstance(alike, list):
                entries = alike
        if not isinstance(entries, list):
            self.unseen, entries = entries, []
        return [checked(query.entity, each) for each in entries if self._is_named(each)]

    def _is_named(self, entry: Json) -> bool:
        return any(same_name(str(entry.get(self.query.name_field) or ""), name) for name in self.query.names)

    async def _asked(self, entity: str, condition: str) -> list[Json] | Refused:
        """The entries of a list whose name fits, or why QuickBooks cannot answer that."""
        entries: list[Json] = []
        for page in range(PAGES_MAX):
            statement = (
                f"SELECT * FROM {entity} WHERE {self.query.name_field} {condition} "  # noqa: S608 - quoted
                f"AND Active IN (true, false) STARTPOSITION {page * PAGE_ENTRIES + 1} MAXRESULTS {PAGE_ENTRIES}"
            )
            try:
                found = listed(entity, await self.books.query(self.realm, statement))
            except Refused as failure:
                if failure.facts.code not in NOT_ANSWERED:
                    raise
                return failure
            entries += found
            if len(found) < PAGE_ENTRIES:
                break
        return entries

    def _chosen(self, entries: list[Json]) -> Json | str:
        """The entry to use, or the name under which to create it. Raises Parked."""
        query = self.query
        ours = sorted(filter(query.ours, entries), key=is_active, reverse=True)
        if ours:
            return ours[0]
        taken = NameTaken("")
        for name in query.names:
            chosen = query.choose(self._of_name(name, entries))
            if chosen is None and name in self.refused:
                chosen = self._held_by_others(name)
            match chosen:
                case None:
                    return self._creatable(name)
                case NameTaken():
                    taken = chosen
                case _:
                    return chosen
        raise self._taken(query.names[-1], taken.by, self.refused.get(query.names[-1], (None, 0.0))[0])

    def _of_name(self, name: str, entries: list[Json]) -> list[Json]:
        """Those of exactly that name go before those that only look like it to a person."""
        alike = [each for each in entries if same_name(str(each.get(self.query.name_field)), name)]
        exact = [
            each
            for each in alike
            if str(each[self.query.name_field]).removesuffix(INACTIVE_SUFFIX).casefold() == name.casefold()
        ]
        return exact or alike

    def _held_by_others(self, name: str) -> NameTaken:
        """Raises DuplicateName while it may be an entry that only cannot be seen yet."""
        failure, seen_from = self.refused[name]
        if self.unseen is not None:
            raise self._taken(name, "a list entry for which QuickBooks cannot be asked", self.unseen)
        if self.retries.policy.monotonic() < seen_from:
            raise failure
        return NameTaken("another list entry in QuickBooks, such as a vendor or an employee")

    def _taken(self, name: str, by: str, failure: Failure | None) -> Parked:
        reason = f"the name {name!r} belongs to {by}"
        return self._parked(reason, f"rename one of them, or {self.query.remedy}", failure)

    def _creatable(self, name: str) -> str:
        if self.query.may_create:
            return name
        has = "has no" if self.unseen is None else "cannot be asked for a"
        raise self._parked(
            f"QuickBooks {has} {self.query.entity.lower()} named {name!r}, and policy says not to create one",
            f"create it in QuickBooks, or {self.query.remedy}",
            self.unseen,
        )

    async def _created(self, name: str) -> Json:
        content = encode({self.query.name_field: name, **self.query.body})
        identity = requestid(self.realm, self.query.subject, f"create {self.command}", content)
        try:
            created, _ = await self.books.write(self.realm, self.query.entity, content, requestid=identity)
        except DuplicateName as failure:
            has_it = [each for entity in SHARE_NAMES[self.query.entity] for each in await self._others(entity, name)]
            self.refused[name] = failure, 0.0 if has_it else self.retries.policy.monotonic() + SEEN_SECONDS_MAX
            raise
        return created

    async def _others(self, entity: str, name: str) -> list[Json]:
        """The entries of another list that have the name."""
        found = await self._asked(entity, f"IN ({quoted(name)})")
        return self._of_name(name, found) if isinstance(found, list) else []

    async def _reactivated(self, entry: Json) -> Json:
        """The entry made active, under its name without what QuickBooks put behind it. Raises Parked by policy."""
        query = self.query
        name = str(entry.get(query.name_field) or "").removesuffix(INACTIVE_SUFFIX)
        if not query.reactivate:
            raise self._parked(
                f"the {query.entity.lower()} {entry['Id']} {name!r} is inactive in QuickBooks",
                f"make it active, or {query.remedy}",
            )
        change = {"Id": entry["Id"], "SyncToken": entry.get("SyncToken", "0"), "sparse": True, "Active": True}
        content = encode({**change, query.name_field: name})
        identity = requestid(self.realm, query.subject, f"reactivate {self.command}", content)
        try:
            active, _ = await self.books.write(self.realm, query.entity, content, requestid=identity)
        except DuplicateName as failure:
            raise self._parked(
                f"the {query.entity.lower()} {entry['Id']} {name!r} is inactive in QuickBooks, and another list entry "
                "has its name now",
                f"rename one of them, or {query.remedy}",
                failure,
            ) from None
        return active

    def _parked(self, reason: str, remedy: str, failure: Failure | None = None) -> Parked:
        error = failure.facts if failure is not None else None
        return Parked(reason, waits_for=self.query.subject, remedy=remedy, error=error)
