"""One line for many says what it sums, in a few words."""

from models.policy import Policy
from tests.agents.translate.translating import posted
from tests.builders import a_line, an_invoice


def test_a_line_for_many_says_their_names_how_many_and_when() -> None:
    lines = [a_line(10, name="Input tokens", pricing_group_values={"key": f"k{number}"}) for number in range(1500)]
    [one] = posted(an_invoice(lines), Policy(line_limit=750)).lines
    assert one.description == "Input tokens · 1,500 lines · 2026-10-01 – 2026-10-31"


def test_of_many_names_the_first_are_said() -> None:
    lines = [a_line(10, name=f"Model {number}") for number in range(12)]
    [one] = posted(an_invoice(lines), Policy(line_limit=2)).lines
    assert one.description.startswith("Model 0, Model 1, Model 2, Model 3, Model 4 and 7 more · 12 lines · ")


def test_the_days_are_from_the_first_to_the_last() -> None:
    first = a_line(10, starting_at="2026-10-05T00:00:00Z", ending_before="2026-10-10T00:00:00Z")
    last = a_line(10, starting_at="2026-10-20T00:00:00Z", ending_before="2026-10-21T00:00:00Z")
    [one] = posted(an_invoice([first, last]), Policy(line_limit=1)).lines
    assert one.description.endswith(" · 2 lines · 2026-10-05 – 2026-10-20")
