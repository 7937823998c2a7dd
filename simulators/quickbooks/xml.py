"""The same answers and requests in XML, element names and order by Intuit's schema (`docs/vendors/quickbooks.md` §1.1,
§8).

JSON and XML correspond so: a key is an element, a list a repeated element, `{"value", "name"}` an element's text and
its attribute, None nothing. Recorded: `<CustomerRef name="Sunset Bakery">2</CustomerRef>`, amounts as `50.00`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from xml.etree import ElementTree

from simulators.http import Json
from simulators.quickbooks.errors import Refusal, unsupported
from simulators.quickbooks.rules import properties

NAMESPACE = "http://schema.intuit.com/finance/v3"
SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
BODY_MAX_BYTES = 4 * 1024 * 1024
DEPTH_MAX = 32
PROLOG = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
BATCH_ROOT = "IntuitBatchRequest"

# Attributes of an element by its name; any other object that has some is an entity.
ATTRIBUTES = {
    "QueryResponse": ("startPosition", "maxResults", "totalCount"),
    "CDCResponse": ("size",),
    "Fault": ("type",),
    "Error": ("code", "element"),
    "BatchItemResponse": ("bId",),
    "BatchItemRequest": ("bId", "operation", "optionsData"),
}
ENTITY_ATTRIBUTES = ("domain", "status", "sparse")
# fmt: off
# Written with two decimals in XML where JSON has 50.0 (recorded: fetch_invoice_by_id).
AMOUNTS = {
    "Amount", "Balance", "BalanceWithJobs", "HomeBalance", "HomeTotalAmt", "NetAmountTaxable", "RemainingCredit",
    "TaxInclusiveAmount", "TaxInclusiveAmt", "TotalAmt", "TotalTax",
}
# fmt: on
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def wants_xml(headers: Mapping[str, str]) -> bool:
    """Whether `Accept` names XML and not JSON. Header names are lower case."""
    accept = headers.get("accept", "").lower()
    return "xml" in accept and "json" not in accept


def sends_xml(headers: Mapping[str, str]) -> bool:
    """Whether the request's body is XML. Header names are lower case."""
    return "xml" in headers.get("content-type", "").lower()


def to_xml(envelope: Json) -> bytes:
    """An answer of ours as `<IntuitResponse>`: one entity, QueryResponse, batch, CDC, or a Fault in either case."""
    root = ElementTree.Element("IntuitResponse", {"xmlns": NAMESPACE})
    if "fault" in envelope:
        envelope = _gateway_fault(envelope)
    for name, value in envelope.items():
        if name == "time":
            root.set("time", str(value))
        else:
            _append(root, name, name, value)
    text: bytes = ElementTree.tostring(root, encoding="utf-8")
    return PROLOG + text


def _gateway_fault(envelope: Json) -> Json:
    """The gateway's lower-case fault in the names of XML; its time, epoch milliseconds, as a timestamp."""
    errors = [
        {"code": error["code"], "Message": error["message"], "Detail": error["detail"]}
        for error in envelope["fault"]["error"]
    ]
    moment = datetime.fromtimestamp(envelope["time"] / 1000, UTC).isoformat(timespec="milliseconds")
    return {"Fault": {"Error": errors, "type": envelope["fault"]["type"]}, "time": moment}


def _append(parent: ElementTree.Element, name: str, type_name: str, value: Any) -> None:
    """Adds `value` as one element called `name`, as many for a list, none for None."""
    if value is None:
        return
    if isinstance(value, list):
        for each in value:
            _append(parent, name, type_name, each)
        return
    element = ElementTree.SubElement(parent, name)
    if not isinstance(value, dict):
        element.text = _text(name, value)
    elif "value" in value:
        element.text = _text(name, value["value"])
        for key, attribute in value.items():
            if key != "value" and attribute is not None:
                element.set(key, _text(key, attribute))
    else:
        _fill(element, type_name, value)


def _fill(element: ElementTree.Element, type_name: str, value: Json) -> None:
    """The attributes and the children of an object, children in the order of the schema. A custom field that holds
    fields is a definition of Preferences and names its type (recorded: preferences)."""
    known = properties().get(type_name, {})
    if isinstance(inner := value.get("CustomField"), list) and element.tag == "CustomField" and inner:
        element.set("xmlns:xsi", SCHEMA_INSTANCE)
        element.set("xsi:type", f"{inner[0]['Type']}CustomFieldDefinition")
    attributes = ATTRIBUTES.get(element.tag, ENTITY_ATTRIBUTES if "domain" in value else ())
    for key in attributes:
        if value.get(key) is not None:
            element.set(key, _text(key, value[key]))
    for key in sorted(value, key=lambda each: _positions(type_name).get(each, len(known))):
        if key not in attributes:
            child_type = known.get(key, "").removesuffix("[]").strip("*") or key
            _append(element, key, child_type, value[key])


@cache
def _positions(type_name: str) -> dict[str, int]:
    return {name: position for position, name in enumerate(properties().get(type_name, {}))}


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return f"{value:.2f}" if name in AMOUNTS else f"{value:f}"
    return _NOT_XML.sub("?", str(value))


class _NoDoctype(ElementTree.TreeBuilder):
    """A document type brings entities; there is no use for one here."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _unreadable("DOCTYPE is not allowed")


def from_xml(kind: str, body: bytes) -> Json:
    """The JSON form of an XML request for `kind` (`Invoice`, or `Batch` for an `IntuitBatchRequest`).

    Raises Refusal: 500 for what is not UTF-8, 2010 for what is not well-formed, too large or deep, another kind, or
    has a document type.
    """
    if len(body) > BODY_MAX_BYTES:
        raise _unreadable("body too large")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise unsupported("the body's encoding") from None
    try:
        root = ElementTree.fromstring(text, ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError):
        raise _unreadable("failed to parse XML") from None
    name = _local(root.tag)
    if kind == "Batch" and name == BATCH_ROOT:
        return {"BatchItemRequest": [_batch_item(each) for each in root]}
    if name != kind:
        raise _unreadable(f"{name} where {kind} is expected")
    return _object(root, kind, 1)


def _unreadable(reason: str) -> Refusal:
    detail = f"Property Name:{reason} specified is unsupported or invalid"
    return Refusal("2010", "Request has invalid or unsupported property", detail)


def _batch_item(element: ElementTree.Element) -> Json:
    item: Json = dict(element.attrib)
    for child in element:
        name = _local(child.tag)
        item[name] = (child.text or "") if name == "Query" else _object(child, name, 2)
    return item


def _object(element: ElementTree.Element, type_name: str, depth: int) -> Json:
    """An element with children, plain values as text. What the schema does not know is kept, for the rules to refuse
    by name."""
    if depth > DEPTH_MAX:
        raise _unreadable("too deep")
    known = properties().get(type_name, {})
    found: Json = {key: text for key, text in element.attrib.items() if not key.startswith("{")}
    if "sparse" in found:
        found["sparse"] = found["sparse"].strip() == "true"
    if "value" in known:
        found["value"] = (element.text or "").strip()
        return found
    for child in element:
        name = _local(child.tag)
        expected = known.get(name, "")
        inner = expected.removesuffix("[]")
        plain = inner in ("", "*") and not len(child)
        value = child.text or "" if plain else _object(child, inner, depth + 1)
        if expected.endswith("[]"):
            found.setdefault(name, []).append(value)
        elif name in found:
            raise _unreadable(f"{name} more than once")
        else:
            found[name] = value
    return found


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
