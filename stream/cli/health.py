"""`metronome-qbo health`: is the worker on this machine well? For container health checks."""

import asyncio

import aiohttp
import typer

from .common import EXIT_TROUBLE, Config, err, load_settings, out

WAIT_SECONDS = 5


def health(config: Config = None) -> None:
    """Ask the worker on this machine how it is; exit code 0 when it is well, 1 when not or when there is none.

    Example:

      metronome-qbo health
    """
    settings = load_settings(config)
    url = f"http://127.0.0.1:{settings.worker.health_port}/healthz"
    try:
        state = asyncio.run(_ask(url))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        err.print(f"no worker answers at {url}: {type(error).__name__}", style="red", markup=False)
        raise typer.Exit(EXIT_TROUBLE) from None
    out.print(state, markup=False)


async def _ask(url: str) -> str:
    timeout = aiohttp.ClientTimeout(total=WAIT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        response.raise_for_status()
        return await response.text()
