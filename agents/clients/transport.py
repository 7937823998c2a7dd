"""HTTP as the clients need it: one request, one answer, and two failures that say what may have happened."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp

ANSWER_BYTES_MAX = 32 * 1_048_576

CONNECT_SECONDS_MAX = 5.0
"""A connection takes no longer, or nothing is sent: what leaves much later than its sender thought would be believed
over too early."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotSent(Exception):
    """No connection came about, so the request was surely not received."""


class AnswerLost(Exception):
    """The request left and no whole answer came back: what it asked for may have been done."""


class Transport(Protocol):
    async def __call__(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Answer:
        """Raises NotSent or AnswerLost."""


class AiohttpTransport:
    """The real transport. `session` belongs to the caller, who closes it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Answer:
        timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_SECONDS_MAX)
        try:
            async with self._session.request(
                method, url, headers=headers, data=body, timeout=timeout, allow_redirects=False
            ) as response:
                content = await _bounded(response)
                headers = {name.lower(): _readable(text) for name, text in response.headers.items()}
                return Answer(response.status, headers, content)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSent(f"{type(error).__name__} at {_host(url)}") from None
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise AnswerLost(f"{type(error).__name__} at {_host(url)}") from None


def _readable(text: str) -> str:
    """aiohttp gives header bytes that are not UTF-8 as surrogates, which no record or log can carry."""
    return text.encode("utf-8", "surrogateescape").decode(errors="replace")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > ANSWER_BYTES_MAX:
            raise AnswerLost(f"an answer of more than {ANSWER_BYTES_MAX} bytes from {_host(str(response.url))}")
    return bytes(content)


def _host(url: str) -> str:
    return url.split("?", 1)[0]
