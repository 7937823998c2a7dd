"""`make fuzz`: odd inputs by the ten thousand, over two processes; a seed names a run, and repeats it.

python -m tests.fuzz.run --inputs 100000            runs from the seed on until so many inputs were tried
python -m tests.fuzz.run --seed 123 --inputs 1      one run, with its trace when something is wrong
"""

import argparse
import asyncio
import faulthandler
import logging
import random
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import structlog

from tests.chaos.loop import Spinning, Stuck

from . import endings, receiver, world

PROCESSES = 2
RECEIVER_REQUESTS_A_RUN = 15
RUN_SECONDS_MAX = 120
"""Real ones: a run takes one or two; what takes so long hangs, whatever the virtual clock says."""
PROGRESS_SECONDS = 10.0
TRACE_LINES_MAX = 40
TRACE_CHARACTERS_MAX = 400


@dataclass
class Verdict:
    """What one run came to; `inputs` by where they went, `ends` by how they ended."""

    seed: int
    inputs: Counter[str]
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    trace: str = ""


def judge(seed: int) -> Verdict:
    """Tries the inputs of one seed."""
    verdict = Verdict(seed, Counter(webhook_requests=RECEIVER_REQUESTS_A_RUN))
    with _silence(), tempfile.TemporaryDirectory() as index:
        verdict.wrong = asyncio.run(receiver.wrong(seed, RECEIVER_REQUESTS_A_RUN))
        try:
            ran = world.run(seed)
        except (Spinning, Stuck) as error:
            verdict.wrong.append(f"seed {seed}: {error!r}")
            return verdict
        wrong = endings.wrong(ran, Path(index))
    verdict.inputs["records"] = len(ran.put)
    verdict.inputs |= Counter({f"answers of {name}": told for name, told in ran.network.told.items()})
    verdict.ends = endings.counted(ran)
    verdict.wrong += [f"seed {seed}: {each}" for each in wrong]
    verdict.trace = _trace(ran, wrong) if wrong else ""
    return verdict


def _trace(ran: world.World, wrong: list[str]) -> str:
    words = [word.strip(":,") for word in wrong[0].split() if len(word) > 30 and "-" in word]
    lines = [str(each).replace("\n", " ") for each in ran.trace]
    told = [line for line in lines if any(word in line for word in words)] or lines
    return "\n".join(line[:TRACE_CHARACTERS_MAX] for line in told[-TRACE_LINES_MAX:])


@contextmanager
def _silence() -> Iterator[None]:
    before, disabled = structlog.get_config(), logging.root.manager.disable
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        structlog.configure(**before)
        logging.disable(disabled)


def _judge_in_time(seed: int) -> Verdict:
    """As `judge`, in a process of its own, which ends and shows where it was when the run hangs."""
    faulthandler.dump_traceback_later(RUN_SECONDS_MAX, exit=True)
    try:
        return judge(seed)
    finally:
        faulthandler.cancel_dump_traceback_later()


def over_processes(first: int, inputs: int) -> Iterator[Verdict]:
    """The verdicts from seed `first` on, until so many inputs were tried."""
    tried = 0
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        pending = deque((seed, pool.submit(_judge_in_time, seed)) for seed in range(first, first + 2 * PROCESSES))
        for following in count(first + 2 * PROCESSES):
            seed, judged = pending.popleft()
            try:
                verdict = judged.result()
            except BrokenProcessPool:
                raise SystemExit(
                    f"seed {seed}, or one of the {len(pending)} after it, hangs: see above where"
                ) from None
            yield verdict
            tried += verdict.inputs.total()
            if tried >= inputs:
                pool.shutdown(cancel_futures=True)
                return
            pending.append((following, pool.submit(_judge_in_time, following)))


def in_this_process(first: int, inputs: int) -> Iterator[Verdict]:
    tried = 0
    for seed in count(first):
        verdict = judge(seed)
        yield verdict
        tried += verdict.inputs.total()
        if tried >= inputs:
            return


def summary(verdicts: Iterable[Verdict]) -> tuple[list[str], list[str]]:
    """What was wrong, and the last lines to print; progress goes to stderr."""
    inputs, ends, wrong = Counter[str](), Counter[str](), list[str]()
    runs, told_at = 0, time.monotonic()
    for verdict in verdicts:
        runs += 1
        inputs += verdict.inputs
        ends += verdict.ends
        wrong += verdict.wrong
        for each in verdict.wrong:
            print(f"{each}\nrepeat it: make fuzz SEED={verdict.seed} INPUTS=1\n{verdict.trace}", file=sys.stderr)
        if time.monotonic() - told_at > PROGRESS_SECONDS:
            told_at = time.monotonic()
            print(f"… {inputs.total():,} inputs, {len(wrong)} wrong", file=sys.stderr, flush=True)
    lines = [
        "inputs: " + ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in inputs.most_common()),
        "ends: " + ", ".join(f"{number:,} {name}" for name, number in ends.most_common()),
        f"{inputs.total():,} inputs in {runs:,} runs: {len(wrong)} wrong",
    ]
    return wrong, lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many inputs")
    parser.add_argument("--seed", type=int, help="the first seed; by default one that nobody has run before")
    asked = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    wrong, lines = summary(over_processes(seed, asked.inputs))
    print("\n".join(lines))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
