"""What would fail of what Metronome lists, under a policy. Pure, over what was read (docs/vendors/metronome.md §1.3,
§2).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from models.metronome import CUSTOM_FIELDS, CUSTOMER_FIELD, ITEM_FIELD
from models.money import EXPONENTS, UnknownUnit, unit_of
from models.policy import Policy
from models.quickbooks import CUSTOMER_NAME_CHARACTERS_MAX, tidy_name
from models.subject import RowKey
from stream.operations.preview import Mappings

from .company import US, US_TAX_CODES
from .findings import NAMES_SHOWN_MAX, SETUP, Finding, ok, problem, warning
from .reads import Catalog, Company, Json, fields_of


def catalog_findings(
    catalog: Catalog, policy: Policy, mappings: Mappings, realm: str, *, company: Company | None
) -> list[Finding]:
    """`company` None: it could not be read, so that nothing is compared with it."""
    return [
        *_keys(catalog, policy),
        *_products(catalog, policy, mappings, realm),
        *_unmapped_customers(catalog, policy, mappings, realm),
        *_units(catalog, company),
        *(_tax_codes(catalog, policy, company) if company is not None else ()),
    ]


def _keys(catalog: Catalog, policy: Policy) -> Iterator[Finding]:
    for entity, key in CUSTOM_FIELDS:
        if (entity, key) in catalog.keys:
            yield ok(f"custom field {entity}.{key} is there", "Metronome")
        else:
            yield problem(f"there is no custom field {entity}.{key}", SETUP, "Metronome")
    anywhere = {key for _, key in catalog.keys}
    named = {name: getattr(policy, name) for name in ("class_field", "department_field", "term_field", "email_field")}
    named |= {f"custom_fields, {definition}": key for definition, key in policy.custom_fields.items()}
    for name, key in named.items():
        if key is not None and key not in anywhere:
            yield warning(
                f"policy.{name} names custom field {key!r}, which no kind of object has",
                "create it in Metronome, or correct the policy",
                "Metronome",
            )


def _products(catalog: Catalog, policy: Policy, mappings: Mappings, realm: str) -> Iterator[Finding]:
    yield from _bad_ids(catalog.products, ITEM_FIELD, "product")
    if policy.item_strategy == "single-item":
        yield ok("all products share policy.default_item_id", "Metronome")
        return
    without = [
        _name(each)
        for each in catalog.products
        if not fields_of(each).get(ITEM_FIELD, "").strip() and RowKey.of(realm, each["id"]) not in mappings.items
    ]
    if not without:
        yield ok(f"all {len(catalog.products):,} products have an item", "Metronome")
        return
    what = f"{len(without):,} of {len(catalog.products):,} products have no item: {_shown(without)}"
    remedy = f"metronome-qbo map item PRODUCT QBO_ID --realm {realm}, or custom field {ITEM_FIELD} in Metronome"
    if policy.missing_item == "park":
        yield problem(f"{what}; their invoices would wait", remedy, "Metronome")
    else:
        then = "items are created" if policy.missing_item == "create" else "they go to the default item"
        yield warning(f"{what}; {then}", f"nothing, if that is right; else {remedy}", "Metronome")


def _unmapped_customers(catalog: Catalog, policy: Policy, mappings: Mappings, realm: str) -> Iterator[Finding]:
    yield from _bad_ids(catalog.customers, CUSTOMER_FIELD, "customer")
    without = [
        _name(each)
        for each in catalog.customers
        if not fields_of(each).get(CUSTOMER_FIELD, "").strip()
        and RowKey.of(realm, each["id"]) not in mappings.customers
    ]
    remedy = (
        f"metronome-qbo map customer CUSTOMER QBO_ID --realm {realm}, or custom field {CUSTOMER_FIELD} in Metronome"
    )
    if not without:
        yield ok(f"all {len(catalog.customers):,} customers are mapped", "Metronome")
        return
    what = f"{len(without):,} of {len(catalog.customers):,} customers have no mapping: {_shown(without)}"
    match policy.missing_customer, policy.customer_matching:
        case "park", "off":
            yield problem(f"{what}; their invoices would wait", remedy, "Metronome")
        case "park", _:
            yield warning(f"{what}; only those that QuickBooks has by name are posted", remedy, "Metronome")
        case _, "off":
            yield warning(f"{what}; they are created", f"nothing, if that is right; else {remedy}", "Metronome")
        case _:
            then = "they are matched by name, or created"
            yield warning(f"{what}; {then}", f"nothing, if that is right; else {remedy}", "Metronome")
    tidied = Counter(tidy_name(name, CUSTOMER_NAME_CHARACTERS_MAX).casefold() for name in without)
    if twice := [name for name, count in tidied.items() if count > 1]:
        yield problem(
            f"{len(twice):,} names belong to several customers without a mapping, of which QuickBooks can have one: "
            f"{_shown(twice)}",
            f"rename them in Metronome, or {remedy}",
            "Metronome",
        )


def _bad_ids(entities: Iterable[Json], key: str, kind: str) -> Iterator[Finding]:
    bad = []
    for each in entities:
        value = fields_of(each).get(key, "").strip()
        if value and not (value.isascii() and value.isdigit()):
            bad.append(f"{_name(each)} ({value!r})")
    if bad:
        yield problem(
            f"{key} of {len(bad):,} {kind}s is no QuickBooks id: {_shown(bad)}; their invoices are refused",
            f"correct {key} in Metronome: ids are digits",
            "Metronome",
        )


def _units(catalog: Catalog, company: Company | None) -> Iterator[Finding]:
    """Custom pricing units are no money, and so nothing that could fail."""
    currencies, unknown = set(), []
    for each in catalog.units:
        try:
            currencies.add(unit_of(each["name"]).currency)
        except UnknownUnit:
            if each.get("is_currency"):
                unknown.append(each["name"])
    if unknown:
        yield problem(
            f"pricing units that count as money, which we do not know: {_shown(unknown)}; their invoices are refused",
            "ask for the currency to be added; nothing is guessed",
            "Metronome",
        )
    if finer := sorted(code for code in currencies if EXPONENTS[code] > 2):
        yield warning(
            f"{', '.join(finer)} have three decimals, QuickBooks keeps two (docs/vendors/quickbooks.md §1.4)",
            "invoices that need the third are refused; book them by hand",
            "Metronome",
        )
    yield ok(f"currencies of Metronome's pricing units: {', '.join(sorted(currencies)) or 'none'}", "Metronome")
    if company is None or company.preference("CurrencyPrefs", "MultiCurrencyEnabled"):
        return
    home = company.preference("CurrencyPrefs", "HomeCurrency")
    if foreign := sorted(currencies - {home}):
        yield warning(
            f"Metronome can bill in {', '.join(foreign)}, the company has {home} only",
            "switch on multicurrency in QuickBooks (for ever), or route those currencies with routing.by_currency",
            "Metronome",
        )


def _tax_codes(catalog: Catalog, policy: Policy, company: Company) -> Iterator[Finding]:
    """The tax codes of products, which go before the policy's; in the US a line takes two only
    (docs/vendors/quickbooks.md §1.6).
    """
    usable = {id_ for id_, each in company.tax_codes.items() if each.get("Active", True)}
    usable = set(US_TAX_CODES) if company.country == US else usable
    codes = {_name(each): fields_of(each).get(policy.tax_code_field, "").strip() for each in catalog.products}
    if bad := [f"{name} ({code!r})" for name, code in codes.items() if code and code not in usable]:
        yield problem(
            f"{policy.tax_code_field} of {len(bad):,} products is no tax code of the company: {_shown(bad)}",
            f"correct {policy.tax_code_field} in Metronome: {_shown(sorted(usable)) or 'make tax codes first'}",
            "Metronome",
        )


def _name(entity: Json) -> str:
    """A product's name is that of its newest version (docs/vendors/metronome.md §2)."""
    return str(entity.get("name") or (entity.get("current") or {}).get("name") or entity.get("id"))


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN_MAX]) + (", …" if len(names) > NAMES_SHOWN_MAX else "")
