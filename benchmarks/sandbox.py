"""Invoice creates per second of the QuickBooks simulator, over HTTP and without: it must never hide our own speed.

The simulator runs as a process of its own with its limits lifted; a client of raw sockets keeps a few connections busy.

    python -m benchmarks.sandbox --seconds 5
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from simulators.http import Request, dump
from simulators.quickbooks.settings import QuickBooksSettings
from simulators.server import start_sandbox
from stream.demo.processes import Children

CONNECTIONS = 8
LINES = 5
READY_WITHIN_SECONDS = 30
ANSWER_WITHIN_SECONDS = 10


def main(seconds: Annotated[float, typer.Option(min=0.5, max=600, help="How long to measure each.")] = 5) -> None:
    """Invoice creates per second of the QuickBooks simulator, over HTTP and without."""
    over_http = asyncio.run(_over_http(seconds))
    without = asyncio.run(_without_http(seconds))
    sys.stdout.write(
        f"sandbox: {over_http.per_second:,.0f} invoice creates/s (five lines each), "
        f"{without.per_second:,.0f} creates/s without HTTP "
        f"(for each second of its processor {over_http.per_cpu_second:,.0f} and {without.per_cpu_second:,.0f})\n"
    )


@dataclass(frozen=True, slots=True)
class Rate:
    """`cpu_seconds` is the simulator's own processor time, which other load on the machine changes little."""

    made: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.made / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.made / self.cpu_seconds if self.cpu_seconds else 0.0


def _invoice() -> bytes:
    line = {
        "Amount": 12.5,
        "Description": "API calls, tier 1 (per thousand)",
        "DetailType": "SalesItemLineDetail",
        "SalesItemLineDetail": {"ItemRef": {"value": "1"}, "Qty": 2.5, "UnitPrice": 5},
    }
    return dump(
        {"CustomerRef": {"value": "1"}, "TxnDate": "2026-01-31", "PrivateNote": "x" * 120, "Line": [line] * LINES}
    )


async def _over_http(seconds: float) -> Rate:
    with tempfile.TemporaryDirectory() as name:
        children = Children(Path(name))
        try:
            sandbox = await children.start(
                "sandbox", "--invoices", "0", "--no-limits", ready_within_seconds=READY_WITHIN_SECONDS
            )
            addresses = json.loads(sandbox.ready_line)
            await _load(addresses, min(1.0, seconds))  # until everything is imported and warm
            cpu_before, started = _cpu_seconds(sandbox.process.pid), time.monotonic()
            made = await _load(addresses, seconds)
            took = time.monotonic() - started
            return Rate(made, took, _cpu_seconds(sandbox.process.pid) - cpu_before)
        finally:
            await children.stop()


async def _load(addresses: dict[str, Any], seconds: float) -> int:
    host, port = addresses["quickbooks_url"].removeprefix("http://").split(":")
    body = _invoice()
    head = (
        f"POST /v3/company/{addresses['realm_id']}/invoice?minorversion=75&requestid=%s HTTP/1.1\r\n"
        f"Host: {host}:{port}\r\nAuthorization: Bearer {addresses['access_token']}\r\n"
        f"Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    until = time.monotonic() + seconds
    made = await asyncio.gather(*(_create(host, int(port), head, body, until) for _ in range(CONNECTIONS)))
    return sum(made)


async def _create(host: str, port: int, head: str, body: bytes, until: float) -> int:
    """One connection: a create after the other, each with a requestid of its own."""
    reader, writer = await asyncio.open_connection(host, port)
    made = 0
    while time.monotonic() < until:
        writer.write((head % os.urandom(16).hex()).encode() + body)
        async with asyncio.timeout(ANSWER_WITHIN_SECONDS):
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            text = await reader.readexactly(length)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the simulator refused: {text[:500]!r}")
        made += 1
    writer.close()
    await writer.wait_closed()
    return made


async def _without_http(seconds: float) -> Rate:
    """The core alone, in this process."""
    sandbox = await start_sandbox(invoices=0, quickbooks=QuickBooksSettings(limits=False))
    await sandbox.stop()
    headers = {"authorization": f"Bearer {sandbox.addresses.access_token}"}
    path, body, made = f"/v3/company/{sandbox.addresses.realm_id}/invoice", _invoice(), 0
    started, cpu_before = time.monotonic(), time.process_time()
    while time.monotonic() < started + seconds:
        answer = sandbox.quickbooks.answer(Request("POST", path, {"requestid": os.urandom(16).hex()}, headers, body))
        if answer.status != 200:
            raise RuntimeError(f"the simulator refused: {answer.body[:500]!r}")
        made += 1
    return Rate(made, time.monotonic() - started, time.process_time() - cpu_before)


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far; Linux only, elsewhere 0."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(main)
    command()
