"""Both simulators on their addresses, with the pages and the `/_sandbox` controls beside the vendors' own paths."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from stream.sandbox import pages
from stream.sandbox.faults import Fault, Faults
from stream.sandbox.http import Json, Shell, dump
from stream.sandbox.metronome import webhooks
from stream.sandbox.metronome.core import Metronome, Refusal
from stream.sandbox.metronome.generator import generate
from stream.sandbox.quickbooks.books import Company, add_customer, add_item
from stream.sandbox.quickbooks.core import QuickBooks, QuickBooksSettings
from stream.sandbox.quickbooks.oauth import (
    AUTHORIZE_PATH,
    REVOKE_PATH,
    TOKEN_PATH,
    OAuthServer,
    OAuthSettings,
    made_secret,
)
from stream.sandbox.scene import Scene

FIRST_REALM_ID = 9_341_450_000_000_001


@dataclass(frozen=True, slots=True)
class SandboxAddresses:
    """Everything that a client of the two simulators needs; the tokens and secrets are invented."""

    metronome_url: str
    quickbooks_url: str
    quickbooks_authorize_url: str
    quickbooks_token_url: str
    quickbooks_revoke_url: str
    realm_id: str
    client_id: str
    client_secret: str
    access_token: str
    refresh_token: str
    metronome_token: str
    webhook_secret: str
    invoices: int
    seed: int

    def as_json(self) -> str:
        """One line."""
        return orjson.dumps(asdict(self)).decode()


class Sandbox:
    """The two cores and their shells. `addresses` is known after `start`."""

    addresses: SandboxAddresses

    def __init__(
        self,
        scene: Scene,
        *,
        seed: int,
        companies: Sequence[Company],
        clock: Callable[[], float],
        quickbooks: QuickBooksSettings,
        oauth: OAuthSettings,
        schedule: webhooks.Schedule,
    ) -> None:
        self.scene = scene
        self.seed = seed
        self.clock = clock
        self.schedule = schedule
        self.metronome_token = made_secret(str(seed), "metronome-token")
        self.webhook_secret = made_secret(str(seed), "webhook-secret")
        self.metronome = Metronome(scene, self.metronome_token, clock)
        self.oauth = OAuthServer(oauth, {each.realm_id: each.name for each in companies}, clock, str(seed))
        self.quickbooks = QuickBooks(companies, self.oauth, clock, quickbooks)
        self.grants = {each.realm_id: self.oauth.connect(each.realm_id) for each in companies}
        self.metronome_faults = Faults()
        self.quickbooks_faults = Faults()
        for books in self.quickbooks.books.values():
            for each in scene.quickbooks_customers:
                add_customer(books, each.id, each.name, clock(), each.currency)
            for each in scene.quickbooks_items:
                add_item(books, each.id, each.name, clock())
        self._metronome_shell = Shell(self.metronome_faults.around(self.metronome.answer), self._metronome_routes())
        self._quickbooks_shell = Shell(self.quickbooks_faults.around(self.quickbooks.answer), self._quickbooks_routes())

    async def start(self, host: str = "127.0.0.1", metronome_port: int = 0, quickbooks_port: int = 0) -> None:
        """Raises OSError when a port is taken."""
        await self._metronome_shell.start(host, metronome_port)
        try:
            await self._quickbooks_shell.start(host, quickbooks_port)
        except OSError:
            await self._metronome_shell.stop()
            raise
        realm_id, grant = next(iter(self.grants.items()))
        quickbooks_url = self._quickbooks_shell.url
        self.addresses = SandboxAddresses(
            metronome_url=self._metronome_shell.url,
            quickbooks_url=quickbooks_url,
            quickbooks_authorize_url=quickbooks_url + AUTHORIZE_PATH,
            quickbooks_token_url=quickbooks_url + TOKEN_PATH,
            quickbooks_revoke_url=quickbooks_url + REVOKE_PATH,
            realm_id=realm_id,
            client_id=self.oauth.settings.client_id,
            client_secret=self.oauth.settings.client_secret,
            access_token=next(iter(grant.access_tokens)),
            refresh_token=grant.refresh_token,
            metronome_token=self.metronome_token,
            webhook_secret=self.webhook_secret,
            invoices=len(self.scene.invoices),
            seed=self.seed,
        )

    async def stop(self) -> None:
        await self._metronome_shell.stop()
        await self._quickbooks_shell.stop()

    async def send_finalized(
        self, url: str, invoice_ids: Sequence[str] | None = None, secret: str = ""
    ) -> list[webhooks.Delivery]:
        """Finalizes these invoices (all that are not void, without ids) and sends their signed webhooks to `url`.

        Raises Refusal 404 for an unknown id. Returns when each is accepted or the schedule has ended.
        """
        ids = invoice_ids if invoice_ids is not None else self._all_ids()
        invoices = [self.metronome.finalize(each) for each in ids]
        return await webhooks.send_finalized(url, invoices, secret or self.webhook_secret, self.clock, self.schedule)

    def _all_ids(self) -> list[str]:
        return [key for key, each in self.metronome.invoices.items() if each["status"] != "VOID"]

    def _metronome_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", _page(lambda: pages.metronome_page(self.metronome))),
            web.get("/_sandbox/state", _json(lambda: pages.metronome_state(self.metronome))),
            web.get("/_sandbox/invoices", _json(self._shown_invoices)),
            web.post("/_sandbox/finalize", self._finalize),
            *_fault_routes(self.metronome_faults),
        ]

    def _quickbooks_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", _page(lambda: pages.quickbooks_page(self.quickbooks))),
            web.get("/_sandbox/state", _json(lambda: pages.quickbooks_state(self.quickbooks))),
            web.get("/_sandbox/invoices", _json(lambda: pages.quickbooks_sales(self.quickbooks))),
            web.get("/_sandbox/creditmemos", _json(lambda: pages.quickbooks_sales(self.quickbooks, "CreditMemo"))),
            *_fault_routes(self.quickbooks_faults),
        ]

    def _shown_invoices(self) -> list[Json]:
        return [self.metronome.shown_invoice(each) for each in self.metronome.invoices.values()]

    async def _finalize(self, request: web.Request) -> web.Response:
        """{"url", "invoice_ids" or "all": true, "secret"?} -> {"accepted": n, "refused": [invoice ids]}."""
        try:
            asked: Any = orjson.loads(await request.read())
            ids = None if asked.get("all") is True else [str(each) for each in asked["invoice_ids"]]
            deliveries = await self.send_finalized(str(asked["url"]), ids, str(asked.get("secret") or ""))
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as problem:
            return _refused(400, f"url and invoice_ids (or all) are needed: {problem}")
        except Refusal as refusal:
            return _refused(refusal.status, str(refusal))
        refused = [each.invoice_id for each in deliveries if not each.accepted]
        return _json_response({"accepted": len(deliveries) - len(refused), "refused": refused})


async def start_sandbox(
    *,
    host: str = "127.0.0.1",
    metronome_port: int = 0,
    quickbooks_port: int = 0,
    invoices: int = 10,
    seed: int = 1,
    limits: bool = True,
    eur_share: float = 0.2,
    mapped: bool = True,
    scene: Scene | None = None,
    companies: Sequence[Company] | None = None,
    quickbooks: QuickBooksSettings | None = None,
    oauth: OAuthSettings | None = None,
    schedule: webhooks.Schedule | None = None,
    clock: Callable[[], float] = time.time,
) -> Sandbox:
    """Starts both simulators with generated invoices, or with `scene`. Port 0 picks a free one.

    `limits` switches QuickBooks' rate limits unless `quickbooks` says it; `companies` defaults to one in USD with
    multicurrency on. Raises OSError when a port is taken.
    """
    now = datetime.fromtimestamp(clock(), UTC)
    sandbox = Sandbox(
        scene or generate(seed, invoices, now=now, eur_share=eur_share, mapped=mapped),
        seed=seed,
        companies=companies or (Company(str(FIRST_REALM_ID)),),
        clock=clock,
        quickbooks=quickbooks or QuickBooksSettings(limits=limits),
        oauth=oauth or default_oauth(seed),
        schedule=schedule or webhooks.Schedule(),
    )
    await sandbox.start(host, metronome_port, quickbooks_port)
    return sandbox


def default_oauth(seed: int) -> OAuthSettings:
    """The app's client id and secret of this seed; `dataclasses.replace` changes the rest."""
    return OAuthSettings(made_secret(str(seed), "client-id"), made_secret(str(seed), "client-secret"))


Handler = Callable[[web.Request], Any]


def _page(render: Callable[[], str]) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(text=render(), content_type="text/html")

    return handle


def _json(value: Callable[[], object]) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return _json_response(value())

    return handle


def _json_response(value: object) -> web.Response:
    return web.Response(body=dump(value), content_type="application/json")


def _refused(status: int, message: str) -> web.Response:
    return web.Response(status=status, body=dump({"message": message}), content_type="application/json")


def _fault_routes(faults: Faults) -> list[web.RouteDef]:
    async def add(request: web.Request) -> web.Response:
        try:
            asked = orjson.loads(await request.read())
            faults.add(*(Fault.from_json(each) for each in (asked if isinstance(asked, list) else [asked])))
        except (ValueError, TypeError) as problem:
            return _refused(400, str(problem))
        return _json_response({"pending": len(faults.pending)})

    async def clear(_: web.Request) -> web.Response:
        faults.clear()
        return _json_response({"pending": 0})

    return [web.post("/_sandbox/faults", add), web.delete("/_sandbox/faults", clear)]
