"""Both simulators on their addresses, with the pages and the `/_sandbox` controls beside the vendors' own paths."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from simulators.clock import MovableClock
from simulators.controls import Controls, refused
from simulators.fault_options import PlannedFaults
from simulators.faults import Faults
from simulators.http import Answer, Core, Request, Shell, json_answer
from simulators.initial_state import SANDBOX, Beginning, Mix, kept_beginning
from simulators.metronome import webhooks
from simulators.metronome.core import Metronome, Refusal
from simulators.pages import metronome as metronome_pages
from simulators.pages import quickbooks as quickbooks_pages
from simulators.quickbooks.books import Company, add_customer, add_item
from simulators.quickbooks.core import QuickBooks
from simulators.quickbooks.errors import throttled
from simulators.quickbooks.oauth import (
    AUTHORIZE_PATH,
    REVOKE_PATH,
    TOKEN_PATH,
    OAuthServer,
    OAuthSettings,
    made_secret,
)
from simulators.quickbooks.settings import QuickBooksSettings
from simulators.request_log import RequestLog
from simulators.scene import Scene
from simulators.state import StateFile, Stateful, StateUnusable

FIRST_REALM_ID = 9_341_450_000_000_001
METRONOME, QUICKBOOKS = "metronome", "quickbooks"
CLOCK_KEY = "clock"
METRONOME_THROTTLED = json_answer({"message": "Too many requests"}, 429, {"X-Metronome-Rate-Limit-Type": "client"})


@dataclass(frozen=True, slots=True)
class CompanyAddress:
    """One QuickBooks company and the tokens that open it."""

    realm_id: str
    name: str
    currency: str
    access_token: str
    refresh_token: str


@dataclass(frozen=True, slots=True)
class SandboxAddresses:
    """Everything that a client of the two simulators needs; the tokens and secrets are invented. The realm id and the
    tokens beside it are those of the first company."""

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
    companies: tuple[CompanyAddress, ...]

    def as_json(self) -> str:
        """One line."""
        return orjson.dumps(asdict(self)).decode()


class Sandbox:
    """The two cores and their shells. `addresses` is known after `start`.

    With a state file that has been used, everything is as it was left there (`is_resumed`), and `beginning` only says
    what a reset brings back. Then each company gets fresh tokens; the former ones stay as good as they were.
    """

    addresses: SandboxAddresses

    def __init__(
        self,
        beginning: Beginning,
        *,
        clock: MovableClock,
        quickbooks: QuickBooksSettings,
        oauth: OAuthSettings,
        schedule: webhooks.Schedule,
        faults: PlannedFaults,
        file: StateFile | None,
        is_resumed: bool,
    ) -> None:
        self.beginning = beginning
        self.is_resumed = is_resumed
        self.seed = beginning.seed
        self.clock = clock
        self.schedule = schedule
        self.metronome_token = made_secret(str(self.seed), "metronome-token")
        self.webhook_secret = made_secret(str(self.seed), "webhook-secret")
        self._file = file
        self._quickbooks_settings = quickbooks
        self._oauth_settings = replace(oauth, client_id=beginning.client_id, client_secret=beginning.client_secret)
        self.scene = Scene() if is_resumed else beginning.scene()
        self.metronome = self._new_metronome(self.scene)
        self.quickbooks = self._new_quickbooks(self.scene)
        self.oauth = self.quickbooks.oauth
        if file is not None and is_resumed:
            self._restore(file)
        self.grants = {realm: self.oauth.connect(realm) for realm in self.quickbooks.books}
        if file is not None:
            self._write_all(file)
        self.metronome_log, self.quickbooks_log = RequestLog(clock), RequestLog(clock)
        self.metronome_faults = Faults(
            faults.metronome,
            throttled=lambda: METRONOME_THROTTLED,
            gave=lambda request, answer: self.metronome.keep_answer(request, answer),
        )
        self.quickbooks_faults = Faults(faults.quickbooks, throttled=self._throttled, expire_tokens=self._expire_tokens)
        self._metronome_shell = self._metronome_server()
        self._quickbooks_shell = self._quickbooks_server()

    def _new_metronome(self, scene: Scene) -> Metronome:
        return Metronome(scene, self.metronome_token, self.clock, track=self._file is not None)

    def _new_quickbooks(self, scene: Scene) -> QuickBooks:
        companies = self.beginning.companies
        names = {each.realm_id: each.name for each in companies}
        oauth = OAuthServer(self._oauth_settings, names, self.clock, str(self.seed))
        made = QuickBooks(companies, oauth, self.clock, self._quickbooks_settings)
        for books in made.books.values():
            for each in scene.quickbooks_customers:
                add_customer(books, each.id, each.name, self.clock(), each.currency)
            for each in scene.quickbooks_items:
                add_item(books, each.id, each.name, self.clock())
        made.track = self._file is not None
        return made

    def _restore(self, file: StateFile) -> None:
        """Raises StateUnusable when the rows are not what the cores understand."""
        try:
            self.metronome.restore(file.read(METRONOME))
            self.quickbooks.restore(file.read(QUICKBOOKS))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as problem:
            raise StateUnusable(f"the state file cannot be read: {type(problem).__name__} {problem}") from None

    def _write_all(self, file: StateFile) -> None:
        """The beginning last: a file without it is taken for a new one."""
        self._replaced(METRONOME, self.metronome)
        self._replaced(QUICKBOOKS, self.quickbooks)
        self._keep_clock()
        self.beginning.keep(file)

    async def start(self, host: str = "127.0.0.1", metronome_port: int = 0, quickbooks_port: int = 0) -> None:
        """Raises OSError when a port is taken."""
        try:
            await self._metronome_shell.start(host, metronome_port)
            await self._quickbooks_shell.start(host, quickbooks_port)
        except OSError:
            await self.stop()
            raise
        companies = tuple(
            CompanyAddress(
                realm_id=realm_id,
                name=self.quickbooks.books[realm_id].company.name,
                currency=self.quickbooks.books[realm_id].company.currency,
                access_token=next(iter(grant.access_tokens)),
                refresh_token=grant.refresh_token,
            )
            for realm_id, grant in self.grants.items()
        )
        quickbooks_url = self._quickbooks_shell.url
        self.addresses = SandboxAddresses(
            metronome_url=self._metronome_shell.url,
            quickbooks_url=quickbooks_url,
            quickbooks_authorize_url=quickbooks_url + AUTHORIZE_PATH,
            quickbooks_token_url=quickbooks_url + TOKEN_PATH,
            quickbooks_revoke_url=quickbooks_url + REVOKE_PATH,
            realm_id=companies[0].realm_id,
            client_id=self._oauth_settings.client_id,
            client_secret=self._oauth_settings.client_secret,
            access_token=companies[0].access_token,
            refresh_token=companies[0].refresh_token,
            metronome_token=self.metronome_token,
            webhook_secret=self.webhook_secret,
            invoices=len(self.metronome.invoices),
            seed=self.seed,
            companies=companies,
        )

    async def stop(self) -> None:
        await self._metronome_shell.stop()
        await self._quickbooks_shell.stop()
        if self._file is not None:
            self._file.close()

    async def send_finalized(
        self, url: str, invoice_ids: Sequence[str] | None = None, secret: str = ""
    ) -> list[webhooks.Delivery]:
        """Finalizes these invoices (all that are not void, without ids) and sends their signed webhooks to `url`.

        Raises Refusal 404 for an unknown id. Returns when each is accepted or the schedule has ended.
        """
        ids = invoice_ids if invoice_ids is not None else self._all_ids()
        try:
            invoices = [self.metronome.finalize(each) for each in ids]
        finally:
            self._keep(METRONOME, self.metronome)
        return await webhooks.send_finalized(url, invoices, secret or self.webhook_secret, self.clock, self.schedule)

    def _all_ids(self) -> list[str]:
        return [key for key, each in self.metronome.invoices.items() if each["status"] != "VOID"]

    def _metronome_server(self) -> Shell:
        core = self.metronome_faults.around(self._kept(METRONOME, self.metronome, self.metronome.answer))
        controls = Controls(
            server=METRONOME,
            site=metronome_pages.SITE,
            core=self.metronome,
            pages=metronome_pages.MetronomePages(self.metronome),
            counters=lambda: metronome_pages.state(self.metronome),
            faults=self.metronome_faults,
            log=self.metronome_log,
            clock=self.clock,
            clock_moved=self._keep_clock,
            reset=self._reset_metronome,
            replaced=lambda: self._replaced(METRONOME, self.metronome),
            actions={"/_sandbox/finalize": self._finalize},
        )
        return Shell(self.metronome_log.around(core), controls)

    def _quickbooks_server(self) -> Shell:
        core = self.quickbooks_faults.around(self._kept(QUICKBOOKS, self.quickbooks, self.quickbooks.answer))
        controls = Controls(
            server=QUICKBOOKS,
            site=quickbooks_pages.SITE,
            core=self.quickbooks,
            pages=quickbooks_pages.QuickBooksPages(self.quickbooks),
            counters=lambda: quickbooks_pages.state(self.quickbooks),
            faults=self.quickbooks_faults,
            log=self.quickbooks_log,
            clock=self.clock,
            clock_moved=self._keep_clock,
            reset=self._reset_quickbooks,
            replaced=lambda: self._replaced(QUICKBOOKS, self.quickbooks),
        )
        return Shell(self.quickbooks_log.around(core), controls)

    def _kept(self, server: str, core: Stateful, answer: Core) -> Core:
        """With a state file: what a request touched is written before its answer leaves."""
        if self._file is None:
            return answer

        def kept(request: Request) -> Answer:
            answered = answer(request)
            self._keep(server, core)
            return answered

        return kept

    def _keep(self, server: str, core: Stateful) -> None:
        if self._file is not None:
            self._file.keep(server, core)

    def _replaced(self, server: str, core: Stateful) -> None:
        if self._file is not None:
            self._file.replace(server, core.rows())
            core.touched.clear()

    def _keep_clock(self) -> None:
        if self._file is not None:
            self._file.put(SANDBOX, CLOCK_KEY, {"ahead_seconds": self.clock.ahead_seconds})

    def _reset_metronome(self) -> None:
        self.metronome.restore(self._new_metronome(self.beginning.scene()).rows())
        self._replaced(METRONOME, self.metronome)

    def _reset_quickbooks(self) -> None:
        """The first tokens too: their values depend on the seed only, so that the printed addresses hold again."""
        fresh = self._new_quickbooks(self.beginning.scene())
        for realm in fresh.books:
            fresh.oauth.connect(realm)
        self.quickbooks.restore(fresh.rows())
        self._replaced(QUICKBOOKS, self.quickbooks)

    def _throttled(self) -> Answer:
        books = next(iter(self.quickbooks.books.values()))
        return throttled(books.timestamp(self.clock(), "milliseconds"))

    def _expire_tokens(self, path: str) -> None:
        """Of the company that the path names, or of all."""
        named = [each for each in path.split("/") if each in self.quickbooks.books]
        for realm in named or self.quickbooks.books:
            self.oauth.expire_access_tokens(realm)
        self._keep(QUICKBOOKS, self.quickbooks)

    async def _finalize(self, request: Request) -> Answer:
        """{"url", "invoice_ids" or "all": true, "secret"?} -> {"accepted": n, "refused": [invoice ids]}."""
        try:
            asked: Any = orjson.loads(request.body)
            ids = None if asked.get("all") is True else [str(each) for each in asked["invoice_ids"]]
            deliveries = await self.send_finalized(str(asked["url"]), ids, str(asked.get("secret") or ""))
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as problem:
            return refused(400, f"url and invoice_ids (or all) are needed: {problem}")
        except Refusal as refusal:
            return refused(refusal.status, str(refusal))
        not_taken = [each.invoice_id for each in deliveries if not each.accepted]
        return json_answer({"accepted": len(deliveries) - len(not_taken), "refused": not_taken})


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
    kinds: Mapping[str, int] | None = None,
    mix: Mix = "usual",
    scene: Scene | None = None,
    companies: Sequence[Company] | None = None,
    quickbooks: QuickBooksSettings | None = None,
    oauth: OAuthSettings | None = None,
    schedule: webhooks.Schedule | None = None,
    clock: Callable[[], float] = time.time,
    faults: PlannedFaults | None = None,
    state: Path | None = None,
) -> Sandbox:
    """Starts both simulators with generated invoices, or with `scene`. Port 0 picks a free one.

    `kinds` and `mix` are those of `generate`. `limits` switches QuickBooks' rate limits unless `quickbooks` says it;
    `companies` defaults to one in USD with multicurrency on. `state` names a file that holds everything over a restart:
    once used, it goes before all that makes up a beginning (invoices, seed, companies, the OAuth client …).

    Raises OSError when a port is taken, StateUnusable for the file, WrongFault.
    """
    oauth = oauth or default_oauth(seed)
    asked = Beginning(
        seed=seed,
        invoices=invoices,
        at=clock(),
        companies=tuple(companies or (Company(str(FIRST_REALM_ID)),)),
        client_id=oauth.client_id,
        client_secret=oauth.client_secret,
        eur_share=eur_share,
        mapped=mapped,
        kinds=kinds or {},
        mix=mix,
        given=scene,
    )
    file = StateFile(state) if state is not None else None
    try:
        kept = kept_beginning(file) if file is not None else None
        ahead = dict(file.read(SANDBOX)).get(CLOCK_KEY, {}) if file is not None else {}
        sandbox = Sandbox(
            kept or asked,
            clock=MovableClock(clock, float(ahead.get("ahead_seconds", 0))),
            quickbooks=quickbooks or QuickBooksSettings(limits=limits),
            oauth=oauth,
            schedule=schedule or webhooks.Schedule(),
            faults=faults or PlannedFaults(),
            file=file,
            is_resumed=kept is not None,
        )
    except BaseException:
        if file is not None:
            file.close()
        raise
    await sandbox.start(host, metronome_port, quickbooks_port)
    return sandbox


def default_oauth(seed: int) -> OAuthSettings:
    """The app's client id and secret of this seed; `dataclasses.replace` changes the rest."""
    return OAuthSettings(made_secret(str(seed), "client-id"), made_secret(str(seed), "client-secret"))
