"""The simulation in the test suite: some hundred seeds, and its own determinism."""

import os
from collections import Counter

import pytest

from .met import EVERY
from .run import judge_clean, over_processes, summary
from .world import run

SEEDS = 200
SEEDS_A_TEST = 50
TASKS = [range(first, first + SEEDS_A_TEST) for first in range(0, SEEDS, SEEDS_A_TEST)]


@pytest.mark.parametrize("seeds", TASKS, ids=lambda seeds: f"seeds {seeds.start} to {seeds.stop - 1}")
def test_nothing_is_lost_doubled_or_off_by_a_cent_whatever_fails(seeds: range) -> None:
    stories: list[str] = []
    well, lines = summary(map(judge_clean, seeds), stories.append)
    assert well, "\n".join([*stories, *lines])
    assert lines[-1].startswith(f"{len(seeds)} seeds, ")
    assert lines[-1].endswith(" invoices: 0 duplicates, 0 lost, 0 cents off, 0 limits broken")


def test_the_seeds_meet_every_kind_of_trouble() -> None:
    """A simulation in which nothing happens proves nothing."""
    met = sum((judge_clean(seed).met for seed in range(SEEDS)), Counter())
    assert [name for name in EVERY if not met[name]] == []
    assert set(met) <= set(EVERY), "what is counted is printed"


def test_a_worker_relies_on_requestids_only_where_it_is_told_to() -> None:
    worlds = [run(seed) for seed in range(12)]
    told = [(each.plan.trust_requestids, each.cluster.alive[0].pipeline.sink.trust_requestids) for each in worlds]
    assert set(told) == {(True, True), (False, False)}


def test_a_seed_gives_the_same_run_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the seed of Python's own hashes; else nobody could repeat a failure."""
    monkeypatch.setenv("PYTHONHASHSEED", "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1")
    elsewhere = [each.fingerprint for each in over_processes(range(8), processes=1)]
    assert elsewhere == [judge_clean(seed).fingerprint for seed in range(8)]
