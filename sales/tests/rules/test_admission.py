"""How many entries a sale lets in, when, and up to which place."""

from datetime import timedelta

import pytest

from sales.tests.rules.states import MINUTE, NOW, SECOND, sale
from sales.waiting_room import admission
from sales.waiting_room.admission import ENDED_AT_ONCE, Admission

pytestmark = pytest.mark.rules
WAITING = {"last_position": 100, "passed_position": 40}


def decide(admitted_in_window=0, **changes):
    return admission.decide(sale(**WAITING | changes), NOW, admitted_in_window=admitted_in_window)


def last_admitted(ago, **changes):
    """A sale that admitted its last entry so long ago, at the usual pace."""
    last = NOW - ago
    return {"last_admitted_at": last, "next_admission_at": last + SECOND, **changes}


def test_the_first_admission_makes_up_for_two_seconds():
    assert decide() == Admission(42, NOW + SECOND)


@pytest.mark.parametrize(
    ("ago", "number"),
    [
        pytest.param(0.9 * SECOND, 0, id="none before the next one is due"),
        pytest.param(SECOND, 1, id="one when it is due"),
        pytest.param(2 * SECOND, 2, id="two after a late tick"),
        pytest.param(MINUTE, 3, id="no more than those of two seconds after a pause"),
    ],
)
def test_entries_are_admitted_evenly(ago, number):
    decided = decide(**last_admitted(ago))

    assert (decided.last - 40 if decided else 0) == number


@pytest.mark.parametrize(
    ("changes", "in_window", "last"),
    [
        pytest.param({}, 59, 41, id="the rate of the last minute"),
        pytest.param({"last_position": 41}, 0, 41, id="the entries that wait"),
    ],
)
def test_no_more_are_admitted_than(changes, in_window, last):
    assert decide(in_window, **last_admitted(MINUTE), **changes).last == last


@pytest.mark.parametrize(
    ("changes", "in_window"),
    [
        pytest.param({}, 60, id="the minute is full"),
        pytest.param({}, 61, id="the rate was lowered"),
        pytest.param({"last_position": 40}, 0, id="nobody waits"),
    ],
)
def test_none_is_admitted_when(changes, in_window):
    assert decide(in_window, **last_admitted(MINUTE), **changes) is None


def test_the_next_one_is_due_an_interval_later():
    assert decide(**last_admitted(SECOND)).next_admission_at == NOW + SECOND


@pytest.mark.parametrize("name", ["next_admission_at", "last_admitted_at"])
def test_a_sale_without_an_earlier_admission_begins_anew(name):
    assert decide(**last_admitted(SECOND) | {name: None}).last == 42


def test_a_slow_sale_makes_up_for_nothing_at_first():
    assert decide(rate_per_minute=20) == Admission(41, NOW + 3 * SECOND)


def test_a_raised_rate_holds_at_once():
    decided = decide(last_admitted_at=NOW - SECOND, next_admission_at=NOW + MINUTE)

    assert decided == Admission(41, NOW + SECOND)


@pytest.mark.parametrize(
    ("changes", "at", "ahead"),
    [
        pytest.param({}, NOW, 0 * SECOND, id="nothing was admitted"),
        pytest.param({"last_admitted_at": NOW - SECOND}, NOW, 0 * SECOND, id="later than the last one"),
        pytest.param({"last_admitted_at": NOW + 2 * SECOND}, NOW + 2 * SECOND, 0 * SECOND, id="a small step"),
        pytest.param({"last_admitted_at": NOW + MINUTE}, NOW + MINUTE, MINUTE, id="a clock set back"),
        pytest.param(
            {"last_admitted_at": NOW + MINUTE, "admission_clock_ahead": 2 * MINUTE},
            NOW + 2 * MINUTE,
            2 * MINUTE,
            id="ahead already",
        ),
    ],
)
def test_the_clock_of_admissions_never_goes_back(changes, at, ahead):
    assert admission.read_clock(sale(**changes), NOW) == (at, ahead)


@pytest.mark.parametrize(
    ("changes", "is_late"),
    [
        pytest.param({}, True, id="it has admitted none"),
        pytest.param({"is_ordered": False}, False, id="its draw may be closing"),
        pytest.param({"last_admitted_at": NOW - SECOND}, False, id="it has just admitted"),
        pytest.param({"last_admitted_at": NOW - 1.5 * SECOND}, True, id="it has admitted none for a while"),
        pytest.param(
            {"last_admitted_at": NOW, "admission_clock_ahead": MINUTE}, True, id="by its clock it has not"
        ),
    ],
)
def test_a_sale_that_another_process_holds_is_waited_for_when(changes, is_late):
    assert admission.is_late(sale(**changes), NOW) is is_late


@pytest.mark.parametrize(
    ("waiting", "ended"),
    [pytest.param(3, 3, id="all of few"), pytest.param(2 * ENDED_AT_ONCE, ENDED_AT_ONCE, id="some of many")],
)
def test_entries_end_at_once(waiting, ended):
    state = sale(passed_position=40, last_position=40 + waiting)

    assert admission.last_to_end(state) == 40 + ended


def test_a_minute_is_the_window():
    assert timedelta(minutes=1) == admission.WINDOW
