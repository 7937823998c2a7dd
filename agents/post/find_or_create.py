"""One entry of a QuickBooks list, a customer or an item: found by its name, made active, or created exactly once.

Every attempt looks before it writes, and a write has the same requestid for ever, so that a lost answer or a crash
makes no twin, whether QuickBooks remembers a requestid or not (docs/vendors/quickbooks.md §3.2).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from agents.clients.failures import DuplicateName, DuplicateRequest, OutcomeUnknown, StaleObject, Wait
from agents.clients.quickbooks import encode
from agents.clients.retry import Retries
from models.quickbooks import INACTIVE_SUFFIX, quoted, same_name

from .sink import Books, Parked, requestid

Json = dict[str, Any]
FOUND_MAX = 100
CANDIDATES_SHOWN_MAX = 10


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
    """One search; `refused` are the names that QuickBooks called taken, with what it said."""

    query: ListEntryQuery
    realm: str
    books: Books
    retries: Retries
    command: str
    refused: dict[str, DuplicateName] = field(default_factory=dict)

    async def run(self) -> tuple[Json, bool]:
        while True:
            try:
                found = self._chosen(await self._entries())
                if isinstance(found, str):
                    return await self._created(found), True
                return (found if is_active(found) else await self._reactivated(found)), False
            except (Wait, OutcomeUnknown, DuplicateRequest, StaleObject) as failure:
                await self.retries.wait(failure)
            except DuplicateName:
                continue  # noted: either the entry can be seen now, or the name is somebody's who is not in this list

    async def _entries(self) -> list[Json]:
        query = self.query
        names = ", ".join(quoted(form) for name in query.names for form in (name, name + INACTIVE_SUFFIX))
        statement = (
            f"SELECT * FROM {query.entity} WHERE {query.name_field} IN ({names}) "  # noqa: S608 - quoted
            f"AND Active IN (true, false) MAXRESULTS {FOUND_MAX}"
        )
        return (await self.books.query(self.realm, statement)).get(query.entity) or []

    def _chosen(self, entries: list[Json]) -> Json | str:
        """The entry to use, or the name under which to create it. Raises Parked."""
        query = self.query
        ours = sorted(filter(query.ours, entries), key=is_active, reverse=True)
        if ours:
            return ours[0]
        taken = NameTaken("")
        for name in query.names:
            chosen = query.choose([each for each in entries if same_name(each.get(query.name_field) or "", name)])
            if chosen is None and name in self.refused:
                chosen = NameTaken("another list entry in QuickBooks, such as a vendor or an employee")
            match chosen:
                case None:
                    return self._creatable(name)
                case NameTaken():
                    taken = chosen
                case _:
                    return chosen
        raise self._parked(
            f"the name {query.names[-1]!r} belongs to {taken.by}",
            f"rename one of them, or {query.remedy}",
            self.refused.get(query.names[-1]),
        )

    def _creatable(self, name: str) -> str:
        if self.query.may_create:
            return name
        raise self._parked(
            f"QuickBooks has no {self.query.entity.lower()} named {name!r}, and policy says not to create one",
            f"create it in QuickBooks, or {self.query.remedy}",
        )

    async def _created(self, name: str) -> Json:
        content = encode({self.query.name_field: name, **self.query.body})
        identity = requestid(self.realm, self.query.subject, f"create {self.command}", content)
        try:
            created, _ = await self.books.write(self.realm, self.query.entity, content, requestid=identity)
        except DuplicateName as failure:
            self.refused[name] = failure
            raise
        return created

    async def _reactivated(self, entry: Json) -> Json:
        """The entry made active, under its name without what QuickBooks put behind it. Raises Parked by policy."""
        query = self.query
        name = str(entry.get(query.name_field) or "").removesuffix(INACTIVE_SUFFIX)
        if not query.reactivate:
            raise self._parked(
                f"the {query.entity.lower()} {entry['Id']} {name!r} is inactive in QuickBooks",
                f"make it active, or {query.remedy}",
            )
        change = {"Id": entry["Id"], "SyncToken": entry["SyncToken"], "sparse": True, "Active": True}
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

    def _parked(self, reason: str, remedy: str, failure: DuplicateName | None = None) -> Parked:
        error = failure.facts if failure is not None else None
        return Parked(reason, waits_for=self.query.subject, remedy=remedy, error=error)
