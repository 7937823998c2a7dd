"""Names as QuickBooks takes them: no colon, tab or newline, not too long, and unique (facts/quickbooks.md §2.1, §2.2).

Lengths are counted in UTF-16 units, as for all texts (`agents/texts.py`).
"""

from .texts import clean

CUSTOMER_NAME_CHARACTERS_MAX = 500
ITEM_NAME_CHARACTERS_MAX = 100

INACTIVE_SUFFIX = " (deleted)"
"""QuickBooks puts it behind the name of a list entry that is made inactive (facts/quickbooks.md §2.1)."""

_NOT_IN_NAMES = str.maketrans({":": " ", "\t": " ", "\n": " ", "\r": " "})


def tidy_name(name: str, length_max: int) -> str:
    """`name` without what QuickBooks refuses, no blank at its ends or twice within, at most `length_max` units."""
    return _shortened(" ".join(clean(name.translate(_NOT_IN_NAMES)).split()), length_max)


def with_suffix(name: str, suffix: str, length_max: int) -> str:
    """A tidy name that ends in `suffix` and is not too long; the name gives way."""
    room = length_max - _length(suffix)
    return tidy_name(_shortened(name, room) + suffix, length_max)


def same_name(one: str, other: str) -> bool:
    """Whether QuickBooks takes them for the same: capitals do not count, nor does what an inactive entry carries."""
    return one.removesuffix(INACTIVE_SUFFIX).casefold() == other.removesuffix(INACTIVE_SUFFIX).casefold()


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _shortened(text: str, length_max: int) -> str:
    """Never half a character."""
    if _length(text) <= length_max:
        return text
    return text.encode("utf-16-le")[: 2 * length_max].decode("utf-16-le", errors="ignore").strip()
