"""The simulation in the test suite: some hundred seeds, its own determinism, and each planted bug."""

import os
import subprocess
import sys

import pytest

from tests import ROOT

from .bugs import BUGS, Bug
from .run import catch, judge, main, over_processes, summary
from .world import run

SEEDS = 300


@pytest.mark.timeout(240)
def test_nothing_is_lost_doubled_or_off_by_a_cent_whatever_fails() -> None:
    stories: list[str] = []
    well, lines = summary(over_processes(range(SEEDS)), stories.append)
    assert well, "\n".join([*stories, *lines])
    assert lines[-1].startswith(f"{SEEDS} seeds, ")
    assert lines[-1].endswith(" invoices: 0 duplicates, 0 lost, 0 cents off, 0 limits broken")


def test_the_seeds_meet_every_kind_of_trouble() -> None:
    """A simulation in which nothing happens proves nothing."""
    worlds = [run(seed) for seed in range(60)]
    met = {kind for world in worlds for kind in world.network.injected}
    assert {"quickbooks answer lost", "quickbooks carried out late", "quickbooks 6000", "quickbooks 429"} <= met
    assert {"token answer lost", "metronome 5xx before"} <= met
    assert sum(len(world.cluster.kills) for world in worlds) > 20
    assert any(world.people.reconnects for world in worlds)
    assert {world.plan.memory for world in worlds} == {"on", "short", "off"}
    billed = [invoice for world in worlds for invoice in world.metronome.invoices.values()]
    assert {"FINALIZED", "VOID"} <= {invoice["status"] for invoice in billed}
    assert any(invoice.get("regenerated_from_invoice_id") for invoice in billed)
    assert len({invoice["credit_type"]["name"] for invoice in billed}) == 2


SAME = "from tests.chaos.run import fingerprint; print([fingerprint(seed) for seed in range(8)])"


def test_a_seed_gives_the_same_run_in_another_process() -> None:
    """Whatever the seed of Python's own hashes; else nobody could repeat a failure."""
    told = [
        subprocess.run(
            [sys.executable, "-c", SAME],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_planted_bug_is_caught(bug: Bug) -> None:
    assert catch(bug).invariant is not None


def test_a_failing_seed_tells_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    """The invariant, the invoice, what happened to it, and the command that repeats it."""
    bug = next(bug for bug in BUGS if bug.name == "no look-up after a doubtful answer")
    with bug.planted():
        verdict = next(found for found in map(judge, range(100)) if found.found)
        assert main(["--seed", str(verdict.seed)]) == 1
    told = capsys.readouterr()
    [first, *_] = verdict.found
    assert str(first) in told.err
    assert first.about in told.err.partition("\n\n")[2], "the trace speaks of the invoice"
    assert f"make chaos SEED={verdict.seed}" in told.err
    assert not told.out.strip().endswith("0 duplicates, 0 lost, 0 cents off, 0 limits broken")
