"""The webhook endpoint: what was signed is on the log when the answer is 200, and nothing else is."""

import asyncio
import gzip
import io
import json
import signal
import sys
import time
from collections import Counter
from email.utils import formatdate
from functools import partial

import aiohttp
import pytest
import structlog
from aiohttp.test_utils import TestClient, TestServer

from stream.intake.receiver import BODY_TIMEOUT_SECONDS, PATH, create_receiver, webhook_key
from stream.intake.signature import sign
from stream.kafka.admin import BrokerUnreachable, create_by_asking
from stream.kafka.log import EventLog
from stream.kafka.producer import BrokerAway, RecordTooLarge, WebhookPublisher
from stream.settings import Settings
from stream.topics import topic_names
from tests import BOUND_SECONDS

SECRET = "correct-horse-battery-staple"
NOW = 1_763_805_600.0
EVENT = json.dumps(
    {
        "id": "7d2f",
        "type": "invoice.finalized",
        "properties": {
            "invoice_id": "inv-1",
            "customer_id": "cus-1",
            "invoice_finalized_date": "2026-11-22T10:00:00.000Z",
        },
    }
).encode()


def settings_with(**changes):
    receiver = {"publish_timeout_seconds": BOUND_SECONDS} | changes.pop("receiver", {})
    metronome = {"webhook_secrets": [SECRET]} | changes.pop("metronome", {})
    return Settings(receiver=receiver, metronome=metronome, **changes)


def signed(body, *, secret=SECRET, at=NOW):
    date = formatdate(at, usegmt=True)
    return {"Metronome-Webhook-Signature": sign(secret, date, body), "X-Metronome-Date": date}


class Log:
    """Stands for the topic."""

    def __init__(self):
        self.records = []
        self.trouble = None

    async def publish(self, key, body, headers):
        if self.trouble is not None:
            await self.trouble()
        self.records.append((key, body, dict(headers)))


@pytest.fixture
def log():
    return Log()


@pytest.fixture
async def open_client(log):
    clients = []

    async def open_it(settings=None):
        client = TestClient(TestServer(create_receiver(settings or settings_with(), log.publish, lambda: NOW)))
        await client.start_server()
        clients.append(client)
        return client

    yield open_it
    for client in clients:
        await client.close()


async def post(client, body=EVENT, headers=None):
    """Status, JSON and headers of the answer."""
    answer = await client.post(PATH, data=io.BytesIO(body), headers=signed(body) if headers is None else headers)
    return answer.status, await answer.json(), answer.headers


async def test_a_signed_webhook_is_recorded_as_it_came(open_client, log):
    status, answer, _ = await post(await open_client())
    assert (status, answer) == (200, {"status": "recorded"})
    ((key, body, headers),) = log.records
    assert (key, body) == (b"cus-1", EVENT)
    assert headers == {
        "received-at": b"2025-11-22T10:00:00+00:00",
        "source": b"webhook",
        "metronome-date": b"Sat, 22 Nov 2025 10:00:00 GMT",
    }


@pytest.mark.parametrize(
    "body", [b"", b"[1, 2]", b"{broken", b"\x00\xff\xfe", b'{"type": "widget.created"}', b"[" * 100_000]
)
async def test_whatever_was_signed_is_kept(open_client, log, body):
    """Downstream decides about unknown events and dead letters."""
    status, _, _ = await post(await open_client(), body)
    assert status == 200
    assert [(key, kept) for key, kept, _ in log.records] == [(None, body)]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing signature"),
        ({**signed(EVENT), "X-Metronome-Date": ""}, "missing date"),
        (signed(EVENT, secret="another"), "wrong signature"),
        (signed(EVENT + b" "), "wrong signature"),
        (signed(EVENT, at=NOW - 301), "stale date"),
        (signed(EVENT, at=NOW + 301), "stale date"),
        ({"X-Metronome-Date": "noon", "Metronome-Webhook-Signature": sign(SECRET, "noon", EVENT)}, "unreadable date"),
    ],
)
async def test_what_was_not_signed_now_is_refused_and_not_kept(open_client, log, headers, reason):
    status, answer, _ = await post(await open_client(), EVENT, headers)
    assert (status, answer) == (401, {"error": reason})
    assert log.records == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("body", [EVENT, b"\x1f\x8b\x08\x00", gzip.compress(EVENT)[:-9]])
async def test_a_body_that_is_not_encoded_as_it_says_is_a_400_without_a_trace(open_client, log, caplog, encoding, body):
    with structlog.testing.capture_logs() as logs:
        client = await open_client()
        status, answer, _ = await post(client, body, {**signed(body), "Content-Encoding": encoding})
        assert (status, answer["error"]) in [
            (400, "the body is not encoded as its headers say"),
            (401, "wrong signature"),  # a body that ends early may be nothing at all to the decoder
        ]
        if body == EVENT:
            assert status == 400
        assert (await post(client))[0] == 200
    assert len(log.records) == 1
    assert "Traceback" not in str(logs) + caplog.text


async def test_nothing_is_read_of_what_has_no_signature(open_client, log, caplog):
    """A body that never comes to its end is answered all the same."""
    client = await open_client()
    reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
    try:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1000\r\n\r\nplain"
        writer.write(head.encode())
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS / 2):
            assert b" 401 " in await reader.readline()
    finally:
        writer.close()
    assert log.records == []
    assert "Traceback" not in caplog.text


async def test_either_secret_is_good_while_one_is_rotated(open_client):
    client = await open_client(settings_with(metronome={"webhook_secrets": ["next", SECRET]}))
    assert (await post(client))[0] == 200
    assert (await post(client, headers=signed(EVENT, secret="next")))[0] == 200


async def test_without_a_secret_the_endpoint_is_off_and_the_log_says_so(open_client, log):
    client = await open_client(settings_with(metronome={"webhook_secrets": []}))
    with structlog.testing.capture_logs() as logs:
        status, answer, headers = await post(client)
    assert status == 503
    assert "no webhook secret" in answer["error"]
    assert int(headers["Retry-After"]) > 0
    assert "metronome.webhook_secrets is not set" in str(logs)
    assert log.records == []


@pytest.mark.parametrize("extra", [1, 1_048_576])
async def test_a_body_over_the_limit_is_refused(open_client, log, extra):
    body = b"x" * (1_048_576 + extra)
    status, answer, _ = await post(await open_client(), body)
    assert (status, answer) == (413, {"error": "the body is larger than 1048576 bytes"})
    assert log.records == []


async def test_a_body_of_exactly_the_limit_is_taken(open_client):
    assert (await post(await open_client(), b"x" * 1_048_576))[0] == 200


async def away():
    raise BrokerAway("no connection")


async def silent():
    await asyncio.Event().wait()


@pytest.mark.parametrize("trouble", [away, silent])
async def test_without_the_brokers_word_the_answer_is_503(open_client, log, trouble):
    """Metronome sends it again."""
    log.trouble = trouble
    status, answer, headers = await post(await open_client(settings_with(receiver={"publish_timeout_seconds": 1})))
    assert (status, answer) == (503, {"error": "the broker is away"})
    assert int(headers["Retry-After"]) > 0


async def test_webhooks_that_wait_for_the_broker_are_bounded(open_client, log):
    """256 wait, the others hear at once that it is too many; none is forgotten."""
    broker_is_back, too_many = asyncio.Event(), asyncio.Semaphore(0)
    log.trouble = broker_is_back.wait
    client = await open_client()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as senders,
        asyncio.timeout(BOUND_SECONDS),
    ):

        async def send():
            async with senders.post(client.make_url(PATH), data=EVENT, headers=signed(EVENT)) as answer:
                if answer.status == 503:
                    too_many.release()
                return answer.status

        sending = [asyncio.create_task(send()) for _ in range(260)]
        for _ in range(4):
            await too_many.acquire()
        broker_is_back.set()
        assert Counter(await asyncio.gather(*sending)) == {200: 256, 503: 4}
    assert (await post(client))[0] == 200


async def test_a_record_that_the_broker_never_takes_is_413(open_client, log):
    async def too_large():
        raise RecordTooLarge

    log.trouble = too_large
    assert (await post(await open_client()))[0] == 413


async def test_a_bug_behind_the_endpoint_is_a_json_500(open_client, log):
    async def bug():
        raise KeyError("oops")

    log.trouble = bug
    status, answer, _ = await post(await open_client())
    assert status == 500
    assert "oops" not in answer["error"]


async def test_every_other_address_answers_json(open_client):
    client = await open_client()
    assert await (await client.get("/healthz")).json() == {"status": "ok"}
    assert ((await client.get("/")).status, await (await client.get("/")).json()) == (404, {"error": "Not Found"})
    wrong = await client.get(PATH)
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")


async def test_answers_and_logs_hold_nothing_of_the_body_or_the_secret(open_client, log, caplog):
    client = await open_client()
    told = []
    with structlog.testing.capture_logs() as logs:
        for headers in (signed(EVENT), signed(EVENT, secret="another"), signed(EVENT, at=NOW - 999), {}):
            told.append(await post(client, EVENT, headers))
        log.trouble = away
        told.append(await post(client))
    text = str(told) + str(logs) + caplog.text
    assert len(logs) == 5
    for secret in ("inv-1", "cus-1", SECRET, signed(EVENT)["Metronome-Webhook-Signature"]):
        assert secret not in text


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (EVENT, b"cus-1"),
        (b'{"type":"invoice.billing_provider_error","properties":{"customer_id":"cus-2"}}', b"cus-2"),
        (b'{"type":"invoice.finalized","properties":{"customer_id":"\xc3\xa9"}}', "é".encode()),
        (b'{"type":"invoice.finalized","properties":{}}', None),
        (b'{"type":"invoice.finalized","properties":{"customer_id":7}}', None),
        (b'{"type":"invoice.finalized","properties":{"customer_id":""}}', None),
        (b'{"type":"invoice.finalized","properties":{"customer_id":"\\ud800"}}', None),
        (b'{"type":"invoice.finalized","properties":{"customer_id":"' + b"x" * 201 + b'"}}', None),
        (b'{"type":"payment_gate.external_initiate","properties":{"customer_id":"cus-3"}}', None),
        (b'{"type":["invoice."],"properties":{"customer_id":"cus-4"}}', None),
        (b'{"a":' + b"9" * 5000 + b"}", None),
        (b"null", None),
    ],
)
def test_the_key_is_the_customer_id_of_an_invoice_event(body, key):
    assert webhook_key(body) == key


async def test_the_publisher_waits_for_a_broker_and_then_confirms(embedded_bootstrap):
    """A broker that is away at the start costs nothing but time."""
    settings = settings_with(kafka={"bootstrap_servers": embedded_bootstrap, "topic_prefix": "receiver."})
    topic, attempts = topic_names(settings).webhooks, []

    async def prepare():
        attempts.append(1)
        if len(attempts) < 3:
            raise BrokerUnreachable("not yet")
        await create_by_asking(embedded_bootstrap, [topic], timeout_seconds=BOUND_SECONDS)

    publisher = WebhookPublisher(settings, topic, prepare, reconnect_seconds=0.01)
    with pytest.raises(BrokerAway):
        await publisher.publish(b"inv-1", EVENT, [])
    running = asyncio.create_task(publisher.run())
    try:
        await until_published(publisher)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    (record,) = [record async for record in EventLog(embedded_bootstrap, BOUND_SECONDS).read_range(topic)]
    assert (record.key, record.value, record.headers) == (b"inv-1", EVENT, (("source", b"webhook"),))
    assert len(attempts) == 3


async def until_published(publisher):
    async with asyncio.timeout(BOUND_SECONDS):
        while True:
            try:
                return await publisher.publish(b"inv-1", EVENT, [("source", b"webhook")])
            except BrokerAway:
                await asyncio.sleep(0.05)


async def test_the_publisher_comes_back_with_a_new_producer(embedded_bootstrap):
    """A record that the producer refuses spoils its sequence; the next webhook must not suffer."""
    settings = settings_with(
        kafka={"bootstrap_servers": embedded_bootstrap, "topic_prefix": "receiver2."}, receiver={"body_bytes_max": 1000}
    )
    topic = topic_names(settings).webhooks
    prepare = partial(create_by_asking, embedded_bootstrap, [topic], timeout_seconds=BOUND_SECONDS)
    publisher = WebhookPublisher(settings, topic, prepare, reconnect_seconds=0.01)
    running = asyncio.create_task(publisher.run())
    try:
        await until_published(publisher)
        with pytest.raises(RecordTooLarge):
            await publisher.publish(None, b"x" * 10_000, [])
        await until_published(publisher)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def start_receive(bootstrap_servers, monkeypatch):
    """The command as a process of its own, and the address of its endpoint."""
    monkeypatch.setenv("METRONOME_QBO_KAFKA__BOOTSTRAP_SERVERS", bootstrap_servers)
    monkeypatch.setenv("METRONOME_QBO_KAFKA__TOPIC_PREFIX", f"t{time.time_ns()}.")
    monkeypatch.setenv("METRONOME_QBO_METRONOME__WEBHOOK_SECRETS", json.dumps([SECRET]))
    monkeypatch.setenv("METRONOME_QBO_RECEIVER__PUBLISH_TIMEOUT_SECONDS", str(BOUND_SECONDS))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream", "receive", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(BOUND_SECONDS):
        line = (await process.stdout.readline()).decode()
    assert line.startswith("receiver ready on http://127.0.0.1:")
    return process, line.removeprefix("receiver ready on ").strip()


async def end(process):
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            return await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise


async def test_the_command_starts_without_a_broker_and_ends_cleanly(unused_tcp_port, monkeypatch):
    process, url = await start_receive(f"127.0.0.1:{unused_tcp_port}", monkeypatch)
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(url.replace(PATH, "/healthz")) as answer:
                assert answer.status == 200
            async with session.post(url, data=EVENT, headers=signed(EVENT, at=time.time())) as answer:
                assert (answer.status, await answer.json()) == (503, {"error": "the broker is away"})
    finally:
        assert await end(process) == 0


@pytest.mark.kafka
async def test_the_command_declares_its_topic_and_records_on_real_kafka(kafka_bootstrap, monkeypatch):
    process, url = await start_receive(kafka_bootstrap, monkeypatch)
    topic = topic_names(Settings()).webhooks
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(BOUND_SECONDS):
            status = 503
            while status == 503:
                async with session.post(url, data=EVENT, headers=signed(EVENT, at=time.time())) as answer:
                    status = answer.status
    finally:
        assert await end(process) == 0
    assert status == 200
    (record,) = [record async for record in EventLog(kafka_bootstrap, BOUND_SECONDS).read_range(topic)]
    assert (record.key, record.value) == (b"cus-1", EVENT)
    assert [name for name, _ in record.headers] == ["received-at", "source", "metronome-date"]


@pytest.mark.parametrize(("expect", "status"), [(b"100-continue", 200), (b"\xff\xfe", 417), (b"more", 417)])
async def test_what_a_sender_expects_is_met_or_refused(open_client, log, expect, status):
    """Whatever its bytes: aiohttp's own answer repeats them, and breaks where they are no text."""
    client = await open_client()
    headers = {**signed(EVENT), "Host": "x", "Connection": "close", "Content-Length": str(len(EVENT))}
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
    reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
    writer.write("\r\n".join(lines).encode() + b"\r\nExpect: " + expect + b"\r\n\r\n" + EVENT)
    async with asyncio.timeout(BOUND_SECONDS):
        answer = await reader.read()
    writer.close()
    assert f"HTTP/1.1 {status} ".encode() in answer
    assert len(log.records) == (status == 200)
