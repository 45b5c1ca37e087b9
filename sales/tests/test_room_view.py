"""Polls of entries that wait: answered from the memory of a process, right about changes, and measured."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from accounts.tests.clients import Api, client_of, new_customer, problem_of
from foundation import clock
from foundation.tests.factories import AccountFactory, set_columns
from foundation.tests.instants import ago
from foundation.tests.statements import captured_statements
from foundation.tests.waiting import shifted
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from sales import metrics
from sales.metrics import ADMISSION_AGE, ADMITTED, ADMITTED_LATELY, PASSED_POSITION, WAITING
from sales.models import Sale, SaleEntry
from sales.tests import factories
from sales.tests.factories import create_sale, join, join_all, pause, resume
from sales.waiting_room import advancing, room_view, ticking
from sales.waiting_room.entries import Entry
from sales.waiting_room.estimates import WINDOW_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)
# Of a thread that rests for half a second, and works a little.
TICK = 0.51


def waiting_entry(**given) -> tuple[Sale, Entry, Api]:
    """An entry that waits behind an admitted one, and the client of its account."""
    sale, buyer = factories.create_sale(rate_per_minute=1, **given), AccountFactory()
    factories.join(sale)
    entry = factories.join(sale, buyer)
    advancing.advance(sale.pk)
    room_view.refresh()
    api = client_of(buyer)
    assert api.read(f"/sale-entries/{entry.id}")["status"] == "waiting"
    return sale, entry, api


def test_a_poll_of_a_waiting_entry_runs_no_statement_and_of_an_admitted_one_asks_the_database():
    sale, entry, api = waiting_entry()
    other = new_customer()
    with captured_statements() as statements:
        answer = api.get(f"/sale-entries/{entry.id}")
    assert (answer.json()["status"], answer.json()["ahead"]) == ("waiting", 0)
    assert answer["Retry-After"] in ("14", "15"), "a quarter of the minute until it is admitted"
    assert statements == []
    # It is not found for another account, in memory either.
    with captured_statements() as statements:
        answer = other.get(f"/sale-entries/{entry.id}")
    assert problem_of(answer) == (404, "not_found")
    assert not [one for one in statements if "sales_saleentry" in one]
    with shifted(seconds=61):
        advancing.advance(sale.pk)
        room_view.refresh()
        with captured_statements() as statements:
            answer = api.read(f"/sale-entries/{entry.id}")
    assert (answer["status"], answer["estimated_wait_seconds"]) == ("admitted", 0)
    assert len([one for one in statements if "sales_saleentry" in one]) == 1


def test_memory_of_more_than_two_seconds_ago_is_not_used(passing):
    sale, entry, api = waiting_entry()
    with passing(61):
        advancing.advance(sale.pk)
        assert room_view.find_waiting(entry.id) is None
        assert api.read(f"/sale-entries/{entry.id}")["status"] == "admitted"
    with passing(room_view.CURRENT_SECONDS / 2):
        assert room_view.find_waiting(entry.id) is not None


def test_what_was_just_admitted_may_show_as_waiting_for_as_long_as_memory_is_current():
    """It is the only way in which a poll may be wrong; an admitted entry never shows as waiting again."""
    sale, entry, api = waiting_entry()
    with shifted(seconds=61):
        advancing.advance(sale.pk)
        assert api.read(f"/sale-entries/{entry.id}")["status"] == "waiting"
        room_view.refresh()
        assert api.read(f"/sale-entries/{entry.id}")["status"] == "admitted"


def test_nothing_waits_from_the_closing_on_although_memory_is_current():
    _, entry, api = waiting_entry(closes_in=10)
    with shifted(seconds=10):
        assert room_view.find_waiting(entry.id) is None
        assert api.read(f"/sale-entries/{entry.id}")["status"] == "over"


def test_places_beyond_the_bound_are_read_from_the_database(monkeypatch):
    monkeypatch.setattr(room_view, "MOST_PLACES", 4)
    monkeypatch.setattr(room_view, "PLACES_PER_STATEMENT", 2)
    joined = factories.join_all(factories.create_sale(), 7)

    room_view.refresh()
    room_view.refresh()

    assert len(room_view._places) == 4
    assert [room_view.find_waiting(one.id) is not None for one in joined] == [True] * 4 + [False] * 3


def test_places_that_were_passed_and_ended_sales_are_forgotten(monkeypatch):
    monkeypatch.setattr(room_view, "PLACES_PER_STATEMENT", 2)
    sale = factories.create_sale(rate_per_minute=300, closes_in=100)
    joined = factories.join_all(sale, 12)
    room_view.refresh()
    assert len(room_view._places) == 12
    advancing.advance(sale.pk)
    room_view.refresh()
    assert set(room_view._places) == {one.id for one in joined[10:]}

    with shifted(seconds=101):
        advancing.advance(sale.pk)
        room_view.refresh()
    assert (room_view._places, room_view._rooms) == ({}, {})


def test_a_rejoined_account_has_its_new_place_alone():
    sale = factories.create_sale(admitted_for_seconds=5)
    entry = factories.join(sale)
    advancing.advance(sale.pk)
    with shifted(seconds=6):
        again = factories.join(sale, entry.account_id)
        room_view.refresh()
        assert room_view.find_waiting(entry.id) is None
        assert room_view.find_waiting(again.id) == factories.read(again)


@pytest.mark.parametrize(
    ("granted", "is_available"),
    [
        # A burst of admissions every 2 s, a tick, and the rounding.
        pytest.param(3.5, lambda second: True, id="by the rate"),
        # For five seconds of ten nothing is available: by the rate the estimate would be half of the wait.
        pytest.param(8.5, lambda second: second % 10 < 5, id="held up half of the time"),
    ],
)
def test_after_a_minute_the_estimate_is_within_a_fifth(granted, is_available, passing):
    """By simulated ticks: each estimate beside the wait that followed, or `granted` seconds from it."""
    product, total = ProductFactory(on_hand=100_000), 2_400
    sale = factories.create_sale(product, rate_per_minute=1_200)
    factories.join_many(sale, total)
    estimates = []
    for number in range(round(105 / TICK)):
        second = number * TICK
        with passing(second):
            set_columns(product, reserved=0 if is_available(second) else 100_000)
            ticking.tick()
            if second > WINDOW_SECONDS and number % 5 == 0:
                estimates += estimated(sale, range(600, total, 50))
    found = SaleEntry.objects.filter(sale=sale, admitted_at__isnull=False)
    admitted_at = dict(found.values_list("position", "admitted_at"))

    checked = [one for one in estimates if one[0] in admitted_at]
    assert len(checked) >= 15
    for position, at, seconds in checked:
        actual = (admitted_at[position] - at).total_seconds()
        assert abs(seconds - actual) <= max(0.2 * actual, granted), f"{position}: {seconds} for {actual} s"


def estimated(sale, positions: range) -> Iterator[tuple[int, datetime, int]]:
    """Of the entries at these positions that wait: the position, this instant, and the estimate."""
    found = SaleEntry.objects.filter(sale=sale, position__in=positions)
    for entry_id, position in found.values_list("id", "position"):
        entry = room_view.find_waiting(entry_id)
        if entry is not None:
            yield position, clock.now(), room_view.estimated_wait_seconds(entry)


@pytest.mark.parametrize(("rate", "granted"), [(7, 1.1), (42, 1.1), (660, 2.1)])
def test_from_the_opening_on_the_estimate_is_the_wait_within_two_ticks_and_its_rounding(
    rate, granted, passing
):
    """For a fast rate two seconds' worth are admitted at once."""
    sale, number = factories.create_sale(rate_per_minute=rate, opens_in=0), rate * 3 // 2
    factories.join_many(sale, number)
    estimates = []
    for tick in range(round(100 / TICK)):
        with passing(tick * TICK):
            ticking.tick()
            if tick % 10 == 0:
                estimates += estimated(sale, range(1, number + 1, 1 + number // 20))
    found = SaleEntry.objects.filter(sale=sale, admitted_at__isnull=False)
    admitted_at = dict(found.values_list("position", "admitted_at"))

    assert len(admitted_at) == number and len(estimates) > 50
    for position, at, seconds in estimates:
        actual = (admitted_at[position] - at).total_seconds()
        assert -granted <= seconds - actual <= granted + 1, f"{position}: {seconds} for {actual} s"


def gauge(name: str, sale) -> float | None:
    return metrics.read_running()[name].get(str(sale.pk))


def test_a_running_waiting_room_is_measured():
    sale = create_sale(rate_per_minute=60)
    join_all(sale, 5)
    advancing.advance(sale.pk)
    used = SaleEntry.objects.filter(sale=sale, position=1)
    used.update(status="expired", admitted_at=ago(seconds=90))

    found = {name: gauge(name, sale) for name in (WAITING, ADMITTED, ADMITTED_LATELY, PASSED_POSITION)}

    assert found == {WAITING: 3, ADMITTED: 1, ADMITTED_LATELY: 1, PASSED_POSITION: 2}
    age = gauge(ADMISSION_AGE, sale)
    assert age is not None and 0 <= age < 30


def test_only_running_sales_with_a_waiting_room_are_measured():
    create_sale(admission="open")
    create_sale(opens_in=60)
    over = create_sale()
    join(over)
    set_columns(over, closes_at=clock.now())

    assert metrics.read_running() == {name: {} for name in metrics.HELPS}


def test_before_the_draw_was_made_its_entries_wait():
    sale = create_sale(opens_in=60)
    join_all(sale, 3)
    set_columns(sale, opens_at=ago(seconds=90))

    assert gauge(WAITING, sale) == 3
    assert gauge(ADMISSION_AGE, sale) == pytest.approx(90, abs=30)


def test_the_age_of_the_last_admission_counts_from_the_opening_and_is_none_without_one_that_is_due():
    sale = create_sale(ProductFactory(on_hand=1), opens_in=-600)
    assert gauge(ADMISSION_AGE, sale) is None, "none waits"
    join(sale)
    assert gauge(ADMISSION_AGE, sale) == pytest.approx(600, abs=30)
    pause(sale)
    assert gauge(ADMISSION_AGE, sale) is None
    resume(sale)
    assert gauge(ADMISSION_AGE, sale) is not None
    Product.objects.update(reserved=1)
    assert gauge(ADMISSION_AGE, sale) is None
    assert gauge(WAITING, sale) == 1


def test_admissions_are_dated_by_the_clock_of_admissions():
    """As after a failover to a database that is a quarter of an hour behind."""
    sale = create_sale(rate_per_minute=1, opens_in=-1_800)
    for _ in range(2):
        join(sale)
    advancing.advance(sale.pk)
    with shifted(minutes=-15):
        advancing.advance(sale.pk)
    with shifted(minutes=-14):
        assert gauge(ADMITTED_LATELY, sale) == 0
        age = gauge(ADMISSION_AGE, sale)
    assert 59 <= age <= 65
