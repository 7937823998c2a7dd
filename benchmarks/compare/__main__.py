"""Two public libraries and this project under the same faults, as a table in docs/comparison.md.

python -m benchmarks.compare
python -m benchmarks.compare --only "429 in the middle"
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import aiohttp
import typer

from stream.demo.processes import PROJECT, Children

from .desk import SEED, Desk, Measured
from .page import render
from .scenarios import SCENARIOS, Scenario
from .tools import TOOLS, Tool

PAGE = PROJECT / "docs" / "comparison.md"
NODE_PACKAGES = PROJECT / "tests" / "clients" / "node" / "package.json"
INVOICES = 40
REQUEST_SECONDS = 60


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
    results: dict[tuple[str, str], Measured] = {}
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    with tempfile.TemporaryDirectory(prefix="metronome-qbo-compare-") as name:
        children = Children(Path(name))
        try:
            async with aiohttp.ClientSession(timeout=timeout) as http:
                desk = await Desk.open(children, http, INVOICES)
                for scenario in scenarios:
                    for tool in TOOLS:
                        directory = Path(tempfile.mkdtemp(dir=name))
                        measured = await _measure(desk, scenario, tool, directory)
                        results[scenario.name, tool.name] = measured
                        sys.stderr.write(f"{scenario.name}; {tool.name}: {measured}\n")
        finally:
            await children.stop()
    return render(
        scenarios,
        results,
        invoices=INVOICES,
        seed=SEED,
        fractional=sum(each.has_fractions for each in desk.bills),
        node=json.loads(NODE_PACKAGES.read_text())["dependencies"]["node-quickbooks"],
        today=datetime.now(UTC).date(),
    )


async def _measure(desk: Desk, scenario: Scenario, tool: Tool, directory: Path) -> Measured:
    await desk.set_back(scenario)
    async with tool.enter(desk.company(scenario), directory) as run:
        before = await desk.calls()
        await desk.spoil(scenario)
        reports = await run(desk.bills)
        if (struck := await desk.struck()) != scenario.strikes:
            raise RuntimeError(f"{scenario.name}: {struck} faults have struck {tool.name}, not {scenario.strikes}")
        await desk.calm()
        failed = [each for each in desk.bills if reports[each.invoice_id] is not None]
        again = desk.bills if scenario.again == "all" or (scenario.again and tool.needs_all) else failed
        if scenario.again and again:
            await desk.pass_time(scenario.later_seconds)
            reports |= await run(again)
        return await desk.measure(scenario, reports, await desk.calls() - before)


if __name__ == "__main__":
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(main)
    command()
