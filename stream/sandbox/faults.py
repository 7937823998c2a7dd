"""Faults that spoil answers on purpose: a list, taken in order, each for a number of matching requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from stream.sandbox.http import Answer, Core, Request

Kind = Literal["status", "html", "truncated", "drop", "hang", "delay"]
HANG_SECONDS = 600.0
HTML_BODY = "<html><head><title>Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(slots=True)
class Fault:
    """What to do to the next `count` requests whose path contains `path_contains` (and whose method is `method`).

    `after_commit` lets the server do its work first: the caller sees the fault, the books hold the result.
    Kinds: `status` answers `status` with `body`; `html` answers a gateway's page; `truncated` sends half of the
    body; `drop` closes the connection; `hang` closes it after `delay_seconds` (600 when 0); `delay` does the work
    at once and answers `delay_seconds` late.
    """

    kind: Kind
    path_contains: str = ""
    method: str = ""
    count: int = 1
    status: int = 503
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    after_commit: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind is {self.kind!r}; it must be one of {', '.join(get_args(Kind))}")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Fault:
        """Raises ValueError when a name is unknown or the kind is missing."""
        unknown = set(value) - {each.name for each in fields(cls)}
        if unknown or "kind" not in value:
            raise ValueError(f"unknown names {sorted(unknown)}" if unknown else "kind is missing")
        return cls(**value)

    def matches(self, request: Request) -> bool:
        return self.path_contains in request.path and self.method.upper() in ("", request.method)


class Faults:
    """The faults that are still to come, in order."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.pending = list(faults)

    def add(self, *faults: Fault) -> None:
        self.pending.extend(faults)

    def clear(self) -> None:
        self.pending.clear()

    def take(self, request: Request) -> Fault | None:
        """The first fault for this request; it is used up by one."""
        for fault in self.pending:
            if fault.matches(request):
                fault.count -= 1
                if fault.count <= 0:
                    self.pending.remove(fault)
                return fault
        return None

    def around(self, core: Core) -> Core:
        """The same core, with these faults in its way."""

        def answer(request: Request) -> Answer:
            fault = self.take(request) if self.pending else None
            if fault is None:
                return core(request)
            works = fault.after_commit or fault.kind in ("delay", "truncated")
            return _spoil(fault, core(request) if works else Answer(fault.status))

        return answer


def _spoil(fault: Fault, answer: Answer) -> Answer:
    match fault.kind:
        case "status":
            headers = {"Content-Type": "application/json", **fault.headers}
            return Answer(fault.status, fault.body.encode(), headers, fault.delay_seconds)
        case "html":
            headers = {"Content-Type": "text/html", **fault.headers}
            return Answer(fault.status, (fault.body or HTML_BODY).encode(), headers, fault.delay_seconds)
        case "truncated":
            return replace(answer, ending="truncated", delay_seconds=fault.delay_seconds)
        case "drop":
            return replace(answer, ending="drop", delay_seconds=fault.delay_seconds)
        case "hang":
            return replace(answer, ending="drop", delay_seconds=fault.delay_seconds or HANG_SECONDS)
        case "delay":
            return replace(answer, delay_seconds=fault.delay_seconds)
