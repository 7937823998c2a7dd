"""`metronome-qbo preview` as a process: on a file, on topics of an embedded broker, and on the Metronome simulator."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from models.ledger import CustomerMapping
from simulators.kafka.embedded import embedded_broker
from simulators.server import Sandbox, start_sandbox
from stream.settings import Settings
from tests import BOUND_SECONDS, FIXTURES, ROOT
from tests.builders import AT, CUSTOMER_ID, Json, an_invoice, json_of
from tests.stream.recorded import REALM, invoice_of, recording, settings_of

FIXTURE = FIXTURES / "metronome_invoices.json"
MONTH = ("--from-date", "2026-11-01", "--to-date", "2026-11-30")
EVER = ("--from-date", "2000-01-01", "--to-date", "2100-01-01")
PREFIX = "METRONOME_QBO_"


async def run(directory: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error, with no settings but `variables`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream", "preview", *arguments, cwd=directory,
        env={**inherited, "PYTHONPATH": str(ROOT), **{PREFIX + name: value for name, value in variables.items()}},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(BOUND_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def parsed(lines: str) -> list[Json]:
    return [json.loads(line, parse_float=Decimal) for line in lines.splitlines()]


# A file


async def test_a_file_needs_no_settings_and_no_network(tmp_path: Path) -> None:
    code, out, err = await run(tmp_path, str(FIXTURE), "--json")
    assert (code, err) == (0, "")
    previews = parsed(out)
    assert [each["total"] for each in previews] == ["167.21", "125000.00", "61.98", "100.00", "20.00", "75.00"]
    assert {each["outcome"] for each in previews} == {"post"}
    keys = {"invoice_id", "outcome", "kind", "total", "currency", "body", "rule", "reason", "missing", "commands"}
    assert all(set(each) == keys for each in previews)


async def test_a_person_sees_the_document_the_json_and_where_each_choice_comes_from(tmp_path: Path) -> None:
    (tmp_path / "metronome-qbo.toml").write_text('[policy]\ntxn_date = "service-end"\n')
    (tmp_path / "one.json").write_text(json_of(an_invoice(customer_custom_fields={})))
    code, out, err = await run(tmp_path, "one.json", POLICY__PAYMENT_TERMS_DAYS="7", POLICY__TIME_ZONE="Asia/Tokyo")
    assert (code, err) == (0, "")
    assert "It would be posted · 10.00 USD" in out
    assert '"TxnDate": "2026-10-31"' in out
    assert "metronome-qbo.toml, [policy]" in out
    assert f"metronome-qbo map customer {CUSTOMER_ID} QBO_ID" in out


@pytest.mark.parametrize(
    ("content", "described"),
    [(None, "no such file"), (b"{", "cannot be read"), (b"\xff\xfe", "cannot be read"), (b"7", "invoices is expected")],
)
async def test_a_file_that_cannot_be_read_ends_with_code_2(
    tmp_path: Path, content: bytes | None, described: str
) -> None:
    if content is not None:
        (tmp_path / "bad.json").write_bytes(content)
    code, out, err = await run(tmp_path, "bad.json", "--json")
    assert (code, out) == (2, "")
    assert described in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [(), ("--all",), ("--all", "--from-date", "2026-11-01"), ("x", "--all", *MONTH), ("x", "--to-date", "2026-11-01")],
)
async def test_what_is_asked_for_must_be_clear(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, out, err = await run(tmp_path, *arguments)
    assert (code, out) == (2, "")
    assert "--from-date" in err


async def test_what_an_id_needs_is_named(tmp_path: Path) -> None:
    code, _, err = await run(tmp_path, "56e22c64-e225-57d0-be12-ef64d1f05078")
    assert code == 2
    assert "metronome.token" in err


# Kafka


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with embedded_broker() as bootstrap:
        yield settings_of(bootstrap, tmp_path / "i.sqlite")


def of_kafka(settings: Settings) -> dict[str, str]:
    return {
        "KAFKA__BOOTSTRAP_SERVERS": str(settings.kafka.bootstrap_servers),
        "KAFKA__TIMEOUT_SECONDS": str(BOUND_SECONDS),
    }


async def test_recorded_facts_are_previewed_by_id_and_by_address_with_the_tables_mappings(
    settings: Settings, tmp_path: Path
) -> None:
    invoice = invoice_of(1, customer_custom_fields={})
    mapping = CustomerMapping(
        realm=REALM, customer_id=invoice["customer_id"], qbo_id="77", name="Acme", source="operator", since=AT
    )
    async with recording(settings) as recorder:
        await recorder.row("customers", f"{REALM}/{invoice['customer_id']}", mapping)
        await recorder.facts({**invoice, "net_payment_terms_days": 10})
        _, newest = await recorder.facts(invoice)
        for named in (invoice["id"], str(newest), f"{newest.topic}:{newest.partition}:{newest.offset}"):
            code, out, err = await run(tmp_path, named, "--json", **of_kafka(settings))
            assert (code, err) == (0, "")
            [preview] = parsed(out)
            assert preview["body"]["CustomerRef"] == {"value": "77"}
            assert preview["body"]["DueDate"] == "2026-12-02"
        code, _, err = await run(tmp_path, f"{newest.topic}:{newest.partition}:999", **of_kafka(settings))
        assert code == 1
        assert "there is no record" in err


async def test_all_facts_of_a_period_are_shown_once_each_and_a_refusal_gives_code_1(
    settings: Settings, tmp_path: Path
) -> None:
    async with recording(settings) as recorder:
        await recorder.facts(invoice_of(1, cents=100))
        await recorder.facts(invoice_of(1, cents=5000))
        await recorder.facts(invoice_of(2, issued_at="2026-12-02T00:00:00Z"))
        code, out, _ = await run(tmp_path, "--all", *MONTH, "--json", **of_kafka(settings))
        assert (code, [each["total"] for each in parsed(out)]) == (0, ["50.00"])
        await recorder.facts(invoice_of(3, total=1))
        code, out, _ = await run(tmp_path, "--all", *MONTH, **of_kafka(settings))
    assert code == 1
    assert "1 would be posted: 50.00 USD" in out
    assert "1 would be refused: 0.01 USD" in out
    assert "sum: " in out


async def test_a_broker_that_is_away_costs_the_mappings_not_the_preview(tmp_path: Path) -> None:
    away = {"KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA__TIMEOUT_SECONDS": "1"}
    code, out, err = await run(tmp_path, str(FIXTURE), "--json", **away)
    assert (code, len(parsed(out))) == (0, 6)
    assert "without the tables' mappings" in err


# Metronome


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    running = await start_sandbox(invoices=4, limits=False)
    yield running
    await running.stop()


def of_metronome(sandbox: Sandbox) -> dict[str, str]:
    addresses = sandbox.addresses
    return {
        "METRONOME__URL": addresses.metronome_url,
        "METRONOME__TOKEN": addresses.metronome_token,
        "ROUTING__DEFAULT_REALM": addresses.realm_id,
    }


def an_invoice_of(sandbox: Sandbox) -> Any:
    return next(iter(sandbox.metronome.store.objects["invoice"].values()))


async def test_metronome_is_asked_for_an_invoice_with_or_without_its_customer(sandbox: Sandbox, tmp_path: Path) -> None:
    invoice = an_invoice_of(sandbox)
    one, two = [
        await run(tmp_path, invoice["id"], *more, "--json", **of_metronome(sandbox))
        for more in ((), ("--customer", invoice["customer_id"]))
    ]
    assert one == two
    code, out, err = one
    assert (code, err) == (0, "")
    [preview] = parsed(out)
    assert preview["invoice_id"] == invoice["id"]
    assert "Contract name: " in preview["body"]["PrivateNote"]


async def test_all_of_metronome_is_previewed_and_nothing_is_written(sandbox: Sandbox, tmp_path: Path) -> None:
    code, out, _ = await run(tmp_path, "--all", *EVER, "--json", **of_metronome(sandbox))
    assert code == 0
    invoices = sandbox.metronome.store.objects["invoice"]
    assert {each["invoice_id"] for each in parsed(out)} == set(invoices)
    assert sandbox.quickbooks.answered == 0
    writes = ("void", "regenerate", "setValues", "addKey", "archive")
    assert not any(word in call for call in sandbox.metronome.calls for word in writes)


async def test_an_invoice_that_nobody_has_and_a_token_that_is_wrong_are_said_plainly(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    code, _, err = await run(tmp_path, "no-such", **of_metronome(sandbox))
    assert code == 1
    assert "Metronome knows no invoice no-such" in err
    code, _, err = await run(tmp_path, "no-such", **{**of_metronome(sandbox), "METRONOME__TOKEN": "secret-wrong"})
    assert code == 1
    assert "check metronome.token" in err
    assert "secret-wrong" not in err
