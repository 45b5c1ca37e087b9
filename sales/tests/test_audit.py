"""The audit names each damage of entries by the sale or the entry; constraints refuse what it can't see."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django.db.models import F

from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import AccountFactory, OrderFactory, set_columns
from sales import audit
from sales.models import SaleEntry
from sales.tests import factories
from sales.waiting_room import advancing

pytestmark = pytest.mark.django_db


@pytest.fixture
def sale():
    """A sale whose first three entries of five are admitted, beside another one."""
    factories.create_sale()
    sale = factories.create_sale(rate_per_minute=90)
    factories.join_all(sale, 5)
    advancing.advance(sale.pk)
    sale.refresh_from_db()
    assert offenders() == []
    return sale


def offenders() -> list[str]:
    broken = [report for report in audit.audit() if not report.holds]
    assert {report.law for report in broken} <= {"L14"}
    return [offender for report in broken for offender in report.offenders]


def entry_at(sale, position: int):
    return SaleEntry.objects.filter(sale=sale, position=position)


def id_at(sale, position: int) -> str:
    return str(entry_at(sale, position).get().pk)


def test_more_admissions_than_the_rate_are_named_with_their_instant_and_number(sale):
    at = entry_at(sale, 3).get().admitted_at
    SaleEntry.objects.filter(sale=sale, admitted_at=at).update(rate_per_minute=2)
    assert offenders() == [f"sale {sale.pk}: 3 admitted in the 60 s until {at.isoformat()}, 2 allowed"]


@in_one_test(("seconds", "is_within"), [(60, True), (60.000001, False)])
def test_both_ends_belong_to_the_minute(seconds, is_within, sale):
    entry_at(sale, 3).update(admitted_at=F("admitted_at") + timedelta(seconds=seconds), rate_per_minute=2)
    assert bool(offenders()) is is_within


def test_an_entry_that_waits_before_an_admitted_one_is_named(sale):
    nothing = dict.fromkeys(("admitted_at", "admitted_until", "rate_per_minute"))
    entry_at(sale, 2).update(status="waiting", **nothing)
    assert offenders() == [id_at(sale, 2)]


def test_admitted_entries_beyond_the_passed_position_and_waiting_ones_before_it_are_named(sale):
    for passed, wrong in ((2, [3]), (5, [4, 5])):
        set_columns(sale, passed_position=passed)
        assert sorted(offenders()) == sorted(id_at(sale, position) for position in wrong)


REFUSED = [
    (
        "one_current_per_account",
        lambda sale: entry_at(sale, 5).update(account=entry_at(sale, 4).get().account),
    ),
    ("one_place_per_account", lambda sale: _hold_places_of_one_account(sale)),
    ("position_once", lambda sale: entry_at(sale, 5).update(position=4)),
    ("used_by_an_order", lambda sale: entry_at(sale, 1).update(status="used")),
    ("used_by_an_order", lambda sale: entry_at(sale, 1).update(order=_order())),
    ("one_per_order_and_sale", lambda sale: _use(sale, 1, 2)),
    ("passed_within_last", lambda sale: set_columns(sale, passed_position=6)),
    ("passed_within_last", lambda sale: set_columns(sale, last_position=2)),
    ("only_admitted_ones_are_used_or_expire", lambda sale: entry_at(sale, 4).update(status="expired")),
    ("only_admitted_ones_are_used_or_expire", lambda sale: _use(sale, 4)),
    ("admission_is_whole", lambda sale: entry_at(sale, 1).update(rate_per_minute=None)),
    ("admission_is_whole", lambda sale: entry_at(sale, 1).update(admitted_until=None)),
    ("admission_is_whole", lambda sale: entry_at(sale, 1).update(position=None)),
    ("rate_positive", lambda sale: set_columns(sale, rate_per_minute=0)),
    ("admitted_for_positive", lambda sale: set_columns(sale, admitted_for_seconds=0)),
    ("closes_after_opening", lambda sale: set_columns(sale, closes_at=F("opens_at"))),
    ("positions_after_the_draw", lambda sale: set_columns(sale, drawn_at=None)),
]


def _order():
    return OrderFactory(account=AccountFactory())


def _hold_places_of_one_account(sale):
    account = entry_at(sale, 4).get().account
    entry_at(sale, 5).update(account=account, is_current=None, holds_place=True)
    entry_at(sale, 4).update(holds_place=True)


def _use(sale, *positions):
    order = _order()
    for position in positions:
        entry_at(sale, position).update(status="used", order=order)


@in_one_test(("name", "damage"), REFUSED)
def test_the_database_refuses(name, damage, sale):
    with pytest.raises(DatabaseError, match=f"sales_sale(entry)?_{name}"), transaction.atomic():
        damage(sale)
    assert offenders() == []
