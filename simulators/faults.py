"""Faults that spoil answers on purpose: a list, taken in order, each for a number or a share of matching requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from random import Random
from typing import Literal, get_args

from simulators.http import Answer, Core, Json, Request

Kind = Literal["status", "html", "truncated", "drop", "hang", "delay", "expire-token"]
HANG_SECONDS = 600.0
DELAY_MAX_SECONDS = 3600.0
COUNT_MAX = 1_000_000
PENDING_MAX = 1000
HTML_BODY = "<html><head><title>Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
THROTTLED = 429
SERVER_ERROR = 500


class WrongFault(ValueError):
    """This fault cannot be; the message names the field."""


@dataclass(slots=True)
class Fault:
    """What to do to requests whose path contains `path_contains` (and whose method is `method`).

    It hits the next `count` of them, 1 unless said, and counts that down; with `probability` each with that chance,
    and without end unless `count` is said. `seed` repeats the pattern. `after_commit` lets the server do its work
    first: the caller sees the fault, the books hold the result.

    Kinds: `status` answers `status` with `body` (429 without a body: as the vendor does); `html` answers a gateway's
    page; `truncated` sends half of the body; `drop` closes the connection; `hang` closes it after `delay_seconds`
    (600 when 0); `delay` does the work at once and answers `delay_seconds` late; `expire-token` ends the access tokens
    of the company that is asked for (of all, when the path names none), before or after the work.
    """

    kind: Kind
    path_contains: str = ""
    method: str = ""
    count: int | None = None
    status: int = 503
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    after_commit: bool = False
    probability: float = 1.0
    seed: int = 0
    hits: int = field(default=0, init=False)
    _random: Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, is_good, wanted in _RULES:
            value = getattr(self, name)
            if not is_good(value):
                raise WrongFault(f"{name} is {value!r}; it must be {wanted}")
        self._random = Random(self.seed)
        if self.count is None and self.probability == 1:
            self.count = 1

    @classmethod
    def from_json(cls, value: object) -> Fault:
        """Raises WrongFault when a name is unknown, the kind is missing or a value makes no sense."""
        if not isinstance(value, dict):
            raise WrongFault("a fault is a JSON object")
        known = [each.name for each in fields(cls) if each.init]
        unknown = sorted(set(value) - set(known))
        if unknown:
            raise WrongFault(f"{unknown[0]} is unknown; there are {', '.join(known)}")
        if "kind" not in value:
            raise WrongFault(f"kind is missing; it must be one of {', '.join(get_args(Kind))}")
        return cls(**value)

    def as_json(self) -> Json:
        """What was asked for, with how many are still to come, and `hits`: how often it has struck."""
        shown = {each.name: getattr(self, each.name) for each in fields(self) if not each.name.startswith("_")}
        defaults = {each.name: each.default for each in fields(self) if each.init and each.default is not MISSING}
        return {name: value for name, value in shown.items() if value not in (defaults.get(name, MISSING), {})}

    @property
    def is_spent(self) -> bool:
        return self.count == 0

    def strikes(self, request: Request) -> bool:
        """Whether this request is hit; with a probability, each matching request throws the dice once."""
        if self.path_contains not in request.path or self.method.upper() not in ("", request.method):
            return False
        if self.probability < 1 and self._random.random() >= self.probability:
            return False
        self.hits += 1
        if self.count is not None:
            self.count -= 1
        return True


def _whole(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _number(low: float, high: float) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_headers(value: object) -> bool:
    pairs = value.items() if isinstance(value, Mapping) else [(0, 0)]
    return all(isinstance(each, str) and each.isprintable() and each.isascii() for pair in pairs for each in pair)


_RULES: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("kind", lambda value: value in get_args(Kind), f"one of {', '.join(get_args(Kind))}"),
    ("path_contains", _is_text, "text"),
    ("method", _is_text, "text"),
    ("count", lambda value: value is None or _whole(1, COUNT_MAX)(value), f"a whole number from 1 to {COUNT_MAX}"),
    ("status", _whole(200, 599), "a whole number from 200 to 599"),
    ("body", _is_text, "text"),
    ("headers", _are_headers, "an object of ASCII texts"),
    ("delay_seconds", _number(0, DELAY_MAX_SECONDS), f"a number from 0 to {DELAY_MAX_SECONDS:.0f}"),
    ("after_commit", lambda value: isinstance(value, bool), "true or false"),
    ("probability", _number(0, 1), "a number from 0 to 1"),
    ("seed", lambda value: type(value) is int, "a whole number"),
)


class Faults:
    """The faults that are still to come, in order.

    `throttled` makes the vendor's own 429; `expire_tokens` ends the tokens that open a path, where tokens expire;
    `gave` is told of each server error that went out in place of the core's answer.
    """

    def __init__(
        self,
        faults: Iterable[Fault] = (),
        *,
        throttled: Callable[[], Answer] | None = None,
        expire_tokens: Callable[[str], None] | None = None,
        gave: Callable[[Request, Answer], None] | None = None,
    ) -> None:
        self.pending: list[Fault] = []
        self._gave = gave
        self._throttled = throttled
        self._expire_tokens = expire_tokens
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """All of them or, with WrongFault, none."""
        if any(each.kind == "expire-token" for each in faults) and self._expire_tokens is None:
            raise WrongFault("kind is 'expire-token', but the tokens of this server do not expire")
        if len(self.pending) + len(faults) > PENDING_MAX:
            raise WrongFault(f"no more than {PENDING_MAX} faults can be pending")
        self.pending.extend(faults)

    def clear(self) -> None:
        self.pending.clear()

    def take(self, request: Request) -> Fault | None:
        """The first fault that strikes this request; it is used up by one."""
        for fault in self.pending:
            if fault.strikes(request):
                if fault.is_spent:
                    self.pending.remove(fault)
                return fault
        return None

    def around(self, core: Core) -> Core:
        """The same core, with these faults in its way."""

        def answer(request: Request) -> Answer:
            fault = self.take(request) if self.pending else None
            if fault is None:
                return core(request)
            struck = self._strike(fault, core, request)
            if self._gave is not None and fault.kind == "status" and fault.status >= SERVER_ERROR:
                self._gave(request, struck)
            return replace(struck, fault=fault.kind)

        return answer

    def _strike(self, fault: Fault, core: Core, request: Request) -> Answer:
        if fault.kind == "expire-token" and self._expire_tokens is not None:
            if fault.after_commit:
                answer = core(request)
                self._expire_tokens(request.path)
                return answer
            self._expire_tokens(request.path)
            return core(request)
        works = fault.after_commit or fault.kind in ("delay", "truncated")
        answer = core(request) if works else Answer(fault.status)
        if fault.kind == "status" and fault.status == THROTTLED and not fault.body and self._throttled is not None:
            own = self._throttled()
            return replace(own, headers={**own.headers, **fault.headers}, delay_seconds=fault.delay_seconds)
        return _spoil(fault, answer)


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
        case "delay" | "expire-token":
            return replace(answer, delay_seconds=fault.delay_seconds)
