"""The webhook endpoint over a socket: bodies and headers of any kind, signed and not.

It answers each, never that it broke, and records nothing but what was signed, as it was signed.
"""

import asyncio
import gzip
import hashlib
import hmac
import json
import zlib
from dataclasses import dataclass, field
from email.utils import formatdate
from random import Random

from aiohttp.test_utils import TestServer

from stream.intake.receiver import PATH, create_receiver
from stream.kafka.producer import BrokerAway, Headers, RecordTooLarge
from stream.settings import Metronome, Receiver, Settings
from tests import BOUND_SECONDS

from .odd import PAGES, VALUES, spoiled

SECRET = "correct-horse-battery-staple"
NOW = 1_763_805_600.0
BODY_BYTES_MAX = 20_000
ANSWERS = {200, 400, 401, 404, 405, 411, 413, 415, 417, 503}
"""The statuses with which it may answer; 503 is "not now", and Metronome sends it again."""
EVENT = {
    "id": "7d2f",
    "type": "invoice.finalized",
    "properties": {"invoice_id": "inv-1", "customer_id": "cus-1", "invoice_finalized_date": "2026-11-22T10:00:00.000Z"},
}
TEXTS = [str(each).encode("utf-8", "replace").replace(b"\n", b" ") for each in VALUES] + [b"\xff\xfe", b"\xc3\x28"]
DATES = [
    *[formatdate(NOW + seconds, usegmt=True).encode() for seconds in (-3600, -200, -1, 1, 200, 3600)],
    *[b"Sat, 22 Nov 2025 10:00:00 -0000", b"Sat, 22 Nov 2025 10:00:00 +9999", b"Sat, 22 Nov 99999 10:00:00 GMT"],
    *[b"22 Nov 2025 10:00 GMT", b"2025-11-22T10:00:00Z", b"Sat, 31 Feb 2025 10:00:00 GMT", *TEXTS],
]
ENCODED = {b"gzip": gzip.compress, b"deflate": zlib.compress}
ENCODINGS = [b"gzip", b"deflate", b"br", b"zstd", b"identity", b"gzip, gzip", b"", b"x"]
MORE = [
    *(b"Content-Type", b"Transfer-Encoding", b"Expect", b"Date", b"Host"),
    *(b"Metronome-Webhook-Signature", b"X-Metronome-Date"),
]


@dataclass
class Asked:
    """What was sent, and whether it is to be believed."""

    request: bytes
    signed: frozenset[tuple[bytes, bytes]] = frozenset()
    """The dates and bodies that carry a right signature."""
    in_order: bool = False


@dataclass
class Topic:
    """Stands for the topic; now and then the broker is away."""

    dice: Random
    recorded: list[tuple[bytes, Headers]] = field(default_factory=list)

    async def publish(self, key: bytes | None, body: bytes, headers: Headers) -> None:
        if self.dice.random() < 0.05:
            raise self.dice.choice((BrokerAway("away"), RecordTooLarge("large")))
        self.recorded.append((body, headers))


async def wrong(seed: int, requests: int) -> list[str]:
    """Sends so many requests; what was wrong with the answers, or with what was recorded."""
    dice = Random(f"receiver {seed}")
    topic, found = Topic(dice), list[str]()
    settings = Settings(receiver=Receiver(body_bytes_max=BODY_BYTES_MAX), metronome=Metronome(webhook_secrets=[SECRET]))
    server = TestServer(create_receiver(settings, topic.publish, lambda: NOW))
    await server.start_server()
    try:
        for _ in range(requests):
            asked = a_request(dice)
            before = len(topic.recorded)
            try:
                status = await asyncio.wait_for(_answered(server.port or 0, asked.request), BOUND_SECONDS)
            except TimeoutError:
                status = 0
            told = _wrong(asked, status, topic.recorded[before:])
            found += [f"seed {seed}: {told} after {asked.request[:600]!r}"] if told else []
    finally:
        await server.close()
    return found


def _wrong(asked: Asked, status: int, recorded: list[tuple[bytes, Headers]]) -> str:
    if status not in ANSWERS:
        return f"it answered {status or 'nothing'}"
    if (status == 200) != (len(recorded) == 1):
        return f"it answered {status} and recorded {len(recorded)}"
    for body, headers in recorded:
        if (dict(headers)["metronome-date"], body) not in asked.signed:
            return f"it recorded what was not signed: {body[:100]!r}"
    return f"it answered {status} to what was in order" if asked.in_order and status not in (200, 413, 503) else ""


async def _answered(port: int, request: bytes) -> int:
    """The status of the answer to these bytes; 0 when none came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        line = await reader.readline()
        while await reader.read(65536):
            pass
    except ConnectionError:  # it answered and left what we still sent
        return 0 if not line else int(line.split()[1])
    finally:
        writer.close()
    return int(line.split()[1]) if line else 0


def a_request(dice: Random) -> Asked:
    body = json.dumps(EVENT).encode()
    if dice.random() < 0.7:
        body = spoiled(dice, body, PAGES)
    date = formatdate(NOW, usegmt=True).encode()
    fresh = dice.random() < 0.7
    if not fresh:
        date = dice.choice(DATES)
    date = bytes(each for each in date if each >= 32 and each != 127).strip()
    signature = hmac.new(SECRET.encode(), date + b"\n" + body, hashlib.sha256).hexdigest().encode()
    signed = frozenset({(date, body)})
    oddity = dice.choice(("", "", "unsigned", "other body", "header", "encoding", "length", "path"))
    if oddity == "unsigned":
        signed = frozenset()
        signature = dice.choice((b"", signature[:-1], signature.upper() + b"x", signature[::-1], b"\xff", b"x" * 9000))
    sent, headers = body, [(b"Metronome-Webhook-Signature", signature), (b"X-Metronome-Date", date)]
    if oddity == "other body":
        sent = spoiled(dice, body, [])
    if oddity == "encoding":
        encoding = dice.choice(ENCODINGS)
        headers.append((b"Content-Encoding", encoding))
        sent = ENCODED[encoding](body) if encoding in ENCODED and dice.random() < 0.6 else body
    if oddity == "header":
        headers.insert(dice.randint(0, 2), (dice.choice(MORE), dice.choice(TEXTS)[:9000]))
    method, path = b"POST", PATH.encode()
    if oddity == "path":
        method = dice.choice((b"GET", b"PUT", b"POST", b"OPTIONS", b"BREW"))
        path = dice.choice((path, b"/", b"*", b"/%ff", path + b"/"))
    length = len(sent) if oddity != "length" else dice.choice((0, len(sent) // 2, -1, 10**30))
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: x", b"Connection: close", b"Content-Length: %d" % length]
    lines += [name + b": " + text for name, text in headers]
    return Asked(b"\r\n".join([*lines, b"", b""]) + sent, signed, in_order=fresh and not oddity)
