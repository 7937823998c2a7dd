"""What a sandbox begins with: enough to make it again, for a reset, also after a restart with a state file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from simulators.companies import as_json, company_of_json
from simulators.http import Json
from simulators.metronome.generator import generate
from simulators.quickbooks.books import Company
from simulators.scene import Scene
from simulators.state import StateFile, StateUnusable

Mix = Literal["usual", "every-kind"]
SANDBOX = "sandbox"
KEY = "beginning"


@dataclass(frozen=True, slots=True)
class Beginning:
    """`at`: epoch seconds before which everything that is generated happened. `given`: a scene of one's own instead of
    a generated one; it cannot be kept in a state file."""

    seed: int
    invoices: int
    at: float
    companies: tuple[Company, ...]
    client_id: str
    client_secret: str
    eur_share: float = 0.2
    mapped: bool = True
    kinds: Mapping[str, int] = field(default_factory=dict)
    mix: Mix = "usual"
    given: Scene | None = None

    def scene(self) -> Scene:
        if self.given is not None:
            return self.given
        now = datetime.fromtimestamp(self.at, UTC)
        return generate(
            self.seed,
            self.invoices,
            now=now,
            eur_share=self.eur_share,
            mapped=self.mapped,
            kinds=self.kinds,
            mix=self.mix,
        )

    def keep(self, file: StateFile) -> None:
        """Raises StateUnusable for a given scene."""
        if self.given is not None:
            raise StateUnusable("a scene of one's own cannot be kept in a state file")
        file.put(SANDBOX, KEY, self._as_json())

    def _as_json(self) -> Json:
        return {
            "seed": self.seed,
            "invoices": self.invoices,
            "at": self.at,
            "companies": as_json(self.companies),
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "eur_share": self.eur_share,
            "mapped": self.mapped,
            "kinds": dict(self.kinds),
            "mix": self.mix,
        }


def kept_beginning(file: StateFile) -> Beginning | None:
    """What the file's sandbox began with; None when the file is new. Raises StateUnusable."""
    found: dict[str, Any] = dict(file.read(SANDBOX)).get(KEY, {})
    if not found:
        return None
    try:
        values: dict[str, Any] = {
            name: float(each) if isinstance(each, Decimal) else each for name, each in found.items()
        }
        values["companies"] = tuple(company_of_json(each) for each in found["companies"])
        return Beginning(**values)
    except (LookupError, TypeError, ValueError) as problem:
        raise StateUnusable(f"the beginning in the state file cannot be read: {problem}") from None
