"""Coupons in orders: their discounts, that at most one order holds each; and voiding them."""

from datetime import timedelta
from functools import partial
from threading import Barrier
from uuid import UUID

import pytest
from django.db import connection
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from coupons import coupon_requests, holding, issuing, redemption, rows
from coupons.coupon_requests import BatchCoupons, CouponRequest
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory, coupon_of, lock_by_code, order_ids
from foundation.db import transactions
from foundation.errors import FirstcomeError, Rejected
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import set_columns
from foundation.tests.instants import ago
from foundation.tests.racing import race, race_each

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def take_off(coupon: Coupon | None, items_amount: int, **asked) -> int:
    owner = asked.pop("account_id", coupon.account_id if coupon else 1)
    coupons = BatchCoupons(by_code={coupon.code: coupon} if coupon else {})
    request = CouponRequest(owner, coupon.code if coupon else "NONE")
    usable = coupon_requests.find_usable(coupons, request, now=NOW)
    return redemption.discount_amount(usable.campaign.discount, items_amount=items_amount, **asked)


def reason(coupon: Coupon | None, items_amount=10_000, **asked) -> str:
    with pytest.raises(Rejected) as refused:
        take_off(coupon, items_amount, **asked)
    assert refused.value.code == "coupon_not_usable"
    return str(refused.value.extra["reason"])


def hold(code: str, order_id: UUID) -> UUID:
    """Hold the coupon as the placement of an order does."""

    def work():
        coupon = lock_by_code([code])[code]
        take_off(coupon, 5_000)
        rows.hold({coupon: order_id})
        return order_id

    return transactions.run(work, transactions.KEYED)


def test_the_discount_is_that_of_the_campaigns_columns():
    terms = {"discount_type": "percent", "discount_value": 50, "max_discount_amount": 700}
    coupon = coupon_of(CampaignFactory(**terms, min_order_amount=1_399))

    assert [take_off(coupon, amount) for amount in (1_399, 9_999)] == [699, 700]
    assert reason(coupon, items_amount=1_398) == "below_minimum"


def test_a_coupon_of_another_account_is_not_found_whatever_its_status():
    campaign = CampaignFactory()

    assert reason(None) == "not_found"
    assert reason(coupon_of(campaign), account_id=10**9) == "not_found"
    assert reason(coupon_of(campaign, status="void"), account_id=10**9) == "not_found"
    assert reason(coupon_of(campaign, expires_at=NOW)) == "expired"


def test_usable_coupons_come_by_their_codes_with_their_campaigns():
    one, other = coupon_of(CampaignFactory()), coupon_of(CampaignFactory())

    with CaptureQueriesContext(connection) as captured:
        found = lock_by_code([one.code, other.code, "NONE"])
        names = {code: coupon.campaign.name for code, coupon in found.items()}

    assert names == {one.code: one.campaign.name, other.code: other.campaign.name}
    assert len(captured) == 2, "found, locked"
    assert lock_by_code([]) == {}


def test_any_number_is_held_once_by_one_statement_and_read_as_held_at_once():
    campaign = CampaignFactory()
    orders = order_ids(20)
    codes = [coupon_of(campaign).code for _ in orders]
    found = lock_by_code(codes)
    wanted = dict(zip((found[code] for code in codes), orders, strict=True))

    with CaptureQueriesContext(connection) as captured:
        rows.hold(wanted)

    assert len(captured) == 1
    assert reason(found[codes[0]]) == "held"
    with pytest.raises(RuntimeError):
        rows.hold({found[codes[0]]: orders[0]})
    held = Coupon.objects.filter(status="held").values_list("code", "order_id")
    assert dict(held) == dict(zip(codes, orders, strict=True))


@in_one_test(("left", "status"), [(timedelta(seconds=1), "issued"), (timedelta(0), "redeemed")])
def test_a_held_coupon_is_redeemed_once_and_reinstated_once_unless_it_expired(left, status):
    order_id = order_ids(1)[0]
    coupon = coupon_of(CampaignFactory())
    hold(coupon.code, order_id)
    assert [holding.redeem([order_id]) for _ in range(2)] == [1, 0]
    assert (holding.release([order_id]), Coupon.objects.get().status) == (0, "redeemed")

    given_back = [holding.reinstate([order_id], now=coupon.expires_at - left) for _ in range(2)]

    assert given_back == [1 if status == "issued" else 0, 0]
    assert Coupon.objects.get().status == status


def test_an_order_without_a_coupon_costs_one_statement():
    with CaptureQueriesContext(connection) as captured:
        assert holding.release(order_ids(1)[:0]) == 0
        assert holding.redeem([UUID(int=1), UUID(int=2)]) == 0

    assert len([query for query in captured if "coupons_coupon" in query["sql"]]) == 1


def test_it_requires_a_transaction(transactional_db):
    for call in (
        lambda: rows.lock_found([]),
        lambda: rows.hold({}),
        lambda: holding.release([]),
        lambda: holding.redeem([]),
        lambda: holding.reinstate([UUID(int=1)], now=NOW),
    ):
        with pytest.raises(TransactionManagementError):
            call()


def test_one_of_40_concurrent_orders_gets_the_coupon(transactional_db):
    code = coupon_of(CampaignFactory()).code
    orders = order_ids(40)

    outcomes = race_each(partial(hold, code), orders)

    winners = [one for one in outcomes if isinstance(one, UUID)]
    reasons = [one.extra["reason"] for one in outcomes if isinstance(one, Rejected)]
    assert winners == [Coupon.objects.get().order_id]
    assert reasons == ["held"] * 39


def test_without_the_lock_an_order_loses_the_coupon_that_it_was_said_to_hold(transactional_db):
    """The twin: all orders read the coupon before any of them holds it."""
    code = coupon_of(CampaignFactory()).code
    orders = order_ids(10)

    def read_then_write(order_id):
        coupon = Coupon.objects.select_related("campaign").get(code=code)
        take_off(coupon, 5_000)
        everybody_has_read.wait()
        set_columns(coupon, status="held", order_id=order_id)
        return order_id

    everybody_has_read = Barrier(len(orders), timeout=30)
    assert race_each(read_then_write, orders) == list(orders)
    assert Coupon.objects.filter(order_id__in=orders).count() == 1


def test_orders_that_hold_and_release_coupons_in_any_order_never_deadlock(transactional_db, monkeypatch):
    monkeypatch.setattr(transactions, "ATTEMPTS", 1)
    campaign = CampaignFactory()
    orders = order_ids(6)
    codes = [coupon_of(campaign).code for _ in orders]

    def all_of_them(chosen, order):
        def work():
            found = lock_by_code(chosen)
            free = [found[code] for code in chosen if found[code].status == "issued"]
            used = set(Coupon.objects.filter(order__isnull=False).values_list("order_id", flat=True))
            unused = [order_id for order_id in order if order_id not in used]
            rows.hold(dict(zip(free, unused, strict=False)))
            return holding.release(order)

        return transactions.run(work, transactions.KEYED)

    calls = [partial(all_of_them, codes, orders), partial(all_of_them, codes[::-1], orders[::-1])]
    outcomes = race(calls * 10)

    assert all(isinstance(one, int) for one in outcomes), outcomes
    assert not Coupon.objects.exclude(status="issued").exists()


@in_one_test("status", ["held", "redeemed", "void", "expired"])
def test_no_other_coupon_is_voided(status):
    by_order = {"order_id": order_ids(1)[0]} if status in ("held", "redeemed") else {}
    past = {"expires_at": ago(seconds=1)}
    columns = past if status == "expired" else {"status": status} | by_order
    coupon = coupon_of(CampaignFactory(), **columns)

    with pytest.raises(FirstcomeError, match=f"is {status}") as refused:
        issuing.void(code=coupon.code, reason="A mistake.")

    assert refused.value.code == "coupon_not_voidable"
    assert Coupon.objects.get(code=coupon.code).void_reason == ""


def test_voiding_and_holding_at_once_one_wins(transactional_db):
    for _ in range(10):
        coupon = coupon_of(CampaignFactory())
        voiding = partial(issuing.void, code=coupon.code, reason="A mistake.")
        outcomes = race([partial(hold, coupon.code, order_ids(1)[0]), voiding])

        refusals = [one.code for one in outcomes if isinstance(one, FirstcomeError)]
        status = Coupon.objects.get(code=coupon.code).status
        assert status in ("held", "void")
        assert refusals == [{"held": "coupon_not_voidable", "void": "coupon_not_usable"}[status]]
