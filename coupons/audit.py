"""The audit of coupons: L1, L2, L3, and the half of L6 that needs no orders.

Each check is one statement, which reads all its tables at one moment, so coupons that are issued meanwhile
break no law; the database counts, by covering indexes, and returns only offenders. Offenders are campaigns
and orders, by their ids, and coupons and pool codes, by their codes.
"""

from typing import Any

from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from coupons.issuing import issuing
from coupons.models import Campaign, Confirmation, Coupon, PoolCode
from shop.operations.audit_report import OFFENDERS_REPORTED, LawReport, report

# Many broken rows usually belong to few campaigns: so many rows are read to name the campaigns.
ROWS_LOOKED_AT = 10_000
HAS_ORDER = [Coupon.Status.HELD, Coupon.Status.REDEEMED]


def audit() -> list[LawReport]:
    """Check each law of coupons, in the database itself."""
    return [issued_is_counted(), one_each_in_order(), pool_adds_up(), held_by_one_order()]


def issued_is_counted() -> LawReport:
    """L1: `issued` of a campaign = its coupons, and never exceeds `quantity`.

    Slots that are being confirmed are counted beside, and count towards the quantity.
    """
    campaigns = Campaign.objects.annotate(
        counted=_counted(Coupon.objects.all()), awaited=_counted(Confirmation.objects.all())
    )
    # Each count is once in the statement, because each costs a scan of the coupons.
    broken = campaigns.exclude(
        issued=F("counted"), confirming=F("awaited"), quantity__gte=F("issued") + F("confirming")
    )
    offenders = broken.order_by("pk").values_list("pk", flat=True)[:OFFENDERS_REPORTED]
    return report("L1", Campaign.objects.count(), offenders)


def one_each_in_order() -> LawReport:
    """L2: one coupon per account and campaign; positions 1...issued without gaps or repeats.

    An account that has a coupon has no confirmation of the campaign beside it.
    """
    placed = Coupon.objects.filter(position__isnull=False)
    several = _repeated(Coupon.objects.all(), "account_id", "campaign_id").values_list(
        "campaign_id", flat=True
    )
    repeated = _repeated(placed, "campaign_id", "position").values_list("campaign_id", flat=True)
    campaigns: set[int] = set()
    for found in (_gapped_campaigns(), several, repeated, _double_allocations()):
        campaigns.update(found[:ROWS_LOOKED_AT])
    return report("L2", Coupon.objects.count(), sorted(campaigns)[:OFFENDERS_REPORTED])


def pool_adds_up() -> LawReport:
    """L3: a pool code belongs to at most one coupon, and every code ever added is still accounted for."""
    lost = Campaign.objects.annotate(counted=_counted(PoolCode.objects.all()))
    campaigns = lost.exclude(codes_added=F("counted")).order_by("pk").values_list("pk", flat=True)
    offenders: list[int | str] = []
    for found in (campaigns, _misplaced_codes(), _coupons_without_code()):
        offenders += found[:OFFENDERS_REPORTED]
    return report("L3", PoolCode.objects.count(), offenders)


def held_by_one_order() -> LawReport:
    """L6, first half: a held or redeemed coupon has its one order, any other has none."""
    astray = Coupon.objects.filter(
        Q(status__in=HAS_ORDER, order__isnull=True) | ~Q(status__in=HAS_ORDER) & Q(order__isnull=False)
    )
    with_order = Coupon.objects.filter(order__isnull=False)
    shared = _repeated(with_order, "order_id").values_list("order_id", flat=True)
    codes = astray.order_by("pk").values_list("code", flat=True)
    return report("L6", Coupon.objects.count(), [*codes[:OFFENDERS_REPORTED], *shared[:OFFENDERS_REPORTED]])


def _counted(rows: "QuerySet[Coupon] | QuerySet[PoolCode] | QuerySet[Confirmation]") -> Coalesce:
    """How many of the rows belong to the campaign of the outer query."""
    mine = rows.filter(campaign=OuterRef("pk")).order_by().values("campaign")
    return Coalesce(Subquery(mine.annotate(number=Count("pk")).values("number")), 0)


def _repeated(coupons: "QuerySet[Coupon]", *columns: str) -> "QuerySet[Coupon, dict[str, Any]]":
    """The values of these columns that occur more than once: a unique constraint should prevent them.

    Name the columns in the order of that constraint's index, which then has the groups in order.
    """
    grouped = coupons.order_by().values(*columns).annotate(number=Count("pk"))
    return grouped.filter(number__gt=1)


def _gapped_campaigns() -> "QuerySet[Coupon, int]":
    """Campaigns whose positions, none of which repeats, aren't as many as issued, or not 1 to issued."""
    placed = Coupon.objects.exclude(campaign__strategy__in=issuing.LAB_ONLY)
    grouped = placed.order_by().values("campaign_id", "campaign__issued")
    counted = grouped.annotate(number=Count("position"), first=Min("position"), last=Max("position"))
    broken = ~Q(number=F("campaign__issued")) | ~Q(first=1) | ~Q(last=F("campaign__issued"))
    return counted.filter(broken).values_list("campaign_id", flat=True)


def _double_allocations() -> "QuerySet[Confirmation, int]":
    """Campaigns with a confirmation for an account that has its coupon."""
    coupon = Coupon.objects.filter(account=OuterRef("account"), campaign=OuterRef("campaign"))
    return Confirmation.objects.filter(Exists(coupon)).values_list("campaign_id", flat=True)


def _misplaced_codes() -> "QuerySet[PoolCode, str]":
    """Pool codes whose status or coupon contradicts the coupon with that code, or the lack of one."""
    is_borne = Exists(Coupon.objects.filter(code=OuterRef("code")))
    is_other = ~Q(coupon__code=F("code")) | ~Q(coupon__campaign=F("campaign"))
    is_void = Q(coupon__status=Coupon.Status.VOID)
    is_awaited = Exists(Confirmation.objects.filter(code=OuterRef("code")))
    has_none = [PoolCode.Status.AVAILABLE, PoolCode.Status.IN_FLIGHT]
    broken = PoolCode.objects.filter(
        Q(status__in=has_none) & (Q(coupon__isnull=False) | Q(is_borne))
        | ~Q(status__in=has_none) & (Q(coupon__isnull=True) | is_other)
        | Q(status=PoolCode.Status.IN_FLIGHT) & ~Q(is_awaited)
        | ~Q(status=PoolCode.Status.IN_FLIGHT) & Q(is_awaited)
        | Q(status=PoolCode.Status.ISSUED) & is_void
        | Q(status=PoolCode.Status.VOID) & ~is_void
    )
    return broken.order_by("pk").values_list("code", flat=True)


def _coupons_without_code() -> "QuerySet[Coupon, str]":
    """Coupons of campaigns with a pool whose code is not from it."""
    from_pool = Exists(PoolCode.objects.filter(code=OuterRef("code"), campaign=OuterRef("campaign")))
    with_pool = Campaign.objects.filter(code_source=Campaign.CodeSource.POOL)
    # Unordered: ordered by id, the query would read all coupons.
    return Coupon.objects.filter(~from_pool, campaign__in=with_pool).values_list("code", flat=True)
