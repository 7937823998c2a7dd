"""Whether a company's QuickBooks answers at all.

When a command's patience ends without an answer, and no other command of its company had one meanwhile, the company
is away: further commands wait without trying, except one now and then. So an outage of hours costs nobody else their
place, and one command that always fails does not hold up its company.
"""

from collections.abc import Callable
from dataclasses import dataclass

PROBE_SECONDS = 30.0
"""While a company is away, a command tries this often."""


@dataclass
class _Company:
    answered_at: float | None = None
    away: str | None = None
    returned: str | None = None
    next_probe_at: float = 0.0


class CircuitBreaker:
    """Per realm: when it last answered, and the cause (`quickbooks` or `quota`) for which it is away."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self._companies: dict[str, _Company] = {}

    def open_cause(self, realm: str) -> str | None:
        """The cause, while the company is away."""
        return self._company(realm).away

    def try_probe(self, realm: str) -> bool:
        """Whether it is time that a command finds out if the company is still away; the next has to wait again."""
        company, now = self._company(realm), self.monotonic()
        if now < company.next_probe_at:
            return False
        company.next_probe_at = now + PROBE_SECONDS
        return True

    def record_success(self, realm: str) -> None:
        """QuickBooks said yes or no to something of this company."""
        company = self._company(realm)
        company.answered_at = self.monotonic()
        if company.away is not None:
            company.away, company.returned = None, company.away

    def record_timeout(self, realm: str, cause: str, *, since: float) -> None:
        """A command that began at `since` had no answer until its patience ended; the next one may try at once."""
        company = self._company(realm)
        if company.answered_at is None or company.answered_at <= since:
            if company.away is None:
                company.next_probe_at = self.monotonic()
            company.away = cause

    def take_closed(self, realm: str) -> str | None:
        """The cause that has gone, told once."""
        company = self._company(realm)
        cause, company.returned = company.returned, None
        return cause

    def _company(self, realm: str) -> _Company:
        return self._companies.setdefault(realm, _Company())
