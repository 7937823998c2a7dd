"""The tools side by side: each is entered for a scenario, and given the bills once or twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.clients.drivers import node_driver

from .bills import Bill
from .desk import Reports
from .ours import Run, running_worker
from .python_loop import post_all
from .scenarios import Scenario

NODE_LOOP = Path(__file__).with_name("node_loop")

Json = dict[str, Any]


@dataclass(frozen=True)
class Tool:
    """`enter` takes the addresses of the company and an empty place for files. `needs_all`: a second run is given
    every invoice, also where the others get only those that failed."""

    name: str
    enter: Callable[[Json, Path], AbstractAsyncContextManager[Run]]
    needs_all: bool = False


def _python(with_request_id: bool) -> Callable[[Json, Path], AbstractAsyncContextManager[Run]]:
    @asynccontextmanager
    async def enter(_addresses: Json, _directory: Path) -> AsyncIterator[Run]:
        async def run(bills: Sequence[Bill], company: Json, *, announced: bool = True) -> Reports:
            given = [each.as_json() for each in bills]
            return await asyncio.to_thread(post_all, company, given, with_request_id=with_request_id)

        yield run

    return enter


@dataclass(frozen=True)
class _Argument:
    """What `node_driver` hands to the script as one JSON object."""

    addresses: Any


@dataclass(frozen=True)
class _Company:
    quickbooks_url: str
    quickbooks_token_url: str
    realm_id: str
    client_id: str
    client_secret: str
    access_token: str
    refresh_token: str


@dataclass(frozen=True)
class _Task:
    bills_file: str
    with_request_id: bool


def _node(with_request_id: bool) -> Callable[[Json, Path], AbstractAsyncContextManager[Run]]:
    @asynccontextmanager
    async def enter(_: Json, directory: Path) -> AsyncIterator[Run]:
        async def run(bills: Sequence[Bill], company: Json, *, announced: bool = True) -> Reports:
            at = _Company(**{name: company[name] for name in _Company.__dataclass_fields__})
            file = directory / "bills.json"
            file.write_text(json.dumps([each.as_json() for each in bills]))
            task = _Task(str(file), with_request_id)
            arguments: Sequence[Any] = (_Argument(at), _Argument(task))
            steps = await asyncio.to_thread(node_driver, str(NODE_LOOP), *arguments)
            said = {name: line["threw"]["message"] if "threw" in line else None for name, line in steps.lines.items()}
            return {each.invoice_id: said[each.invoice_id] for each in bills}

        yield run

    return enter


OURS = "metronome-qbo"
TOOLS = (
    Tool("python-quickbooks", _python(with_request_id=False)),
    Tool("python-quickbooks, request ids", _python(with_request_id=True)),
    Tool("node-quickbooks", _node(with_request_id=False)),
    Tool("node-quickbooks, request ids", _node(with_request_id=True)),
    Tool(OURS, running_worker, needs_all=True),
)


def tools_in(scenario: Scenario) -> tuple[Tool, ...]:
    """Those that have a part in it."""
    return tuple(each for each in TOOLS if each.name == OURS or not scenario.ours_only)
