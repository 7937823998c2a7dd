"""The tests mirror the tree: `tests/agents/post/` tests `agents/post/`."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "tests" / "fixtures"

BOUND_SECONDS = 300
"""Ends a wait for something that does not come. Tests wait for states: how long one takes decides nothing."""
