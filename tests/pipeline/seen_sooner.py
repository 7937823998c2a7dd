"""A command of ours in a world in which a write that left is seen sooner than with Intuit, to wait less for it.

    python -m tests.pipeline.seen_sooner 30 -m stream worker

The seconds are those of `models.quickbooks.SEEN_SECONDS_MAX`; they must outlast whatever delays a write there.
"""

from __future__ import annotations

import runpy
import sys

from models import quickbooks


def main() -> None:
    seconds, _, module, *arguments = sys.argv[1:]
    quickbooks.SEEN_SECONDS_MAX = float(seconds)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
