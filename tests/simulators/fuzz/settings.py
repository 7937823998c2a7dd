"""How much is tried: `SANDBOX_FUZZ_REQUESTS` requests in all, shared by the tests of this folder."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

REQUESTS = int(os.environ.get("SANDBOX_FUZZ_REQUESTS", "1500"))
REQUESTS_PER_SEQUENCE = 25


def sequences(share: float) -> settings:
    """Sequences for one test's share of the requests. The small run is the same each time; a large one explores."""
    return settings(
        max_examples=max(1, round(REQUESTS * share / REQUESTS_PER_SEQUENCE)),
        derandomize="SANDBOX_FUZZ_REQUESTS" not in os.environ,
        # The failing request is in the message; shrinking a long sequence would take minutes.
        phases=[Phase.explicit, Phase.generate],
        deadline=None,  # each answer has its own limit
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
