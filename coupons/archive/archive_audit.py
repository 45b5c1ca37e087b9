"""The audit's part about the archive: each coupon is in one place, and archived campaigns are complete."""

from collections.abc import Iterator
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from coupons.models import ArchivedCoupon, Campaign, Coupon
from shop.operations.audits.audit_scope import Rows, within


def count_of_campaign(
    condition: Q | None = None, *, of: type[Coupon] | type[ArchivedCoupon] = ArchivedCoupon
) -> Any:
    """How many coupons of the outer query's campaign are in the archive, or in the coupons."""
    mine = of._default_manager.filter(condition or Q(), campaign=OuterRef("pk")).order_by().values("campaign")
    return Coalesce(Subquery(mine.annotate(number=Count("pk")).values("number")), 0)


def misplaced(campaign_ids: Rows | None = None) -> Iterator["QuerySet[Any, int]"]:
    """Campaigns whose coupons are in both places, in the wrong one, or missing, or have an archived code."""
    of_campaigns = within("campaign", campaign_ids)
    yield _kept_twice().filter(of_campaigns).values_list("campaign_id", flat=True)
    # Generated codes begin with the hour of issue; those of pools are the operators'.
    same_code = Exists(ArchivedCoupon.objects.filter(code=OuterRef("code")))
    of_pools = Coupon.objects.filter(of_campaigns, same_code, campaign__code_source=Campaign.CodeSource.POOL)
    yield of_pools.order_by().values_list("campaign_id", flat=True)
    unmarked = ArchivedCoupon.objects.filter(of_campaigns, campaign__archived_at__isnull=True)
    yield unmarked.order_by().values_list("campaign_id", flat=True)
    yield _incomplete().filter(within("pk", campaign_ids)).values_list("pk", flat=True)


def _kept_twice() -> "QuerySet[Coupon]":
    """Coupons that an archived one repeats: by id, account, position, code or order.

    Only of archived campaigns, which have few: all others have none in the archive, as `misplaced` checks.
    """
    archived = ArchivedCoupon.objects.all()
    of_campaign = archived.filter(campaign=OuterRef("campaign"))
    return Coupon.objects.filter(
        Exists(archived.filter(pk=OuterRef("pk")))
        | Exists(of_campaign.filter(account=OuterRef("account")))
        | Exists(of_campaign.filter(position=OuterRef("position")))
        | Exists(archived.filter(code=OuterRef("code")))
        | Exists(archived.filter(order=OuterRef("order"))),
        campaign__archived_at__isnull=False,
    )


def _incomplete() -> "QuerySet[Campaign]":
    """Archived campaigns whose positions 1 to issued aren't all there; none repeats in one table."""
    in_range = Q(position__gte=1, position__lte=OuterRef("issued"))
    archived = Campaign.objects.filter(archived_at__isnull=False).annotate(
        placed=count_of_campaign(in_range) + count_of_campaign(in_range, of=Coupon)
    )
    return archived.exclude(issued=F("placed"))
