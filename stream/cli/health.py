"""`metronome-qbo health`: is the worker on this machine well? For container health checks."""

import asyncio

import aiohttp

from stream import OperatorError

from .common import Config, load_settings, out

WAIT_SECONDS = 5


def health(config: Config = None) -> None:
    """Ask the worker on this machine how it is; exit code 0 when it is well, 1 when not or when there is none.

    Example:

      metronome-qbo health
    """
    settings = load_settings(config)
    url = f"http://127.0.0.1:{settings.worker.health_port}/healthz"
    try:
        is_well, state = asyncio.run(_ask(url))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise OperatorError(
            f"no worker answers at {url} ({type(error).__name__}). Is one running on this machine, and is "
            "worker.health_port its port?"
        ) from None
    if not is_well:
        raise OperatorError(f"the worker at {url} is not well: {state}. Its log says why")
    out.print(state, markup=False)


async def _ask(url: str) -> tuple[bool, str]:
    """Whether the worker is well, and how it says that it is."""
    timeout = aiohttp.ClientTimeout(total=WAIT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        return response.ok, await response.text()
