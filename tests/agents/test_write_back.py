"""Writing back to Metronome: only what is new, and never at the cost of anything else."""

from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from agents.clients.failures import Failure, NotFound, OutcomeUnknown, Refused, TokenRefused, Wait
from agents.clients.retry import RetryPolicy
from agents.delivery import Delivered
from agents.write_back import WriteBack, write_back
from models.outcomes import Outcome, Result
from models.record import Address
from tests.agents.in_process import Clock

AT = Address(topic="quickbooks.outcomes", partition=0, offset=1)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Fields:
    """Metronome's custom fields; raises the given failures first."""

    def __init__(self, *failures: Failure) -> None:
        self.failures = list(failures)
        self.asked = 0
        self.written: list[tuple[str, str, str, str]] = []

    async def set_custom_field(self, entity: str, entity_id: str, key: str, value: str) -> None:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        self.written.append((entity, entity_id, key, value))


def outcome_of(result: Result, subject: str) -> Delivered[Outcome]:
    outcome = Outcome(
        realm="1",
        subject=subject,
        command_type="EnsureCustomer",
        command=AT,
        result=result,
        qbo_id="58",
        started_at=NOW,
        finished_at=NOW,
    )
    return Delivered(outcome, AT, {}, NOW)


def into(fields: Fields, *, customers: bool = True, items: bool = True) -> WriteBack:
    clock = Clock()
    return WriteBack(fields, RetryPolicy(60, 10, clock, clock.sleep), customers, items)


@pytest.mark.parametrize("result", ["found", "created"])
@pytest.mark.parametrize(
    ("subject", "written"),
    [
        ("customer/c-1", ("customer", "c-1", "qbo_customer_id", "58")),
        ("item/p-1", ("contract_product", "p-1", "qbo_item_id", "58")),
    ],
)
async def test_what_was_found_or_created_is_written_back(result: Result, subject: str, written: object) -> None:
    fields = Fields()
    assert await write_back(outcome_of(result, subject), into=into(fields)) == []
    assert fields.written == [written]


@pytest.mark.parametrize(
    ("result", "subject"),
    [
        ("mapped", "customer/c-1"),
        ("parked", "customer/c-1"),
        ("posted", "invoice/i-1"),
        ("created", "item/*"),
        ("mapped", "item/p-1"),
    ],
)
async def test_nothing_else_is_written_back(result: Result, subject: str) -> None:
    fields = Fields()
    await write_back(outcome_of(result, subject), into=into(fields))
    assert fields.asked == 0


async def test_settings_switch_it_off() -> None:
    fields = Fields()
    for subject in ("customer/c-1", "item/p-1"):
        await write_back(outcome_of("created", subject), into=into(fields, customers=False, items=False))
    assert fields.asked == 0


@pytest.mark.parametrize("failure", [Refused("400: Invalid custom field keys"), NotFound("404")])
async def test_what_metronome_will_not_take_is_logged_with_its_remedy_and_left(failure: Failure) -> None:
    fields = Fields(failure)
    with capture_logs() as logs:
        assert await write_back(outcome_of("created", "customer/c-1"), into=into(fields)) == []
    [entry] = [each for each in logs if each["event"] == "write_back_refused"]
    assert (entry["remedy"], entry["log_level"]) == ("metronome-qbo setup", "error")
    assert fields.asked == 1


async def test_trouble_is_waited_for() -> None:
    fields = Fields(Wait("429"), OutcomeUnknown("500"), TokenRefused("401"))
    await write_back(outcome_of("created", "customer/c-1"), into=into(fields))
    assert len(fields.written) == 1


async def test_patience_over_raises() -> None:
    with pytest.raises(Wait):
        await write_back(outcome_of("created", "customer/c-1"), into=into(Fields(*[Wait("429")] * 1000)))
