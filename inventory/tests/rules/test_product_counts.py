"""What is counted of a product on a day, and of what accounts did not get."""

from datetime import date

import pytest

from inventory import product_counts
from inventory.product_counts import DayChange, Loss

pytestmark = pytest.mark.rules
MONDAY = date(2026, 1, 5)
TUESDAY = date(2026, 1, 6)
LOSS = Loss(MONDAY, 1, 42, "sold_out", 3)


@pytest.mark.parametrize(
    ("amount", "counted"),
    [pytest.param(None, 300, id="by the price"), pytest.param(250, 250, id="as it was quoted")],
)
def test_a_loss_is_worth(amount, counted):
    [loss] = product_counts.new_losses([LOSS._replace(amount=amount)], (), {1: 100})

    assert loss == LOSS._replace(amount=counted)


@pytest.mark.parametrize(
    ("known", "prices"),
    [
        pytest.param({(MONDAY, 1, 42)}, {1: 100}, id="of an account that was counted that day"),
        pytest.param((), {2: 100}, id="of a product that is gone"),
    ],
)
def test_no_loss_is_counted(known, prices):
    assert product_counts.new_losses([LOSS], known, prices) == []


def test_losses_are_in_the_order_of_days_products_and_accounts():
    losses = [LOSS._replace(day=TUESDAY), LOSS._replace(account_id=43), LOSS]

    counted = product_counts.new_losses(losses, (), {1: 100})

    assert [(loss.day, loss.account_id) for loss in counted] == [(MONDAY, 42), (MONDAY, 43), (TUESDAY, 42)]


def test_a_loss_adds_to_its_day():
    change = product_counts.change_of(LOSS._replace(amount=300))

    assert change == DayChange(MONDAY, 1, {"lost_units": 3, "lost_amount": 300, "lost_sold_out": 1})
