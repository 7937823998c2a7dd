"""What would fail in a QuickBooks company under a policy. Pure, over what was read (docs/vendors/quickbooks.md
§1.5-§1.9, §2).

`items` and `customers` are the ids that policy, tables or custom fields name, with who names them.
"""

from collections.abc import Iterator

from models.document import COMMIT_PURCHASE_ITEM, CREDIT_ITEM, DRAW_DOWN_ITEM, ROUNDING_ITEM
from models.policy import Policy
from models.subject import RowKey
from stream.operations.preview import Mappings

from .findings import NAMES_SHOWN_MAX, SETUP, Finding, ok, problem, warning
from .reads import Company, Json

US = "US"
US_TAX_CODES = ("TAX", "NON")
ITEM_TYPES = ("Service", "NonInventory")
TWO_ACCOUNT_COUNTRIES = ("CA", "GB", "UK")
"""Items need an expense account too there (docs/vendors/quickbooks.md §2.2)."""


def company_findings(
    company: Company, policy: Policy, items: dict[str, str], customers: dict[str, str], mappings: Mappings, realm: str
) -> list[Finding]:
    return [
        ok(f"company {company.info.get('CompanyName')!r}, country {company.country}"),
        *_numbering(company),
        *_currency(company, policy),
        *_tax(company, policy),
        *_tracking(company, policy),
        *_closed_books(company, policy),
        *_terms(company, policy),
        *_income_account(company, policy),
        *_items(company, items),
        *_items_that_policy_needs(policy, mappings, realm),
        *_customers(company, customers),
        *_custom_fields(company, policy),
        ok(f"discounts are {'on' if company.preference('SalesFormsPrefs', 'AllowDiscount') else 'off'}; we send none"),
    ]


def _numbering(company: Company) -> Iterator[Finding]:
    if company.preference("SalesFormsPrefs", "CustomTxnNumbers"):
        yield ok("custom transaction numbers are on: documents keep their numbers")
    else:
        yield warning(
            "custom transaction numbers are off: QuickBooks may give documents numbers of its own, and doubles (§1.8)",
            "switch on Settings, Account and settings, Sales, Custom transaction numbers",
        )


def _currency(company: Company, policy: Policy) -> Iterator[Finding]:
    home = company.preference("CurrencyPrefs", "HomeCurrency")
    if not company.preference("CurrencyPrefs", "MultiCurrencyEnabled"):
        yield ok(f"one currency, {home}")
        if not policy.send_currency:
            yield warning(
                f"policy.send_currency is false: an invoice in another currency would be booked as {home}",
                "set policy.send_currency = true: QuickBooks then refuses such an invoice",
            )
        if policy.customer_currency == "per-currency":
            yield problem(
                'policy.customer_currency is "per-currency", and multicurrency is off',
                "switch on multicurrency in QuickBooks (for ever), or set it to refuse",
            )
    elif policy.send_currency:
        yield ok(f"multicurrency is on, home currency {home}")
    else:
        yield problem(
            "multicurrency is on, and policy.send_currency is false (§1.7)", "set policy.send_currency = true"
        )


def _tax(company: Company, policy: Policy) -> Iterator[Finding]:
    yield from _us_tax(company, policy) if company.country == US else _global_tax(company, policy)


def _us_tax(company: Company, policy: Policy) -> Iterator[Finding]:
    if policy.tax_code not in (None, *US_TAX_CODES):
        yield problem(
            f"policy.tax_code is {policy.tax_code!r}, and lines in the US take TAX or NON only (§1.6)",
            'set policy.tax_code = "NON" or "TAX"',
        )
    if policy.global_tax_calculation is not None:
        yield problem(
            "policy.global_tax_calculation is set, which is not for companies in the US (§1.6)",
            "leave out policy.global_tax_calculation",
        )
    if not company.preference("TaxPrefs", "UsingSalesTax"):
        yield ok("sales tax is off: lines are not taxed")
    elif company.preference("TaxPrefs", "PartnerTaxEnabled") and policy.tax_code != "NON":
        yield warning(
            "automated sales tax is on: QuickBooks may add tax to what Metronome billed (§1.6)",
            'set policy.tax_code = "NON" if Metronome bills all there is to pay',
        )
    else:
        yield ok(f"sales tax is on, lines carry {policy.tax_code or 'the code of their item'}")


def _global_tax(company: Company, policy: Policy) -> Iterator[Finding]:
    active = {id_: each for id_, each in company.tax_codes.items() if each.get("Active", True)}
    shown = ", ".join(f"{id_} {each.get('Name')!r}" for id_, each in list(active.items())[:NAMES_SHOWN_MAX])
    if policy.tax_code is None:
        yield problem(
            f"no policy.tax_code: outside the US every line needs one, or is refused with 6000 (§1.6); "
            f"products may have one in custom field {policy.tax_code_field}",
            f"set policy.tax_code to one of {shown or 'the tax codes that you make first'}",
        )
    elif policy.tax_code not in active:
        yield problem(
            f"policy.tax_code {policy.tax_code!r} is no active tax code of the company",
            f"set policy.tax_code to one of {shown or 'the tax codes that you make first'}",
        )
    else:
        yield ok(f"lines carry tax code {policy.tax_code} {active[policy.tax_code].get('Name')!r}")
    if policy.global_tax_calculation == "TaxInclusive":
        yield warning(
            "policy.global_tax_calculation is TaxInclusive: QuickBooks computes amounts anew from prices (§1.4)",
            "compare the first documents to the cent",
        )
    elif policy.global_tax_calculation is None:
        yield warning(
            "policy.global_tax_calculation is not set: QuickBooks takes TaxExcluded (§1.6)",
            'set policy.global_tax_calculation, for example "TaxExcluded"',
        )


def _tracking(company: Company, policy: Policy) -> Iterator[Finding]:
    by = {"line": "ClassTrackingPerTxnLine", "transaction": "ClassTrackingPerTxn"}[policy.class_on]
    checks = (
        (policy.class_field, "class_field", by, f"classes are not tracked by {policy.class_on}"),
        (policy.department_field, "department_field", "TrackDepartments", "locations are not tracked"),
    )
    for value, name, preference, off in checks:
        if value is None:
            continue
        if company.preference("AccountingInfoPrefs", preference):
            yield ok(f"policy.{name}: {preference} is on")
        else:
            yield problem(
                f"policy.{name} is set, and {off} in QuickBooks (§1.9)",
                f"switch it on in Settings, Account and settings, Advanced, Categories; or leave out policy.{name}",
            )


def _closed_books(company: Company, policy: Policy) -> Iterator[Finding]:
    told = company.preference("AccountingInfoPrefs", "BookCloseDate")
    ours = policy.books_closed_through
    if told and str(told)[:10] != str(ours):
        yield warning(
            f"the books are closed through {str(told)[:10]}, policy.books_closed_through is {ours or 'not set'}",
            f"set policy.books_closed_through = {str(told)[:10]}",
        )
    else:
        yield ok(f"closed books: through {ours or 'none that QuickBooks tells of'}")


def _terms(company: Company, policy: Policy) -> Iterator[Finding]:
    named = {term: f"policy.sales_term_ids, {days} days" for days, term in policy.sales_term_ids.items()}
    if policy.sales_term_id is not None:
        named[policy.sales_term_id] = "policy.sales_term_id"
    for term, who in named.items():
        yield from _entry(company.terms.get(term), f"term {term} ({who})", f"correct {who}")
    if policy.due_date == "sales-term" and policy.sales_term_id is None:
        yield warning(
            'policy.due_date is "sales-term" without sales_term_id: invoices of other days than '
            f"{', '.join(policy.sales_term_ids) or 'none'} are refused",
            "set policy.sales_term_id",
        )
    default = company.preference("SalesFormsPrefs", "DefaultTerms")
    if default is not None:
        name = company.terms.get(str(default), {}).get("Name", default)
        yield ok(f"where we send no due date, QuickBooks takes its default term {name!r}")


def _income_account(company: Company, policy: Policy) -> Iterator[Finding]:
    account_id = policy.income_account_id
    if account_id is None:
        if policy.missing_item == "create":
            yield problem(
                'policy.missing_item is "create" without policy.income_account_id: no item can be created',
                "set policy.income_account_id",
            )
        return
    account = company.accounts.get(account_id)
    remedy = "set policy.income_account_id to the id of an active account of type Income"
    if account is not None and account.get("AccountType") != "Income":
        yield problem(
            f"account {account_id} {account.get('Name')!r} (policy.income_account_id) is of type "
            f"{account.get('AccountType')}, items need Income (§2.2)",
            remedy,
        )
    else:
        yield from _entry(account, f"account {account_id} (policy.income_account_id)", remedy)
    if policy.missing_item == "create" and company.country in TWO_ACCOUNT_COUNTRIES:
        yield problem(
            f"items in {company.country} need an expense account too (§2.2), which we cannot name",
            'create the items in QuickBooks, map them, and set policy.missing_item = "park" or "default"',
        )


def _items(company: Company, named: dict[str, str]) -> Iterator[Finding]:
    good = 0
    for item_id, who in named.items():
        item = company.items.get(item_id)
        remedy = f"correct {who}, or correct the item in QuickBooks"
        account_id = ((item or {}).get("IncomeAccountRef") or {}).get("value")
        account = company.accounts.get(str(account_id), {})
        if item is None or not item.get("Active", True):
            yield from _entry(item, f"item {item_id} ({who})", remedy)
        elif item.get("Type") not in ITEM_TYPES:
            yield problem(
                f"item {item_id} {item.get('Name')!r} ({who}) is of type {item.get('Type')}: lines need "
                f"{' or '.join(ITEM_TYPES)} (§1.5, §2.2)",
                remedy,
            )
        elif not account.get("Active", bool(account)):
            yield problem(
                f"item {item_id} {item.get('Name')!r} ({who}) has no active income account",
                "give it one in QuickBooks",
            )
        else:
            good += 1
    if good:
        yield ok(f"{good:,} named items are active, with active income accounts")


def _items_that_policy_needs(policy: Policy, mappings: Mappings, realm: str) -> Iterator[Finding]:
    single = policy.item_strategy == "single-item"
    if policy.default_item_id is None and (single or policy.missing_item == "default"):
        yield problem(
            f"policy.{'item_strategy' if single else 'missing_item'} needs policy.default_item_id", f"run {SETUP}"
        )
    needs = (
        (policy.draw_down_item == "own", "draw_down_item_id", DRAW_DOWN_ITEM),
        (policy.draw_down_item == "own", "credit_item_id", CREDIT_ITEM),
        (policy.commit_purchase_item == "own", "commit_purchase_item_id", COMMIT_PURCHASE_ITEM),
        (policy.rounding == "rounding-line", "rounding_item_id", ROUNDING_ITEM),
    )
    for is_needed, name, product in needs:
        if is_needed and getattr(policy, name) is None and RowKey.of(realm, product) not in mappings.items:
            yield problem(
                f"no item for {product}: invoices with such lines would wait",
                f"set policy.{name}, or metronome-qbo map item '{product}' QBO_ID --realm {realm}",
            )


def _customers(company: Company, named: dict[str, str]) -> Iterator[Finding]:
    bad = 0
    for customer_id, who in named.items():
        customer = company.customers.get(customer_id)
        if customer is None or not customer.get("Active", True):
            bad += 1
            remedy = f"correct {who}, or change it in QuickBooks"
            yield from _entry(customer, f"customer {customer_id} ({who})", remedy)
    if len(named) > bad:
        yield ok(f"{len(named) - bad:,} mapped customers are active")


def _custom_fields(company: Company, policy: Policy) -> Iterator[Finding]:
    """Which of the three custom fields of sales forms are in use (§1.3)."""
    groups = (company.preferences.get("SalesFormsPrefs") or {}).get("CustomField") or []
    used = {
        each.get("Name", "").removeprefix("SalesFormsPrefs.UseSalesCustom")
        for group in groups
        for each in group.get("CustomField") or []
        if each.get("BooleanValue") is True
    }
    for definition, name in policy.custom_fields.items():
        if definition in used:
            yield ok(f"custom field {definition} of sales forms is in use, for {name}")
        else:
            yield warning(
                f"custom field {definition} (policy.custom_fields, {name}) is not in use on sales forms: its value may "
                "be lost",
                "switch it on in Settings, Custom fields",
            )


def _entry(entry: Json | None, what: str, remedy: str) -> Iterator[Finding]:
    """A list entry that must exist and be active."""
    if entry is None:
        yield problem(f"{what} does not exist in this company", remedy)
    elif not entry.get("Active", True):
        yield problem(f"{what} is inactive", remedy)
    else:
        yield ok(f"{what} is active")
