"""Invoices per minute of one company's backlog under QuickBooks' own limits, one by one and in batches.

On a virtual clock, with the production sink, limiter and client, and a simulator that answers 429 to the first request
too many: what is measured is the limits' doing, not the machine's. Facts: docs/vendors/quickbooks.md §4.1, §5.1.

    python -m benchmarks.backlog
"""

import logging
import sys

import structlog

from tests.agents.post.batching import a_strict_world, lived, posts, run_backlog, seconds_of

INVOICES = 6_000
IN_FLIGHT_MAX = 300
SIZES = (0, 30)


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for size in SIZES:
        per_minute, throttled, metered = lived(lambda size=size: _measured(size))
        how = f"in batches of up to {size}" if size else "one by one"
        sys.stdout.write(
            f"backlog: {per_minute:,.0f} invoices/min {how} ({INVOICES:,} invoices, {throttled} times 429, "
            f"{metered:,} metered calls)\n"
        )


async def _measured(size: int) -> tuple[float, int, int]:
    """Invoices per minute, 429s, and metered calls (§5.4)."""
    world = a_strict_world(batch_size=size)
    outcomes = await run_backlog(world, posts(INVOICES), IN_FLIGHT_MAX)
    assert {each.result for each in outcomes} == {"posted"}
    assert len(world.invoices()) == INVOICES
    return INVOICES / (seconds_of(world) / 60), world.quickbooks.throttled, world.quickbooks.metered_reads


if __name__ == "__main__":
    main()
