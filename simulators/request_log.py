"""What was asked of a simulator, newest first: bounded, in memory, without bodies and secrets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from simulators.http import Answer, Core, Json, Request

REQUESTS_MAX = 1000
TEXT_LENGTH_MAX = 500
TAIL_LENGTH = 4
SECRET_NAMES = ("token", "secret", "code", "state", "password")


@dataclass(frozen=True, slots=True)
class Logged:
    """One request and its answer; `milliseconds` is the time inside the simulator, without delays on purpose."""

    at: float
    request: Request
    status: int
    milliseconds: float
    fault: str
    tid: str

    def as_json(self) -> Json:
        query = {name: "…" if _is_secret(name) else _short(value) for name, value in self.request.query.items()}
        return {
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds"),
            "method": self.request.method,
            "path": _short(self.request.path),
            "query": query,
            "authorization": _masked(self.request.headers.get("authorization", "")),
            "status": self.status,
            "milliseconds": round(self.milliseconds, 3),
            "requestid": query.get("requestid", ""),
            "intuit_tid": self.tid,
            "fault": self.fault,
        }


class RequestLog:
    """The newest requests; `total` counts all. `clock` gives epoch seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.total = 0
        self._clock = clock
        self._kept: deque[Logged] = deque(maxlen=REQUESTS_MAX)

    def __len__(self) -> int:
        return len(self._kept)

    def newest(self, start: int = 0, count: int = REQUESTS_MAX) -> Iterator[Logged]:
        return islice(reversed(self._kept), start, start + count)

    def clear(self) -> None:
        self._kept.clear()
        self.total = 0

    def around(self, core: Core) -> Core:
        """The same core, with every request written down."""

        def answer(request: Request) -> Answer:
            started = time.perf_counter()
            answer = core(request)
            milliseconds = (time.perf_counter() - started) * 1000
            self.total += 1
            # The body would be the memory of a thousand documents, and says what the books say.
            kept = Request(request.method, request.path, request.query, request.headers)
            tid = answer.headers.get("intuit_tid", "")
            self._kept.append(Logged(self._clock(), kept, answer.status, milliseconds, answer.fault, tid))
            return answer

        return answer


def _is_secret(name: str) -> bool:
    return any(each in name.lower() for each in SECRET_NAMES)


def _masked(authorization: str) -> str:
    """The scheme and the end of the credentials, enough to tell two tokens apart."""
    scheme, _, credentials = authorization.partition(" ")
    if not credentials:
        return "…" if authorization else ""
    return f"{_short(scheme)} …{credentials[-TAIL_LENGTH:] if len(credentials) > 4 * TAIL_LENGTH else ''}"


def _short(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH_MAX else text[:TEXT_LENGTH_MAX] + "…"
