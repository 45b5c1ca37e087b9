"""Purchase limits: how much an account may hold, of a product and unpaid."""

import pytest

from foundation.errors import Held
from orders import limits
from orders.limits import AccountHoldings, Wanted

pytestmark = pytest.mark.rules
TEA = 1
CUP = 2


def check(held: AccountHoldings, *lines: Wanted):
    limits.check(held, lines, most_unpaid_orders=2, most_unpaid_units=10)


def items_refused(held: AccountHoldings, *lines: Wanted) -> list[dict[str, int]]:
    with pytest.raises(Held) as refusal:
        check(held, *lines)
    assert refusal.value.code == "purchase_limit_reached"
    return refusal.value.extra["items"]


def test_an_account_places_orders_up_to_its_limit_of_unpaid_ones():
    check(AccountHoldings(unpaid_orders=1), (TEA, 1, None))


def test_an_account_with_as_many_unpaid_orders_as_it_may_have_places_none():
    with pytest.raises(Held, match="2 unpaid orders") as refusal:
        check(AccountHoldings(unpaid_orders=2), (TEA, 1, None))

    assert (refusal.value.code, refusal.value.extra) == ("too_many_open_orders", {"limit": 2})


@pytest.mark.parametrize(
    ("held", "line"),
    [
        pytest.param(AccountHoldings(), (TEA, 10, None), id="all unpaid units at once"),
        pytest.param(AccountHoldings(unpaid_units={TEA: 9}), (TEA, 1, None), id="the last unpaid one"),
        pytest.param(AccountHoldings(limited_units={TEA: 2}), (TEA, 1, 3), id="the last of the limit"),
        pytest.param(AccountHoldings(unpaid_units={CUP: 10}), (TEA, 1, None), id="another product's"),
        pytest.param(AccountHoldings(limited_units={TEA: 50}), (TEA, 1, None), id="paid, no limit"),
    ],
)
def test_units_within_the_limits_are_allowed(held, line):
    check(held, line)


@pytest.mark.parametrize(
    ("held", "line", "item"),
    [
        pytest.param(AccountHoldings(), (TEA, 11, None), {"limit": 10, "held": 0}, id="unpaid, at once"),
        pytest.param(
            AccountHoldings(unpaid_units={TEA: 9}),
            (TEA, 2, None),
            {"limit": 10, "held": 9},
            id="unpaid, with earlier ones",
        ),
        pytest.param(AccountHoldings(), (TEA, 1, 0), {"limit": 0, "held": 0}, id="a limit of none"),
        pytest.param(
            AccountHoldings(limited_units={TEA: 2}), (TEA, 2, 3), {"limit": 3, "held": 2}, id="limited"
        ),
        pytest.param(
            AccountHoldings(unpaid_units={TEA: 10}, limited_units={TEA: 12}),
            (TEA, 2, 20),
            {"limit": 10, "held": 10},
            id="unpaid, below the product's own limit",
        ),
    ],
)
def test_units_above_a_limit_are_refused_with_what_is_held(held, line, item):
    assert items_refused(held, line) == [{"product": TEA, **item}]


def test_all_products_above_their_limits_are_named():
    refused = items_refused(AccountHoldings(), (TEA, 2, 1), (CUP, 11, None))

    assert [item["product"] for item in refused] == [TEA, CUP]


def test_an_order_counts_for_the_later_ones_of_its_batch():
    held = AccountHoldings(unpaid_units={TEA: 1})

    limits.add(held, [(TEA, 2, None), (CUP, 3, 5)])

    assert held == AccountHoldings(1, {TEA: 3, CUP: 3}, {TEA: 2, CUP: 3})
