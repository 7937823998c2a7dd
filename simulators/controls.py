"""The `/_sandbox` paths and the pages that both servers have: faults, state, clock, requests, counters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from simulators.clock import MovableClock
from simulators.faults import Fault, Faults, WrongFault
from simulators.http import Answer, Json, Request, json_answer
from simulators.pages.rendering import ROWS_PER_PAGE, Cell, Column, Site, Slice, Table, list_page, money
from simulators.request_log import Logged, RequestLog
from simulators.state import Stateful, StateUnusable, restore, snapshot

OWN_PATHS = frozenset({"", "_sandbox", "books", "invoices", "customers", "requests", "counters"})
REQUEST_COLUMNS = (
    Column("At", "short"), Column("Method"), Column("Path", "long"), Column("Status", "number"),
    Column("ms", "number"), Column("requestid", "long"), Column("Fault"),
)  # fmt: skip

Handler = Callable[[Request], Awaitable[Answer]]


class Pages(Protocol):
    def answer(self, request: Request) -> Answer | None: ...


@dataclass(frozen=True, slots=True)
class Controls:
    """What one server offers beside the vendor's own paths.

    `reset` brings the starting scene back, `replaced` is called after all state was replaced, `actions` are POST paths
    that only this server has.
    """

    server: str
    site: Site
    core: Stateful
    pages: Pages
    counters: Callable[[], Json]
    faults: Faults
    log: RequestLog
    clock: MovableClock
    clock_moved: Callable[[], None]
    reset: Callable[[], None]
    replaced: Callable[[], None]
    actions: Mapping[str, Handler] = field(default_factory=dict)

    def owns(self, path: str) -> bool:
        return path.lstrip("/").partition("/")[0].removesuffix(".json") in OWN_PATHS

    async def answer(self, request: Request) -> Answer:
        """404 for a path that is not there, 400 with {"message"} for a body that makes no sense."""
        try:
            if request.method == "POST" and request.path in self.actions:
                return await self.actions[request.path](request)
            answer = self._changed(request) if request.method in ("POST", "DELETE") else self._shown(request)
        except (WrongFault, StateUnusable) as problem:
            return refused(400, str(problem))
        return answer or refused(404, f"there is no {request.method} {request.path} here")

    def _changed(self, request: Request) -> Answer | None:
        match request.method, request.path:
            case "POST", "/_sandbox/faults":
                self.faults.add(*_faults_of(request.body))
                return json_answer({"pending": len(self.faults.pending)})
            case "DELETE", "/_sandbox/faults":
                self.faults.clear()
                return json_answer({"pending": 0})
            case "DELETE", "/_sandbox/requests":
                self.log.clear()
                return json_answer({"total": 0})
            case "POST", "/_sandbox/reset":
                self.reset()
                self.log.clear()
                return json_answer({"server": self.server})
            case "POST", "/_sandbox/restore":
                restore(self.server, self.core, request.body)
                self.replaced()
                return json_answer({"server": self.server})
            case "POST", "/_sandbox/clock":
                return self._advanced(request.body)
        return None

    def _shown(self, request: Request) -> Answer | None:
        if request.method != "GET":
            return None
        match request.path:
            case "/_sandbox/faults":
                pending = self.faults.pending
                return json_answer({"pending": len(pending), "faults": [each.as_json() for each in pending]})
            case "/_sandbox/snapshot":
                return Answer(200, snapshot(self.server, self.core), {"Content-Type": "application/json"})
            case "/_sandbox/clock":
                return self._time()
            case "/requests.json" | "/_sandbox/requests":
                return json_answer(self._requests_json(request))
            case "/requests":
                return self._requests(request)
            case "/counters":
                return self._counters()
        return self.pages.answer(request)

    def _advanced(self, body: bytes) -> Answer:
        """{"advance_seconds": n}: both servers have one clock."""
        asked = _read(body)
        seconds = asked.get("advance_seconds") if isinstance(asked, dict) else None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            return refused(400, 'advance_seconds is missing: {"advance_seconds": 3600}')
        try:
            self.clock.advance(seconds)
        except ValueError as problem:
            return refused(400, str(problem))
        self.clock_moved()
        return self._time()

    def _time(self) -> Answer:
        return json_answer({"now": self.clock(), "ahead_seconds": self.clock.ahead_seconds})

    def _part(self, request: Request) -> Slice:
        return Slice.asked(request.query.get("page", ""), len(self.log))

    def _requests_json(self, request: Request) -> Json:
        part = self._part(request)
        found = self.log.newest((part.number - 1) * ROWS_PER_PAGE, ROWS_PER_PAGE)
        about = {"total": self.log.total, "kept": part.total, "page": part.number, "pages": part.pages}
        return {**about, "requests": [each.as_json() for each in found]}

    def _requests(self, request: Request) -> Answer:
        part = self._part(request)
        found = self.log.newest((part.number - 1) * ROWS_PER_PAGE, ROWS_PER_PAGE)
        table = Table(REQUEST_COLUMNS, [_request_row(each) for each in found], "There were none yet.")
        subtitle = f"{self.log.total:,} requests; the newest {part.total:,} are kept, the newest first"
        return list_page(self.site, "/requests", "Requests", subtitle, [table], part=part, json_path="/requests.json")

    def _counters(self) -> Answer:
        counters = self.counters()
        singles = {name: each for name, each in counters.items() if not isinstance(each, dict)}
        groups = {name: each for name, each in counters.items() if isinstance(each, dict)}
        tables = [_pairs("", {"requests": self.log.total, "faults pending": len(self.faults.pending), **singles})]
        tables += [_pairs(name.replace("_", " ").title(), each) for name, each in groups.items()]
        subtitle = "Requests since the start or the last reset, and what is held"
        return list_page(self.site, "/counters", "Counters", subtitle, tables, json_path="/_sandbox/state")


def refused(status: int, message: str) -> Answer:
    return json_answer({"message": message}, status)


def _read(body: bytes) -> Any:
    """The JSON value; None when it is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _faults_of(body: bytes) -> list[Fault]:
    """One fault or a list of them. Raises WrongFault."""
    asked = _read(body)
    if not isinstance(asked, list):
        return [Fault.from_json(asked)]
    faults = []
    for number, each in enumerate(asked):
        try:
            faults.append(Fault.from_json(each))
        except WrongFault as problem:
            raise WrongFault(f"[{number}]: {problem}") from None
    return faults


def _pairs(heading: str, counted: Mapping[str, object]) -> Table:
    rows = [[Cell(name if heading else name.replace("_", " ")), Cell(_counted(each))] for name, each in counted.items()]
    return Table((Column("What"), Column("How many", "number")), rows, "Nothing yet.", heading)


def _counted(value: object) -> str:
    """A list by its length; the JSON behind the page tells what is in it."""
    match value:
        case int():
            return f"{value:,}"
        case list():
            return f"{len(value):,}"
    return money(value)


def _request_row(logged: Logged) -> list[Cell]:
    shown = logged.as_json()
    query = "&".join(f"{name}={value}" for name, value in shown["query"].items() if name != "requestid")
    return [
        Cell(shown["at"][11:23]),
        Cell(shown["method"]),
        Cell(shown["path"] + (f"?{query}" if query else "")),
        Cell(str(shown["status"]), is_bad=logged.status >= 400),
        Cell(f"{logged.milliseconds:.2f}"),
        Cell(shown["requestid"]),
        Cell(shown["fault"], is_bad=True),
    ]
