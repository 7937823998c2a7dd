"""Who may import whom: models <- agents <- stream, simulators apart, and the rules between the rooms of each."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests import BOUND_SECONDS, ROOT

PACKAGES = ("models", "agents", "stream", "simulators")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MAY_IMPORT = {
    "models": {"models"},
    "agents": {"models", "agents"},
    "stream": {"models", "agents", "stream", "simulators"},
    "simulators": {"simulators"},
}

NEVER = {
    # room: what it never imports, and why
    "agents/translate": ("asyncio", "agents.clients", "agents.post", "agents.delivery"),  # pure
    "agents/clients": ("agents.translate", "agents.post", "agents.delivery"),  # know no agent
    "stream/intake": ("stream.operations", "stream.web", "stream.engine", "stream.cli", "stream.demo"),
    "stream/operations": ("stream.intake", "stream.web", "stream.engine", "stream.cli", "stream.demo"),
    "stream/web": ("stream.intake", "stream.operations", "stream.engine", "stream.cli", "stream.demo"),
    "stream/engine": ("stream.operations", "stream.web", "stream.cli", "stream.demo"),
    "stream/kafka": ("stream.intake", "stream.operations", "stream.web", "stream.engine", "stream.cli"),
}

ONLY = {
    # library or room: the only files that import it
    "faust": ("stream/engine/",),
    "mode": ("stream/engine/",),
    "aiokafka": ("stream/kafka/", "stream/engine/contract.py", "stream/engine/broker_requests.py"),
    "simulators": ("simulators/", "stream/demo/", "stream/cli/demo.py", "stream/cli/sandbox.py"),
    "stream.cli": ("stream/cli/", "stream/__main__.py"),
    "stream.engine": ("stream/engine/", "stream/cli/worker.py"),
    "agents.pipeline": ("stream/engine/",),
}

ENTRIES_MAX = {"stream": 15, "agents": 10}
"""Files and folders at the first level: what a newcomer reads."""


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    """Every module that the file imports, wherever the import stands; of `from x import y` both `x` and `x.y`."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{name.name}" for name in node.names)


def imports(path: Path, name: str) -> bool:
    return any(each == name or each.startswith(f"{name}.") for each in imported(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_its_own_package_and_those_below(path: Path) -> None:
    ours = {each.partition(".")[0] for each in imported(path)} & {*PACKAGES, "tests", "benchmarks"}
    assert ours <= MAY_IMPORT[path.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize(("room", "never"), NEVER.items(), ids=list(NEVER))
def test_rooms_that_do_not_know_each_other(room: str, never: tuple[str, ...]) -> None:
    broken = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for name in never
        if imports(path, name)
    ]
    assert broken == []


@pytest.mark.parametrize(("name", "where"), ONLY.items(), ids=list(ONLY))
def test_what_only_some_may_import(name: str, where: tuple[str, ...]) -> None:
    users = {str(path.relative_to(ROOT)) for path in FILES if imports(path, name)}
    assert {user for user in users if not user.startswith(where)} == set()


def test_only_the_transport_of_the_clients_knows_aiohttp() -> None:
    users = [
        str(path.relative_to(ROOT)) for path in sorted((ROOT / "agents").rglob("*.py")) if imports(path, "aiohttp")
    ]
    assert users == ["agents/clients/transport.py"]


def test_the_sink_knows_of_translate_only_what_a_document_requires() -> None:
    known = {
        each
        for path in (ROOT / "agents" / "post").rglob("*.py")
        for each in imported(path)
        if each.startswith("agents.translate")
    }
    assert {each for each in known if not each.startswith("agents.translate.requirements")} == set()


AGENTS = ("agents.enrich", "agents.translate.translate", "agents.post.post", "agents.write_back", "agents.watch")


def test_only_the_pipeline_knows_several_agents() -> None:
    knowing = {
        str(path.relative_to(ROOT)): [agent for agent in AGENTS if imports(path, agent)]
        for path in (ROOT / "agents").rglob("*.py")
    }
    several = [path for path, agents in knowing.items() if len(agents) > 1]
    assert several == ["agents/pipeline.py"]


def test_models_know_pydantic_and_nothing_else() -> None:
    allowed = {"models", "pydantic", "pydantic_core", *sys.stdlib_module_names}
    used = {name.partition(".")[0] for path in (ROOT / "models").rglob("*.py") for name in imported(path)}
    assert used <= allowed


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not even for types."""
    modules = {name_of(path): path for path in FILES}
    graph = {
        name: {each for each in imported(path) if each in modules and each != name} for name, path in modules.items()
    }
    # A package's own file is no user of what it holds: importing a module imports its package first.
    packages = {name for name, path in modules.items() if path.name == "__init__.py"}
    try:
        TopologicalSorter({name: uses - packages for name, uses in graph.items()}).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(("folder", "most"), ENTRIES_MAX.items())
def test_the_first_level_stays_readable(folder: str, most: int) -> None:
    entries = [each.name for each in (ROOT / folder).iterdir() if each.name != "__pycache__"]
    assert len(entries) <= most, sorted(entries)


NOTHING_HAPPENS = """
import importlib, os, socket, sys, threading
def forbidden(*_, **__): raise AssertionError("importing opened a socket")
socket.socket.connect = socket.socket.bind = forbidden
before = sorted(os.listdir())
for name in sys.argv[1:]: importlib.import_module(name)
assert sorted(os.listdir()) == before, "importing wrote a file"
assert threading.active_count() == 1, threading.enumerate()
"""


def test_importing_every_module_does_nothing(tmp_path: Path) -> None:
    """No file, no socket, no thread, nothing printed."""
    names = [name_of(path) for path in FILES if path.name != "__main__.py"]
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_HAPPENS, *names],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
