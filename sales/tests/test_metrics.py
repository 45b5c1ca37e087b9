"""The gauges of running sales against known rows."""

from datetime import timedelta

import pytest

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from sales import metrics, pausing
from sales.metrics import ADMISSION_AGE, ADMITTED, ADMITTED_LATELY, PASSED_POSITION, WAITING
from sales.models import Sale, SaleEntry
from sales.tests.factories import create_sale, join, join_all
from sales.waiting_room import admission
from shop import clock

pytestmark = pytest.mark.django_db(transaction=True)
WHY = "A wrong price."


def gauge(name: str, sale: Sale) -> float | None:
    return metrics.read_running()[name].get(str(sale.pk))


def test_a_running_waiting_room_is_measured() -> None:
    sale = create_sale(rate_per_minute=2)
    join_all(sale, 5)
    admission.advance(sale.pk)
    used = SaleEntry.objects.filter(sale=sale, position=1)
    used.update(status="expired", admitted_at=clock.now() - timedelta(seconds=90))

    found = {name: gauge(name, sale) for name in (WAITING, ADMITTED, ADMITTED_LATELY, PASSED_POSITION)}

    assert found == {WAITING: 3, ADMITTED: 1, ADMITTED_LATELY: 1, PASSED_POSITION: 2}
    age = gauge(ADMISSION_AGE, sale)
    assert age is not None and 0 <= age < 30


def test_only_running_sales_with_a_waiting_room_are_measured() -> None:
    create_sale(admission="open")
    create_sale(opens_in=60)
    over = create_sale()
    join(over)
    Sale.objects.filter(pk=over.pk).update(closes_at=clock.now())

    assert metrics.read_running() == {name: {} for name in metrics.HELPS}


def test_the_age_of_the_last_admission_counts_from_the_opening_while_none_was_admitted() -> None:
    sale = create_sale(opens_in=-600)
    assert gauge(ADMISSION_AGE, sale) is None, "none waits"

    join(sale)

    assert gauge(ADMISSION_AGE, sale) == pytest.approx(600, abs=30)


def test_before_the_draw_was_made_its_entries_wait() -> None:
    sale = create_sale(opens_in=60)
    join_all(sale, 3)
    Sale.objects.filter(pk=sale.pk).update(opens_at=clock.now() - timedelta(seconds=90))

    assert gauge(WAITING, sale) == 3
    assert gauge(ADMISSION_AGE, sale) == pytest.approx(90, abs=30)


def test_a_pause_or_a_sold_out_sale_has_no_age() -> None:
    product = ProductFactory.create(on_hand=1)
    sale = create_sale(product, opens_in=-600)
    join(sale)
    pausing.pause(sale_id=sale.pk, reason=WHY)
    assert gauge(ADMISSION_AGE, sale) is None
    pausing.resume(sale_id=sale.pk, reason=WHY)
    assert gauge(ADMISSION_AGE, sale) is not None

    Product.objects.update(reserved=1)

    assert gauge(ADMISSION_AGE, sale) is None
    assert gauge(WAITING, sale) == 1


def test_admissions_are_dated_by_the_clock_of_admissions() -> None:
    """As after a failover to a database that is a quarter of an hour behind."""
    sale = create_sale(rate_per_minute=1, opens_in=-1_800)
    for _ in range(2):
        join(sale)
    admission.advance(sale.pk)
    with clock.shifted(by=timedelta(minutes=-15)):
        admission.advance(sale.pk)
    with clock.shifted(by=timedelta(minutes=-14)):
        assert gauge(ADMITTED_LATELY, sale) == 0
        age = gauge(ADMISSION_AGE, sale)
    assert age is not None
    assert 59 <= age <= 65
