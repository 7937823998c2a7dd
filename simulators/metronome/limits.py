"""What stands before every handler: the token's rights, rate limits, and answers stored under an idempotency key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from simulators.http import Answer, Json, Request, json_answer
from simulators.metronome.reading import Refusal
from simulators.metronome.settings import MetronomeSettings, RateLimit
from simulators.metronome.store import Store

KEY_LENGTH_MAX = 255
STORED_ANSWERS_MAX = 100_000
COUNTED_WINDOWS_MAX = 10_000
# Invalid requests and conflicts are not stored (`docs/vendors/metronome.md` §4.5); nor is what never reached a handler.
NEVER_STORED = (400, 401, 403, 429)


class RateLimits:
    """Counts requests in whole seconds."""

    def __init__(self, limits: Mapping[str, RateLimit]) -> None:
        self._limits = limits
        self._counted: dict[tuple[str, str], tuple[int, int]] = {}

    def refusal(self, endpoint: str, customer_id: str, now: float) -> Answer | None:
        limit = self._limits.get(endpoint)
        if limit is None:
            return None
        key = (endpoint, customer_id if limit.scope == "customer" else "")
        second, count = self._counted.get(key, (0, 0))
        count = count + 1 if second == int(now) else 1
        if len(self._counted) >= COUNTED_WINDOWS_MAX:
            self._counted.clear()
        self._counted[key] = (int(now), count)
        if count <= limit.per_second:
            return None
        return json_answer({"message": "Too many requests"}, 429, {"X-Metronome-Rate-Limit-Type": limit.scope})


class StoredAnswers:
    """Answers to POSTs that carried `Idempotency-Key`: given again for the same request, 409 for another one."""

    def __init__(self, store: Store, settings: MetronomeSettings) -> None:
        self._store = store
        self._settings = settings

    def find(self, request: Request) -> Answer | None:
        """None when the request is new. Raises Refusal 400 for a key that is too long, 409 for other parameters."""
        key = _key_of(request)
        if not key:
            return None
        self._forget_old()
        stored = self._store.answers.get(key)
        if stored is None:
            return None
        if stored["request"] != _digest(request):
            raise Refusal(409, "Idempotency-Key has been used with other parameters")
        return Answer(stored["status"], stored["body"].encode(), stored["headers"])

    def keep(self, request: Request, answer: Answer) -> None:
        """Stores the answer, unless its kind is not stored. For a server error that a fault put in its place too."""
        key = _key_of(request)
        if not key or answer.status in NEVER_STORED or (answer.status >= 400 and not self._settings.errors_stored):
            return
        if len(self._store.answers) >= STORED_ANSWERS_MAX:
            self._store.forget_answer(next(iter(self._store.answers)))
        value: Json = {
            "request": _digest(request),
            "at_ms": int(self._store.clock() * 1000),
            "status": answer.status,
            "body": answer.body.decode("utf-8", "replace"),
            "headers": dict(answer.headers),
        }
        self._store.store_answer(key, value)

    def _forget_old(self) -> None:
        oldest_ms = int((self._store.clock() - self._settings.idempotency_seconds) * 1000)
        while self._store.answers:
            key, stored = next(iter(self._store.answers.items()))
            if stored["at_ms"] >= oldest_ms:
                return
            self._store.forget_answer(key)


def _key_of(request: Request) -> str:
    key = request.headers.get("idempotency-key", "") if request.method == "POST" else ""
    if len(key) > KEY_LENGTH_MAX:
        raise Refusal(400, f"Idempotency-Key is limited to {KEY_LENGTH_MAX} characters")
    return key


def _digest(request: Request) -> str:
    parts = [request.path.encode("utf-8", "replace"), request.body]
    parts += [f"{name}={value}".encode("utf-8", "replace") for name, value in sorted(request.query.items())]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
