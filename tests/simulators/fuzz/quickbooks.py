"""The grammar of requests to QuickBooks: mostly meaningful, so that the books fill; ids and tokens are small numbers,
so that requests meet the objects that the books began with and those of earlier requests."""

from __future__ import annotations

import base64
import gzip
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from simulators.http import Json, Request
from tests.simulators.companies import REALM
from tests.simulators.fuzz.bodies import BOMB, odd_values, texts_of


def mostly(usual: list[Any], *rare: Any) -> st.SearchStrategy[Any]:
    """One of the usual values, and one of the rare ones about once in ten times."""
    times = max(1, 9 * len(rare) // len(usual))
    return st.sampled_from([*(usual * times), *rare])


def numbered(prefix: str) -> list[str]:
    return [f"{prefix} {number}" for number in range(30)]


ids = mostly(list("1234567"), "8", "9")
references = mostly([{"value": "1"}, {"value": "2"}], *({"value": str(number)} for number in range(3, 10)))
tokens = mostly(["0"], "1", "2")
amounts = mostly([0, 1, 12, "7.25", Decimal("99.99")], -5, Decimal("0.0000001"), 10**11, Decimal("0.005"), "1e3")
names = mostly(numbered("Name"), "Ada", "ada", "Ada ", "Bob's", "Zoë & Co", "Amy's Bird Sanctuary", "x" * 501, "a:b")
dates = mostly(["2026-11-01", "2024-02-29"], "9999-12-31", "0001-01-01", "2026-11-22T10:00:00-07:00", "2026-02-30")
notes = st.one_of(mostly(["", "as agreed"], "x" * 4001, "\t\n"), st.text(max_size=20))


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=fields)


def joined(*parts: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.tuples(*parts).map(lambda each: {name: value for part in each for name, value in part.items()})


items = joined(
    st.fixed_dictionaries({"ItemRef": references}),
    st.one_of(optional(Qty=amounts), optional(Qty=amounts, UnitPrice=amounts)),
    optional(
        ServiceDate=dates, ClassRef=references,
        TaxCodeRef=mostly(["TAX", "NON"], "2", "3", "banana").map(lambda code: {"value": code}),
    ),
)  # fmt: skip
lines = st.one_of(
    st.fixed_dictionaries(
        {"DetailType": st.just("SalesItemLineDetail"), "SalesItemLineDetail": items, "Amount": amounts},
        optional={"Description": notes},
    ),
    st.fixed_dictionaries({"DetailType": st.just("SalesItemLineDetail"), "SalesItemLineDetail": items}),
    st.fixed_dictionaries({"DetailType": st.just("DescriptionOnly"), "Description": notes}),
    st.fixed_dictionaries(
        {"DetailType": st.just("DiscountLineDetail")},
        optional={
            "Amount": amounts,
            "DiscountLineDetail": optional(PercentBased=st.booleans(), DiscountPercent=amounts),
        },
    ),
    mostly([{"DetailType": "SubTotalLineDetail", "Amount": 1}], {"DetailType": "GroupLineDetail"}, {}),
)
identity = st.fixed_dictionaries({"Id": ids, "SyncToken": tokens}, optional={"sparse": st.booleans()})
sales = joined(
    st.fixed_dictionaries({"CustomerRef": references, "Line": st.lists(lines, min_size=1, max_size=4)}),
    optional(
        DocNumber=mostly(["", "1", "A-1", *numbered("No")], "AUTO_GENERATE", "x" * 22, "9" * 21), TxnDate=dates,
        PrivateNote=notes, CustomerMemo=notes.map(lambda text: {"value": text}), DueDate=dates, SalesTermRef=references,
        CurrencyRef=mostly([{"value": "USD"}], {"value": "EUR"}), ExchangeRate=amounts,
        GlobalTaxCalculation=mostly(["TaxExcluded", "TaxInclusive", "NotApplicable"], "Banana"),
    ),
    optional(
        BillEmail=mostly([{"Address": "a@example.com"}], {"Address": "x"}, {"Address": "a" * 101}),
        EmailStatus=mostly(["NotSet", "NeedToSend"], "Banana"), BillAddr=st.just({"Line1": "Finch St."}),
        TxnTaxDetail=optional(TotalTax=amounts, TxnTaxCodeRef=references),
        CustomField=st.just([{"DefinitionId": "1", "Type": "StringType", "StringValue": "x"}]),
    ),
)  # fmt: skip
people = joined(
    optional(DisplayName=names, GivenName=names, FamilyName=names, CompanyName=notes, Active=st.booleans()),
    optional(
        ParentRef=references, Job=st.booleans(), BillAddr=st.just({"Line1": "Finch St."}), Notes=notes,
        PrimaryEmailAddr=mostly([{"Address": "a@example.com"}], {"Address": "x"}),
        CurrencyRef=mostly([{"value": "USD"}], {"value": "EUR"}, {"value": "XXX"}),
    ),
)  # fmt: skip
products = joined(
    optional(Name=names, Type=mostly(["Service", "NonInventory", "Inventory", "Category"], "Banana")),
    optional(
        IncomeAccountRef=references, ExpenseAccountRef=references, UnitPrice=amounts, Active=st.booleans(), Sku=notes,
        SubItem=st.booleans(), ParentRef=references, TrackQtyOnHand=st.booleans(), QtyOnHand=amounts,
    ),
)  # fmt: skip
entries = optional(
    Name=names, AccountType=mostly(["Income", "Expense"], "Banana"), DueDays=amounts, Active=st.booleans(),
    ParentRef=references, SubClass=st.booleans(), AccountSubType=notes,
)  # fmt: skip
BODIES: dict[str, st.SearchStrategy[Json]] = {
    "Invoice": sales,
    "CreditMemo": sales,
    "Customer": people,
    "Vendor": people,
    "Employee": people,
    "Item": products,
    "Account": entries,
    "Term": entries,
    "Class": entries,
    "Department": entries,
    "PaymentMethod": entries,
    "CompanyCurrency": entries,
    "ExchangeRate": optional(SourceCurrencyCode=names, Rate=amounts, AsOfDate=dates),
    "Preferences": optional(SalesFormsPrefs=optional(CustomTxnNumbers=st.booleans()), sparse=st.booleans()),
    "CompanyInfo": optional(CompanyName=names),
    "Banana": entries,
}
kinds = st.sampled_from(["Invoice"] * 6 + ["CreditMemo"] * 2 + ["Customer"] * 3 + ["Item"] * 2 + list(BODIES))


@st.composite
def written(draw: st.DrawFn, kind: str) -> Json:
    body = draw(BODIES[kind])
    return {**body, **draw(identity)} if draw(st.integers(0, 5)) == 5 else body


fields = mostly(
    ["Id", "DocNumber", "DisplayName", "Active", "TxnDate", "TotalAmt", "Balance", "MetaData.LastUpdatedTime"],
    *["CustomerRef", "Line", "Banana", "MetaData", "metadata.lastupdatedtime", "CustomerRef.value", "Line.Amount"],
)
literals = mostly(
    ["'1'", "'Ada'", "'Bob\\'s'", "'%a%'", "1", "true", "'2026-11-01'", "'2026-11-22T10:00:00-07:00'"],
    *["('1','2')", "(true, false)", "()", "'", "''", "('1'", "NaN", "-1", "'٣'", "'\\'", "1e9999"],
)
operators = mostly(["=", "LIKE", "<", ">", "<=", ">="], "IN", "in", "==", "!=")
conditions = st.tuples(fields, operators, literals).map(" ".join)
tails = mostly(
    ["", "STARTPOSITION 1", "MAXRESULTS 2", "STARTPOSITION 2 MAXRESULTS 1", "ORDERBY TxnDate DESC", "orderby Id"],
    *["STARTPOSITION 0", "ORDERBY Line", "ORDERBY Banana", "MAXRESULTS -1", "MAXRESULTS 9e9", "MAXRESULTS 1001"],
    *["STARTPOSITION 99999999999999999999", "MAXRESULTS ²", ";", "GROUP BY Id"],
)


@st.composite
def queries(draw: st.DrawFn) -> str:
    what = draw(mostly(["*", "*", "count(*)"], "COUNT(*)", "Id", "Id, DocNumber", "Line.*", ""))
    chosen = draw(st.lists(conditions, max_size=2))
    where = f" WHERE {draw(mostly([' AND ', ' and '], ' OR ', ' ')).join(chosen)}" if chosen else ""
    text = f"select {what} from {draw(kinds)}{where} {draw(tails)}"
    return draw(st.one_of(*[st.just(text)] * 8, st.text(max_size=40), st.just("(" * 3000)))


batch_items = st.one_of(
    st.fixed_dictionaries({"bId": ids, "Query": queries()}),
    kinds.flatmap(
        lambda kind: st.fixed_dictionaries(
            {"bId": ids, "operation": st.sampled_from(["create", "update", "delete", "void", "banana"])},
            optional={kind: written(kind), "optionsData": st.sampled_from(["void", "allowduplicatedocnum", "x"])},
        )
    ),
)
batches = st.fixed_dictionaries({"BatchItemRequest": st.lists(batch_items, max_size=5)})
request_ids = mostly([*numbered("r"), "", "a"], "x" * 50, "x" * 51, "é", "\n")
includes = mostly(["", "allowduplicatedocnum", "invoiceLink"], "void", "enhancedAllCustomFields", "banana")


@st.composite
def company_requests(draw: st.DrawFn) -> Request:
    """One request below /v3/company/{realm}."""
    kind = draw(kinds)
    path, name = f"/v3/company/{REALM}", kind.lower()
    optionally = {"requestid": request_ids, "include": includes, "minorversion": st.sampled_from(["75", "x"])}
    query: dict[str, str] = draw(st.fixed_dictionaries({}, optional=optionally))
    match draw(st.sampled_from(["write"] * 10 + ["remove"] * 3 + ["read"] * 3 + ["query"] * 5 + REST)):
        case "write":
            return Request("POST", f"{path}/{name}", query, {}, draw(texts_of(written(kind))))
        case "remove":
            sale = draw(mostly(["invoice", "creditmemo"], name))
            query["operation"] = draw(mostly(["void", "delete"], "update", "banana"))
            return Request("POST", f"{path}/{sale}", query, {}, draw(texts_of(identity)))
        case "read":
            return Request("GET", f"{path}/{name}/{draw(st.one_of(ids, st.sampled_from(ODD_PARTS)))}", query)
        case "query":
            return Request("GET", f"{path}/query", {**query, "query": draw(queries())})
        case "query in the body":
            return Request("POST", f"{path}/query", query, {}, draw(st.one_of(queries().map(str.encode), st.binary())))
        case "batch":
            return Request("POST", f"{path}/batch", query, {}, draw(texts_of(batches)))
        case "changes":
            since = draw(st.one_of(dates, st.just("2026-11-10T00:00:00Z"), st.just("2026-11-10T00:00:00 07:00"), names))
            entities = draw(st.sampled_from(["Invoice", "invoice,customer", "Banana", "", ",", "Invoice,Invoice"]))
            return Request("GET", f"{path}/cdc", {**query, "entities": entities, "changedSince": since})
        case "send":
            address = draw(st.sampled_from(["a@example.com", "", "x", "a" * 300]))
            return Request("POST", f"{path}/{name}/{draw(ids)}/send", {**query, "sendTo": address})
        case "pdf":
            return Request("GET", f"{path}/{name}/{draw(ids)}/pdf", query)
        case "rate":
            code = draw(st.sampled_from(["EUR", "USD", "", "XXX", "é"]))
            return Request("GET", f"{path}/exchangerate", {"sourcecurrencycode": code, "asofdate": draw(dates)})
        case "settings":
            return Request("GET", f"{path}/{draw(st.sampled_from(['preferences', 'companyinfo/1', 'companyinfo/x']))}")
    parts = draw(
        st.lists(st.one_of(st.sampled_from([*ODD_PARTS, name, "v3", "company"]), st.text(max_size=5)), max_size=5)
    )
    method = draw(st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]))
    root = draw(st.sampled_from([path, "/v3/company/999", "/v3/company/", "", "/v3"]))
    return Request(method, "/".join([root or "/", *parts]), query, {}, draw(st.binary(max_size=20)))


REST = ["query in the body", "batch", "batch", "changes", "send", "pdf", "rate", "settings", "elsewhere"]
ODD_PARTS = ["", "0", "-1", "1.5", "²", "٣", "..", "%2e%2e", "x" * 3000, "1;drop", "é", "{}", "None", "1e3"]


@st.composite
def oauth_requests(draw: st.DrawFn, basic: str) -> Request:
    form = {
        "grant_type": draw(st.sampled_from(["authorization_code", "refresh_token", "banana", ""])),
        "code": draw(st.sampled_from(["", "x"])),
        "refresh_token": draw(st.sampled_from(["", "x", "é"])),
        "redirect_uri": "http://localhost/cb",
    }
    shown = draw(st.sampled_from([basic, basic, "Basic !", "Basic ", "", "Bearer x", "Basic " + "é"]))
    headers = {"authorization": shown}
    match draw(st.sampled_from(["token", "revoke", "authorize", "discovery"])):
        case "token":
            body = "&".join(f"{name}={value}" for name, value in form.items()).encode()
            return Request("POST", "/oauth2/v1/tokens/bearer", {}, headers, draw(st.one_of(st.just(body), st.binary())))
        case "revoke":
            body = draw(texts_of(st.fixed_dictionaries({"token": odd_values})))
            return Request("POST", "/v2/oauth2/tokens/revoke", {}, headers, body)
        case "authorize":
            parameters = {
                "client_id": st.sampled_from(["", "x"]),
                "redirect_uri": st.sampled_from(
                    ["http://localhost/cb", "http://[", "javascript:x", "http://a/\r\nX: y"]
                ),
                "response_type": st.sampled_from(["code", "token"]),
                "approve": st.sampled_from(["1", "0"]),
                "realm_id": st.sampled_from([REALM, "999"]),
                "state": st.text(max_size=5),
            }
            return Request("GET", "/connect/oauth2", draw(st.fixed_dictionaries({}, optional=parameters)))
    return Request("GET", "/.well-known/openid_configuration", {}, {"host": draw(st.sampled_from(["", "x", "é"]))})


@st.composite
def with_headers(draw: st.DrawFn, requests: st.SearchStrategy[Request], token: str) -> Request:
    """The request with a good token most of the time, and now and then XML, gzip or something odd."""
    request = draw(requests)
    shown = draw(st.sampled_from([f"Bearer {token}"] * 80 + ["", "Bearer", f"bearer {token}", "Bearer é"]))
    headers = {"authorization": shown, "content-type": "application/json", "accept": "application/json"}
    match draw(
        st.sampled_from(["plain"] * 40 + ["xml", "xml", "xml", "xml", "xml body", "gzip", "not gzip", "bomb", "odd"])
    ):
        case "xml":
            headers["accept"] = "application/xml"
        case "xml body":
            headers["content-type"] = "application/xml"
            request = replace(request, body=draw(st.sampled_from(XML_BODIES)))
        case "gzip":
            headers["content-encoding"] = "gzip"
            request = replace(request, body=gzip.compress(request.body))
        case "not gzip":
            headers["content-encoding"] = draw(st.sampled_from(["gzip", "deflate", "br", "banana"]))
        case "bomb":
            headers["content-encoding"] = "gzip"
            request = replace(request, body=BOMB)
        case "odd":
            headers |= {"content-type": "application/json; charset=banana", "accept": "*/*;q=banana", "x": "é"}
    return replace(request, headers=headers)


XML = 'xmlns="http://schema.intuit.com/finance/v3"'
XML_BODIES = [
    f'<Invoice {XML}><Line><Amount>5</Amount><DetailType>SalesItemLineDetail</DetailType><SalesItemLineDetail><ItemRef>'
    f"1</ItemRef></SalesItemLineDetail></Line><CustomerRef>1</CustomerRef></Invoice>".encode(),
    f"<Customer {XML}><DisplayName>Xavier</DisplayName></Customer>".encode(),
    f"<Customer {XML}><Banana>1</Banana></Customer>".encode(),
    b'<!DOCTYPE a [<!ENTITY b "bbbb">]><Customer><DisplayName>&b;</DisplayName></Customer>',
    b"<a>" * 20_000,
    b"<?xml version='1.0' encoding='banana'?><a/>",
    b"\xff\xfe<\x00a\x00",
    b"<Customer/>",
    b"",
]  # fmt: skip


def basic_of(client_id: str, client_secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()


def requests(token: str, basic: str) -> st.SearchStrategy[Request]:
    """What an app, or a broken one, might send to a company whose good token and client are these."""
    company = with_headers(company_requests(), token)
    return st.integers(0, 19).flatmap(lambda n: oauth_requests(basic) if n == 19 else company)
