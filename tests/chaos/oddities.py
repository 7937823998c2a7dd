"""Answers that are well-formed and odd: halves of an emoji in the texts of both vendors; and answers that hold
something else than the object that was asked for, or that object in another spelling.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any
from zlib import crc32

import orjson

from simulators import http
from simulators.quickbooks.books import SALES
from simulators.quickbooks.core import QuickBooks

Json = dict[str, Any]

HALVES = (rb"\ud83d", rb"\uDe00")
_TEXT = re.compile(
    rb'(?P<before>"(?:name|DisplayName|FullyQualifiedName|Name|Description|PrivateNote|message|Message|Detail)":")'
    rb'(?P<text>(?:[^"\\]|\\.)+)"'
)
HALF_EMOJI = "half an emoji"


def _as_text(found: Json) -> None:
    """QuickBooks' own documentation has both spellings of a number."""
    if "TotalAmt" in found:
        found["TotalAmt"] = str(found["TotalAmt"])


def _with_exponent(found: Json) -> None:
    if "TotalAmt" in found:
        found["TotalAmt"] = orjson.Fragment(f"{Decimal(found['TotalAmt']):E}")


def _id_as_number(found: Json) -> None:
    found["Id"] = int(found["Id"])
    for name in ("CustomerRef", "ParentRef"):
        if name in found:
            found[name] = {**found[name], "value": int(found[name]["value"])}


SPELLINGS: dict[str, Callable[[Json], None]] = {
    "total as text": _as_text,
    "total with an exponent": _with_exponent,
    "id as a number": _id_as_number,
}
"""The right object, written in another way."""

WRONG: dict[str, Callable[[Any], Any]] = {
    "object missing": lambda found: None,
    "object in a list": lambda found: [found],
    "object null": lambda found: None,
    "empty object": lambda found: {},
}
"""By what stands in its place; of a write that says nothing about what was done."""

ANOTHER = "another document"
AN_ID = "another id"
"""Of an answer to an update or a void. Of one to a create, whose id nobody knows before, it could not be told."""
WHOLE = "empty answer"
ODD = (*SPELLINGS, *WRONG, ANOTHER, AN_ID, WHOLE)

OF_METRONOME: dict[str, bytes] = {
    "data missing": b"{}",
    "data null": b'{"data":null}',
    "data in a list": b'{"data":[]}',
}

EVERY = (HALF_EMOJI, *(f"quickbooks odd: {kind}" for kind in ODD), *(f"metronome odd: {kind}" for kind in OF_METRONOME))
"""All that is counted."""


class Oddities:
    """What is odd in the run of one seed. Its dice are its own: all else stays as it was."""

    def __init__(self, seed: int, quickbooks: QuickBooks) -> None:
        self._dice = Random(f"odd {seed}")
        self._seed = seed
        self._books = quickbooks.books
        self._halves = self._dice.random() < 0.35
        self._share = self._dice.choice((0.0, 0.0, 0.0, 0.1, 0.3))
        self.happened: Counter[str] = Counter()

    def spoiled(self, to: str, request: http.Request, answer: http.Answer, *, odd: bool) -> http.Answer:
        """The answer as it arrives; `odd`: such a moment that its object may be too, and not only its texts."""
        if to == "token" or not answer.body.startswith(b"{"):
            return answer
        body = answer.body
        if odd and answer.status == 200 and self._dice.random() < self._share:
            body = self._odd(to, request, body)
        return replace(answer, body=self._with_halves(body))

    def _with_halves(self, body: bytes) -> bytes:
        """The same text always has the same half: what cut it in two did so when it was written."""
        if not self._halves:
            return body

        def with_half(found: re.Match[bytes]) -> bytes:
            chosen = crc32(found["text"], self._seed) % 8
            if chosen > 3:
                return found[0]
            self.happened[HALF_EMOJI] += 1
            half = HALVES[chosen % 2]
            text = half + found["text"] if chosen < 2 else found["text"] + half
            return found["before"] + text + b'"'

        return _TEXT.sub(with_half, body)

    def _odd(self, to: str, request: http.Request, body: bytes) -> bytes:
        if to == "metronome":
            kind = self._dice.choice(tuple(OF_METRONOME))
            self.happened[f"metronome odd: {kind}"] += 1
            return OF_METRONOME[kind]
        rare = [AN_ID, ANOTHER] if self._dice.random() < 0.5 else []
        for kind in (*rare, *self._dice.sample(ODD, len(ODD))):
            odd = b"{}" if kind == WHOLE else self._of_kind(kind, request, json.loads(body, parse_float=Decimal))
            if odd is not None:
                self.happened[f"quickbooks odd: {kind}"] += 1
                return odd
        return body

    def _of_kind(self, kind: str, request: http.Request, answer: Json) -> bytes | None:
        """None for an answer that holds nothing that could be odd so."""
        holder, entity = _place(answer)
        if entity is None:
            return None
        listed = isinstance(holder[entity], list)
        found = dict(holder[entity][0] if listed else holder[entity])
        if kind in SPELLINGS:
            SPELLINGS[kind](found)
        elif kind == AN_ID:
            if request.method != "POST" or b'"Id":' not in request.body:
                return None
            found["Id"] = str(int(found["Id"]) + 1)
        elif kind == ANOTHER:
            others = [each for each in self._sales(request) if each["Id"] != found["Id"]]
            if entity not in SALES or not others:
                return None
            found = self._dice.choice(others)
        elif listed:
            return None  # a list without it would say that it is not there, which nobody could doubt
        else:
            holder[entity] = WRONG[kind](found)
            if kind == "object missing":
                del holder[entity]
            return http.dump(answer)
        holder[entity] = [found, *holder[entity][1:]] if listed else found
        return http.dump(answer)

    def _sales(self, request: http.Request) -> list[Json]:
        if request.method != "POST":
            return []  # an answer to a question is believed
        books = self._books[request.path.split("/")[3]]
        return [sale for kind in SALES for sale in books.objects[kind].values()]


def _place(answer: Json) -> tuple[Json, str | None]:
    """Where the answer's object, or the first of its list or batch, stands."""
    holders = [answer.get("QueryResponse") or answer, *answer.get("BatchItemResponse", [])]
    for holder in holders:
        for entity in (*SALES, "Customer", "Item"):
            if holder.get(entity):
                return holder, entity
    return answer, None
