"""docs/comparison.md: how each tool was used, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version

from .desk import Measured
from .ours import PROBE_SECONDS
from .scenarios import Scenario
from .tools import OURS

COLUMNS = ("Scenario", "Tool", "Calls", "Duplicates", "Lost", "Silent errors", "Reported", "Cents off")

MINUTES = "five"

HEAD = """\
# Comparison

`make compare` writes this page; it takes about {minutes} minutes and needs Node and npm. Two public libraries and this
project get the same {invoices} invoices of the generator (seed {seed}; {fractional} of them have lines with fractions
of a cent), the same simulated QuickBooks company and the same faults. Measured on {today} with
python-quickbooks {python}, node-quickbooks {node} and metronome-qbo {ours}.

The libraries are clients of QuickBooks' API and do what they promise; they were not made to carry invoices from
elsewhere, and Metronome, retries and a memory of what was posted are left to their users. What is compared is
therefore the program that a careful person writes around each in an afternoon, not the library.

## How each was used

- **python-quickbooks** ([the loop](../benchmarks/compare/python_loop.py)) and **node-quickbooks**
  ([the loop](../benchmarks/compare/node_loop.cjs)): find the customer and the items by name, once each; round each
  line's amount half up to the cent; create the invoice with a `DocNumber`, a date and a private note; when that throws,
  log it and go on. Each run begins with a fresh access token. *Request ids* is the same loop which gives each create
  QuickBooks' `requestid` in the library's own way (`save(request_id=…)`, the property `requestId`), with Metronome's
  invoice id as its value. That value has to be thought of: neither library makes one. How long QuickBooks remembers a
  request id is not published; the simulator does for a day.
- **metronome-qbo** ([the commands](../benchmarks/compare/ours.py)): one worker with the demo's settings on the embedded
  broker, and a shorter pause until it tries again what waits (`quickbooks.parked_probe_seconds` is {probe}); it is
  given webhooks and reads the invoices from the simulated Metronome itself.

A second run gives the loops what they reported as failed, which is the kinder reading of "run it again", unless
the scenario says that everything is given again. metronome-qbo is always given everything again.
All customers and items stand in the books by name before the run. The simulator enforces no rate limits;
metronome-qbo keeps to QuickBooks' all the same.

## What is counted

- **Calls**: requests to QuickBooks, in all runs together: look-ups, creates, token requests, failed ones. Those of
  metronome-qbo are counted from its first webhook on; it was connected and set up before.
- **Duplicates**: documents beyond the first of an invoice.
- **Lost**: invoices that are neither in the books nor reported as failed, parked or refused.
- **Silent errors**: invoices that are missing in the books, or more than once in them, while the tool's last word on
  them is that all is well.
- **Reported**: invoices that are not in the books, and the tool says that something is wrong.
- **Cents off**: the sum of the differences from Metronome's total, over all documents. A sum of rounded lines is not
  always the rounded sum.

An invoice that Metronome has voided has no place in the books; any document of it counts as one too many.

## Result
"""


def render(
    scenarios: Sequence[Scenario],
    results: Mapping[tuple[str, str], Measured],
    *,
    invoices: int,
    seed: int,
    fractional: int,
    node: str,
    today: date,
) -> str:
    """`results` by the names of scenario and tool; `node` is the version of node-quickbooks."""
    head = HEAD.format(
        invoices=invoices,
        seed=seed,
        fractional=fractional,
        today=f"{today.day} {today:%B %Y}",
        python=version("python-quickbooks"),
        node=node,
        ours=version("metronome-qbo"),
        probe=PROBE_SECONDS,
        minutes=MINUTES,
    )
    lines = ["", f"| {' | '.join(COLUMNS)} |", "|---|---|" + "---:|" * (len(COLUMNS) - 2)]
    for (scenario, tool), each in results.items():
        name = f"**{tool}**" if tool == OURS else tool
        figures = (each.calls, each.duplicates, each.lost, each.silent, each.reported, f"{each.cents_off:f}")
        lines.append(f"| {scenario} | {name} | {' | '.join(str(figure) for figure in figures)} |")
    stories = [f"- **{each.name}**: {each.story}{_not_applicable(each)}" for each in scenarios]
    return head + "\n".join(lines) + "\n\n## The scenarios\n\n" + "\n".join(stories) + "\n"


def _not_applicable(scenario: Scenario) -> str:
    return f" Not applicable to the libraries' loops: {scenario.ours_only}" if scenario.ours_only else ""
