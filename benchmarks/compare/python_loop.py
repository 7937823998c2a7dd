"""python-quickbooks as a careful person would use it: find the customer and the items by name, create, log, go on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from intuitlib.client import AuthClient
from quickbooks import QuickBooks
from quickbooks.objects import Customer, Invoice, Item
from quickbooks.objects.base import Ref
from quickbooks.objects.detailline import SalesItemLine, SalesItemLineDetail

Json = dict[str, Any]
CENT = Decimal("0.01")


def post_all(addresses: Json, bills: Sequence[Json], *, with_request_id: bool) -> dict[str, str | None]:
    """What went wrong with each invoice, None when nothing did. A new client begins with a new access token."""
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the simulator is plain HTTP on this machine
    with AuthClient(
        addresses["client_id"],
        addresses["client_secret"],
        "http://localhost/callback",
        addresses["quickbooks_url"] + "/.well-known/openid_configuration",
    ) as auth:
        client = QuickBooks(
            auth_client=auth,
            refresh_token=addresses["refresh_token"],
            company_id=addresses["realm_id"],
            minorversion=75,
            use_decimal=True,
        )
        client.sandbox, client.sandbox_api_url_v3 = True, addresses["quickbooks_url"] + "/v3"
        try:
            return _post_each(client, bills, with_request_id)
        finally:
            client.session.close()


def _post_each(client: QuickBooks, bills: Sequence[Json], with_request_id: bool) -> dict[str, str | None]:
    known: dict[tuple[type, str], Ref] = {}
    reports: dict[str, str | None] = {}
    for bill in bills:
        try:
            invoice = _invoice(client, bill, known)
            invoice.save(qb=client, request_id=bill["id"] if with_request_id else None)
        except Exception as trouble:  # whatever it is: log it and go on
            reports[bill["id"]] = f"{type(trouble).__name__}: {trouble}"
        else:
            reports[bill["id"]] = None
    return reports


def _invoice(client: QuickBooks, bill: Json, known: dict[tuple[type, str], Ref]) -> Invoice:
    invoice = Invoice()
    invoice.CustomerRef = _found(client, Customer, "DisplayName", bill["customer"], known)
    invoice.CurrencyRef = Ref()
    invoice.CurrencyRef.value = bill["currency"]
    invoice.DocNumber, invoice.TxnDate, invoice.PrivateNote = bill["doc_number"], bill["date"], bill["note"]
    for each in bill["lines"]:
        line = SalesItemLine()
        line.Amount = Decimal(each["amount"]).quantize(CENT, ROUND_HALF_UP)
        line.Description = each["description"]
        line.SalesItemLineDetail = SalesItemLineDetail()
        line.SalesItemLineDetail.ItemRef = _found(client, Item, "Name", each["item"], known)
        line.SalesItemLineDetail.Qty = line.SalesItemLineDetail.UnitPrice = None
        invoice.Line.append(line)
    return invoice


def _found(client: QuickBooks, kind: type, field: str, name: str, known: dict[tuple[type, str], Ref]) -> Ref:
    """Asked for once. Raises LookupError when there is no such name."""
    if (kind, name) not in known:
        found = kind.filter(**{field: name}, qb=client)  # type: ignore[attr-defined]
        if not found:
            raise LookupError(f"there is no {kind.__name__} {name}")
        known[kind, name] = found[0].to_ref()
    return known[kind, name]
