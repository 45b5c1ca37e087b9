"""How long a waiting entry will probably wait."""

from uuid import UUID

import pytest

from sales.tests.rules.states import MINUTE, NOW, SALE_ID, SECOND, sale
from sales.waiting_room import estimates
from sales.waiting_room.entries import Entry
from sales.waiting_room.estimates import Reading

pytestmark = pytest.mark.rules


def wait(state, readings=(), status="waiting", ahead=9):
    entry = Entry(UUID(int=1), SALE_ID, 42, status, 10, ahead, None, NOW, 60)
    return estimates.wait_seconds(entry, state, readings, NOW)


def admitted_lately(number, seconds=60.0):
    return (Reading(1_000.0, 40), Reading(1_000.0 + seconds, 40 + number))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        pytest.param({"status": "admitted"}, 0, id="an admitted entry waits no more"),
        pytest.param({"status": "used"}, None, id="of one that is used nothing is to come"),
        pytest.param({"ahead": None}, None, id="before the draw it is unknown"),
        pytest.param({"ahead": 0}, 1, id="the first one waits a second"),
    ],
)
def test_by_the_entry(given, seconds):
    assert wait(sale(), **given) == seconds


@pytest.mark.parametrize(
    ("state", "seconds"),
    [
        pytest.param(None, 10, id="by the rate when it joined, if the sale is unknown"),
        pytest.param(sale(), 9, id="by the rate"),
        pytest.param(sale(next_admission_at=NOW + 0.5 * SECOND), 10, id="and when the next one is due"),
        pytest.param(sale(next_admission_at=NOW - MINUTE), 9, id="which may be overdue"),
        pytest.param(sale(next_admission_at=NOW + MINUTE), 10, id="an interval at most"),
        pytest.param(
            sale(next_admission_at=NOW + 2 * SECOND, admission_clock_ahead=2 * SECOND), 9, id="by its clock"
        ),
        pytest.param(sale(paused_at=NOW), None, id="unknown during a pause"),
    ],
)
def test_by_the_sale(state, seconds):
    assert wait(state) == seconds


@pytest.mark.parametrize(
    ("readings", "seconds"),
    [
        pytest.param(admitted_lately(54), 9, id="by the rate, when nine in ten were admitted"),
        pytest.param(admitted_lately(53), 9, id="one may be due after the minute"),
        pytest.param(admitted_lately(30), 20, id="by what was admitted, if the stock decides"),
        pytest.param(admitted_lately(30, seconds=59.0), 9, id="by the rate until a minute was watched"),
        pytest.param(admitted_lately(0), None, id="unknown when none was admitted"),
    ],
)
def test_by_what_was_admitted_lately(readings, seconds):
    assert wait(sale(), readings) == seconds


@pytest.mark.parametrize(
    ("instants", "kept"),
    [
        pytest.param([], [100.0], id="the first one"),
        pytest.param([10.0, 50.0], [10.0, 50.0, 100.0], id="one before the minute, which it covers"),
        pytest.param([10.0, 39.0, 40.0], [39.0, 40.0, 100.0], id="no more of them"),
    ],
)
def test_readings_of_a_minute_are_kept(instants, kept):
    readings = [Reading(at, 0) for at in instants]

    assert [one.at for one in estimates.add_reading(readings, Reading(100.0, 0))] == kept
