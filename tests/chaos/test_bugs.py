"""That the simulation can fail: each planted bug is caught, and a seed that fails says why."""

import json

import pytest

from .bugs import BUGS, SELDOM, Bug
from .run import CATCHING, catch, judge, judge_clean, main


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_planted_bug_is_caught(bug: Bug) -> None:
    """The seed that caught it when that was last noted goes first: it need not be looked for each time."""
    noted = json.loads(CATCHING.read_text())
    assert catch(bug, first=noted.get(bug.name)).invariant is not None


@pytest.mark.parametrize(("bug", "seed"), SELDOM, ids=lambda each: getattr(each, "name", ""))
def test_a_bug_that_few_seeds_catch_is_caught_by_the_noted_one(bug: Bug, seed: int) -> None:
    with bug.planted():
        assert judge(seed).found
    assert not judge_clean(seed).found


def test_a_failing_seed_tells_its_story(capsys: pytest.CaptureFixture[str]) -> None:
    """The invariant, the invoice, what happened to it, and the command that repeats it."""
    bug = next(bug for bug in BUGS if bug.name == "no look-up after a doubtful answer")
    with bug.planted():
        verdict = next(each for each in map(judge, range(100)) if any(found.count != "other" for found in each.found))
        assert main(["--seed", str(verdict.seed)]) == 1
    told = capsys.readouterr()
    [first, *_] = verdict.found
    assert str(first) in told.err
    assert first.about in told.err.partition("\n\n")[2], "the trace speaks of the invoice"
    assert f"make chaos SEED={verdict.seed}" in told.err
    assert not told.out.strip().endswith("0 duplicates, 0 lost, 0 cents off, 0 limits broken")
