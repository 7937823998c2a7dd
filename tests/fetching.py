"""One process at a time fetches what all tests share: Kafka's jars, and the packages of other languages' clients."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tests import ROOT


@contextmanager
def fetching() -> Iterator[None]:
    """Whoever waits here finds what the other has fetched; Maven's own cache is nothing for two at a time."""
    lock = ROOT / "var" / "fetching.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
