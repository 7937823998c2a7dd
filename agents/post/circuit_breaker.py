"""A circuit breaker per company: whether its QuickBooks answers at all.

When a command's retries end without an answer, and no other command of its company had one meanwhile, the circuit is
open: further commands are parked without trying, except one now and then. So an outage of hours costs nobody else their
place, and one command that always fails does not hold up its company.
"""

from collections.abc import Callable
from dataclasses import dataclass

from models.subject import Cause

PROBE_SECONDS = 30.0
"""While a circuit is open, a command tries this often."""


@dataclass
class _Circuit:
    answered_at: float | None = None
    open_cause: Cause | None = None
    closed_cause: Cause | None = None
    next_probe_at: float = 0.0


class CircuitBreaker:
    """Per realm: when it last answered, and for which cause (`quickbooks` or `quota`) its circuit is open."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self._circuits: dict[str, _Circuit] = {}

    def open_cause(self, realm: str) -> Cause | None:
        """The cause, while the circuit is open."""
        return self._circuit(realm).open_cause

    def try_probe(self, realm: str) -> bool:
        """Whether it is time that a command tries whether the company answers; the next has to wait again."""
        circuit, now = self._circuit(realm), self.monotonic()
        if now < circuit.next_probe_at:
            return False
        circuit.next_probe_at = now + PROBE_SECONDS
        return True

    def record_success(self, realm: str) -> None:
        """QuickBooks said yes or no to something of this company: the circuit closes."""
        circuit = self._circuit(realm)
        circuit.answered_at = self.monotonic()
        if circuit.open_cause is not None:
            circuit.open_cause, circuit.closed_cause = None, circuit.open_cause

    def record_timeout(self, realm: str, cause: Cause, *, since: float) -> None:
        """A command that began at `since` had no answer until its retries ended; the next one may try at once."""
        circuit = self._circuit(realm)
        if circuit.answered_at is None or circuit.answered_at <= since:
            if circuit.open_cause is None:
                circuit.next_probe_at = self.monotonic()
            circuit.open_cause = cause

    def take_closed(self, realm: str) -> Cause | None:
        """The cause for which the circuit was open until now, given once."""
        circuit = self._circuit(realm)
        cause, circuit.closed_cause = circuit.closed_cause, None
        return cause

    def _circuit(self, realm: str) -> _Circuit:
        return self._circuits.setdefault(realm, _Circuit())
