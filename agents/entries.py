"""One entry of a QuickBooks list, a customer or an item: found by its name, made active, or created exactly once.

Every attempt looks before it writes, and a write has the same requestid for ever, so that a lost answer or a crash
makes no twin, whether QuickBooks remembers a requestid or not (facts/quickbooks.md §3.2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from models.quickbooks import quoted

from .failures import Doubtful, DuplicateName, DuplicateRequest, StaleObject, Wait
from .names import INACTIVE_SUFFIX, same_name
from .persistence import Tries
from .quickbooks_client import encode
from .sink import Parked, Sink, requestid

Json = dict[str, Any]
FOUND_MAX = 100
CANDIDATES_SHOWN_MAX = 10


@dataclass(frozen=True)
class Taken:
    """A name that belongs to an entry which is not to be used; `by` says to which."""

    by: str


@dataclass(frozen=True)
class Wanted:
    """What is looked for, and what is created where it is missing.

    `names`: the name, and by policy the one to take when it is taken. `choose` is given the entries of one name, and
    says which is meant: that entry, None for a name that is free, or Taken; it may raise Parked. `ours` knows an entry
    as our own whatever its name.
    """

    entity: Literal["Customer", "Item"]
    name_field: Literal["DisplayName", "Name"]
    names: tuple[str, ...]
    body: Json
    subject: str
    remedy: str
    may_create: bool
    reactivate: bool
    choose: Callable[[list[Json]], "Json | Taken | None"]
    ours: Callable[[Json], bool]


async def find_or_create(wanted: Wanted, realm: str, sink: Sink) -> tuple[Json, bool]:
    """The entry, and whether we created it. Raises Parked, or what outlasted all patience."""
    return await _Search(wanted, realm, sink, sink.tries(realm), {}, str(sink.now())).run()


def is_active(entry: Json) -> bool:
    return bool(entry.get("Active", True))


def told(entries: list[Json], name_field: str) -> str:
    """`58 'Acme GmbH', 77 'Acme GmbH (deleted)'`."""
    shown = [f"{each['Id']} {each.get(name_field)!r}" for each in entries[:CANDIDATES_SHOWN_MAX]]
    return ", ".join(shown) + (", …" if len(entries) > len(shown) else "")


@dataclass
class _Search:
    """One search; `refused` are the names that QuickBooks called taken, with what it said.

    Another search is another request (`began`), should QuickBooks remember a refusal; the name keeps it from two.
    """

    wanted: Wanted
    realm: str
    sink: Sink
    tries: Tries
    refused: dict[str, DuplicateName]
    began: str

    async def run(self) -> tuple[Json, bool]:
        while True:
            try:
                found = self._chosen(await self._entries())
                if isinstance(found, str):
                    return await self._created(found), True
                return (found if is_active(found) else await self._reactivated(found)), False
            except (Wait, Doubtful, DuplicateRequest, StaleObject) as failure:
                await self.tries.pause(failure)
            except DuplicateName:
                continue  # noted: either the entry can be seen now, or the name is somebody's who is not in this list

    async def _entries(self) -> list[Json]:
        wanted = self.wanted
        names = ", ".join(quoted(form) for name in wanted.names for form in (name, name + INACTIVE_SUFFIX))
        statement = (
            f"SELECT * FROM {wanted.entity} WHERE {wanted.name_field} IN ({names}) "  # noqa: S608 - quoted
            f"AND Active IN (true, false) MAXRESULTS {FOUND_MAX}"
        )
        return (await self.sink.books.query(self.realm, statement)).get(wanted.entity) or []

    def _chosen(self, entries: list[Json]) -> Json | str:
        """The entry to use, or the name under which to create it. Raises Parked."""
        wanted = self.wanted
        ours = sorted(filter(wanted.ours, entries), key=is_active, reverse=True)
        if ours:
            return ours[0]
        taken = Taken("")
        for name in wanted.names:
            chosen = wanted.choose([each for each in entries if same_name(each.get(wanted.name_field) or "", name)])
            if chosen is None and name in self.refused:
                chosen = Taken("another list entry in QuickBooks, such as a vendor or an employee")
            match chosen:
                case None:
                    return self._creatable(name)
                case Taken():
                    taken = chosen
                case _:
                    return chosen
        raise self._parked(
            f"the name {wanted.names[-1]!r} belongs to {taken.by}",
            f"rename one of them, or {wanted.remedy}",
            self.refused.get(wanted.names[-1]),
        )

    def _creatable(self, name: str) -> str:
        if self.wanted.may_create:
            return name
        raise self._parked(
            f"QuickBooks has no {self.wanted.entity.lower()} named {name!r}, and policy says not to create one",
            f"create it in QuickBooks, or {self.wanted.remedy}",
        )

    async def _created(self, name: str) -> Json:
        content = encode({self.wanted.name_field: name, **self.wanted.body})
        identity = requestid(self.realm, self.wanted.subject, f"create {self.began}", content)
        try:
            created, _ = await self.sink.books.write(self.realm, self.wanted.entity, content, requestid=identity)
        except DuplicateName as failure:
            self.refused[name] = failure
            raise
        return created

    async def _reactivated(self, entry: Json) -> Json:
        """The entry made active, under its name without what QuickBooks put behind it. Raises Parked by policy."""
        wanted = self.wanted
        name = str(entry.get(wanted.name_field) or "").removesuffix(INACTIVE_SUFFIX)
        if not wanted.reactivate:
            raise self._parked(
                f"the {wanted.entity.lower()} {entry['Id']} {name!r} is inactive in QuickBooks",
                f"make it active, or {wanted.remedy}",
            )
        change = {"Id": entry["Id"], "SyncToken": entry["SyncToken"], "sparse": True, "Active": True}
        content = encode({**change, wanted.name_field: name})
        identity = requestid(self.realm, wanted.subject, f"reactivate {self.began}", content)
        try:
            active, _ = await self.sink.books.write(self.realm, wanted.entity, content, requestid=identity)
        except DuplicateName as failure:
            raise self._parked(
                f"the {wanted.entity.lower()} {entry['Id']} {name!r} is inactive in QuickBooks, and another list entry "
                "has its name now",
                f"rename one of them, or {wanted.remedy}",
                failure,
            ) from None
        return active

    def _parked(self, reason: str, remedy: str, failure: DuplicateName | None = None) -> Parked:
        error = failure.facts if failure is not None else None
        return Parked(reason, waits_for=self.wanted.subject, remedy=remedy, error=error)
