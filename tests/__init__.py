"""The tests mirror the tree: `tests/agents/post/` tests `agents/post/`."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
