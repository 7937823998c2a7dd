"""Mutants of `agents/`, chosen by a seed: small wrong changes that nobody thought of; which of them do the seeds catch?

python -m tests.chaos.mutants --count 16 --seed 1       sixteen mutants, and by which invariant each was caught
python -m tests.chaos.mutants --seed 1 --only 7         one of them, in this process, with its change

The planted bugs of `bugs.py` are faults that were thought of; these are not. Some change nothing that could be seen.
"""

import argparse
import ast
import importlib.abc
import importlib.machinery
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import CodeType

ROOT = Path(__file__).parents[2]
PLACES = ("agents/post", "agents/clients", "agents/delivery.py", "agents/pipeline.py", "agents/enrich.py")
"""What the delivery depends on; what a document says is the matter of `agents/translate` and its own tests."""

SEEDS_MAX = 300
SECONDS_MAX = 900
"""For one mutant; one that takes longer hangs, which is seen too."""
PROCESSES = 2
CAUGHT, SURVIVED = 1, 0

_SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_UNSEEN = ("log.", "assert")
"""Statements whose absence changes nothing but what is logged or checked."""


@dataclass(frozen=True)
class Mutant:
    """One changed place of one file; `number` counts the places of that file."""

    path: str
    number: int
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.what}"


class _Mutator(ast.NodeTransformer):
    """Changes the place of that number; without one it only counts and describes them."""

    def __init__(self, number: int | None = None) -> None:
        self.number = number
        self.places: list[tuple[int, str]] = []

    def _is_it(self, node: ast.AST, what: str) -> bool:
        self.places.append((getattr(node, "lineno", 0), what))
        return self.number == len(self.places) - 1

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        if len(node.ops) == 1 and self._is_it(node, f"another comparison in {ast.unparse(node)}"):
            node.ops = [_SWAPPED[type(node.ops[0])]()]
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if self._is_it(node, f"and for or, or for and, in {ast.unparse(node)}"):
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if self._is_it(node, f"never: if {ast.unparse(node.test)}"):
            node.test = ast.Constant(False)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        self.generic_visit(node)
        text = ast.unparse(node)
        if (
            isinstance(node.value, ast.Constant)
            or text.startswith(_UNSEEN)
            or not self._is_it(node, f"left out: {text}")
        ):
            return node
        return ast.copy_location(ast.Pass(), node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if self._is_it(node, f"left out: {ast.unparse(node)}") else node


def mutants(seed: int, count: int) -> list[Mutant]:
    """So many different places, chosen by the seed from all of `PLACES`."""
    every = [mutant for path in _files() for mutant in _of(path)]
    return Random(seed).sample(every, count)


def _files() -> Iterator[Path]:
    for place in PLACES:
        path = ROOT / place
        yield from sorted(path.glob("*.py")) if path.is_dir() else (path,)


def _of(path: Path) -> list[Mutant]:
    mutator = _Mutator()
    mutator.visit(ast.parse(path.read_text()))
    where = str(path.relative_to(ROOT))
    return [Mutant(where, number, line, what.replace("\n", " ")) for number, (line, what) in enumerate(mutator.places)]


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads one module with its mutant in place of what is written."""

    def __init__(self, name: str, mutant: Mutant) -> None:
        super().__init__(name, str(ROOT / mutant.path))
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        tree = _Mutator(self._mutant.number).visit(ast.parse(Path(self.path).read_text()))
        return compile(ast.fix_missing_locations(tree), self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._name = mutant.path.removesuffix(".py").replace("/", ".")
        self._mutant = mutant

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, _Loader(fullname, self._mutant))


def simulate(mutant: Mutant, seeds_max: int) -> int:
    """CAUGHT or SURVIVED, after a line that says by what; nothing of ours may be imported before."""
    sys.meta_path.insert(0, _Finder(mutant))
    from .run import judge  # imports the mutant

    for seed in range(seeds_max):
        try:
            found = judge(seed).found
        except Exception as error:
            print(f"{mutant}: caught by {type(error).__name__} after {seed + 1}")
            return CAUGHT
        if found:
            print(f"{mutant}: caught by '{found[0].invariant}' after {seed + 1}")
            return CAUGHT
    print(f"{mutant}: survived {seeds_max} seeds")
    return SURVIVED


def _in_a_process(seed: int, count: int, number: int, seeds_max: int) -> str:
    command = [sys.executable, "-m", "tests.chaos.mutants", "--seed", str(seed), "--count", str(count)]
    command += ["--only", str(number), "--seeds", str(seeds_max)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return f"{mutants(seed, count)[number]}: caught: it hangs"
    last = done.stdout.strip().rpartition("\n")[2]
    return last or f"{mutants(seed, count)[number]}: caught: {done.stderr.strip().rpartition(chr(10))[2]}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="which mutants")
    parser.add_argument("--count", type=int, default=16, help="how many")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help="of the simulation, for each")
    parser.add_argument("--only", type=int, help="the number of one of them, from 0 on")
    asked = parser.parse_args(arguments)
    if asked.only is not None:
        return simulate(mutants(asked.seed, asked.count)[asked.only], asked.seeds)
    caught = 0
    with ThreadPoolExecutor(PROCESSES) as pool:
        for told in pool.map(lambda n: _in_a_process(asked.seed, asked.count, n, asked.seeds), range(asked.count)):
            caught += ": caught" in told
            print(told, flush=True)
    print(f"{caught} of {asked.count} mutants caught by at most {asked.seeds} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
