"""Filled tables are as sound as those of a shop that sold: the audit finds nothing in them."""

from pathlib import Path

import pytest

from coupons.models import Coupon
from orders.models import Order
from orders.tests import buying
from scripts.bench.filling import coupons, orders
from scripts.tests.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def book(gateway_process: tuple[Simulator, Path], own_gateway: Simulator) -> Path:
    return gateway_process[1] / "book.sqlite3"


def test_every_law_holds_over_filled_tables(book: Path) -> None:
    printed: list[str] = []
    coupons.fill_coupons(430, campaigns=4, say=printed.append)
    orders.fill_orders(700, book=book, say=printed.append)
    assert buying.broken_laws() == []
    assert (Coupon.objects.filter(status="issued").count(), Order.objects.count()) == (430, 700)
    assert printed[-1].startswith("700 of 700 orders")
