"""Intuit's own schema as a judge of JSON bodies: every name must exist, every value must have its type.

JSON and XSD correspond so: an object's key is an element's name, a list is a repeated element, `{"value", "name"}` is
a type with text content and attributes such as ReferenceType (facts/quickbooks.md §8). The schema knows nothing of
required fields, lengths or arithmetic.
"""

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

XSD_FOLDER = Path(__file__).parent / "fixtures" / "qbo_xsd"
XS = "{http://www.w3.org/2001/XMLSchema}"


def faults(entity: str, body: dict[str, Any]) -> list[str]:
    """What is wrong with a JSON body of an entity such as `Invoice`: paths with the reason, empty when all is well."""
    return list(_walk_object(entity, body, entity))


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
        if "name" in element.attrib:
            repeated = element.get("maxOccurs", "1") != "1"
            fields[element.attrib["name"]] = (element.attrib["type"], repeated)
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


def _is_string(value: object) -> bool:
    return isinstance(value, str)


_BUILT_IN: dict[str, Callable[[object], bool]] = {
    "xs:string": _is_string,
    "xs:decimal": _is_number,
    "xs:date": _is_date,
    "xs:boolean": lambda value: isinstance(value, bool),
    "xs:integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "xs:positiveInteger": lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
}
"""The built-in types of what we send; a field of any other is a KeyError, to be added here."""


@cache
def _complex_types() -> dict[str, ElementTree.Element]:
    return _definitions("complexType")


@cache
def _simple_types() -> dict[str, ElementTree.Element]:
    return _definitions("simpleType")


def _definitions(kind: str) -> dict[str, ElementTree.Element]:
    roots = [ElementTree.parse(path).getroot() for path in sorted(XSD_FOLDER.glob("*.xsd"))]
    return {element.attrib["name"]: element for root in roots for element in root.findall(f"{XS}{kind}")}
