"""Voiding coupons: issued ones only, once, and for good."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from coupons import issued_coupons, pool, redemption
from coupons.models import Coupon, PoolCode
from coupons.tests.factories import CampaignFactory, coupon_of, lock_by_code, order_ids
from coupons.tests.laws import broken
from shop.db import transactions
from shop.errors import FirstcomeError
from shop.tests.case_tables import in_one_test
from shop.tests.racing import race


@pytest.mark.django_db
def test_an_issued_coupon_is_voided_with_its_code() -> None:
    campaign = CampaignFactory.create(code_source="pool")
    pool.add(campaign_id=campaign.pk, codes=["ONE", "TWO"])
    coupon = coupon_of(campaign)

    voided = issued_coupons.void(code=coupon.code, reason="A mistake.")

    assert (voided.status, voided.void_reason) == ("void", "A mistake.")
    assert list(PoolCode.objects.values_list("code", "status")) == [("ONE", "void"), ("TWO", "available")]
    assert broken() == {}


@pytest.mark.django_db
@in_one_test("status", ["held", "redeemed", "void", "expired"])
def test_no_other_coupon_is_voided(status: str) -> None:
    order_id = order_ids(1)[0]
    columns: dict[str, dict[str, Any]] = {
        "held": {"status": "held", "order_id": order_id},
        "redeemed": {"status": "redeemed", "order_id": order_id},
        "void": {"status": "void"},
        "expired": {"expires_at": timezone.now() - timedelta(seconds=1)},
    }
    coupon = coupon_of(CampaignFactory.create(), **columns[status])

    with pytest.raises(FirstcomeError, match=f"is {status}") as refused:
        issued_coupons.void(code=coupon.code, reason="A mistake.")

    assert refused.value.code == "coupon_not_voidable"
    assert Coupon.objects.get(code=coupon.code).void_reason == ""


@pytest.mark.django_db(transaction=True)
def test_voiding_and_holding_at_once_one_wins() -> None:
    for _ in range(10):
        coupon = coupon_of(CampaignFactory.create())
        order_id = order_ids(1)[0]

        def hold(code: str = coupon.code, owner: int = coupon.account_id, order=order_id) -> str:
            def work() -> str:
                found = lock_by_code([code])[code]
                redemption.discount_amount(found, account_id=owner, items_amount=5_000, now=timezone.now())
                redemption.hold({found: order})
                return "held"

            return transactions.run(work, transactions.KEYED)

        def void(code: str = coupon.code) -> str:
            return issued_coupons.void(code=code, reason="A mistake.").status

        outcomes = race([hold, void])

        refusals = [one.code for one in outcomes if isinstance(one, FirstcomeError)]
        status = Coupon.objects.get(code=coupon.code).status
        assert status in ("held", "void")
        assert refusals == [{"held": "coupon_not_voidable", "void": "coupon_not_usable"}[status]]
        assert broken() == {}
