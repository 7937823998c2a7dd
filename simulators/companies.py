"""QuickBooks companies as options of a command: in one line each, or in a JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from simulators.http import Json
from simulators.quickbooks.books import Company

FILE_MAX_BYTES = 1024 * 1024
COMPANIES_MAX = 100
TEXT_FIELDS = ("realm_id", "name", "country", "currency")
HOME = "US"
_companies = TypeAdapter(Company)


class WrongCompany(ValueError):
    """This company cannot be; the message names the field."""


def company_of_text(text: str) -> Company:
    """`9341450000000001,Northwind Ltd,GB,GBP`: realm id, name, country, currency; what is left out at the end takes
    its default. Raises WrongCompany."""
    parts = [each.strip() for each in text.split(",")]
    if len(parts) > len(TEXT_FIELDS):
        raise WrongCompany(f"{text}: {', '.join(TEXT_FIELDS)} are expected")
    try:
        return company_of_json(dict(zip(TEXT_FIELDS, parts, strict=False)))
    except WrongCompany as problem:
        raise WrongCompany(f"{text}: {problem}") from None


def companies_of_file(path: Path) -> list[Company]:
    """A JSON list of objects with the fields of `Company`. Raises WrongCompany, OSError."""
    with path.open("rb") as file:
        text = file.read(FILE_MAX_BYTES + 1)
    if len(text) > FILE_MAX_BYTES:
        raise WrongCompany(f"{path}: larger than {FILE_MAX_BYTES} bytes")
    try:
        asked = json.loads(text)
    except ValueError as problem:
        raise WrongCompany(f"{path}: not JSON: {problem}") from None
    if not isinstance(asked, list):
        raise WrongCompany(f"{path}: a list of companies is expected")
    companies = []
    for number, each in enumerate(asked):
        try:
            companies.append(company_of_json(each))
        except WrongCompany as problem:
            raise WrongCompany(f"{path}: [{number}]: {problem}") from None
    return companies


def company_of_json(value: Any) -> Company:
    """A company abroad has `tax_mode` global unless it says otherwise. Raises WrongCompany."""
    known = [each.name for each in fields(Company)]
    if not isinstance(value, dict):
        raise WrongCompany("a company is a JSON object")
    if unknown := sorted(set(value) - set(known)):
        raise WrongCompany(f"{unknown[0]} is unknown; there are {', '.join(known)}")
    if value.get("country", HOME) != HOME:
        value = {"tax_mode": "global", **value}
    try:
        company = _companies.validate_python(value)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        raise WrongCompany(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    for name, pattern in (("realm_id", "[0-9]{1,20}"), ("country", "[A-Z]{2}"), ("currency", "[A-Z]{3}")):
        if not re.fullmatch(pattern, getattr(company, name)):
            raise WrongCompany(f"{name} is {getattr(company, name)!r}; it must match {pattern}")
    if not company.name or not -23 <= company.utc_offset_hours <= 23:
        raise WrongCompany("name must not be empty, utc_offset_hours must be from -23 to 23")
    return company


def checked(companies: Sequence[Company]) -> tuple[Company, ...]:
    """The same companies. Raises WrongCompany when there are too many, or two with one realm id."""
    if len(companies) > COMPANIES_MAX:
        raise WrongCompany(f"{len(companies)} companies; {COMPANIES_MAX} at most")
    realms = [each.realm_id for each in companies]
    if twice := sorted({each for each in realms if realms.count(each) > 1}):
        raise WrongCompany(f"realm_id {twice[0]} is there twice")
    return tuple(companies)


def as_json(companies: Iterable[Company]) -> list[Json]:
    """What `company_of_json` reads."""
    return [_companies.dump_python(each, mode="json") for each in companies]
