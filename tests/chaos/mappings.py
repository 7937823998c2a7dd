"""Who a person says that a customer or a product is in QuickBooks: beside the traffic, and when outcomes ask for it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from models.commands import COMMANDS, SetCustomerMapping, SetItemMapping
from models.record import Address
from simulators.quickbooks.books import Books, add_customer, add_item

from .log import Log
from .worker import TOPICS

SHARE = 0.3
ACTS_MAX = 4


@dataclass(frozen=True)
class Act:
    """A mapping that a person sets unasked, so many seconds after the beginning. `which` chooses among them, from 0 to
    1."""

    seconds: float
    kind: str
    which: float


def acts_of(seed: int, seconds: float) -> list[Act]:
    """Their dice are their own."""
    dice = Random(f"maps {seed}")
    if dice.random() >= SHARE:
        return []
    kinds = [dice.choice(("customer", "customer", "item")) for _ in range(dice.randint(1, ACTS_MAX))]
    return [Act(dice.choice((0.0, dice.uniform(0.0, seconds))), kind, dice.random()) for kind in kinds]


class Mappings:
    """Makes an entry in QuickBooks by hand for each, and says so as `metronome-qbo map` does."""

    def __init__(
        self,
        books: dict[str, Books],
        clock: Callable[[], float],
        publish: Callable[[SetCustomerMapping | SetItemMapping], None],
    ) -> None:
        self._books = books
        self._clock = clock
        self._publish = publish

    def customer(self, realm: str, customer_id: str, currency: str) -> None:
        books = self._books[realm]
        number = books.new_id("Customer")
        add_customer(books, number, f"By hand {number}", self._clock(), currency)
        self._publish(SetCustomerMapping(realm=realm, customer_id=customer_id, qbo_id=number))

    def item(self, realm: str, product_id: str) -> None:
        books = self._books[realm]
        number = books.new_id("Item")
        add_item(books, number, f"By hand {number}", self._clock())
        self._publish(SetItemMapping(realm=realm, product_id=product_id, qbo_id=number))


def customers_mapped(log: Log) -> list[tuple[Address, SetCustomerMapping]]:
    """All that was said of customers, unasked, asked, and once more by a replay, where it lies."""
    commands = [(at, COMMANDS.validate_json(stored.value)) for at, stored in log.records(TOPICS["commands"])]
    return [(at, command) for at, command in commands if isinstance(command, SetCustomerMapping)]
