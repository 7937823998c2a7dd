"""The simulators in a process of their own, set back before each run, and the books as they are afterwards."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp

from models.money import parse_json
from simulators.http import dump
from stream.demo.processes import Children

from .bills import Bill, bills_of
from .scenarios import Scenario

READY_SECONDS = 60
SEED = 1
CHANGED = 5
CENT = Decimal("0.01")
COMPANIES = [
    {"realm_id": "9341450000000001", "name": "Takes numbers twice"},
    {"realm_id": "9341450000000002", "name": "Minds its numbers", "warn_duplicate_doc_numbers": True},
]

Json = dict[str, Any]
Reports = dict[str, str | None]
"""The last word of a tool on each invoice, by Metronome's id: what went wrong, or None when it says all is well."""


@dataclass(frozen=True)
class Measured:
    """What a tool did in a scenario.

    `duplicates` are documents beyond the first of an invoice. `lost`: neither in the books nor reported. `silent`:
    missing in the books or more than once in them, while the tool's last word is that all is well. `reported`: not in
    the books, and the tool says that something is wrong. A voided invoice has no place in the books. `cents_off`
    is the sum over all documents.
    """

    calls: int
    duplicates: int
    lost: int
    silent: int
    reported: int
    cents_off: Decimal


@dataclass
class Desk:
    """Both simulators with the invoices of the seed."""

    http: aiohttp.ClientSession
    addresses: Json
    bills: list[Bill] = field(default_factory=list)
    voided: set[str] = field(default_factory=set)
    own_calls: int = 0

    @classmethod
    async def open(cls, children: Children, http: aiohttp.ClientSession, invoices: int) -> Desk:
        companies = _written(children.directory / "companies.json", COMPANIES)
        started = await children.start(
            *("sandbox", "--invoices", str(invoices), "--seed", str(SEED), "--no-limits"),
            *("--rotate-after-seconds", "86400", "--companies", str(companies)),
            ready_within_seconds=READY_SECONDS,
        )
        desk = cls(http, json.loads(started.ready_line))
        await desk._read_bills()
        return desk

    async def _read_bills(self) -> None:
        metronome = self.addresses["metronome_url"]
        customers = (await self._get(metronome + "/v1/customers?limit=100", self._bearer))["data"]
        names = {each["id"]: each["name"] for each in customers}
        self.bills = bills_of(await self._get(metronome + "/_sandbox/invoices"), names)

    @property
    def _bearer(self) -> Json:
        return {"Authorization": f"Bearer {self.addresses['metronome_token']}"}

    @property
    def some(self) -> list[Bill]:
        """Those to which something happens between two runs."""
        return [each for each in self.bills if each.total > 0][:CHANGED]

    def company(self, place: int) -> Json:
        """The addresses as those of this company."""
        chosen = self.addresses["companies"][place]
        return {**self.addresses, **{name: chosen[name] for name in ("realm_id", "access_token", "refresh_token")}}

    async def set_back(self, scenario: Scenario) -> None:
        """Both simulators as at the start, with a customer and an item for each name; one item inactive, if wanted."""
        async with self.http.post(self.addresses["metronome_url"] + "/_sandbox/reset") as response:
            response.raise_for_status()
        await self._send("POST", "/_sandbox/reset")
        await self._read_bills()
        self.voided.clear()
        for place in range(len(COMPANIES)):
            customers = {each.customer: each.currency for each in self.bills}
            await self._add_missing(self.company(place), "Customer", "DisplayName", customers)
            items = {line.item: "" for bill in self.bills for line in bill.lines}
            await self._add_missing(self.company(place), "Item", "Name", items)
        company = self.company(scenario.company)
        if scenario.without_item:
            [item, *_] = await self._query(company, "select * from Item where Name = 'API Calls'")
            changed = {"Id": item["Id"], "SyncToken": item["SyncToken"], "sparse": True, "Active": False}
            await self._vendor(company, "POST", "item", json=changed)
        if scenario.change == "finalized":
            await self._say_status("DRAFT")
        await self._send("DELETE", "/_sandbox/requests")
        self.own_calls = 0

    async def _add_missing(self, company: Json, kind: str, name: str, wanted: Mapping[str, str]) -> None:
        held = {each[name] for each in await self._query(company, f"select * from {kind} maxresults 1000")}
        for each, currency in wanted.items():
            if each in held:
                continue
            made: Json = {name: each}
            if kind == "Customer":
                made["CurrencyRef"] = {"value": currency}
            else:
                made |= {"Type": "Service", "IncomeAccountRef": {"value": "1"}}
            await self._vendor(company, "POST", kind.lower(), json=made)

    async def _query(self, company: Json, statement: str) -> list[Json]:
        answer = await self._vendor(company, "GET", "query", params={"query": statement})
        return next((each for each in answer["QueryResponse"].values() if isinstance(each, list)), [])

    async def _vendor(self, company: Json, method: str, resource: str, **more: Any) -> Any:
        url = f"{company['quickbooks_url']}/v3/company/{company['realm_id']}/{resource}"
        headers = {"Authorization": f"Bearer {company['access_token']}", "Accept": "application/json"}
        self.own_calls += 1
        async with self.http.request(method, url, headers=headers, **more) as response:
            text = await response.read()
            if response.status != 200:
                raise RuntimeError(f"the simulator refused {resource}: {text[:500]!r}")
            return parse_json(text)

    async def change(self, scenario: Scenario) -> None:
        """What happens between the runs; `bills` and `voided` follow."""
        if scenario.change == "finalized":
            await self._say_status("FINALIZED")
        if scenario.change not in ("voided", "regenerated"):
            return
        for bill in self.some:
            await self._delete_document(self.company(scenario.company), bill)
            await self._metronome("/v1/invoices/void", bill)
            self.voided.add(bill.invoice_id)
        if scenario.change == "regenerated":
            for bill in self.some:
                await self._metronome("/v1/invoices/regenerate", bill)
            await self._read_bills()

    async def _say_status(self, status: str) -> None:
        """Metronome says this of some invoices."""
        url = self.addresses["metronome_url"] + "/_sandbox/"
        held = await self._get(url + "snapshot")
        changed = {f"invoice/{each.invoice_id}" for each in self.some}
        for key, row in held["rows"]:
            if key in changed:
                row["status"] = status
        async with self.http.post(url + "restore", data=dump(held)) as response:
            response.raise_for_status()

    async def _delete_document(self, company: Json, bill: Bill) -> None:
        """As a person does, in QuickBooks' own pages."""
        held = await self._query(company, "select * from Invoice maxresults 1000")
        [found] = [each for each in held if each.get("PrivateNote", "").partition("\n")[0] == bill.note]
        body = {"Id": found["Id"], "SyncToken": found["SyncToken"]}
        await self._vendor(company, "POST", "invoice", params={"operation": "delete"}, json=body)

    async def _metronome(self, path: str, bill: Bill) -> None:
        url = self.addresses["metronome_url"] + path
        async with self.http.post(url, json={"id": bill.invoice_id}, headers=self._bearer) as response:
            response.raise_for_status()

    async def spoil(self, scenario: Scenario) -> None:
        await self._send("POST", "/_sandbox/faults", [dict(each) for each in scenario.faults])

    async def calm(self) -> None:
        await self._send("DELETE", "/_sandbox/faults")

    async def struck(self) -> int:
        """How many requests a fault has struck; of the newest thousand."""
        found = 0
        for page in range(1, 11):
            answer = await self._get(f"{self.addresses['quickbooks_url']}/_sandbox/requests?page={page}")
            found += sum(bool(each["fault"]) for each in answer["requests"])
            if page >= answer["pages"]:
                break
        return found

    async def pass_time(self, seconds: int) -> None:
        await self._send("POST", "/_sandbox/clock", {"advance_seconds": seconds})

    async def calls(self) -> int:
        """Requests of the tool to QuickBooks since the books were set back, token requests and failed ones too."""
        total = int((await self._get(self.addresses["quickbooks_url"] + "/_sandbox/requests"))["total"])
        return total - self.own_calls

    async def measure(self, reports: Reports, calls: int) -> Measured:
        documents = [
            each
            for kind in ("invoices", "creditmemos")
            for each in await self._get(f"{self.addresses['quickbooks_url']}/_sandbox/{kind}")
        ]
        return judge(self.bills, documents, reports, calls, self.voided)

    async def _get(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
        async with self.http.get(url, headers=headers) as response:
            response.raise_for_status()
            return parse_json(await response.read())

    async def _send(self, method: str, path: str, body: object = None) -> None:
        async with self.http.request(method, self.addresses["quickbooks_url"] + path, json=body) as response:
            if response.status != 200:
                raise RuntimeError(f"{method} {path}: {(await response.text())[:500]}")


def _written(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def judge(
    bills: Sequence[Bill], documents: Sequence[Json], reports: Reports, calls: int, voided: Collection[str] = ()
) -> Measured:
    """Compares the books with what was billed, and with what the tool said. A document is that of the invoice which
    the first line of its private note names; a voided invoice has none."""
    held: dict[str, list[Decimal]] = {}
    for each in documents:
        held.setdefault(each.get("PrivateNote", "").partition("\n")[0], []).append(Decimal(each["TotalAmt"]))
    duplicates = lost = silent = reported = 0
    cents_off = Decimal(0)
    for bill in bills:
        totals = held.get(bill.note, [])
        wanted = bill.invoice_id not in voided
        all_is_well = reports[bill.invoice_id] is None
        duplicates += max(0, len(totals) - wanted)
        lost += wanted and not totals and all_is_well
        reported += not totals and not all_is_well
        silent += len(totals) != wanted and all_is_well
        cents_off += sum((abs(each - bill.total.copy_abs()) for each in totals), Decimal(0)) / CENT
    return Measured(calls, duplicates, lost, silent, reported, cents_off)
