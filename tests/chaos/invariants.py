"""What must hold when a run is over, read from the books, from Metronome and from the log; nothing of ours is asked.

The four counts of `make chaos` are duplicates, lost, cents off and limits broken; every other broken promise counts
as `other` and fails the run as well.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from agents.delivery import ERROR_HEADER
from agents.enrich import read_webhook
from models.commands import COMMANDS, SetCustomerMapping, subject_of
from models.document import reversal_id, reversed_id
from models.events import ConnectionChanged, InvoiceEnriched, InvoiceHandedOver
from models.ledger import LedgerEntry
from models.outcomes import Outcome
from models.quickbooks import ENTITY
from models.subject import Subject
from stream.wiring import TokenCipher

from . import poison
from .log import SLOW_SECONDS_MAX
from .mappings import customers_mapped
from .network import RUN_SECONDS_MAX
from .people import BY_HAND
from .tables import TOMBSTONE, changelog
from .worker import TOPICS
from .world import World

Count = Literal["duplicates", "lost", "cents off", "limits broken", "other"]
COUNTS: tuple[Count, ...] = ("duplicates", "lost", "cents off", "limits broken")

IDENTITY = re.compile(r"(?P<voided>Voided - )?Metronome invoice (?P<invoice_id>\S+)")
CENT = Decimal("0.01")
WINDOW_SECONDS = 61.0
"""A new owner does not know what the former one sent within the minute."""
INSTANT_SECONDS = 1e-3
UNRECORDED_SECONDS = 5.0
"""A worker that dies so soon after a refresh may not have recorded it."""

Json = dict[str, Any]
Row = TypeVar("Row", bound=BaseModel)


@dataclass(frozen=True)
class Broken:
    """An invariant that does not hold, and the invoice or company whose trace tells why."""

    count: Count
    invariant: str
    about: str
    found: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.about}: {self.found}"


@dataclass(frozen=True)
class Document:
    realm: str
    kind: str
    body: Json
    voided: bool


def broken(world: World) -> list[Broken]:
    """Everything that is wrong with this world."""
    documents = _documents(world)
    checks = (
        _once(world, documents),
        _taken_back(world, documents),
        _orphans(world, documents),
        _ledger(world, documents),
        _customers(world, documents),
        _asked_in_vain(world),
        _mapped(world),
        _outcomes(world),
        _events(world),
        _acknowledged(world),
        _stopped(world),
        _poisoned(world),
        _limits(world),
        _requestids(world),
        _connections(world),
        _secrets(world),
        _quiet(world),
    )
    return [each for check in checks for each in check]


def _quiet(world: World) -> Iterator[Broken]:
    if world.never_quiet:
        yield Broken("other", "the run becomes quiet", f"seed {world.seed}", "it never did")


def _documents(world: World) -> dict[str, list[Document]]:
    """All documents by the invoice that their note names; `""` for those that name none."""
    found: dict[str, list[Document]] = defaultdict(list)
    for realm, books in world.quickbooks.books.items():
        for kind in ("Invoice", "CreditMemo"):
            for body in books.objects[kind].values():
                named = IDENTITY.fullmatch(str(body.get("PrivateNote", "")).partition("\n")[0])
                if named is not None:
                    document = Document(realm, kind, body, voided=named["voided"] is not None)
                    found[named["invoice_id"]].append(document)
                elif body.get("PrivateNote") != BY_HAND:
                    found[""].append(Document(realm, kind, body, voided=False))
    return found


def _once(world: World, documents: dict[str, list[Document]]) -> Iterator[Broken]:
    """Every finalized billable invoice stands exactly once in its company's books, to the cent."""
    never_told = None if world.poison_heals else world.poison
    for invoice_id, invoice in world.metronome.invoices.items():
        live = [each for each in documents[invoice_id] if not each.voided]
        wanted = invoice["status"] == "FINALIZED" and invoice["billable_status"] == "billable"
        wanted = wanted and invoice_id != never_told and not _is_skipped(world, invoice)
        ids = ", ".join(f"{each.kind} {each.body['Id']}" for each in documents[invoice_id])
        if len(documents[invoice_id]) > 1:
            yield Broken("duplicates", "an invoice stands once in the books", invoice_id, f"{ids} in the books")
        elif live and not wanted and not (_stays(world, invoice) or _void_finds_nothing(world, invoice, live[0])):
            yield Broken("other", "only finalized billable invoices stand in the books", invoice_id, ids)
        elif not live and wanted and not world.people.meddled.get(invoice_id, set()) & {"delete", "void"}:
            yield Broken("lost", "every finalized billable invoice is in the books", invoice_id, ids or "nothing")
        elif live:
            yield from _exact(invoice, live[0], world.people.realms_of[invoice["customer_id"]])


def _void_finds_nothing(world: World, invoice: Json, document: Document) -> bool:
    """A void says no customer and no date: what the ledger does not know it finds by its number, if the company keeps
    that."""
    company = world.quickbooks.books[document.realm].company
    return (
        invoice["status"] == "VOID"
        and not company.custom_txn_numbers
        and _is_of_before_the_ledger(world, document, RUN_SECONDS_MAX)
    )


def _is_skipped(world: World, invoice: Json) -> bool:
    """By policy: nothing is due, or there is no line that would say so."""
    policy = world.people.policy
    empty = all(line.get("quantity") == 0 and line["total"] == 0 for line in invoice["line_items"])
    dropped = empty and policy.zero_quantity_lines == "drop"
    return _total(invoice)[0] == 0 and (policy.zero_total == "skip" or dropped)


def _stays(world: World, invoice: Json) -> bool:
    """Whether the document of a voided invoice is not voided by us: a credit memo takes it back, or a person does."""
    return invoice["status"] == "VOID" and world.people.policy.voids != "void"


def _taken_back(world: World, documents: dict[str, list[Document]]) -> Iterator[Broken]:
    """A voided invoice whose document stays is taken back once, to the cent, where policy says so; no other one is."""
    by_credit_memo = world.people.policy.voids == "credit-memo"
    for invoice_id, invoice in world.metronome.invoices.items():
        found, memos = documents.get(invoice_id, []), documents.get(reversal_id(invoice_id), [])
        live = [each for each in found if not each.voided]
        meddled = world.people.meddled.keys() & {invoice_id, reversal_id(invoice_id)}
        if len(memos) > 1:
            ids = ", ".join(f"{each.kind} {each.body['Id']}" for each in memos)
            yield Broken("duplicates", "an invoice is taken back once", invoice_id, ids)
        elif memos and not (_stays(world, invoice) and by_credit_memo):
            yield Broken("other", "only what was voided is taken back", invoice_id, memos[0].body["Id"])
        elif memos and live:
            sides = [(each.realm, each.body["CustomerRef"], each.body["CurrencyRef"]) for each in (live[0], memos[0])]
            amounts = [Decimal(each.body["TotalAmt"]) for each in (live[0], memos[0])]
            if sides[0] != sides[1] or amounts[0] != amounts[1] or live[0].kind == memos[0].kind:
                says = f"{sides[0]} {amounts[0]} by {sides[1]} {amounts[1]}"
                yield Broken("cents off", "it is taken back to the cent", invoice_id, says)
        elif memos and not meddled:
            yield Broken("other", "only what stands is taken back", invoice_id, memos[0].body["Id"])
        elif live and by_credit_memo and invoice["status"] == "VOID" and not meddled:
            if _void_finds_nothing(world, invoice, live[0]):
                continue
            yield Broken("lost", "a voided invoice is taken back", invoice_id, live[0].body["Id"])
        if len(found) > len(live) and world.people.policy.voids != "void" and not meddled:
            yield Broken("other", "by policy no document is voided", invoice_id, found[0].body["Id"])


def _total(invoice: Json) -> tuple[Decimal, str]:
    """To the cent, and its currency."""
    unit: str = invoice["credit_type"]["name"]
    per_major, currency = (100, unit.removesuffix(" (cents)")) if unit.endswith(" (cents)") else (1, unit)
    return (Decimal(invoice["total"]) / per_major).quantize(CENT, ROUND_HALF_UP), currency


def _exact(invoice: Json, document: Document, realms: set[str]) -> Iterator[Broken]:
    total, currency = _total(invoice)
    signed = Decimal(document.body["TotalAmt"]) * (-1 if document.kind == "CreditMemo" else 1)
    if signed != total or document.body["CurrencyRef"]["value"] != currency:
        found = f"{signed} {document.body['CurrencyRef']['value']} in the books, {total} {currency} in Metronome"
        yield Broken("cents off", "totals agree to the cent", invoice["id"], found)
    if document.realm not in realms:
        yield Broken("other", "an invoice is in its own company's books", invoice["id"], document.realm)


def _orphans(world: World, documents: dict[str, list[Document]]) -> Iterator[Broken]:
    for invoice_id, found in documents.items():
        if (reversed_id(invoice_id) or invoice_id) not in world.metronome.invoices:
            for each in found:
                yield Broken("other", "no orphan document", invoice_id or each.realm, f"{each.kind} {each.body['Id']}")


def _ledger(world: World, documents: dict[str, list[Document]]) -> Iterator[Broken]:
    """The table folded from its changelog says of each invoice what the books say, unless people changed them since. A
    ledger that began anew need not know what was posted before, until somebody asks."""
    entries = {(entry.realm, entry.invoice_id): entry for entry in _rows(world, "invoices", LedgerEntry)}
    for invoice_id, found in documents.items():
        original = reversed_id(invoice_id) or invoice_id
        if original not in world.metronome.invoices or len(found) != 1 or invoice_id in world.people.meddled:
            continue
        [document] = found
        if _void_finds_nothing(world, world.metronome.invoices[original], document):
            continue
        entry = entries.get((document.realm, invoice_id))
        if entry is None:
            if not _is_of_before_the_ledger(world, document):
                yield Broken("other", "the ledger equals the books", invoice_id, "the ledger does not know it")
            continue
        if entry.state == "voided" and entry.qbo_id is None and _is_of_before_the_ledger(world, document):
            continue  # the credit memo was found, and with it that this one is taken back
        ours = (entry.qbo_id, entry.sync_token, entry.total, entry.currency, entry.state == "voided", entry.attempt)
        body = document.body
        theirs = (body["Id"], body["SyncToken"], Decimal(body["TotalAmt"]), body["CurrencyRef"]["value"])
        reversal = reversal_id(invoice_id)
        closed = document.voided or reversal in documents or "delete" in world.people.meddled.get(reversal, ())
        if ours != (*theirs, closed, None):
            says = f"the ledger says {entry.state} {ours}, the books {(*theirs, closed)}"
            yield Broken("other", "the ledger equals the books", invoice_id, says)
    for (realm, invoice_id), entry in entries.items():
        stands = any(each.realm == realm for each in documents.get(invoice_id, ()))
        if entry.in_books and not stands and invoice_id not in world.people.meddled:
            yield Broken("other", "the ledger equals the books", invoice_id, f"{entry.state}, but not in the books")


def _is_of_before_the_ledger(world: World, document: Document, late_seconds: float = 0.0) -> bool:
    """`late_seconds`: how long after its sender's end it may have come."""
    made_at = datetime.fromisoformat(document.body["MetaData"]["CreateTime"]).timestamp()
    return world.forgot_at is not None and made_at <= world.forgot_at + late_seconds


def _customers(world: World, documents: dict[str, list[Document]]) -> Iterator[Broken]:
    """A Metronome customer is one QuickBooks customer in its currency, no two are the same, none is made twice."""
    ids: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    said = [command for _, command in customers_mapped(world.log)]
    if world.renewed_at is not None:  # what lay in the former log is not there any more
        said = [each for each in world.people.mapped if isinstance(each, SetCustomerMapping)] + said
    # Who was said to be another one: the former may be somebody else from then on.
    mapped = {(each.realm, each.customer_id): each.qbo_id for each in said}
    for invoice_id, found in documents.items():
        invoice = world.metronome.invoices.get(reversed_id(invoice_id) or invoice_id)
        for each in found if invoice is not None else ():
            assert invoice is not None
            qbo_id = each.body["CustomerRef"]["value"]
            ids[each.realm, invoice["customer_id"], each.body["CurrencyRef"]["value"]].add(qbo_id)
            if mapped.get((each.realm, invoice["customer_id"]), qbo_id) == qbo_id:
                owners[each.realm, qbo_id].add(invoice["customer_id"])
    by_hand = {(each.realm, each.customer_id.partition("/")[0], each.qbo_id) for each in said}
    forgotten = {(realm, customer_id) for realm, customer_id, _ in by_hand if world.forgot_at is not None}
    for (realm, customer_id, _), billed in ids.items():
        others = [each for each in billed if (realm, customer_id, each) not in by_hand]
        if len(others) > 1 and (realm, customer_id) not in forgotten:  # what a person said, a lost ledger forgets
            yield Broken("other", "a customer is one customer in QuickBooks", f"{realm} {customer_id}", str(billed))
    for (realm, qbo_id), customers in owners.items():
        if len(customers) > 1 and not (world.forgot_at is not None and _of_one_name(world, customers)):
            yield Broken("other", "no two customers are one in QuickBooks", f"{realm} {qbo_id}", str(customers))
    for realm, books in world.quickbooks.books.items():
        noted = Counter(
            (entry["Notes"], entry["CurrencyRef"]["value"])
            for entry in books.objects["Customer"].values()
            if entry.get("Notes")
        )
        for (notes, currency), count in noted.items():
            if count > 1:
                yield Broken("duplicates", "customers and items are created once", realm, f"{notes} in {currency}")
        for kind, name in (("Customer", "DisplayName"), ("Item", "Name")):
            counted = Counter(str(entry[name]).casefold() for entry in books.objects[kind].values())
            for twice in (each for each, count in counted.items() if count > 1):
                yield Broken("duplicates", "customers and items are created once", realm, f"{kind} {twice}")


def _of_one_name(world: World, customers: set[str]) -> bool:
    """Which of them QuickBooks' customer of that name is, a lost ledger knew: whoever came first."""
    return len({" ".join(world.metronome.store.find("customer", each)["name"].split()) for each in customers}) == 1


def _asked_in_vain(world: World) -> Iterator[Broken]:
    """Nobody is asked who a customer is that we made ourselves before."""
    ours: dict[tuple[str, str], datetime] = {}
    for realm, books in world.quickbooks.books.items():
        for customer in books.objects["Customer"].values():
            note = re.fullmatch(r"Metronome customer (\S+)", str(customer.get("Notes", "")))
            if note is not None:
                ours[realm, note[1]] = datetime.fromisoformat(customer["MetaData"]["CreateTime"])
    for _, stored in world.log.records(TOPICS["outcomes"]):
        told = Outcome.model_validate_json(stored.value)
        made_at = ours.get((told.realm, told.subject.id)) if told.command_type == "EnsureCustomer" else None
        if told.result == "parked" and told.waits_for == told.subject and made_at and made_at < told.finished_at:
            yield Broken("other", "nobody is asked about a customer of ours", told.subject.id, str(told.reason))


def _mapped(world: World) -> Iterator[Broken]:
    """What a person said of a customer counts from then on: nobody is asked any more, and documents that are written
    are made out to that one."""
    mapped = {(each.realm, each.customer_id): (at, each.qbo_id) for at, each in customers_mapped(world.log)}
    customers = {invoice_id: invoice["customer_id"] for invoice_id, invoice in world.metronome.invoices.items()}
    written: dict[tuple[str, str], Outcome] = {}
    for _, stored in world.log.records(TOPICS["outcomes"]):
        told = Outcome.model_validate_json(stored.value)
        at, _ = mapped.get((told.realm, customers.get(told.subject.id, told.subject.id)), (None, ""))
        if at is None or told.command.offset < at.offset:
            continue
        if told.finished_at.timestamp() < (world.renewed_at or 0.0):
            continue  # its command lay in a topic that is gone
        if told.command_type == "EnsureCustomer" and told.waits_for == told.subject:
            yield Broken("other", "nobody is asked about a customer that was mapped", told.subject.id, str(told.reason))
        if told.result in ("posted", "updated") and not told.adopted and told.qbo_id and told.kind:
            written[told.realm, told.subject.id] = told
    if world.people.policy.customer_currency == "per-currency":
        return  # a further customer of the document's currency goes before what a person said of the main one
    for (realm, invoice_id), told in written.items():
        body = world.quickbooks.books[realm].objects[ENTITY[str(told.kind)]].get(str(told.qbo_id))
        _, wanted = mapped[realm, customers[invoice_id]]
        if body is None or _is_of_before_the_ledger(world, Document(realm, "Invoice", body, voided=False)):
            continue  # it was found, and not written
        if body["CustomerRef"]["value"] != wanted:
            found = f"{told.kind} {told.qbo_id} is made out to {body['CustomerRef']['value']}, and not to {wanted}"
            yield Broken("other", "what a person said of a customer counts", invoice_id, found)


def _outcomes(world: World) -> Iterator[Broken]:
    """Each command has an outcome, and all outcomes of an invoice speak of one document."""
    told: dict[str, list[Outcome]] = defaultdict(list)
    ids: dict[tuple[str, Subject], set[str]] = defaultdict(set)
    for _, stored in world.log.records(TOPICS["outcomes"]):
        outcome = Outcome.model_validate_json(stored.value)
        told[str(outcome.command)].append(outcome)
        if outcome.qbo_id is not None and outcome.subject.kind == "invoice":
            ids[outcome.realm, outcome.subject].add(outcome.qbo_id)
    for at, stored in world.log.records(TOPICS["commands"]):
        if not told[str(at)]:
            subject = subject_of(COMMANDS.validate_json(stored.value))
            yield Broken("lost", "each command has an outcome", subject.id, f"{subject} {at} has none")
    for (_, about), named in ids.items():
        if len(named) > 1 and "delete" not in world.people.meddled.get(about.id, set()):
            says = f"documents {sorted(named)}"
            yield Broken("other", "the outcomes of an invoice agree", about.id, says)


def _events(world: World) -> Iterator[Broken]:
    """Each webhook became facts, or was put off to another record; all facts became commands, and no handler broke.
    What lay in a topic that is gone is not looked for."""
    facts = [
        (at, InvoiceEnriched.model_validate_json(stored.value)) for at, stored in world.log.records(TOPICS["invoices"])
    ]
    done = poison.webhooks_passed_on(world.log)
    never_told = None if world.poison_heals else world.poison
    for _, stored in world.log.records(TOPICS["deadletters"]):
        said = {name.removeprefix(ERROR_HEADER): text.decode() for name, text in stored.headers.items()}
        done.add(f"{said['topic']}[{said['partition']}]@{said['offset']}")
        found = f"{said['exception.class.name']}: {said['exception.message']}"
        yield Broken("other", "no handler breaks", (stored.key or b"").decode(), f"{said['topic']}: {found}")
    for at, stored in world.log.records(TOPICS["webhooks"]):
        if stored.seconds < (world.renewed_at or 0.0):
            continue
        if str(at) in done or poison.is_about(stored.value, never_told):
            continue
        if not isinstance(read_webhook(stored.value), InvoiceHandedOver):
            yield Broken("lost", "each webhook becomes facts", (stored.key or b"").decode(), str(at))
    decided = {str(COMMANDS.validate_json(stored.value).facts) for _, stored in world.log.records(TOPICS["commands"])}
    for at, enriched in facts:
        if str(at) not in decided and world.log.at(at).seconds >= (world.renewed_at or 0.0):
            yield Broken("lost", "all facts become commands", enriched.invoice_id, str(at))


def _acknowledged(world: World) -> Iterator[Broken]:
    """What a record changed in the tables is in their changelogs before it is acknowledged."""
    for at in world.log.too_early:
        yield Broken("other", "no acknowledged record is ahead of the tables", str(at), "changes were not confirmed")


def _stopped(world: World) -> Iterator[Broken]:
    """An invoice that Metronome does not answer stops no other."""
    for invoice_id in world.stopped:
        yield Broken("other", "one that waits stops no other", invoice_id, f"no facts while {world.poison} waited")


def _poisoned(world: World) -> Iterator[Broken]:
    """One that Metronome never answers is asked for less and less often."""
    if world.poison is not None and not world.poison_heals:
        webhooks, _ = poison.waiting(world.log, world.poison)
        if not webhooks and world.network.asked_for_poisoned:
            yield Broken("lost", "one that waits is tried again", world.poison, "no webhook of it waits any more")
        if found := poison.asked_too_often(world.network.asked_for_poisoned, world.poisoned_hour, len(webhooks)):
            yield Broken("other", "one that waits is asked for ever more seldom", world.poison, found)


def _limits(world: World) -> Iterator[Broken]:
    """QuickBooks never says 429 by itself, and a company that did is left alone for its minute."""
    for seconds, realm in world.network.throttled:
        if not any(0 <= seconds - change <= WINDOW_SECONDS for change in world.cluster.owner_changes):
            yield Broken("limits broken", "QuickBooks' limits are kept", realm, f"429 after {seconds:.3f} s")
    for seconds, realm in world.network.impatient:
        yield Broken("limits broken", "a company rests after a 429", realm, f"asked after {seconds:.3f} s")


def _requestids(world: World) -> Iterator[Broken]:
    for seconds, realm in world.network.renamed:
        yield Broken("other", "a repeated write keeps its requestid", realm, f"not after {seconds:.3f} s")
    for seconds, document in world.network.overlapping:
        yield Broken("other", "one write of a document at a time", document, f"two after {seconds:.3f} s")


def _connections(world: World) -> Iterator[Broken]:
    """One refresh at a time; a company needs a person only when the answer with its new token was lost."""
    for seconds, worker in world.network.raced:
        yield Broken("other", "one refresh at a time", worker, f"two after {seconds:.3f} s")
    cipher = TokenCipher([world.installation.key])
    for at, stored in world.log.records(TOPICS["connections"]):
        change = ConnectionChanged.model_validate_json(stored.value)
        if change.state == "reconnect needed" and not _was_lost(world, cipher.decrypt(change.refresh_token or "")):
            yield Broken("other", "no refresh token is lost by us", change.realm, str(at))


def _was_lost(world: World, refused: str) -> bool:
    """Whether any newer token of the same consent was lost on its way, or with a worker that died on receiving it, or
    stood still: nobody else can know of it. Or an older one came out of the hands of a worker that had stood still."""
    [family] = [
        {grant.refresh_token, *grant.former}
        for grants in world.people.grants.values()
        for grant in grants
        if refused in (grant.refresh_token, *grant.former)
    ]
    if any(world.network.token_answers_lost[token] for token in family):
        return True
    for left, answered, worker, token in world.network.refreshed:
        if token not in family:
            continue
        if any(0 <= killed - answered <= UNRECORDED_SECONDS and dead == worker for killed, dead in world.cluster.kills):
            return True
        stops = [since for since, _, name in world.cluster.stops if name == worker and left <= since]
        if any(since <= answered + UNRECORDED_SECONDS and not _published(world, left, since) for since in stops):
            return True
    return _came_late(world, family)


def _published(world: World, since: float, until: float) -> bool:
    """Whether any tokens came into the topic then, so that whoever reads it knows them."""
    return any(
        since <= stored.seconds - world.installation.start <= until
        for _, stored in world.log.records(TOPICS["connections"])
    )


def _came_late(world: World, family: set[str]) -> bool:
    """Whether a worker sent a row to the changelog, stood still, and the broker had it only when that went on: then it
    lies over the row of its successor, and no worker can have known."""
    cipher = TokenCipher([world.installation.key])
    newest: dict[str, datetime] = {}
    for _, stored in world.log.records(changelog("connections")):
        row = None if stored.value == TOMBSTONE else ConnectionChanged.model_validate_json(stored.value)
        if row is None or row.refresh_token is None:
            continue  # a claim
        if row.changed_at < newest.get(row.realm, row.changed_at) and cipher.decrypt(row.refresh_token) in family:
            seconds = stored.seconds - world.installation.start
            if any(-INSTANT_SECONDS <= seconds - until <= SLOW_SECONDS_MAX for _, until, _ in world.cluster.stops):
                return True
        newest[row.realm] = row.changed_at
    return False


def _secrets(world: World) -> Iterator[Broken]:
    secrets = {*world.installation.client[1:], world.installation.metronome_token}
    secrets.add(world.installation.key.get_secret_value())
    for grant in (grant for grants in world.people.grants.values() for grant in grants):
        secrets |= {grant.refresh_token, *grant.former, *grant.access_tokens}
    everything = b"\n".join(
        b"\n".join((stored.key or b"", stored.value, *stored.headers.values()))
        for records in world.log.partitions.values()
        for stored in records
    )
    for secret in sorted(secrets):
        if secret.encode() in everything:
            yield Broken("other", "no secret lies in the log", f"seed {world.seed}", f"{secret[:12]}…")


def _rows(world: World, table: str, model: type[Row]) -> list[Row]:
    """The rows of a table, folded from its changelog."""
    newest = {stored.key: stored.value for _, stored in world.log.records(changelog(table))}
    return [model.model_validate_json(value) for value in newest.values() if value != TOMBSTONE]
