"""Two public libraries and this project under the same faults, as a table in docs/comparison.md.

python -m benchmarks.compare
python -m benchmarks.compare --only "429 in the middle"
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import aiohttp
import typer

from stream.demo.processes import PROJECT, Children

from .desk import SEED, Desk, Measured
from .page import render
from .scenarios import MINDFUL, SCENARIOS, Scenario
from .tools import Tool, tools_in

PAGE = PROJECT / "docs" / "comparison.md"
NODE_PACKAGES = PROJECT / "tests" / "clients" / "node" / "package.json"
INVOICES = 40
REQUEST_SECONDS = 60
SCENARIOS_AT_A_TIME = 4
"""Most of them wait: what might have been written must be seen before it is written again."""


def main(
    only: Annotated[str, typer.Option(help="Only scenarios whose name contains this; the page is not written.")] = "",
) -> None:
    """Two public libraries and this project under the same faults, as a table in docs/comparison.md."""
    chosen = [each for each in SCENARIOS if only in each.name]
    page = asyncio.run(_compare(chosen))
    if only:
        sys.stdout.write(page)
    else:
        PAGE.write_text(page)
        sys.stdout.write(f"written to {PAGE.relative_to(PROJECT)}\n")


async def _compare(scenarios: list[Scenario]) -> str:
    places = asyncio.Semaphore(SCENARIOS_AT_A_TIME)

    async def in_turn(scenario: Scenario) -> Compared:
        async with places:
            return await _compare_in(scenario)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(in_turn(each)) for each in scenarios]
    compared = [each.result() for each in tasks]
    return render(
        scenarios,
        {key: measured for each in compared for key, measured in each.results.items()},
        invoices=INVOICES,
        seed=SEED,
        fractional=compared[0].fractional,
        node=json.loads(NODE_PACKAGES.read_text())["dependencies"]["node-quickbooks"],
        today=datetime.now(UTC).date(),
    )


@dataclass(frozen=True)
class Compared:
    """A scenario by the names of it and of each tool that has a part in it; `fractional` invoices have fractions of a
    cent."""

    results: dict[tuple[str, str], Measured]
    fractional: int


async def _compare_in(scenario: Scenario) -> Compared:
    """Each tool in turn, on simulators of the scenario's own."""
    results: dict[tuple[str, str], Measured] = {}
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    with tempfile.TemporaryDirectory(prefix="metronome-qbo-compare-") as name:
        children = Children(Path(name))
        try:
            async with aiohttp.ClientSession(timeout=timeout) as http:
                desk = await Desk.open(children, http, INVOICES)
                fractional = sum(each.has_fractions for each in desk.bills)
                for tool in tools_in(scenario):
                    measured = await _measure(desk, scenario, tool, Path(tempfile.mkdtemp(dir=name)))
                    results[scenario.name, tool.name] = measured
                    sys.stderr.write(f"{scenario.name}; {tool.name}: {measured}\n")
        finally:
            await children.stop()
    return Compared(results, fractional)


async def _measure(desk: Desk, scenario: Scenario, tool: Tool, directory: Path) -> Measured:
    await desk.set_back(scenario)
    company = desk.company(scenario.company)
    async with tool.enter(company, directory) as run:
        before = await desk.calls()
        await desk.spoil(scenario)
        reports = await run(desk.bills, company)
        if (struck := await desk.struck()) != scenario.strikes:
            raise RuntimeError(f"{scenario.name}: {struck} faults have struck {tool.name}, not {scenario.strikes}")
        await desk.calm()
        await desk.change(scenario)
        if scenario.change == "finalized":
            reports |= await run(desk.some, company, announced=False)
        failed = [each for each in desk.bills if reports.get(each.invoice_id, "new") is not None]
        again = desk.bills if scenario.again == "all" or (scenario.again and tool.needs_all) else failed
        if scenario.again and again:
            await desk.pass_time(scenario.later_seconds)
            reports |= await run(again, desk.company(MINDFUL) if scenario.change == "rerouted" else company)
        return await desk.measure(reports, await desk.calls() - before)


if __name__ == "__main__":
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(main)
    command()
