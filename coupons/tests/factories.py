"""Rows for tests: campaigns, coupons that were issued as in life, and orders to hold them."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import factory
from django.contrib.auth.models import User
from django.utils import timezone

from coupons import campaigns, issuing, rows
from coupons.codes import pool
from coupons.models import Campaign, Coupon
from foundation.tests.factories import AccountFactory, OrderFactory

TWO_STRATEGIES = ("group_commit", "conditional_update")
"""For rules that `eligibility` decides for all: a strategy that batches, and one whose UPDATE decides again.

Races, exact counts and refusals have each strategy as a parameter.
"""


class CampaignFactory(factory.django.DjangoModelFactory[Campaign]):
    """An open campaign of 100 coupons worth 1,000 each; `scheduled` and `closed` are what they say."""

    class Meta:
        model = Campaign
        # It would write the counts as they were before codes were added.
        skip_postgeneration_save = True

    class Params:
        scheduled = factory.Trait(opens_at=factory.LazyFunction(lambda: _from_now(days=1)))
        closed = factory.Trait(closes_at=factory.LazyFunction(lambda: _from_now(minutes=-1)))

    name = factory.Sequence(lambda number: f"Campaign {number}")
    quantity = 100
    opens_at = factory.LazyFunction(lambda: _from_now(days=-1))
    discount_type = Campaign.DiscountType.AMOUNT
    discount_value = 1_000

    @factory.post_generation
    def codes(self, create: bool, given: int | Sequence[str] | None, **_):
        """The codes of its pool, or how many of them are made."""
        if isinstance(given, int):
            pool.generate(campaign_id=self.pk, count=given)
        elif given:
            pool.add(campaign_id=self.pk, codes=given)


def campaign_with_codes(code_source: str, *, codes=50, **columns) -> Campaign:
    """A campaign that makes its codes, or one with so many in its pool."""
    has_pool = code_source == Campaign.CodeSource.POOL
    return CampaignFactory(code_source=code_source, codes=codes if has_pool else None, **columns)


def campaign_with_strategy(strategy: str, **columns) -> Campaign:
    """A campaign with the strategy, and with the pool of codes that `code_pool` needs."""
    source = "pool" if strategy == "code_pool" else "generated"
    return campaign_with_codes(source, strategy=strategy, **columns)


def accounts(count: int) -> list[int]:
    """The ids of that many new accounts."""
    names = [account.username for account in AccountFactory.build_batch(count)]
    User.objects.bulk_create(User(username=name) for name in names)
    return list(User.objects.filter(username__in=names).order_by("pk").values_list("pk", flat=True))


def coupon_of(campaign, account: User | None = None, **columns) -> Coupon:
    """A coupon of the campaign, issued to the account, and then as the columns say."""
    owner = account or AccountFactory()
    code = issuing.issue(campaign_id=campaign.pk, user_id=owner.pk).coupon.code
    Coupon.objects.filter(code=code).update(**columns)
    return Coupon.objects.select_related("campaign").get(code=code)


def add_codes(campaign, *codes: str):
    return pool.add(campaign_id=campaign.pk, codes=codes)


def change(campaign, **terms) -> Campaign:
    return campaigns.change(campaign_id=campaign.pk, **terms)


def pause(campaign) -> Campaign:
    return campaigns.set_paused(campaign_id=campaign.pk, is_paused=True, reason="The price is wrong.")


def resume(campaign) -> Campaign:
    return campaigns.set_paused(campaign_id=campaign.pk, is_paused=False, reason="The price is right.")


def order_ids(count: int) -> Sequence[UUID]:
    """Orders that can hold coupons."""
    return [order.pk for order in OrderFactory.create_batch(count)]


def _from_now(**distance):
    return timezone.now() + timedelta(**distance)


def lock_by_code(codes: Sequence[str]) -> dict[str, Coupon]:
    """These coupons, found and locked as for an order, by code."""
    locked = rows.lock_found(rows.find_by_code(codes).values())
    return {coupon.code: coupon for coupon in locked.values()}
