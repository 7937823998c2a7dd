"""Clients in other languages: their packages, fetched once, and their drivers, which print one JSON line per step."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from simulators.server import Sandbox
from tests import BOUND_SECONDS
from tests.fetching import fetching

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / "var" / "clients"
OUTPUT_CHARACTERS_MAX = 1000

Json = dict[str, Any]


class CommandFailed(Exception):
    """A command ended with a code, or did not end in time; the message holds the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What a driver printed: for each of its steps what the client gave back, or what it threw."""

    lines: dict[str, Json]

    def gave(self, step: str) -> Any:
        assert step in self.lines, f"the driver never came to {step!r}"
        assert "threw" not in self.lines[step], f"{step}: {self.lines[step]['threw']}"
        return self.lines[step]["gave"]

    def threw(self, step: str) -> Json:
        assert step in self.lines, f"the driver never came to {step!r}"
        assert "threw" in self.lines[step], f"{step} was not refused: {self.lines[step]['gave']}"
        refusal: Json = self.lines[step]["threw"]
        return refusal


def run_driver(command: Sequence[str], *sandboxes: Sandbox, environment: dict[str, str] | None = None) -> Steps:
    """Runs a driver to its end; its arguments are the addresses of each sandbox, a JSON object each."""
    arguments = [json.dumps(asdict(each.addresses)) for each in sandboxes]
    try:
        done = _run([*command, *arguments], BOUND_SECONDS, environment=environment)
    except CommandFailed as failure:
        pytest.fail(str(failure))
    lines = [json.loads(line) for line in done.splitlines() if line.startswith("{")]
    return Steps({line["step"]: line for line in lines})


def node_driver(name: str, *sandboxes: Sandbox) -> Steps:
    """Runs node/<name>.cjs with the packages of node/package.json."""
    node, npm = _tool("node", "nodejs"), _tool("npm", "npm")
    recipe = HERE / "node" / "package.json"

    def install(folder: Path) -> None:
        shutil.copy(recipe, folder)
        # No lock file: it would record where packages were downloaded. The direct versions are exact.
        flags = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        _run([npm, "install", *flags], BOUND_SECONDS, folder=folder)

    packages = _fetched("node", recipe, install)
    return run_driver(
        [node, str(HERE / "node" / f"{name}.cjs")],
        *sandboxes,
        environment={"NODE_PATH": str(packages / "node_modules"), "NODE_ENV": "production"},
    )


def java_driver(name: str, *sandboxes: Sandbox, options: Sequence[str] = ()) -> Steps:
    """Runs java/<name>.java, compiled on the way, with the jars of java/pom.xml; `options` precede the addresses."""
    java, maven = _tool("java", "openjdk-17-jdk-headless"), _tool("mvn", "maven")
    _tool("javac", "openjdk-17-jdk-headless")
    recipe = HERE / "java" / "pom.xml"

    def copy_jars(folder: Path) -> None:
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
        _run([maven, "-B", "-q", "--strict-checksums", "-f", str(recipe), *goal], BOUND_SECONDS)

    jars = _fetched("java", recipe, copy_jars)
    return run_driver([java, "-cp", f"{jars}/*", str(HERE / "java" / f"{name}.java"), *options], *sandboxes)


def _fetched(name: str, recipe: Path, fetch: Callable[[Path], None]) -> Path:
    """A folder below var/clients that `fetch` fills the first time the recipe is met."""
    folder = CACHE / f"{name}-{hashlib.sha256(recipe.read_bytes()).hexdigest()[:12]}"
    with fetching():
        if folder.is_dir():
            return folder
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, ignore_cleanup_errors=True) as staging:
            filled = Path(staging, name)
            filled.mkdir()
            try:
                fetch(filled)
            except CommandFailed as failure:
                _give_up(f"its packages cannot be fetched: {failure}")
            filled.rename(folder)  # whole or not at all
    return folder


def _tool(program: str, package: str) -> str:
    path = shutil.which(program)
    return path or _give_up(f"there is no {program} on the PATH (Debian: apt-get install {package})")


def _give_up(reason: str) -> NoReturn:
    """End the test that needs a foreign client: as failed when these are required, else as skipped."""
    if os.environ.get("REQUIRE_CLIENTS") == "1":
        pytest.fail(f"REQUIRE_CLIENTS=1, but {reason}")
    pytest.skip(f"CLIENT NOT DRIVEN: {reason}")


def _run(
    command: Sequence[str],
    timeout_seconds: float,
    *,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    """What the command printed. Raises CommandFailed."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise CommandFailed(f"{command[0]} did not end within {timeout_seconds:g} s: {late.stdout!r}") from None
    if done.returncode:
        output = (done.stdout + done.stderr)[-OUTPUT_CHARACTERS_MAX:]
        raise CommandFailed(f"{command[0]} ended with code {done.returncode}:\n{output}")
    return done.stdout
