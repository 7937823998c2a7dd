"""Our own commands as child processes: started, waited for until they say that they are ready, and surely ended."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stream import OperatorError

PROJECT = Path(__file__).resolve().parents[2]
PREFIX = "METRONOME_QBO_"
LINE_BYTES_MAX = 1_048_576


class ChildFailed(OperatorError):
    """A command of ours ended, or did not become ready in time; the message tells the end of its log."""


@dataclass
class Child:
    """One running command. Its standard error goes to `log`."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    ready_line: str = ""


@dataclass
class Children:
    """Starts commands with exactly the settings in `environment`, and none of the caller's own."""

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    running: list[Child] = field(default_factory=list)

    async def start(
        self,
        *arguments: str,
        ready_within_seconds: float,
        also: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
    ) -> Child:
        """Start `metronome-qbo ARGUMENTS`, and return when it printed its first line. Raises ChildFailed.

        `also` are settings for this one only; `under` are Python's own arguments, such as those of a profiler.
        """
        name = f"{arguments[0]}-{len(self.running)}"
        log = self.directory / f"{name}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *_command(arguments, under),
                env=self._environment(also),
                cwd=self.directory,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=LINE_BYTES_MAX,
            )
        child = Child(name, process, log)
        self.running.append(child)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(ready_within_seconds):
                child.ready_line = (await process.stdout.readline()).decode().strip()
        except TimeoutError:
            raise ChildFailed(f"{name} was not ready within {ready_within_seconds} s\n{_tail(log)}") from None
        if not child.ready_line:
            raise ChildFailed(f"{name} ended before it was ready\n{_tail(log)}")
        return child

    async def run(self, *arguments: str, within_seconds: float, stdin: str = "") -> str:
        """Run a command to its end; its output. Raises ChildFailed when it fails or takes too long."""
        process = await asyncio.create_subprocess_exec(
            *_command(arguments),
            env=self._environment(None),
            cwd=self.directory,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(within_seconds):
                output, trouble = await process.communicate(stdin.encode())
        except TimeoutError:
            raise ChildFailed(f"{arguments[0]} took longer than {within_seconds} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise ChildFailed(f"{arguments[0]} ended with {process.returncode}: {trouble.decode()[-2000:]}")
        return output.decode()

    async def stop(self, within_seconds: float = 12) -> None:
        """Ask all to end, last started first, and kill what does not."""
        for child in reversed(self.running):
            if child.process.returncode is None:
                child.process.terminate()
        for child in reversed(self.running):
            await end(child, within_seconds)
        self.running.clear()

    def _environment(self, also: Mapping[str, str] | None) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return {**inherited, "PYTHONPATH": str(PROJECT), **self.environment, **(also or {})}


async def end(child: Child, within_seconds: float) -> None:
    """Wait for a terminated child, and kill it past the bound."""
    try:
        async with asyncio.timeout(within_seconds):
            await child.process.wait()
    except TimeoutError:
        child.process.kill()
        await child.process.wait()


def _command(arguments: Sequence[str], under: Sequence[str] = ()) -> list[str]:
    return [sys.executable, *under, "-m", "stream", *arguments]


def _tail(log: Path, characters: int = 3000) -> str:
    return log.read_text(errors="replace")[-characters:]
