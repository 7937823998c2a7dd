"""Intuit's own schema as a judge of bodies: every name must exist, every value must have its type.

JSON and XSD correspond so: an object's key is an element's name, a list is a repeated element, `{"value", "name"}` is
a type with text content and attributes such as ReferenceType (docs/vendors/quickbooks.md §8). The schema knows nothing
of required fields, lengths or arithmetic.
"""

from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from xml.etree import ElementTree

from lxml import etree

from tests import FIXTURES

XSD_FOLDER = FIXTURES / "qbo_xsd"
REST_SCHEMA = XSD_FOLDER / "IntuitRestServiceDef.xsd"
XS = "{http://www.w3.org/2001/XMLSchema}"


def faults(entity: str, body: dict[str, Any]) -> list[str]:
    """What is wrong with a JSON body of an entity such as `Invoice`: paths with the reason, empty when all is well."""
    return list(_walk_object(entity, body, entity))


def answer_faults(body: object) -> list[str]:
    """What is wrong with the JSON body of an answer: an entity, a query's or batch's result, changes, or a Fault."""
    return list(_walk_object("IntuitResponse", body, "")) if isinstance(body, dict) else [f"no object: {body!r}"]


def xml_faults(body: bytes) -> list[str]:
    """What is wrong with the XML body of an answer, the order of its elements included.

    A custom field without a value is well: Intuit's own answers have it, against the schema (recorded: invoice_send).
    """
    schema = _xml_schema()
    try:
        document = etree.fromstring(body)
    except etree.XMLSyntaxError as problem:
        return [f"no XML: {problem}"]
    schema.validate(document)
    faults = [each.message for each in schema.error_log]
    return [each for each in faults if "}CustomField': Missing child element" not in each]


def _walk_object(type_name: str, value: object, path: str) -> Iterator[str]:
    """`value` against a complex type."""
    if not isinstance(value, dict):
        yield f"{path}: a {type_name} is an object, not {value!r}"
        return
    allowed = _fields(type_name)
    for key, item in value.items():
        if key not in allowed:
            yield f"{path}.{key}: {type_name} has no such field"
            continue
        field_type, repeated = allowed[key]
        if isinstance(item, list) and not repeated:
            yield f"{path}.{key}: not a list"
        for each in item if isinstance(item, list) else [item]:
            yield from _walk(field_type, each, f"{path}.{key}")


def _walk(type_name: str, value: object, path: str) -> Iterator[str]:
    if type_name in _complex_types():
        yield from _walk_object(type_name, value, path)
    elif not _is_of(type_name, value):
        yield f"{path}: {value!r} is not of type {type_name}"


@cache
def _fields(type_name: str) -> dict[str, tuple[str, bool]]:
    """The fields of a complex type and of what it extends: name -> (type, whether it may repeat)."""
    definition = _complex_types()[type_name]
    fields: dict[str, tuple[str, bool]] = {}
    for extension in definition.iter(f"{XS}extension"):
        base = extension.attrib["base"]
        if base in _complex_types():
            fields |= _fields(base)
        else:
            fields["value"] = (base, False)
    for attribute in definition.iter(f"{XS}attribute"):
        fields[attribute.attrib["name"]] = (attribute.attrib["type"], False)
    for element in definition.iter(f"{XS}element"):
        repeated = element.get("maxOccurs", "1") != "1"
        if "name" in element.attrib:
            fields[element.attrib["name"]] = (element.attrib["type"], repeated)
        elif element.get("ref") == "IntuitObject":
            fields |= {name: (type_name, repeated) for name, type_name in _entities().items()}
    return fields


def _is_of(type_name: str, value: object) -> bool:
    if type_name in _BUILT_IN:
        return _BUILT_IN[type_name](value)
    [restriction] = _simple_types()[type_name].findall(f"{XS}restriction")
    allowed = [entry.get("value") for entry in restriction.iter(f"{XS}enumeration")]
    return _is_of(restriction.attrib["base"], value) and (not allowed or value in allowed)


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _is_moment(value: object) -> bool:
    """A date and time with its offset, as every timestamp of a body carries one."""
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_string(value: object) -> bool:
    return isinstance(value, str)


_BUILT_IN: dict[str, Callable[[object], bool]] = {
    "xs:string": _is_string,
    "xs:decimal": _is_number,
    "xs:date": _is_date,
    "xs:boolean": lambda value: isinstance(value, bool),
    "xs:dateTime": _is_moment,
    "xs:anyURI": _is_string,
    "xs:int": _is_whole,
    "xs:integer": _is_whole,
    "xs:long": _is_whole,
    "xs:positiveInteger": lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
}


@cache
def _complex_types() -> dict[str, ElementTree.Element]:
    return _definitions("complexType")


@cache
def _simple_types() -> dict[str, ElementTree.Element]:
    return _definitions("simpleType")


@cache
def _entities() -> dict[str, str]:
    """Name -> type of what may stand where the schema says "any entity": Customer, Invoice …"""
    root = ElementTree.parse(REST_SCHEMA).getroot()
    found = [each for each in root.findall(f"{XS}element") if each.get("substitutionGroup") == "IntuitObject"]
    return {each.attrib["name"]: each.attrib["type"] for each in found}


@cache
def _xml_schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(REST_SCHEMA)))


def _definitions(kind: str) -> dict[str, ElementTree.Element]:
    roots = [ElementTree.parse(path).getroot() for path in sorted(XSD_FOLDER.glob("*.xsd"))]
    return {element.attrib["name"]: element for root in roots for element in root.findall(f"{XS}{kind}")}
