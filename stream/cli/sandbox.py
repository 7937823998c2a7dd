"""`metronome-qbo sandbox`: Metronome and QuickBooks Online on one's own machine."""

import asyncio
import sys
from typing import Annotated

import typer

from stream.sandbox.server import start_sandbox
from stream.serving import stop_requested

from .common import clear_errors


def sandbox(
    metronome_port: Annotated[int, typer.Option(help="Port of the Metronome simulator; 0 takes a free one.")] = 0,
    quickbooks_port: Annotated[int, typer.Option(help="Port of the QuickBooks simulator; 0 takes a free one.")] = 0,
    invoices: Annotated[int, typer.Option(min=0, max=100_000, help="How many invoices Metronome holds.")] = 10,
    seed: Annotated[int, typer.Option(help="The same seed makes the same invoices.")] = 1,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    limits: Annotated[bool, typer.Option(help="Whether QuickBooks enforces its rate limits.")] = True,
) -> None:
    """Simulate Metronome and QuickBooks Online as two HTTP servers with made-up invoices and empty books.

    Prints one JSON line with both addresses, the realm id, OAuth client and tokens, Metronome's token and the webhook
    secret; then serves until Ctrl-C or SIGTERM. Both have a page at `/` that shows what they hold.

    Examples:

      metronome-qbo sandbox --invoices 50 --seed 7

      metronome-qbo sandbox --metronome-port 8701 --quickbooks-port 8702 --no-limits
    """
    with clear_errors(OSError):
        asyncio.run(_serve(host, metronome_port, quickbooks_port, invoices, seed, limits))


async def _serve(host: str, metronome_port: int, quickbooks_port: int, invoices: int, seed: int, limits: bool) -> None:
    stopping = stop_requested()
    running = await start_sandbox(
        host=host,
        metronome_port=metronome_port,
        quickbooks_port=quickbooks_port,
        invoices=invoices,
        seed=seed,
        limits=limits,
    )
    try:
        sys.stdout.write(running.addresses.as_json() + "\n")
        sys.stdout.flush()
        await stopping.wait()
    finally:
        await running.stop()
