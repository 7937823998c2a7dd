"""models <- agents <- stream, nothing imports tests, and importing does nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

MAY_IMPORT = {"models": {"models"}, "agents": {"models", "agents"}, "stream": {"models", "agents", "stream"}}
OURS = {"models", "agents", "stream", "tests", "benchmarks"}
FILES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """The top-level package of every import in the file, wherever it stands; its own for a relative one."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level > len(package):
                raise AssertionError(f"{path}:{node.lineno} imports from beyond its package")
            yield package[0] if node.level else (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_its_own_package_and_those_below(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert {name for name in imported(path) if name in OURS} <= MAY_IMPORT[package]


def test_models_know_pydantic_and_nothing_else() -> None:
    allowed = {"models", "pydantic", "pydantic_core", *sys.stdlib_module_names}
    assert {name for path in (ROOT / "models").rglob("*.py") for name in imported(path)} <= allowed


def test_agents_do_not_know_faust_and_only_the_transport_knows_aiohttp() -> None:
    users = {path.name for path in (ROOT / "agents").rglob("*.py") if "aiohttp" in set(imported(path))}
    assert users == {"transport.py"}
    assert not any({"faust", "mode", "aiokafka"} & set(imported(path)) for path in (ROOT / "agents").rglob("*.py"))


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
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if path.name != "__main__.py"
    ]
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_HAPPENS, *names],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
