"""Postal addresses as QuickBooks keeps them: with an Id and a place on the map (recorded: all/customers, get/id)."""

from __future__ import annotations

from simulators.http import Json
from simulators.quickbooks.books import Books

NOWHERE = "INVALID"
OWN = frozenset(("Id", "Lat", "Long"))


def kept_address(address: Json, former: Json | None, books: Books) -> Json:
    """`former` itself when the address says the same, else the address with a new Id. What cannot be found on a map,
    which here is everything, is at "INVALID"."""
    said = {name: value for name, value in address.items() if value not in (None, "")}
    if former is not None and said.items() <= former.items() and former.keys() - said.keys() <= OWN:
        return former
    return {"Lat": NOWHERE, "Long": NOWHERE, **said, "Id": books.new_id("Address")}
