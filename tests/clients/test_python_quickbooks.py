"""python-quickbooks, a client that thousands use, lives with the simulated books as it would with Intuit's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from intuitlib.client import AuthClient
from quickbooks import QuickBooks
from quickbooks.batch import batch_create, batch_delete, batch_update
from quickbooks.cdc import change_data_capture
from quickbooks.exceptions import (
    AuthorizationException,
    ObjectNotFoundException,
    QuickbooksException,
    ValidationException,
)
from quickbooks.objects import Account, Class, CompanyInfo, CreditMemo, Customer, Invoice, Item, Term
from quickbooks.objects.base import EmailAddress
from quickbooks.objects.detailline import SalesItemLine, SalesItemLineDetail
from quickbooks.objects.exchangerate import ExchangeRate
from quickbooks.objects.preferences import Preferences

from simulators.server import Sandbox
from tests.clients.servers import Clock

pytestmark = pytest.mark.clients


@contextmanager
def connected(sandbox: Sandbox) -> Iterator[QuickBooks]:
    """The client with a session; building it refreshes the token, as its users do."""
    addresses = sandbox.addresses
    grant = sandbox.oauth.connect(addresses.realm_id)
    with AuthClient(
        addresses.client_id,
        addresses.client_secret,
        "http://localhost/callback",
        addresses.quickbooks_url + "/.well-known/openid_configuration",
    ) as auth:
        client = QuickBooks(
            auth_client=auth,
            refresh_token=grant.refresh_token,
            company_id=addresses.realm_id,
            minorversion=75,
            use_decimal=True,
        )
        client.sandbox = True
        client.sandbox_api_url_v3 = addresses.quickbooks_url + "/v3"
        try:
            yield client
        finally:
            client.session.close()


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> Iterator[QuickBooks]:
    with connected(sandbox) as made:
        yield made


def customer(name: str) -> Customer:
    made = Customer()
    made.DisplayName = name
    return made


@pytest.fixture(scope="module")
def payer(client: QuickBooks) -> Customer:
    return customer("O'Neill & Söhne").save(qb=client)


@pytest.fixture(scope="module")
def item(client: QuickBooks) -> Item:
    made = Item()
    made.Name, made.Type = "Hours at the bench", "Service"
    made.IncomeAccountRef = Account.filter(Name="Services", qb=client)[0].to_ref()
    return made.save(qb=client)


def line(item: Item, amount: str, quantity: str | None = None, unit_price: str | None = None) -> SalesItemLine:
    made = SalesItemLine()
    made.Amount = Decimal(amount)
    made.SalesItemLineDetail = SalesItemLineDetail()
    made.SalesItemLineDetail.ItemRef = item.to_ref()
    made.SalesItemLineDetail.Qty = quantity and Decimal(quantity)
    made.SalesItemLineDetail.UnitPrice = unit_price and Decimal(unit_price)
    return made


def invoice(payer: Customer, *lines: SalesItemLine, **fields: Any) -> Invoice:
    made = Invoice()
    made.CustomerRef, made.Line = payer.to_ref(), list(lines)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_the_company_and_its_preferences_are_read(client: QuickBooks) -> None:
    assert CompanyInfo.get(client.company_id, qb=client).CompanyName == "Sandbox Company US"
    assert Preferences.get(qb=client).SalesFormsPrefs.CustomTxnNumbers is True


def test_a_customer_with_an_apostrophe_is_found_and_one_that_is_not_there_is_not(
    client: QuickBooks, payer: Customer
) -> None:
    assert payer.SyncToken == "0"
    assert [each.Id for each in Customer.filter(DisplayName="O'Neill & Söhne", qb=client)] == [payer.Id]
    assert [each.Id for each in Customer.choose(["O'Neill & Söhne"], field="DisplayName", qb=client)] == [payer.Id]
    assert Customer.filter(DisplayName="Nobody's", qb=client) == []


def test_a_name_is_given_once(client: QuickBooks, payer: Customer) -> None:
    with pytest.raises(QuickbooksException) as refused:
        customer(payer.DisplayName).save(qb=client)
    assert refused.value.error_code == 6240
    assert payer.Id not in refused.value.detail


def test_items_are_read_with_the_column_that_this_client_asks_for_besides(client: QuickBooks, item: Item) -> None:
    """`SELECT *, Sku FROM Item`: the one projection that every user of this client depends on."""
    assert item.Id in {each.Id for each in Item.all(qb=client)}


def test_lists_come_in_pages_in_the_order_asked_for(client: QuickBooks) -> None:
    ids = [each.Id for each in Customer.where(order_by="Id", max_results=1000, qb=client)]
    pages = [
        each.Id
        for start in range(1, len(ids) + 1, 2)
        for each in Customer.where(order_by="Id", start_position=start, max_results=2, qb=client)
    ]
    assert pages == ids
    assert Customer.count(qb=client) == len(ids)
    assert {"Net 15": 15, "Net 30": 30}.items() <= {each.Name: each.DueDays for each in Term.all(qb=client)}.items()


def test_an_invoice_is_created_read_and_changed(client: QuickBooks, payer: Customer, item: Item) -> None:
    lines = (line(item, "7599.42", "140.73", "54.00"), line(item, "1861.08", "128.350", "14.50"))
    made = invoice(payer, *lines, DocNumber="PQ-1", TxnDate="2026-10-31").save(qb=client)
    read = Invoice.get(made.Id, qb=client)
    assert (read.DocNumber, read.TxnDate, read.TotalAmt) == ("PQ-1", "2026-10-31", Decimal("9460.5"))
    assert [each.DetailType for each in read.Line] == ["SalesItemLineDetail"] * 2 + ["SubTotalLineDetail"]
    read.PrivateNote = "seen"
    changed = read.save(qb=client)
    assert (changed.PrivateNote, changed.SyncToken, changed.TotalAmt) == ("seen", "1", read.TotalAmt)


def test_a_stale_copy_cannot_be_written(client: QuickBooks, payer: Customer, item: Item) -> None:
    made = invoice(payer, line(item, "10", "1", "10")).save(qb=client)
    first, second = (Invoice.get(made.Id, qb=client) for _ in range(2))
    first.PrivateNote, second.PrivateNote = "first", "second"
    first.save(qb=client)
    with pytest.raises(QuickbooksException) as refused:
        second.save(qb=client)
    assert refused.value.error_code == 5010


def test_factors_of_zero_beside_an_amount_count_as_left_out(client: QuickBooks, payer: Customer, item: Item) -> None:
    """This client writes both as 0 unless told otherwise; its own integration tests expect Intuit to take that."""
    made = invoice(payer, line(item, "100", "0", "0")).save(qb=client)
    assert Invoice.get(made.Id, qb=client).Line[0].Amount == 100


@pytest.mark.parametrize("amount", ["1861.07", "1861.09"])
def test_an_amount_that_is_not_the_rounded_product_is_refused(
    client: QuickBooks, payer: Customer, item: Item, amount: str
) -> None:
    with pytest.raises(QuickbooksException) as refused:
        invoice(payer, line(item, amount, "128.350", "14.50")).save(qb=client)
    assert refused.value.error_code == 6070


def test_a_number_is_taken_once_and_the_refusal_names_its_holder(
    client: QuickBooks, payer: Customer, item: Item
) -> None:
    holder = invoice(payer, line(item, "10"), DocNumber="PQ-TWICE").save(qb=client)
    twice = invoice(payer, line(item, "10"), DocNumber="PQ-TWICE")
    with pytest.raises(QuickbooksException) as refused:
        twice.save(qb=client)
    assert refused.value.error_code == 6140
    assert refused.value.detail.endswith(f"TxnType=Invoice with TxnId={holder.Id}")
    assert twice.save(qb=client, params={"include": "allowduplicatedocnum"}).DocNumber == "PQ-TWICE"


def test_the_same_request_id_gives_the_same_invoice(client: QuickBooks, payer: Customer, item: Item) -> None:
    before = Invoice.count(qb=client)
    twice = [invoice(payer, line(item, "10")).save(qb=client, request_id="pq-once") for _ in range(2)]
    assert twice[0].Id == twice[1].Id
    assert Invoice.count(qb=client) == before + 1


def test_an_unknown_property_is_refused(client: QuickBooks, payer: Customer, item: Item) -> None:
    with pytest.raises(ValidationException) as refused:
        invoice(payer, line(item, "10"), Colour="red").save(qb=client)
    assert refused.value.error_code == 2010
    assert "Colour" in refused.value.detail


def test_a_voided_invoice_stays_at_nothing(client: QuickBooks, payer: Customer, item: Item) -> None:
    made = invoice(payer, line(item, "10"), PrivateNote="once").save(qb=client)
    made.void(qb=client)
    read = Invoice.get(made.Id, qb=client)
    assert (read.TotalAmt, read.Balance, read.SyncToken) == (0, 0, "1")
    assert read.PrivateNote.startswith("Voided")


def test_a_deleted_invoice_is_gone(client: QuickBooks, payer: Customer, item: Item) -> None:
    made = invoice(payer, line(item, "10")).save(qb=client)
    assert made.delete(qb=client)["Invoice"]["status"] == "Deleted"
    with pytest.raises(ObjectNotFoundException):
        Invoice.get(made.Id, qb=client)


def test_a_credit_memo_takes_back_what_an_invoice_may_not(client: QuickBooks, payer: Customer, item: Item) -> None:
    with pytest.raises(QuickbooksException) as refused:
        invoice(payer, line(item, "-10")).save(qb=client)
    assert refused.value.error_code == 6000
    memo = CreditMemo()
    memo.CustomerRef, memo.Line = payer.to_ref(), [line(item, "10")]
    made = memo.save(qb=client)
    assert (made.TotalAmt, made.RemainingCredit) == (10, 10)


def test_an_inactive_customer_hides_and_cannot_be_invoiced(client: QuickBooks, item: Item) -> None:
    gone = customer("Gone & Co").save(qb=client)
    gone.Active = False
    gone = gone.save(qb=client)
    where = f"Id = '{gone.Id}'"
    assert Customer.where(where, qb=client) == []
    assert len(Customer.where(f"{where} AND Active IN (true, false)", qb=client)) == 1
    with pytest.raises(QuickbooksException) as refused:
        invoice(gone, line(item, "10")).save(qb=client)
    assert refused.value.error_code in (610, 2500)  # both were seen


def test_a_bad_query_is_refused(client: QuickBooks) -> None:
    for select, code in (("SELECT * FROM Dog", 4001), ("SELECT * FORM Customer", 4000)):
        with pytest.raises(ValidationException) as refused:
            Customer.query(select, qb=client)
        assert refused.value.error_code == code


def test_a_batch_answers_item_by_item(client: QuickBooks, payer: Customer) -> None:
    names = ("Batch One", payer.DisplayName, "Batch Two")
    answered = batch_create([customer(each) for each in names], qb=client)
    assert [each.DisplayName for each in answered.successes] == ["Batch One", "Batch Two"]
    assert [(each.original_object.DisplayName, each.Error[0].code) for each in answered.faults] == [
        (payer.DisplayName, "6240")
    ]
    for each in answered.successes:
        each.CompanyName = "Batch"
    changed = batch_update(answered.successes, qb=client)
    assert [(each.CompanyName, each.SyncToken) for each in changed.successes] == [("Batch", "1")] * 2


def test_a_batch_deletes_and_a_batch_of_more_than_thirty_goes_in_two(
    client: QuickBooks, payer: Customer, item: Item
) -> None:
    answered = batch_create([invoice(payer, line(item, f"{number}.5")) for number in range(1, 32)], qb=client)
    assert [each.TotalAmt for each in answered.successes] == [Decimal(f"{number}.5") for number in range(1, 32)]
    removed = batch_delete(answered.successes[:2], qb=client)
    assert (len(removed.successes), removed.faults) == (2, [])
    with pytest.raises(ObjectNotFoundException):
        Invoice.get(answered.successes[0].Id, qb=client)


def test_changes_since_a_moment_tell_what_is_new_and_what_is_deleted(
    client: QuickBooks, payer: Customer, item: Item, clock: Clock
) -> None:
    """Moments are given as text: of a datetime this client leaves out the offset."""
    with clock.later(60):
        since = moment(clock() - 30)
        kept, removed = (invoice(payer, line(item, "10")).save(qb=client) for _ in range(2))
        removed.delete(qb=client)
        changes = change_data_capture([Invoice, Customer], since, qb=client)
        nothing = change_data_capture([Invoice], moment(clock() + 30), qb=client)
    assert {each.Id: getattr(each, "status", "") for each in changes.Invoice} == {kept.Id: "", removed.Id: "Deleted"}
    assert not hasattr(nothing, "Invoice")


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def test_an_invoice_is_sent_and_printed(client: QuickBooks, payer: Customer, item: Item) -> None:
    made = invoice(payer, line(item, "10")).save(qb=client)
    assert made.download_pdf(qb=client).startswith(b"%PDF-")
    made.send(qb=client, send_to="books@example.com")
    read = Invoice.get(made.Id, qb=client)
    assert (read.EmailStatus, read.BillEmail.Address, read.SyncToken) == ("EmailSent", "books@example.com", "1")


def test_an_e_mail_to_be_sent_needs_an_address(client: QuickBooks, payer: Customer, item: Item) -> None:
    made = invoice(payer, line(item, "10"), EmailStatus="NeedToSend")
    with pytest.raises(QuickbooksException):
        made.save(qb=client)
    made.BillEmail = EmailAddress()
    made.BillEmail.Address = "books@example.com"
    assert made.save(qb=client).BillEmail.Address == "books@example.com"


def test_a_class_and_an_exchange_rate_are_kept(client: QuickBooks) -> None:
    made = Class()
    made.Name = "North"
    assert Class.get(made.save(qb=client).Id, qb=client).FullyQualifiedName == "North"
    rate = ExchangeRate()
    rate.SourceCurrencyCode, rate.TargetCurrencyCode, rate.AsOfDate = "EUR", "USD", "2026-10-31"
    rate.Rate = Decimal("1.0825")
    kept = rate.save(qb=client)
    assert (kept.SourceCurrencyCode, kept.Rate) == ("EUR", Decimal("1.0825"))


def test_a_throttled_call_answers_in_xml_which_this_client_cannot_read(narrow: Sandbox) -> None:
    """docs/vendors/quickbooks.md §5.3: its users know the message."""
    with connected(narrow) as client:
        Term.all(qb=client)
        with pytest.raises(QuickbooksException, match=r"(?s)Error reading json response.*ThrottleExceeded") as refused:
            Term.all(qb=client)
    assert 'code="3001"' in str(refused.value)


def test_an_expired_token_and_a_foreign_company_are_refused(client: QuickBooks, sandbox: Sandbox, clock: Clock) -> None:
    with connected(sandbox) as other:
        other.company_id = "1"
        with pytest.raises(QuickbooksException, match="003100"):
            Term.all(qb=other)
        other.company_id = client.company_id
        assert Term.all(qb=other)
        with clock.later(3601), pytest.raises(AuthorizationException) as refused:
            Term.all(qb=other)
        assert "Token expired" in refused.value.detail
