"""What preflight finds in a company and in Metronome: each thing that would fail, with its remedy."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from cryptography.fernet import Fernet

from agents.clients.failures import TokenRefused
from agents.clients.oauth import Tokens
from agents.clients.transport import AiohttpTransport, Answer
from agents.connections import connected
from models.ledger import CustomerMapping, ItemMapping
from models.metronome import CUSTOM_FIELDS
from models.policy import Policy
from simulators.quickbooks.books import Company as SimulatedCompany
from simulators.server import Sandbox, start_sandbox
from stream.kafka.admin import create_by_asking
from stream.operations.connection_log import ConnectionLog
from stream.operations.preflight.catalog import catalog_findings
from stream.operations.preflight.company import company_findings
from stream.operations.preflight.findings import Finding
from stream.operations.preflight.reads import (
    Catalog,
    Company,
    CompanyReader,
    NoToken,
    StandingToken,
    recorded_token,
)
from stream.operations.preview import Mappings
from stream.settings import Settings
from stream.topics import topic_names
from stream.wiring import TokenCipher, quickbooks_client
from tests import BOUND_SECONDS, ROOT
from tests.builders import AT

REALM = "9341450000000001"
PREFIX = "METRONOME_QBO_"
KEYS = frozenset(CUSTOM_FIELDS)


async def read(
    simulated: SimulatedCompany, policy: Policy, items: dict[str, str], customers: dict[str, str]
) -> Company:
    """A simulated company as preflight reads it."""
    sandbox = await start_sandbox(invoices=1, limits=False, companies=[simulated])
    try:
        settings = Settings(quickbooks={"url": sandbox.addresses.quickbooks_url})
        async with aiohttp.ClientSession() as session:
            tokens = StandingToken(sandbox.addresses.access_token)
            client = quickbooks_client(settings, AiohttpTransport(session), tokens)
            return await CompanyReader(client, REALM, 5.0, lambda _: None).read(policy, items, customers)
    finally:
        await sandbox.stop()


async def findings_of(
    policy: Policy,
    *,
    items: dict[str, str] | None = None,
    customers: dict[str, str] | None = None,
    mappings: Mappings | None = None,
    **company: Any,
) -> list[Finding]:
    simulated = SimulatedCompany(REALM, **company)
    read_company = await read(simulated, policy, items or {}, customers or {})
    return company_findings(read_company, policy, items or {}, customers or {}, mappings or Mappings(), REALM)


def of_level(findings: list[Finding], level: str) -> list[str]:
    return [each.what for each in findings if each.level == level]


async def test_a_token_that_is_refused_is_shown_to_quickbooks_once() -> None:
    """preflight has no other, and repeats nothing with the same one."""
    sent: list[str] = []

    async def refusing(method: str, url: str, **_: Any) -> Answer:
        sent.append(url)
        return Answer(401, {}, b'{"fault":{"error":[{"message":"AuthenticationFailed","detail":"","code":"3200"}]}}')

    client = quickbooks_client(Settings(), refusing, StandingToken("of-yesterday"))
    with pytest.raises(TokenRefused, match="preflight never refreshes one"):
        await client.query(REALM, "SELECT * FROM CompanyInfo")
    assert len(sent) == 1


# QuickBooks


@pytest.mark.parametrize(
    ("policy", "company", "level", "what"),
    [
        ({}, {"custom_txn_numbers": False}, "warning", "custom transaction numbers are off"),
        ({"send_currency": False}, {}, "problem", "multicurrency is on, and policy.send_currency is false"),
        ({"send_currency": False}, {"multicurrency": False}, "warning", "would be booked as USD"),
        ({"customer_currency": "per-currency"}, {"multicurrency": False}, "problem", "multicurrency is off"),
        ({"tax_code": "5"}, {}, "problem", "TAX or NON only"),
        ({"global_tax_calculation": "TaxExcluded"}, {}, "problem", "not for companies in the US"),
        ({}, {"tax_mode": "us-automated"}, "warning", "automated sales tax is on"),
        ({"tax_code": "NON"}, {"tax_mode": "us-automated"}, "ok", "lines carry NON"),
        ({}, {"country": "GB", "currency": "GBP", "tax_mode": "global"}, "problem", "no policy.tax_code"),
        ({"tax_code": "99"}, {"country": "GB", "tax_mode": "global"}, "problem", "no active tax code"),
        ({"tax_code": "3"}, {"country": "GB", "tax_mode": "global"}, "ok", "lines carry tax code 3 'Exempt'"),
        ({"class_field": "c"}, {"class_tracking": "transaction"}, "problem", "classes are not tracked by line"),
        ({"class_field": "c"}, {"class_tracking": "line"}, "ok", "policy.class_field"),
        ({"department_field": "d"}, {}, "problem", "locations are not tracked"),
        ({"department_field": "d"}, {"track_departments": True}, "ok", "policy.department_field"),
        (
            {},
            {"book_close_date": date(2026, 9, 30), "shows_book_close_date": True},
            "warning",
            "the books are closed through 2026-09-30, policy.books_closed_through is not set",
        ),
        ({"sales_term_ids": {"30": "3"}}, {}, "ok", "term 3 (policy.sales_term_ids, 30 days) is active"),
        ({"sales_term_id": "99"}, {}, "problem", "term 99 (policy.sales_term_id) does not exist"),
        ({"due_date": "sales-term"}, {}, "warning", "invoices of other days than none are refused"),
        ({"missing_item": "create"}, {}, "problem", "without policy.income_account_id"),
        ({"income_account_id": "1"}, {}, "ok", "account 1 (policy.income_account_id) is active"),
        ({"income_account_id": "84"}, {}, "problem", "is of type Accounts Receivable, items need Income"),
        (
            {"missing_item": "create", "income_account_id": "1", "tax_code": "3"},
            {"country": "CA", "tax_mode": "global"},
            "problem",
            "items in CA need an expense account too",
        ),
        ({"item_strategy": "single-item"}, {}, "problem", "policy.item_strategy needs policy.default_item_id"),
        ({"draw_down_item": "own", "draw_down_item_id": "1"}, {}, "problem", "no item for ~credit"),
        ({"rounding": "rounding-line"}, {}, "problem", "no item for ~rounding"),
        ({"custom_fields": {"1": "po"}}, {}, "ok", "custom field 1 of sales forms is in use"),
        ({"custom_fields": {"2": "po"}}, {}, "warning", "custom field 2 (policy.custom_fields, po) is not in use"),
    ],
)
async def test_each_setting_of_the_company_is_held_against_the_policy(
    policy: dict[str, Any], company: dict[str, Any], level: str, what: str
) -> None:
    findings = await findings_of(Policy(**policy), **company)
    assert any(what in each for each in of_level(findings, level)), findings
    assert all(each.remedy for each in findings if each.level != "ok")


async def test_the_usual_company_and_policy_have_no_problem() -> None:
    findings = await findings_of(Policy(), items={"1": "x"}, customers={"1": "y"})
    assert of_level(findings, "problem") + of_level(findings, "warning") == []


async def test_named_items_and_customers_must_exist_and_be_active() -> None:
    findings = await findings_of(Policy(), items={"99": "policy.default_item_id"}, customers={"98": "a mapping"})
    assert of_level(findings, "problem") == [
        "item 99 (policy.default_item_id) does not exist in this company",
        "customer 98 (a mapping) does not exist in this company",
    ]


@pytest.mark.parametrize(
    ("changes", "account", "what"),
    [
        ({"Active": False}, {}, "is inactive"),
        ({"Type": "Inventory"}, {}, "is of type Inventory"),
        ({"Type": "Category"}, {}, "is of type Category"),
        ({}, {"Active": False}, "has no active income account"),
        ({"IncomeAccountRef": None}, {}, "has no active income account"),
    ],
)
def test_an_item_that_lines_cannot_use_is_a_problem(changes: Any, account: Any, what: str) -> None:
    item = {"Id": "31", "Name": "API", "Type": "Service", "Active": True, "IncomeAccountRef": {"value": "1"}, **changes}
    company = Company(items={"31": item}, accounts={"1": {"Id": "1", "Active": True, **account}})
    findings = company_findings(company, Policy(), {"31": "a mapping"}, {}, Mappings(), REALM)
    assert any(what in each for each in of_level(findings, "problem")), findings


def test_an_item_of_ours_that_an_operator_mapped_is_there() -> None:
    row = ItemMapping(realm=REALM, product_id="~rounding", qbo_id="9", name="", source="operator", since=AT)
    mappings = Mappings(items={f"{REALM}/~rounding": row})
    findings = company_findings(Company(), Policy(rounding="rounding-line"), {}, {}, mappings, REALM)
    assert not any("~rounding" in each for each in of_level(findings, "problem"))


# Metronome


def catalog(**changes: Any) -> Catalog:
    return Catalog(**{"keys": KEYS, **changes})


def of_catalog(found: Catalog, policy: Policy | None = None, mappings: Mappings | None = None) -> list[Finding]:
    return catalog_findings(found, policy or Policy(), mappings or Mappings(), REALM, company=None)


def test_a_missing_custom_field_is_a_problem_that_setup_mends() -> None:
    [finding] = [each for each in of_catalog(catalog(keys=KEYS - {CUSTOM_FIELDS[0]})) if each.level == "problem"]
    assert (finding.what, finding.remedy) == (
        "there is no custom field contract_product.qbo_item_id",
        "metronome-qbo setup",
    )


def test_products_without_an_item_are_counted_and_named() -> None:
    products = tuple({"id": f"p{number}", "current": {"name": f"Product {number}"}} for number in range(30))
    mapped = ItemMapping(realm=REALM, product_id="p0", qbo_id="1", name="", source="operator", since=AT)
    by_field = {"id": "f", "name": "Mapped", "custom_fields": {"qbo_item_id": "7"}}
    findings = of_catalog(catalog(products=(*products, by_field)), mappings=Mappings(items={f"{REALM}/p0": mapped}))
    [what] = of_level(findings, "problem")
    assert what.startswith("29 of 31 products have no item: Product 1, Product 2, ")
    assert "Product 20, …; their invoices would wait" in what
    [what] = of_level(of_catalog(catalog(products=products), Policy(missing_item="create")), "warning")
    assert "items are created" in what
    assert of_level(of_catalog(catalog(products=products), Policy(item_strategy="single-item")), "warning") == []


@pytest.mark.parametrize(
    ("policy", "level", "what"),
    [
        ({}, "warning", "they are matched by name, or created"),
        ({"customer_matching": "off"}, "warning", "they are created"),
        ({"missing_customer": "park"}, "warning", "only those that QuickBooks has by name"),
        ({"missing_customer": "park", "customer_matching": "off"}, "problem", "their invoices would wait"),
    ],
)
def test_customers_without_a_mapping_are_told_with_what_becomes_of_them(policy: Any, level: str, what: str) -> None:
    row = CustomerMapping(realm=REALM, customer_id="c2", qbo_id="1", name="", source="matched", since=AT)
    customers = ({"id": "c1", "name": "Acme"}, {"id": "c2", "name": "Mapped"})
    findings = of_catalog(catalog(customers=customers), Policy(**policy), Mappings(customers={f"{REALM}/c2": row}))
    [told] = of_level(findings, level)
    assert told.startswith("1 of 2 customers have no mapping: Acme; ")
    assert what in told


def test_customers_that_share_a_name_are_a_problem() -> None:
    customers = ({"id": "c1", "name": "Acme: EU"}, {"id": "c2", "name": "acme EU"}, {"id": "c3", "name": "Other"})
    [what] = of_level(of_catalog(catalog(customers=customers)), "problem")
    assert "acme eu" in what


def test_a_custom_field_that_is_no_id_is_a_problem() -> None:
    customers = ({"id": "c1", "name": "Acme", "custom_fields": {"qbo_customer_id": "fifty"}},)
    [what] = of_level(of_catalog(catalog(customers=customers)), "problem")
    assert "Acme ('fifty')" in what


def test_units_that_are_money_and_unknown_are_a_problem_custom_ones_are_not() -> None:
    units = (
        {"name": "USD (cents)", "is_currency": True},
        {"name": "Galleons", "is_currency": True},
        {"name": "Agent Credits", "is_currency": False},
    )
    [what] = of_level(of_catalog(catalog(units=units)), "problem")
    assert "Galleons" in what
    assert "Agent Credits" not in what


def test_currencies_beside_the_home_currency_need_multicurrency() -> None:
    one = Company(preferences={"CurrencyPrefs": {"MultiCurrencyEnabled": False, "HomeCurrency": {"value": "USD"}}})
    units = ({"name": "USD (cents)", "is_currency": True}, {"name": "EUR", "is_currency": True})
    findings = catalog_findings(catalog(units=units), Policy(), Mappings(), REALM, company=one)
    assert any("EUR, the company has USD only" in each for each in of_level(findings, "warning"))


@pytest.mark.parametrize(("country", "bad"), [("US", "API ('3'), B ('x')"), ("GB", "B ('x')")])
def test_the_tax_codes_of_products_must_be_the_companys(country: str, bad: str) -> None:
    named = (("API", "3"), ("B", "x"), ("C", ""))
    products = tuple(
        {"id": name, "name": name, "custom_fields": {"qbo_tax_code": code, "qbo_item_id": "1"}} for name, code in named
    )
    company = Company(info={"Country": country}, tax_codes={"3": {"Id": "3", "Name": "Exempt"}})
    findings = catalog_findings(catalog(products=products), Policy(), Mappings(), REALM, company=company)
    [what] = of_level(findings, "problem")
    assert what.endswith(bad)


# Tokens


@pytest.fixture
def settings(embedded_bootstrap: str) -> Settings:
    prefix = f"preflight{datetime.now(UTC).timestamp()}."
    return Settings(
        kafka={"bootstrap_servers": embedded_bootstrap, "topic_prefix": prefix, "timeout_seconds": BOUND_SECONDS},
        encryption_keys=[Fernet.generate_key().decode()],
    )


async def test_the_recorded_token_is_used_as_it_is_and_one_that_ran_out_is_said_so(settings: Settings) -> None:
    await create_by_asking(
        str(settings.kafka.bootstrap_servers), [topic_names(settings).connections], timeout_seconds=BOUND_SECONDS
    )
    with pytest.raises(NoToken, match="is not connected"):
        await recorded_token(settings, REALM)
    cipher, log = TokenCipher(settings.encryption_keys), ConnectionLog(settings)
    now = datetime.now(UTC)
    tokens = Tokens("the-token", 3600, "refresh", 8_726_400)
    old = connected(REALM, tokens, cipher, now - timedelta(hours=2), previous=None)
    await log.record(old)
    with pytest.raises(NoToken, match="ran out at") as failure:
        await recorded_token(settings, REALM)
    assert "the-token" not in str(failure.value)
    await log.record(connected(REALM, tokens, cipher, now, previous=old))
    assert await recorded_token(settings, REALM) == "the-token"


# The command


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    running = await start_sandbox(invoices=2, limits=False)
    yield running
    await running.stop()


async def run(sandbox: Sandbox, token: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
    addresses = sandbox.addresses
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    given = {
        "METRONOME__URL": addresses.metronome_url,
        "METRONOME__TOKEN": addresses.metronome_token,
        "QUICKBOOKS__URL": addresses.quickbooks_url,
        **variables,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream", "preflight", *arguments, cwd="/",
        env={**inherited, "PYTHONPATH": str(ROOT), **{PREFIX + name: value for name, value in given.items()}},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(BOUND_SECONDS):
        out, err = await process.communicate(token.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_command_reads_both_sides_once_and_writes_nothing(sandbox: Sandbox) -> None:
    token = sandbox.addresses.access_token
    arguments = ("--realm", REALM, "--access-token", "-")
    code, out, err = await run(sandbox, token, *arguments, "--json", POLICY__MISSING_ITEM="create",
                               POLICY__INCOME_ACCOUNT_ID="1")  # fmt: skip
    assert err == ""
    told = json.loads(out)
    assert (code, told["ok"], told["realm"]) == (0, True, REALM)
    assert {each["area"] for each in told["findings"]} == {"QuickBooks", "Metronome"}
    assert set(sandbox.quickbooks.calls) == {"GET query"}
    assert token not in out + err
    code, out, _ = await run(sandbox, token, *arguments, POLICY__TAX_CODE="5")
    assert code == 1
    assert "remedy: set policy.tax_code" in out
    assert out.index("problem (would fail)") < out.index("ok (fine)")


async def test_a_token_that_is_not_accepted_is_never_refreshed_and_metronome_is_told_all_the_same(
    sandbox: Sandbox,
) -> None:
    code, out, err = await run(sandbox, "not-a-token", "--realm", REALM, "--access-token", "-")
    assert code == 1
    assert "does not accept the access token" in out
    assert "products have no item" in out
    assert "not-a-token" not in out + err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--realm", REALM), "kafka.bootstrap_servers"),
        (("--access-token", "-"), "which company"),
        (("--realm", REALM, "--access-token", "secret"), "pipe the token in"),
    ],
)
async def test_what_is_missing_is_named(sandbox: Sandbox, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = await run(sandbox, "", *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert "secret" not in err.replace("seen", "")
