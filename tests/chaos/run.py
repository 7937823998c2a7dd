"""`make chaos`: many seeds over two processes, one seed with its trace, or the table of planted bugs.

python -m tests.chaos.run --seeds 10000     all seeds from 0 on; the last line counts what was broken
python -m tests.chaos.run --seeds 10000 --from 50000    seeds that nobody has run before
python -m tests.chaos.run --seed 123        one seed; when it fails, what happened to the invoice
python -m tests.chaos.run --bugs            how many seeds it takes to catch each planted bug; --remember notes that
"""

import argparse
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from .bugs import BUGS, SEEDS_MAX, Bug
from .invariants import COUNTS, Broken, broken
from .world import World, run

PROCESSES = 2
SEEDS_A_TASK = 50
TRACE_LINES_MAX = 60
TRACE_CHARACTERS_MAX = 300
FAILURES_SHOWN_MAX = 5
CATCHING = Path(__file__).with_name("catching.json")
"""By bug, the first seed that catches it, which the test suite tries first; written by `--bugs --remember`."""
PROGRESS_SECONDS = 10.0


@dataclass(frozen=True)
class Verdict:
    """What one seed came to; `story` is empty unless something is broken.

    `fingerprint` is the same for the same run: when everything happened, though not the ciphertexts, which differ.
    """

    seed: int
    invoices: int
    found: tuple[Broken, ...]
    fingerprint: str
    met: "Met"
    story: str = ""


@dataclass(frozen=True)
class Met:
    """The trouble and the kinds of invoice that one seed met: a simulation in which nothing happens proves nothing."""

    faults: frozenset[str]
    kills: int
    reconnects: int
    memory: str
    statuses: frozenset[str]
    units: frozenset[str]
    early: int
    members: Mapping[str, int]
    regenerated: bool
    meddled: frozenset[str]


@dataclass(frozen=True)
class Caught:
    bug: str
    invariant: str | None
    seeds: int

    def __str__(self) -> str:
        if self.invariant is None:
            return f"{self.bug}: NOT caught in {self.seeds} seeds"
        return f"{self.bug}: caught by '{self.invariant}' after {self.seeds} seed{'s' * (self.seeds != 1)}"


def judge(seed: int) -> Verdict:
    """Simulates the seed, with whatever bug is planted now."""
    world = run(seed)
    found = tuple(broken(world))
    story = _story(world, found) if found else ""
    return Verdict(seed, len(world.metronome.invoices), found, _fingerprint(world), _met(world), story)


@cache
def judge_clean(seed: int) -> Verdict:
    """As `judge` while no bug is planted; a process simulates each seed once, whoever asks."""
    return judge(seed)


def _fingerprint(world: World) -> str:
    told = [(noted.seconds, [part for part in noted.parts if isinstance(part, str)]) for noted in world.trace]
    return hashlib.sha256(repr((world.steps, told)).encode()).hexdigest()


def _met(world: World) -> Met:
    invoices = world.metronome.invoices.values()
    return Met(
        faults=frozenset(world.network.injected),
        kills=len(world.cluster.kills),
        reconnects=world.people.reconnects,
        memory=world.plan.memory,
        statuses=frozenset(each["status"] for each in invoices),
        units=frozenset(each["credit_type"]["name"] for each in invoices),
        early=world.people.early,
        members=dict(world.cluster.happened),
        meddled=frozenset().union(*world.people.meddled.values()),
        regenerated=any(each.get("regenerated_from_invoice_id") for each in invoices),
    )


def judged(seeds: Iterable[int]) -> list[Verdict]:
    return [judge(seed) for seed in seeds]


def over_processes(seeds: range, processes: int = PROCESSES) -> Iterator[Verdict]:
    """The verdicts of all seeds, as they come."""
    tasks = [seeds[at : at + SEEDS_A_TASK] for at in range(0, len(seeds), SEEDS_A_TASK)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for verdicts in pool.map(judged, tasks):
            yield from verdicts


def summary(verdicts: Iterable[Verdict], tell: Callable[[str], None] = lambda line: None) -> tuple[bool, list[str]]:
    """Whether all is well, and the last lines to print. `tell` gets progress and failures."""
    counts: Counter[str] = Counter()
    seeds = invoices = shown = 0
    told_at = time.monotonic()
    for verdict in verdicts:
        seeds += 1
        invoices += verdict.invoices
        counts.update(each.count for each in verdict.found)
        if verdict.found and shown < FAILURES_SHOWN_MAX:
            shown += 1
            tell(verdict.story)
        if time.monotonic() - told_at > PROGRESS_SECONDS:
            told_at = time.monotonic()
            tell(f"… {seeds} seeds, {invoices} invoices, {sum(counts.values())} invariants broken")
    lines = [f"{counts['other']} other invariants broken"] if counts["other"] else []
    lines.append(f"{seeds} seeds, {invoices} invoices: " + ", ".join(f"{counts[each]} {each}" for each in COUNTS))
    return not counts, lines


def catch(bug: Bug, seeds_max: int = SEEDS_MAX, *, first: int | None = None) -> Caught:
    """Runs seeds with the bug planted until one fails that is well without it; `first` that one, then all from 0 on."""
    for seed in (*([] if first is None else [first]), *range(seeds_max)):
        with bug.planted():
            found = broken(run(seed))
        if found and not judge_clean(seed).found:
            return Caught(bug.name, found[0].invariant, seed + 1)
    return Caught(bug.name, None, seeds_max)


def _story(world: World, found: tuple[Broken, ...]) -> str:
    """What is broken, the end of the trace of what it is about, and the command that repeats it."""
    about = next((each.about for each in found if each.count != "other"), found[0].about)
    words = [word for word in about.split() if len(word) > 8]
    lines = [str(noted) for noted in world.trace]
    told = [line for line in lines if any(word in line for word in words) or "killed" in line or "owns" in line]
    if not any(word in line for word in words for line in told):
        told = lines
    shown = "\n".join(line.replace("\n", " ")[:TRACE_CHARACTERS_MAX] for line in told[-TRACE_LINES_MAX:])
    broke = "\n".join(map(str, found))
    return f"seed {world.seed}\n{world.plan}\n{broke}\n\n{shown}\n\nrepeat it: make chaos SEED={world.seed}\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of the seeds")
    parser.add_argument("--bugs", action="store_true", help="catch the planted bugs")
    parser.add_argument("--remember", action="store_true", help="note which seed catches each")
    asked = parser.parse_args(arguments)
    if asked.bugs:
        return _catch_all(asked.remember)
    verdicts = (
        [judge(asked.seed)] if asked.seed is not None else over_processes(range(asked.first, asked.first + asked.seeds))
    )
    well, lines = summary(verdicts, lambda line: print(line, file=sys.stderr, flush=True))
    print("\n".join(lines))
    return 0 if well else 1


def _catch_all(remember: bool) -> int:
    caught: list[Caught] = []
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for each in pool.map(_catch_by_index, range(len(BUGS))):
            caught.append(each)
            print(each, flush=True)
    if remember:
        seeds = {each.bug: each.seeds - 1 for each in caught if each.invariant is not None}
        CATCHING.write_text(json.dumps(seeds, indent=2) + "\n")
    return 1 if any(each.invariant is None for each in caught) else 0


def _catch_by_index(index: int) -> Caught:
    return catch(BUGS[index])


if __name__ == "__main__":
    sys.exit(main())
