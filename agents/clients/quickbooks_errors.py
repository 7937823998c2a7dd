"""What an answer of QuickBooks means: the object it carries, or the failure named for what to do. Pure.

Only a Fault in which QuickBooks judges the request is a no. All else (a page of a proxy, whatever its status; a Fault
of the service itself) leaves open whether a write was carried out.

Shapes: docs/vendors/quickbooks.md §6.1 (Fault in any status, lower-case fault on 401, XML at the gateway, HTML, nothing
at all). Codes: §6.2, whose class column decides here.
"""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from pydantic import BaseModel, StrictBool, StrictInt, ValidationError

from models.money import Amount, parse_json
from models.outcomes import ErrorFacts

from .failures import (
    CompanyUnavailable,
    DuplicateName,
    DuplicateNumber,
    DuplicateRequest,
    Failure,
    MappingBroken,
    OutcomeUnknown,
    PeriodClosed,
    Refused,
    StaleObject,
    TokenRefused,
    Unrecoverable,
    Wait,
)
from .transport import Answer

TEXT_CHARACTERS_MAX = 500

RETRY_AFTER_SECONDS_MAX = 300
"""Longer than this we do not wait, whatever is asked for: what takes longer is parked."""

RETRY_AFTER_DIGITS_MAX = 9

_MAPPING_CODES = (
    *("610", "620", "2500", "5000", "5020", "5030", "6100", "6250", "6270", "6420", "6430", "6440", "6450", "6520"),
)

BY_CODE: dict[str, type[Failure]] = {
    **dict.fromkeys(("100", "110", "120", "3100", "6190"), CompanyUnavailable),
    **dict.fromkeys(("130", "140", "150", "3001"), Wait),
    "3200": TokenRefused,
    "3202": Wait,  # authentication itself is ill, and nothing was done; on a 401 the token is renewed all the same
    "10000": OutcomeUnknown,
    **dict.fromkeys(("10100", "10200"), Unrecoverable),
    **dict.fromkeys(_MAPPING_CODES, MappingBroken),
    **dict.fromkeys(("6200", "6210"), PeriodClosed),
    "600": DuplicateRequest,
    "5010": StaleObject,
    "6140": DuplicateNumber,
    "6240": DuplicateName,
}
"""Every other code is about the payload itself: Refused."""

SERVICE_FAULTS = ("service", "servicefault", "systemfault", "system")
"""Types of a Fault, in lower case, in which the service speaks of itself and not of the request."""

_PASSING = re.compile(
    r"(?i)try (?:it )?again (?:later|in a|after)|internal (?:server )?error|-10600|-3000[03]\b"
    r"|wrong on our (?:end|side)|temporar(?:y|ily)|timed? ?out|unexpected(?: internal| system)? error"
    r"|(?:service|system) (?:is |was )?unavailable"
)
"""In the words of code 6000, which means anything (§6.2, §12.2): QuickBooks is ill, and the payload is not."""

_UNSUPPORTED = re.compile(r"(?i)unsupported|not supported")
"""In the words of code 500 when the request is wrong; without them it was an outage (§12.1)."""

# A 401 prints the rejected token, and some gateways echo headers.
_TOKEN = re.compile(r"(?i)(token(?: expired)?|bearer(?: token)?)(\"?\s*[:=]\s*\"?|\s+)[^\s\"';,<]+")


def read(answer: Answer) -> dict[str, Any]:
    """The JSON object of a good answer; raises the Failure that says what to do about any other."""
    parsed = _json(answer.body)
    errors = _errors(parsed) if parsed is not None else _xml_errors(answer.body)
    if errors:
        failure = _of_errors(answer.status, errors, _type_of(parsed))
        if isinstance(failure, Wait):
            failure.seconds = _retry_after(answer)
        raise failure
    if answer.status in (200, 201) and parsed is not None:
        return parsed
    facts = ErrorFacts(status=answer.status, message=_excerpt(answer.body))
    match answer.status:
        case 401:
            raise TokenRefused("QuickBooks answered 401", facts)
        case 429:
            raise Wait("QuickBooks answered 429", facts, _retry_after(answer))
        case status:
            # Whatever the status: only a Fault of QuickBooks' own is a no. A page of something in between says nothing
            # about what QuickBooks did, or will do.
            raise OutcomeUnknown(f"QuickBooks answered {status} with a body that holds no Fault of its own", facts)


_Text = str | StrictInt
"""Strict, since to make an integer of the Decimal 1E+999999999 takes minutes."""


class _Reference(BaseModel):
    value: _Text


class _Object(BaseModel):
    """What every object has."""

    Id: _Text
    SyncToken: _Text | None = None
    CurrencyRef: _Reference | None = None


class _ListEntry(_Object):
    DisplayName: str | None = None
    Name: str | None = None
    FullyQualifiedName: str | None = None
    Type: str | None = None
    Active: StrictBool = True


class _Tax(BaseModel):
    TotalTax: Amount | None = None


class _ItemDetail(BaseModel):
    ItemRef: _Reference | None = None


class _SalesLine(BaseModel):
    SalesItemLineDetail: _ItemDetail | None = None


class _Sale(_Object):
    TotalAmt: Amount
    DocNumber: _Text | None = None
    PrivateNote: str | None = None
    CustomerRef: _Reference
    TxnTaxDetail: _Tax | None = None
    Line: list[_SalesLine] = []


_SHAPES: dict[str, type[_Object]] = {"Invoice": _Sale, "CreditMemo": _Sale, "Customer": _ListEntry, "Item": _ListEntry}
"""The fields that are read, by entity."""


def checked(entity: str, found: object) -> dict[str, Any]:
    """An object that QuickBooks answered with, when what is read of it is there in its type; its ids are texts.

    Raises OutcomeUnknown otherwise: such an answer says nothing about what was done.
    """
    if not isinstance(found, dict) or found.get("Id") in (None, ""):
        raise OutcomeUnknown(f"QuickBooks' answer holds no {entity} with an Id")
    try:
        _SHAPES.get(entity, _Object).model_validate(found)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, wrong["loc"]))
        raise OutcomeUnknown(f"QuickBooks' answer holds {entity} {found['Id']} whose {field} is odd") from None
    return _with_ids_as_texts(found)


def _with_ids_as_texts(found: dict[str, Any]) -> dict[str, Any]:
    """An id or a number of a document is a string of digits (docs/vendors/quickbooks.md §1.1), however it is spelt."""
    texts: dict[str, Any] = {
        name: str(found[name]) for name in ("Id", "SyncToken", "DocNumber") if isinstance(found.get(name), int)
    }
    if found.get("Line"):
        texts["Line"] = [_line_with_ids_as_texts(line) for line in found["Line"]]
    return found | texts | _references(found)


def _references(holder: dict[str, Any]) -> dict[str, Any]:
    """Those of its references whose value is a number, with that as a text."""
    return {
        name: reference | {"value": str(reference["value"])}
        for name, reference in holder.items()
        if name.endswith("Ref") and isinstance(reference, dict) and isinstance(reference.get("value"), int)
    }


def _line_with_ids_as_texts(line: dict[str, Any]) -> dict[str, Any]:
    detail = line.get("SalesItemLineDetail")
    return line | {"SalesItemLineDetail": detail | _references(detail)} if isinstance(detail, dict) else line


def listed(entity: str, response: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects of a QueryResponse, not `checked` yet; none when the key is missing (§2.4). Raises OutcomeUnknown."""
    found = response.get(entity, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise OutcomeUnknown(f"QuickBooks' answer to a query holds no list of {entity}")
    return found


def item_failure(item: Mapping[str, Any]) -> Failure | None:
    """The failure of one item of a batch that was answered with 200, None when it holds no Fault (§4.1)."""
    errors = _errors(item)
    return _of_errors(200, errors, _type_of(item)) if errors else None


def _retry_after(answer: Answer) -> float | None:
    """The seconds that `Retry-After` asks for, within our bound. No recording holds one (§5.2); a date is not read."""
    asked = answer.headers.get("retry-after", "").strip()
    is_number = asked.isascii() and asked.isdigit() and len(asked) <= RETRY_AFTER_DIGITS_MAX
    return float(min(int(asked), RETRY_AFTER_SECONDS_MAX)) if is_number else None


def _of_errors(status: int, errors: list[ErrorFacts], fault_type: str) -> Failure:
    """The failure for the first error; further ones are told in its detail."""
    first = errors[0].replace(status=status)
    if len(errors) > 1:
        rest = "; ".join(f"{error.code} {error.message}" for error in errors[1:])
        first = first.replace(detail=f"{first.detail} (and: {rest})"[: 4 * TEXT_CHARACTERS_MAX])
    said = f"QuickBooks error {first.code}: {first.message}" + (f" ({first.detail})" if first.detail else "")
    if status == 429:
        return Wait(said, first)
    if status == 401 and BY_CODE.get(first.code or "") in (None, Wait):
        return TokenRefused(said, first)
    if status == 403 and first.code not in BY_CODE:
        return CompanyUnavailable(said, first)
    if fault_type in SERVICE_FAULTS and first.code not in BY_CODE:
        return OutcomeUnknown(said, first)
    if not (first.code or "").lstrip("-").isdigit():
        return OutcomeUnknown(said, first)  # QuickBooks' own Faults have a number
    words = f"{first.code} {first.message} {first.detail}"
    if (first.code == "6000" and _PASSING.search(words)) or (first.code == "500" and not _UNSUPPORTED.search(words)):
        return OutcomeUnknown(said, first)
    if status >= 500 and BY_CODE.get(first.code or "") not in (Wait, Unrecoverable):
        return OutcomeUnknown(said, first)
    return BY_CODE.get(first.code or "", Refused)(said, first)


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        parsed = parse_json(body)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _errors(parsed: Mapping[str, Any]) -> list[ErrorFacts]:
    """The errors of a `Fault` or `fault`, keys in either case."""
    lower = _lower(parsed)
    fault = lower.get("fault")
    if not isinstance(fault, dict):
        return []
    errors = _lower(fault).get("error")
    listed = errors if isinstance(errors, list) else [errors]
    facts = [_facts(_lower(error)) for error in listed if isinstance(error, dict)]
    return facts or [ErrorFacts(message="a Fault without an error")]


def _type_of(parsed: Mapping[str, Any] | None) -> str:
    """The type of a Fault, in lower case; empty when it says none."""
    fault = _lower(parsed or {}).get("fault")
    return str(_lower(fault).get("type") or "").lower() if isinstance(fault, dict) else ""


def _xml_errors(body: bytes) -> list[ErrorFacts]:
    if not body.lstrip().startswith(b"<"):
        return []
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - expat refuses external entities; the body is bounded
    except (ElementTree.ParseError, ValueError):
        return []
    errors = [element for element in root.iter() if element.tag.rsplit("}", 1)[-1] == "Error"]
    return [
        _facts({"code": element.get("code")} | {child.tag.rsplit("}", 1)[-1].lower(): child.text for child in element})
        for element in errors
    ]


def _lower(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in mapping.items()}


def _facts(error: Mapping[str, Any]) -> ErrorFacts:
    return ErrorFacts(
        code=str(error.get("code")) if error.get("code") is not None else None,
        message=redact(str(error.get("message") or ""))[:TEXT_CHARACTERS_MAX],
        detail=redact(str(error.get("detail") or ""))[: 2 * TEXT_CHARACTERS_MAX],
    )


def _excerpt(body: bytes) -> str:
    return redact(body[:TEXT_CHARACTERS_MAX].decode(errors="replace")) or "nothing"


def redact(text: str) -> str:
    """`text` with the values of tokens taken out."""
    return _TOKEN.sub(r"\1\2•••", text)
