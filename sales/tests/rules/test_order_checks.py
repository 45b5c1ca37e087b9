"""Which orders the sales of their products allow."""

from uuid import UUID

import pytest

from foundation.errors import Rejected
from sales import order_checks
from sales.order_checks import AdmittedEntry, SaleTerms
from sales.tests.rules.states import MINUTE, NOW, SALE_ID, SECOND, sale

pytestmark = pytest.mark.rules
BUYER = 42
ENTRY_ID = UUID(int=1)
ORDER_ID = UUID(int=2)
OPEN_TO_ALL = {"admission": "open"}
PAIR = (SALE_ID, BUYER)


def terms(*sales, until=None):
    """The terms of these sales, and the buyer's entry of the first one, if it is admitted."""
    entries = {PAIR: AdmittedEntry(ENTRY_ID, until)} if until else {}
    return SaleTerms({one.id: one for one in sales}, entries)


def refusal(terms, *sale_ids):
    with pytest.raises(Rejected) as refused:
        order_checks.check(terms, BUYER, sale_ids, NOW)
    return refused.value


@pytest.mark.parametrize(
    "sale_ids", [pytest.param([None], id="no sale"), pytest.param([99], id="a sale that is gone")]
)
def test_products_outside_of_sales_need_no_entry(sale_ids):
    assert order_checks.check(terms(sale()), BUYER, sale_ids, NOW) == []


def test_a_sale_that_is_open_to_all_needs_no_entry():
    assert order_checks.check(terms(sale(**OPEN_TO_ALL)), BUYER, [SALE_ID], NOW) == []


def test_an_admitted_account_orders_by_its_entry():
    checked = order_checks.check(terms(sale(), until=NOW + SECOND), BUYER, [SALE_ID, None, SALE_ID], NOW)

    assert checked == [SALE_ID]


@pytest.mark.parametrize(
    "until", [pytest.param(None, id="not admitted"), pytest.param(NOW, id="just expired")]
)
def test_an_account_that_is_not_admitted_is_refused(until):
    refused = refusal(terms(sale(), until=until), SALE_ID)

    assert (refused.code, refused.extra) == ("admission_required", {"sales": [SALE_ID]})
    assert str(refused) == "Join the waiting room, and order when you are admitted: sale 7."


@pytest.mark.parametrize(
    ("changes", "code", "retry_after"),
    [
        pytest.param({"closes_at": NOW}, "sale_closed", None, id="over"),
        pytest.param({"paused_at": NOW}, "sale_paused", 10, id="paused"),
        pytest.param({"opens_at": NOW + 1.5 * SECOND}, "sale_not_open", 2, id="not open yet"),
    ],
)
def test_a_sale_refuses_when_it_is(changes, code, retry_after):
    refused = refusal(terms(sale(**OPEN_TO_ALL, **changes)), SALE_ID)

    assert (refused.code, refused.retry_after) == (code, retry_after)
    assert refused.extra == {"sales": [SALE_ID]}


def test_what_is_over_is_named_before_what_is_to_come():
    later = sale(opens_at=NOW + MINUTE)
    over = sale(id=8, closes_at=NOW)

    assert refusal(terms(later, over), SALE_ID, 8).extra == {"sales": [8]}


def test_an_order_of_two_sales_waits_for_the_later_one():
    sales = [sale(opens_at=NOW + MINUTE), sale(id=8, opens_at=NOW + 2 * MINUTE)]

    assert refusal(terms(*sales), SALE_ID, 8).retry_after == 120


def test_a_placed_order_uses_the_entry_once():
    used = terms(sale(), until=NOW + SECOND)

    order_checks.use(used, BUYER, [SALE_ID], ORDER_ID)

    assert used.used == {ENTRY_ID: ORDER_ID}
    assert refusal(used, SALE_ID).code == "admission_required"


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        pytest.param({}, {PAIR}, id="open with a waiting room"),
        pytest.param(OPEN_TO_ALL, set(), id="open to all"),
        pytest.param({"paused_at": NOW}, set(), id="paused"),
    ],
)
def test_entries_are_read_of_sales_that_are(changes, needed):
    pairs = {PAIR, (99, BUYER)}

    assert order_checks.pairs_with_entries({SALE_ID: sale(**changes)}, pairs, NOW) == needed
