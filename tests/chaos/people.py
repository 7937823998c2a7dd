"""What people and Metronome do in a run: webhooks, voids, and in the end the repairs that our outcomes ask for."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from random import Random
from typing import Any

from agents.clients.oauth import Tokens
from agents.connections import connected
from agents.delivery import ERROR_HEADER
from agents.pipeline import topic_of
from agents.post.resume import LOST_RULE
from agents.watch import RECEIVED_AT_HEADER
from models.commands import COMMANDS, PostInvoice, SetCustomerMapping, SetItemMapping
from models.document import doc_number, reversed_id
from models.events import ConnectionChanged
from models.outcomes import Outcome
from models.subject import FINALIZATION, ROUTING, Cause, Subject
from simulators import http
from simulators.metronome.core import Metronome
from simulators.metronome.webhooks import finalized_notice
from simulators.quickbooks.books import SALES, Books
from simulators.quickbooks.core import QuickBooks
from simulators.quickbooks.oauth import Grant, OAuthServer
from simulators.quickbooks.sales import voided
from stream.wiring import TokenCipher

from .log import partition_of
from .mappings import Act, Mappings
from .nemesis import Plan
from .scene import REALM_FIELD
from .worker import TOPICS, Installation

UNFINISHED = ("parked", "uncertain")
"""What `stream/operations/redrive.py` does again."""
FOREIGN_SHARE = 0.1
"""Of the webhooks, those that come from a producer with other keys than our receiver."""
BY_HAND = "written by hand"
EARLY_SHARE = 0.15
REPLAY_SECONDS_MAX = 10.0
SEEN_SECONDS_MAX = 60.0
IDENTITY = "Metronome invoice "


class People:
    def __init__(
        self,
        installation: Installation,
        metronome: Metronome,
        quickbooks: QuickBooks,
        oauth: OAuthServer,
        clock: Any,
        dice: Random,
        realm_of_customer: dict[str, str],
    ) -> None:
        self._at = installation
        self._metronome = metronome
        self._quickbooks = quickbooks
        self._oauth = oauth
        self._clock = clock
        self._dice = dice
        self.policy = installation.policy
        self.mappings = Mappings(quickbooks.books, clock, self._say)
        self.acts: list[Act] = []
        self.grants: dict[str, list[Grant]] = {}
        self.reconnects = 0
        self.early = 0
        self.happened: Counter[str] = Counter()
        """What else people did, by its name in `met.py`."""
        self._announced: set[str] = set()
        self.log_since = 0.0
        """When the log of commands was made anew, in epoch seconds: what was told before speaks of another."""
        self.mapped: list[SetCustomerMapping | SetItemMapping] = []
        self.meddled: dict[str, set[str]] = {}
        """By invoice, what people did to its document in QuickBooks: delete, void, edit."""
        self.realms_of = {customer: {realm} for customer, realm in realm_of_customer.items()}
        """Every company to which a customer was ever routed."""

    # Metronome

    async def live(self, plan: Plan) -> None:
        """Webhooks, some twice, late or in another order; now and then a void, and its regeneration. Meanwhile somebody
        redrives, somebody is at work in QuickBooks, and customers go to another company."""
        seconds = plan.seconds
        dice = self._dice
        async with asyncio.TaskGroup() as group:
            for invoice_id in list(self._metronome.invoices):
                group.create_task(self._bill(invoice_id, seconds))
            for _ in range(plan.redrives):
                group.create_task(self._later(dice.uniform(0, seconds)))
            for _ in range(plan.meddlings):
                group.create_task(self._meddle(dice.uniform(0, seconds)))
            for realm in self._quickbooks.books:
                if self._connection(realm) is None:
                    group.create_task(self._connect_late(realm, dice.uniform(0, seconds)))
            for _ in range(plan.replays):
                group.create_task(self._replay(dice.uniform(0, seconds)))
            for act in self.acts:
                group.create_task(self._map(act))
            for _ in range(plan.reroutings):
                group.create_task(self._reroute(dice.uniform(0, seconds)))

    async def _bill(self, invoice_id: str, seconds: float) -> None:
        dice = self._dice
        await asyncio.sleep(dice.choice((0.0, dice.uniform(0, seconds))))
        self._now_and_then_early(invoice_id, seconds)
        self.announce(invoice_id)
        if dice.random() < 0.3:
            await asyncio.sleep(dice.choice((0.0, dice.uniform(0, 5), dice.uniform(0, seconds))))
            self.announce(invoice_id)
        invoice = self._metronome.invoices[invoice_id]
        if invoice["status"] == "FINALIZED" and invoice["total"] >= 0 and dice.random() < 0.2:
            await asyncio.sleep(dice.choice((0.0, dice.uniform(0, seconds))))
            if self._metronome.invoices[invoice_id]["status"] == "VOID":
                return
            self._ask("void", invoice_id)
            self.announce(invoice_id)  # as whoever polls for voids does: Metronome sends no webhook for one
            self._tell_again(invoice_id, seconds)
            if dice.random() < 0.5:
                await asyncio.sleep(dice.uniform(0, 60))
                self.announce(self._ask("regenerate", invoice_id))

    def _tell_again(self, invoice_id: str, seconds: float) -> None:
        """Of a void that is not simply a void, which a credit memo of another day must not take back twice."""
        dice = Random(f"again {invoice_id}")
        if self.policy.voids != "void":
            for _ in range(dice.choice((0, 1, 3))):
                after = dice.choice((dice.uniform(0.0, 20.0), dice.uniform(0.0, seconds)))
                self._at.loop.call_later(after, self.announce, invoice_id)

    def _now_and_then_early(self, invoice_id: str, seconds: float) -> None:
        """The webhook is earlier than Metronome's own answer. Its dice are its own: all else stays as it was."""
        dice = Random(invoice_id)
        if dice.random() >= EARLY_SHARE:
            return
        store = self._metronome.store
        store.change("invoice", store.find("invoice", invoice_id), status="DRAFT")
        self.early += 1

        def finalize() -> None:
            store.change("invoice", store.find("invoice", invoice_id), status="FINALIZED")
            self._at.note("metronome", "finalized", invoice_id)

        self._at.loop.call_later(dice.choice((dice.uniform(0.0, 5.0), dice.uniform(0.0, seconds))), finalize)

    async def _connect_late(self, realm: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.connect(realm)

    async def _replay(self, seconds: float) -> None:
        """Some command of before is published once more, whatever came after it."""
        await asyncio.sleep(seconds)
        topic = TOPICS["commands"]
        if commands := list(self._at.log.records(topic)):
            at, stored = self._dice.choice(commands)
            self._at.note("people", "replay", str(at))
            self.happened["replay"] += 1
            self._at.log.append(topic, at.partition, stored.key, stored.value)

    def announce_all(self) -> None:
        """What waited in a log that is gone is sent again by its webhook; so is all else, for nobody knows what was not
        begun."""
        for invoice_id in sorted(self._announced):
            self.announce(invoice_id)

    async def void_one_that_waits(self) -> None:
        """Something that was to be posted and is not in the books, if there is any; then a while passes."""
        commands = [COMMANDS.validate_json(stored.value) for _, stored in self._at.log.records(TOPICS["commands"])]
        wanted = {each.invoice_id for each in commands if isinstance(each, PostInvoice)}
        wanted -= {note.partition("\n")[0].removeprefix(IDENTITY) for _, _, _, note in self._ours()}
        invoices = [self._metronome.invoices[each] for each in sorted(wanted & self._metronome.invoices.keys())]
        final = [each["id"] for each in invoices if each["status"] == "FINALIZED" and each["total"] >= 0]
        if final:
            invoice_id = self._dice.choice(final)
            self._ask("void", invoice_id)
            self.announce(invoice_id)
            await asyncio.sleep(self._dice.uniform(0.0, SEEN_SECONDS_MAX))

    async def replay_all(self) -> None:
        """Every document that was ever to be posted, once more."""
        for at, stored in self._at.log.records(TOPICS["commands"]):
            if isinstance(COMMANDS.validate_json(stored.value), PostInvoice):
                await asyncio.sleep(self._dice.uniform(0.0, REPLAY_SECONDS_MAX))
                self._at.log.append(at.topic, at.partition, stored.key, stored.value)

    async def _reroute(self, seconds: float) -> None:
        """A customer belongs to another company from now on; the webhooks of its invoices come once more."""
        await asyncio.sleep(seconds)
        customer_id = self._dice.choice(sorted(self.realms_of))
        realm = self._dice.choice(sorted(self._quickbooks.books))
        self._at.note("metronome", "reroute", customer_id, realm)
        self.happened["rerouting"] += 1
        self._metronome.store.set_values("customer", customer_id, {REALM_FIELD: realm})
        self.realms_of[customer_id].add(realm)
        for invoice_id, invoice in list(self._metronome.invoices.items()):
            if invoice["customer_id"] == customer_id and invoice_id in self._announced and self._dice.random() < 0.7:
                self.announce(invoice_id)

    async def _map(self, act: Act) -> None:
        """A person says who a customer or a product is, whatever is known or under way."""
        await asyncio.sleep(act.seconds)
        invoices = list(self._metronome.invoices.values())
        invoice = invoices[int(act.which * len(invoices))]
        customer_id = invoice["customer_id"]
        realm = sorted(self.realms_of[customer_id])[int(act.which * 1000) % len(self.realms_of[customer_id])]
        self._at.note("a person", f"maps the {act.kind} of", invoice["id"], realm)
        self.happened[f"{act.kind} mapped unasked"] += 1
        if act.kind == "customer":
            currency = invoice["credit_type"]["name"].removesuffix(" (cents)")
            self.mappings.customer(realm, customer_id, currency)
            return
        products = sorted({line["product_id"] for line in invoice["line_items"] if line.get("product_id")})
        self.mappings.item(realm, products[int(act.which * 1000) % len(products)])

    async def _later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.happened["redrive"] += self.redrive()

    def announce(self, invoice_id: str) -> None:
        self._announced.add(invoice_id)
        body = finalized_notice(self._metronome.invoices[invoice_id], self._clock())
        customer_id = self._metronome.invoices[invoice_id]["customer_id"]
        partition = partition_of(customer_id, self._at.webhook_partitions)
        if self._dice.random() < FOREIGN_SHARE:
            partition = self._dice.randrange(self._at.webhook_partitions)
        received = {RECEIVED_AT_HEADER: datetime.fromtimestamp(self._clock(), UTC).isoformat().encode()}
        self._at.log.append(TOPICS["webhooks"], partition, invoice_id.encode(), body, received)

    def _ask(self, what: str, invoice_id: str) -> str:
        body = json.dumps({"id": invoice_id}).encode()
        headers = {"authorization": f"Bearer {self._at.metronome_token}"}
        answer = self._metronome.answer(http.Request("POST", f"/v1/invoices/{what}", {}, headers, body))
        assert answer.status == 200, answer
        self._at.note("metronome", what, invoice_id)
        self.happened[{"void": "void in Metronome", "regenerate": "regenerated"}[what]] += 1
        return str(json.loads(answer.body)["data"]["id"])

    # The companies

    async def _meddle(self, seconds: float) -> None:
        """Deletes, voids or edits one of our documents in QuickBooks' own pages."""
        await asyncio.sleep(seconds)
        ours = [each for each in self._ours() if each[3].startswith(IDENTITY)]
        if not ours:
            return
        books, kind, sale, note = self._dice.choice(ours)
        invoice_id = note.partition("\n")[0].removeprefix(IDENTITY)
        act = self._dice.choice(("delete", "edit", "void" if kind == "Invoice" else "edit"))
        if act == "delete":
            books.delete_sale(kind, sale, self._clock())
        elif act == "void":
            books.put_sale(kind, voided(sale, books, self._clock()), sale)
        else:
            edited = {**sale, "CustomerMemo": {"value": "Thank you"}, "SyncToken": str(int(sale["SyncToken"]) + 1)}
            books.put_sale(kind, edited, sale)
        self.meddled.setdefault(invoice_id, set()).add(act)
        self._at.note("a person", act, f"{IDENTITY}{invoice_id}")

    def _ours(self) -> list[tuple[Books, str, dict[str, Any], str]]:
        """The documents in all companies that may be ours: books, kind, document, and what its note says."""
        return [
            (books, kind, sale, str(sale.get("PrivateNote")))
            for books in self._quickbooks.books.values()
            for kind in SALES
            for sale in books.objects[kind].values()
        ]

    def connect(self, realm: str) -> None:
        """As `metronome-qbo connect`: a new consent, published."""
        grant = self._oauth.connect(realm)
        self.grants.setdefault(realm, []).append(grant)
        [access] = grant.access_tokens
        tokens = Tokens(access, int(self._oauth.settings.access_token_seconds), grant.refresh_token, 8_726_400)
        now = datetime.fromtimestamp(self._clock(), UTC)
        cipher = TokenCipher([self._at.key])
        self._publish(connected(realm, tokens, cipher, now, previous=self._connection(realm)))

    def write_by_hand(self, realm: str, invoice_id: str) -> None:
        """A person's own document, under the number that this invoice would have."""
        [access] = self._oauth.connect(realm).access_tokens
        line = {
            "Amount": 1,
            "DetailType": "SalesItemLineDetail",
            "SalesItemLineDetail": {"ItemRef": {"value": "1"}},
        }
        body = {
            "CustomerRef": {"value": "1"},
            "DocNumber": doc_number(invoice_id),
            "PrivateNote": BY_HAND,
            "Line": [line],
        }
        headers = {"authorization": f"Bearer {access}"}
        path = f"/v3/company/{realm}/invoice"
        self._quickbooks.answer(
            http.Request("POST", path, {"include": "allowduplicatedocnum"}, headers, http.dump(body))
        )

    # Repairs

    def repair(self) -> bool:
        """One round of what the outcomes ask people to do; False when there is nothing to do."""
        done = [self._reconnect(realm) for realm in self._quickbooks.books]
        done += [self._redrive_dead_letters(), self._map_customers(), self._map_items(), self._send_again()]
        done += [self.redrive(), self._close_deleted(), self._take_back_by_hand()]
        return any(done)

    def redrive(self) -> bool:
        """As `metronome-qbo redrive`: what waits is published again, in the order of the commands; Metronome is asked
        again about what it had not finalized."""
        waiting = [
            each
            for each in self.newest_outcomes().values()
            if each.result in UNFINISHED and each.waits_for != ROUTING  # which is a person's choice, and no repair
        ]
        for each in sorted(waiting, key=lambda outcome: (outcome.command.partition, outcome.command.offset)):
            if each.waits_for == FINALIZATION:
                self.announce(each.subject.id)
                continue
            stored = self._at.log.at(each.command)
            self._at.log.append(each.command.topic, each.command.partition, stored.key, stored.value)
        return bool(waiting)

    def newest_outcomes(self) -> dict[tuple[str, Subject], Outcome]:
        newest: dict[tuple[str, Subject], Outcome] = {}
        for _, stored in self._at.log.records(TOPICS["outcomes"]):
            if stored.seconds <= self.log_since:
                continue
            outcome = Outcome.model_validate_json(stored.value)
            if outcome.rule == LOST_RULE:
                continue  # its webhook was sent again
            standing = newest.get((outcome.realm, outcome.subject))
            if standing is None or outcome.command.offset >= standing.command.offset:
                newest[outcome.realm, outcome.subject] = outcome
        return newest

    def _reconnect(self, realm: str) -> bool:
        connection = self._connection(realm)
        if connection is None or connection.state == "connected":
            return False
        self.reconnects += 1
        self.connect(realm)
        return True

    def _connection(self, realm: str) -> ConnectionChanged | None:
        newest: ConnectionChanged | None = None
        for _, stored in self._at.log.records(TOPICS["connections"]):
            change = ConnectionChanged.model_validate_json(stored.value)
            if change.realm == realm and (newest is None or change.changed_at >= newest.changed_at):
                newest = change
        return newest

    def _map_customers(self) -> bool:
        """A customer whose name another one has: a person makes one by hand, and says which it is."""
        mapped = False
        for (realm, subject), outcome in self.newest_outcomes().items():
            waits_for = outcome.waits_for or Cause("")
            if outcome.command_type == "EnsureCustomer" and waits_for.startswith(subject):
                command = json.loads(self._at.log.at(outcome.command).value)
                self.mappings.customer(realm, waits_for.id, command["currency"])
                mapped = True
        return mapped

    def _map_items(self) -> bool:
        """A product that no item is known for: a person makes one, and says which it is."""
        missing = {
            (realm, outcome.waits_for)
            for (realm, _), outcome in self.newest_outcomes().items()
            if outcome.waits_for is not None and outcome.waits_for.startswith("item/")
        }
        for realm, item in sorted(missing):
            self.mappings.item(realm, item.id)
        return bool(missing)

    def _take_back_by_hand(self) -> bool:
        """What is left to a person: a document that policy says to void by hand, once a regenerated invoice waits for
        that; and one that is not what our credit memo would take back."""
        done = False
        for (realm, subject), outcome in self.newest_outcomes().items():
            waits_for = outcome.waits_for or Cause("")
            original = reversed_id(subject.id)
            if original is None and waits_for.startswith("invoice/") and self.policy.voids == "flag":
                original = waits_for.id
            elif not waits_for.startswith("document/"):
                continue
            if original is not None and self._metronome.invoices[original]["status"] == "VOID":
                done |= self._void_by_hand(realm, original)
                self.announce(original)
        return done

    def _void_by_hand(self, realm: str, invoice_id: str) -> bool:
        books = self._quickbooks.books[realm]
        ours = [
            sale
            for sale in books.objects["Invoice"].values()
            if sale.get("PrivateNote", "").partition("\n")[0] == f"{IDENTITY}{invoice_id}"
        ]
        for sale in ours:
            books.put_sale("Invoice", voided(sale, books, self._clock()), sale)
            self.meddled.setdefault(invoice_id, set()).add("void")
            self._at.note("a person", "void", f"{IDENTITY}{invoice_id}")
        return bool(ours)

    def tell_again(self, *, connections: bool) -> None:
        """What a ledger that is lost knew from people: which customer or item is which; how to reach the companies."""
        for realm in self._quickbooks.books if connections else ():
            if self._connection(realm) is not None:
                self.connect(realm)
        for command in self.mapped:
            self._publish(command)

    def _close_deleted(self) -> bool:
        """What was deleted in QuickBooks, and so is not posted again: voided in Metronome, and perhaps regenerated."""
        closed = [
            subject.id
            for (_, subject), outcome in self.newest_outcomes().items()
            if (outcome.waits_for or "").startswith("document/")
            and subject.id in self.meddled
            and reversed_id(subject.id) is None
        ]
        for invoice_id in closed:
            if self._metronome.invoices[invoice_id]["status"] != "VOID":
                self._ask("void", invoice_id)
                if self._dice.random() < 0.5:
                    self.announce(self._ask("regenerate", invoice_id))
            self.announce(invoice_id)
        return bool(closed)

    def _redrive_dead_letters(self) -> bool:
        """Each once, as `metronome-qbo redrive --dead-letters` does."""
        done = self._at.log.committed.get((TOPICS["deadletters"], 0), 0)
        letters = self._at.log.partitions[TOPICS["deadletters"], 0][done:]
        for letter in letters:
            topic = letter.headers[ERROR_HEADER + "topic"].decode()
            partition = int(letter.headers[ERROR_HEADER + "partition"])
            headers = {name: text for name, text in letter.headers.items() if not name.startswith(ERROR_HEADER)}
            self._at.log.append(topic, partition, letter.key, letter.value, headers)
        self._at.log.committed[TOPICS["deadletters"], 0] = done + len(letters)
        return bool(letters)

    def _send_again(self) -> bool:
        """Metronome is asked to send the webhook again of what was refused, or waits for a refused customer or item."""
        newest = self.newest_outcomes()
        refused = {key for key, outcome in newest.items() if outcome.result == "refused"}
        again = [
            subject.id
            for (realm, subject), outcome in newest.items()
            if subject.kind == "invoice" and refused & {(realm, subject), (realm, outcome.waits_for)}
        ]
        for invoice_id in again:
            self.announce(invoice_id)
        return bool(again)

    def _say(self, command: SetCustomerMapping | SetItemMapping) -> None:
        self.mapped.append(command)
        self._publish(command)

    def _publish(self, record: ConnectionChanged | SetCustomerMapping | SetItemMapping) -> None:
        partition = self._at.company_partition(record.realm)
        self._at.log.append(TOPICS[topic_of(record)], partition, record.realm.encode(), record.encode())
