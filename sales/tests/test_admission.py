"""Admission: in order, within the rate of any 60 seconds, and never while nothing is available."""

import time
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection

from foundation import clock
from foundation.db.transactions import LockWaitTimeout
from foundation.errors import Rejected
from foundation.redis import completion_notifications
from foundation.tests.factories import set_columns
from foundation.tests.instants import from_now
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import wait_until
from foundation.tests.second_connection import ask, holding_row
from foundation.tests.waiting import in_background, shifted, waiting_at
from inventory import adjustments
from inventory.tests.factories import ProductFactory
from sales import audit, terms
from sales.models import SaleEntry
from sales.tests import factories
from sales.waiting_room import admission, advancing, draw

pytestmark = pytest.mark.django_db(transaction=True)


def count(sale) -> Counter[str]:
    return Counter(SaleEntry.objects.filter(sale=sale).values_list("status", flat=True))


def test_entries_are_admitted_in_the_order_of_arrival():
    sale = factories.create_sale(rate_per_minute=90)
    joined = factories.join_all(sale, 5)

    advancing.advance(sale.pk)

    assert factories.statuses(*joined) == ["admitted"] * 3 + ["waiting"] * 2
    admitted = SaleEntry.objects.get(pk=joined[0].id)
    assert admitted.admitted_until == admitted.admitted_at + timedelta(seconds=300)
    assert admitted.rate_per_minute == 90
    assert [factories.read(one).ahead for one in joined] == [0, 0, 0, 0, 1]


def test_a_lost_reply_to_commit_still_wakes_those_that_were_admitted(tmp_path, monkeypatch):
    woken = []
    monkeypatch.setattr(completion_notifications, "notify_completed", lambda *names: woken.extend(names))
    sale = factories.create_sale(rate_per_minute=90)
    joined = factories.join_all(sale, 5)

    with losing_reply_to_commit(tmp_path) as is_lost:
        assert advancing.advance(sale.pk) == 3
        assert is_lost.is_set()

    assert count(sale) == {"admitted": 3, "waiting": 2}
    assert sorted(woken) == sorted(str(entry.id) for entry in joined[:3])


@pytest.mark.parametrize("rate", [7, 42])
def test_a_slow_rate_is_even_whatever_the_pauses_between_ticks(rate, passing):
    """By ticks of 0.51 s, of which three in a row are missed once in a while."""
    sale = factories.create_sale(rate_per_minute=rate, opens_in=0)
    factories.join_all(sale, 3 * rate)
    for tick in (tick for tick in range(round(180 / 0.51)) if tick % 50 not in (7, 8, 9)):
        with passing(tick * 0.51):
            advancing.advance(sale.pk)

    found = SaleEntry.objects.filter(sale=sale, admitted_at__isnull=False).order_by("position")
    instants = [at.timestamp() for at in found.values_list("admitted_at", flat=True)]
    assert 3 * rate - 2 <= len(instants) <= 3 * rate
    assert all(sum(at - 60 <= other <= at for other in instants) <= rate for at in instants)
    gaps = [later - earlier for earlier, later in pairwise(instants)]
    assert max(gaps) <= 60 / rate + 4 * 0.51
    # None is far from its even share.
    assert all(abs(at - instants[0] - place * 60 / rate) <= 5 * 0.51 for place, at in enumerate(instants))


def test_a_lower_rate_holds_at_once_for_the_minute_before_it():
    sale = factories.create_sale(rate_per_minute=240)
    factories.join_all(sale, 12)
    advancing.advance(sale.pk)

    terms.change(sale_id=sale.pk, rate_per_minute=5)
    with shifted(seconds=50):
        assert advancing.advance(sale.pk) == 0
    with shifted(seconds=61):
        assert advancing.advance(sale.pk) == 1

    rates = Counter(SaleEntry.objects.filter(sale=sale).values_list("rate_per_minute", flat=True))
    assert rates == {240: 8, 5: 1, None: 3}


def test_nothing_is_admitted_while_nothing_is_available():
    product = ProductFactory(on_hand=2)
    sale = factories.create_sale(product)
    set_columns(product, reserved=2)
    [entry] = factories.join_all(sale, 1)

    assert advancing.advance(sale.pk) == 0
    set_columns(product, reserved=1)
    assert advancing.advance(sale.pk) == 1

    assert factories.statuses(entry) == ["admitted"]


def test_waiting_entries_are_over_when_nothing_is_on_hand_and_may_join_again_after_a_delivery():
    product = ProductFactory(on_hand=0)
    sale = factories.create_sale(product)
    [entry] = factories.join_all(sale, 1)

    advancing.advance(sale.pk)
    assert factories.statuses(entry) == ["over"]
    assert factories.join(sale, entry.account_id).id == entry.id

    adjustments.receive(product_id=product.pk, quantity=1, reason="A late box.")
    again = factories.join(sale, entry.account_id)
    assert again.id != entry.id
    advancing.advance(sale.pk)
    assert factories.statuses(entry, again) == ["over", "admitted"]


def test_an_admitted_entry_without_an_order_expires_and_its_account_joins_at_the_end():
    sale = factories.create_sale(admitted_for_seconds=30, rate_per_minute=1)
    joined = factories.join_all(sale, 4)
    advancing.advance(sale.pk)

    with shifted(seconds=31):
        again = factories.join(sale, joined[0].account_id)
        assert factories.statuses(joined[0]) == ["expired"]
        advancing.advance(sale.pk)
        assert factories.statuses(*joined) == ["expired", "waiting", "waiting", "waiting"]

    assert again.ahead == 3


def test_an_account_that_lets_every_admission_lapse_has_four_entries_at_most_of_which_one_was_drawn():
    sale = factories.create_sale(opens_in=5, admitted_for_seconds=7, rate_per_minute=3)
    account, other = factories.join_all(sale, 2)
    with shifted(seconds=6):
        advancing.advance(sale.pk)
    if factories.read(other).status == "admitted":  # The draw decides.
        account, other = other, account
    joined, late = [account.id], None
    for second in range(6, 6 + 40 * 61, 61):
        with shifted(seconds=second):
            advancing.advance(sale.pk)
            assert factories.read(account).status in ("admitted", "waiting")
            audited = audit.entries_are_in_order()
            assert audited.holds and audit.admissions_are_within_the_rate().holds
        with shifted(seconds=second + 30):
            advancing.advance(sale.pk)
            account = factories.join(sale, account.account_id)
            joined.append(account.id)
            late = late or factories.join(sale)

    left = SaleEntry.objects.filter(sale=sale, account=account.account_id)
    assert 3 <= left.count() <= 4
    assert {joined[0], joined[-1]} <= set(left.values_list("pk", flat=True))
    assert SaleEntry.objects.filter(account__in=[other.account_id, late.account_id]).count() == 2
    drawn = SaleEntry.objects.filter(sale=sale, position__lte=2).values_list("pk", flat=True)
    sale.refresh_from_db()
    assert draw.hash_entries(drawn) == sale.entries_hash


def test_a_pause_stops_the_admission_and_the_clocks_of_admitted_entries():
    sale = factories.create_sale(admitted_for_seconds=60, rate_per_minute=1)
    admitted, waiting = factories.join_all(sale, 2)
    advancing.advance(sale.pk)

    factories.pause(sale)
    with shifted(seconds=100):
        assert advancing.advance(sale.pk) == 0
        paused = factories.read(admitted)
        assert paused.status == "admitted"
        assert 55 < (paused.admitted_until - clock.now()).total_seconds() <= 60
        factories.resume(sale)
        resumed = factories.read(admitted)
        assert 55 < (resumed.admitted_until - clock.now()).total_seconds() <= 60
        advancing.advance(sale.pk)
        assert factories.statuses(admitted, waiting) == ["admitted", "admitted"]


def test_a_closed_sale_ends_its_entries_and_is_done():
    sale = factories.create_sale(rate_per_minute=1, closes_in=100)
    joined = factories.join_all(sale, 3)
    advancing.advance(sale.pk)

    with shifted(seconds=101):
        assert factories.read(joined[2]).status == "over"
        assert advancing.advance(sale.pk) == 3
        assert advancing.advance(sale.pk) == 0

    assert factories.statuses(*joined) == ["over"] * 3
    sale.refresh_from_db()
    assert sale.ended_at is not None


def test_a_sale_that_nobody_advanced_is_drawn_and_ended_after_it_closed():
    sale = factories.create_sale(opens_in=10, closes_in=20)
    [entry] = factories.join_all(sale, 1)

    with shifted(seconds=60):
        advancing.advance(sale.pk)

    sale.refresh_from_db()
    assert (sale.drawn_count, sale.is_ordered, sale.ended_at is not None) == (1, True, True)
    assert factories.statuses(entry) == ["over"]


def test_after_the_clock_went_back_a_quarter_of_an_hour_the_rate_holds_and_admission_goes_on():
    """As after a failover to a database whose clock is behind."""
    sale = factories.create_sale(rate_per_minute=1)
    factories.join_all(sale, 3)
    with shifted(minutes=15):
        assert advancing.advance(sale.pk) == 1

    assert advancing.advance(sale.pk) == 0
    with shifted(seconds=59):
        assert advancing.advance(sale.pk) == 0
    with shifted(seconds=61):
        assert advancing.advance(sale.pk) == 1
    with shifted(seconds=122):
        assert advancing.advance(sale.pk) == 1

    rows = SaleEntry.objects.order_by("position").values_list("admitted_at", "admitted_until")
    instants = [at for at, _ in rows if at]
    assert instants == sorted(instants)
    assert [report.offenders for report in audit.audit()] == [[], [], []]
    last_until = rows[2][1]
    assert last_until < from_now(minutes=8)


def test_a_process_waits_for_the_lock_when_the_sale_has_not_moved_for_a_second():
    """Otherwise requests that join, which hold the lock most of the time, would keep entries waiting."""
    sale = factories.create_sale()
    [entry] = factories.join_all(sale, 1)
    with holding_row(sale) as keeper:
        advanced = in_background(lambda: advancing.advance(sale.pk))
        wait_until(lambda: waiting_at("%sales_sale%FOR UPDATE%") == 1)
        keeper.rollback()
        assert advanced.result(30) == 1
    assert factories.statuses(entry) == ["admitted"]

    with holding_row(sale):
        assert advancing.advance(sale.pk) == 0


def test_a_process_that_waited_for_the_lock_admits_by_the_time_after_it():
    """Otherwise an admission meanwhile would look like a clock that went back, and move the sale's clock."""
    sale = factories.create_sale(rate_per_minute=3)
    factories.join_all(sale, 9)
    with holding_row(sale) as keeper:
        advanced = in_background(lambda: advancing.advance(sale.pk))
        wait_until(lambda: waiting_at("%sales_sale%FOR UPDATE%") == 1)
        time.sleep(admission.LARGEST_STEP.total_seconds() + 0.2)
        ask(keeper, "UPDATE sales_sale SET last_admitted_at = UTC_TIMESTAMP(6) WHERE id = %s", sale.pk)
        keeper.commit()
        advanced.result(30)
    sale.refresh_from_db()
    assert sale.admission_clock_ahead == timedelta(0)


def test_processes_that_disagree_about_the_time_keep_the_rate(monkeypatch):
    """As for half a minute after a failover: one process is a quarter of an hour behind the other."""
    sale = factories.create_sale(rate_per_minute=1)
    factories.join_all(sale, 30)
    now = clock.now

    for behind in (0, 15) * 5:
        with monkeypatch.context() as patched:
            patched.setattr(clock, "now", lambda behind=behind: now() - timedelta(minutes=behind))
            advancing.advance(sale.pk)

    assert count(sale) == {"admitted": 1, "waiting": 29}
    sale.refresh_from_db()
    assert sale.admission_clock_ahead == timedelta(0)


def test_a_sale_whose_row_stays_locked_does_not_delay_the_others():
    first, second = factories.create_sale(), factories.create_sale()
    joined = [factories.join(sale) for sale in (first, second)]
    ask(connection, "SET SESSION innodb_lock_wait_timeout = 1")
    try:
        with holding_row(first), pytest.raises(LockWaitTimeout):
            advancing.advance_each([first.pk, second.pk])
    finally:
        connection.close()
    assert factories.statuses(*joined) == ["waiting", "admitted"]


def test_the_sweep_leaves_sales_alone_for_which_nothing_is_due(monkeypatch):
    calm, undrawn, waiting, admitted, closing = (factories.create_sale() for _ in range(5))
    factories.create_sale(opens_in=1_800)
    for sale in (calm, waiting, admitted, closing):
        advancing.advance(sale.pk)
    factories.join(admitted)
    advancing.advance(admitted.pk)
    terms.change(sale_id=closing.pk, closes_at=from_now(minutes=5))
    factories.join(waiting)

    advanced = []
    monkeypatch.setattr(advancing, "advance", lambda sale_id: advanced.append(sale_id) or 0)
    advancing.advance_all()
    assert advanced == [undrawn.pk, waiting.pk]
    advanced.clear()
    with shifted(minutes=6):
        advancing.advance_all()
    assert advanced == [undrawn.pk, waiting.pk, admitted.pk, closing.pk]
    advanced.clear()
    set_columns(admitted, last_admitted_at=from_now(minutes=15))
    advancing.advance_all()
    assert advanced == [undrawn.pk, waiting.pk, admitted.pk], (
        "orders are compared with its clock of admissions"
    )


def test_a_sale_whose_closing_is_moved_after_a_process_has_ended_it_goes_on():
    """A process whose clock was ahead has ended it; then staff let it close later."""
    sale = factories.create_sale(closes_in=60)
    with shifted(seconds=61):
        advancing.advance(sale.pk)
    with pytest.raises(Rejected) as refused:
        factories.join(sale)
    assert refused.value.code == "sale_closed"

    terms.change(sale_id=sale.pk, closes_at=from_now(hours=1))

    entry = factories.join(sale)
    advancing.advance(sale.pk)
    assert factories.statuses(entry) == ["admitted"]
