"""The audit of coupons: L1, L2, L3, and the half of L6 that needs no orders.

What a check compares it reads by one statement, so coupons that are issued meanwhile break no law. The
database counts, and returns only offenders: campaigns and orders by their ids, coupons and pool codes by
their codes. `SUBJECTS` are the same laws for a scheduled audit; it names coupons and pool codes by their ids,
because its offenders are logged, and a code is worth money.
"""

from typing import Any

from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from coupons import issuing
from coupons.models import Campaign, Confirmation, Coupon, PoolCode
from foundation import clock
from foundation.operations.audits.checks import (
    OFFENDERS_REPORTED,
    Chosen,
    LawReport,
    Subject,
    count,
    offenders_of,
    report,
    within,
)

# Many broken rows usually belong to few campaigns: so many rows are read to name the campaigns.
ROWS_LOOKED_AT = 10_000
HAS_ORDER = [Coupon.Status.HELD, Coupon.Status.REDEEMED]


def audit() -> list[LawReport]:
    """Check each law of coupons, in the database itself."""
    return [issued_is_counted(), one_each_in_order(), pool_adds_up(), held_by_one_order()]


def issued_is_counted(campaign_ids: Chosen = None) -> LawReport:
    """L1: `issued` of a campaign = its coupons, and never exceeds `quantity`, if it has one.

    Slots that are being confirmed are counted beside, and count towards the quantity.
    """
    campaigns = Campaign.objects.filter(within("pk", campaign_ids)).annotate(
        counted=_counted(Coupon.objects.all()), awaited=_counted(Confirmation.objects.all())
    )
    # Each count is once in the statement, because each costs a scan of the coupons.
    is_within = Q(quantity__isnull=True) | Q(quantity__gte=F("issued") + F("confirming"))
    broken = campaigns.exclude(is_within, issued=F("counted"), confirming=F("awaited"))
    return report("L1", count(Campaign.objects, campaign_ids), offenders_of(broken.order_by("pk")))


def one_each_in_order() -> LawReport:
    """L2: one coupon per account and campaign; positions 1...issued without gaps or repeats.

    An account that has a coupon has no confirmation of the campaign beside it.
    """
    placed = Coupon.objects.filter(position__isnull=False)
    several = _repeated(Coupon.objects.all(), "account_id", "campaign_id")
    repeated = _repeated(placed, "campaign_id", "position")
    parts = (_gapped_campaigns(), several, repeated, _double_allocations())
    campaigns = {id for found in parts for id in found[:ROWS_LOOKED_AT]}
    return report("L2", Coupon.objects.count(), sorted(campaigns)[:OFFENDERS_REPORTED])


def positions_are_complete(campaign_ids: Chosen) -> LawReport:
    """L2 for campaigns: positions 1...issued, and no confirmation beside an account's coupon."""
    of_campaigns = within("campaign", campaign_ids)
    found = {*_gapped_campaigns().filter(of_campaigns), *_double_allocations().filter(of_campaigns)}
    return report("L2", count(Campaign.objects, campaign_ids), sorted(found))


def none_is_repeated(coupon_ids: Chosen) -> LawReport:
    """L2 for coupons: no other coupon is of the same account and campaign, or has the same position."""
    others = Coupon.objects.filter(campaign=OuterRef("campaign")).exclude(pk=OuterRef("pk"))
    is_repeated = Exists(others.filter(account=OuterRef("account"))) | Exists(
        others.filter(position=OuterRef("position"))
    )
    repeated = Coupon.objects.filter(is_repeated, within("pk", coupon_ids)).values_list("campaign", flat=True)
    found = sorted(set(repeated[:ROWS_LOOKED_AT]))
    return report("L2", count(Coupon.objects, coupon_ids), found[:OFFENDERS_REPORTED])


def pool_adds_up() -> LawReport:
    """L3: a pool code belongs to at most one coupon, and every code ever added is still accounted for.

    A shared code is the code of no coupon and of no pool.
    """
    parts = (
        _campaigns_with_lost_codes(),
        _misplaced_codes(),
        _coupons_without_code(),
        _campaigns_with_taken_shared_codes(),
    )
    offenders = (one for found in parts for one in found[:OFFENDERS_REPORTED])
    return report("L3", PoolCode.objects.count(), offenders)


def codes_are_counted(campaign_ids: Chosen) -> LawReport:
    """L3 for campaigns: as many codes are in the pool as were added, and the shared code is no other code."""
    parts = (_campaigns_with_lost_codes(), _campaigns_with_taken_shared_codes())
    found = {id for part in parts for id in part.filter(within("pk", campaign_ids))[:OFFENDERS_REPORTED]}
    return report("L3", count(Campaign.objects, campaign_ids), sorted(found))


def codes_fit_their_coupons(code_ids: Chosen) -> LawReport:
    """L3 for pool codes: the status and the coupon of each fit the coupon with that code."""
    misplaced = _misplaced_codes().filter(within("pk", code_ids))
    return report("L3", count(PoolCode.objects, code_ids), offenders_of(misplaced, kind="pool code"))


def coupons_have_pool_codes(coupon_ids: Chosen) -> LawReport:
    """L3 for coupons: the code of a coupon whose campaign has a pool is from it."""
    without = _coupons_without_code().filter(within("pk", coupon_ids))
    return report("L3", count(Coupon.objects, coupon_ids), offenders_of(without, kind="coupon"))


def held_by_one_order() -> LawReport:
    """L6, first half: a held or redeemed coupon has its one order, any other has none."""
    with_order = Coupon.objects.filter(order__isnull=False)
    shared = _repeated(with_order, "order_id", named="order_id")
    offenders = [*_astray_coupons()[:OFFENDERS_REPORTED], *shared[:OFFENDERS_REPORTED]]
    return report("L6", Coupon.objects.count(), offenders)


def order_fits_status(coupon_ids: Chosen) -> LawReport:
    """L6, first half, for coupons: the order of each fits its status, and has no other coupon."""
    others = Coupon.objects.filter(order=OuterRef("order")).exclude(pk=OuterRef("pk"))
    with_order = Coupon.objects.filter(within("pk", coupon_ids), order__isnull=False)
    shared = with_order.filter(Exists(others)).values_list("order", flat=True)[:OFFENDERS_REPORTED]
    astray = offenders_of(_astray_coupons().filter(within("pk", coupon_ids)), kind="coupon")
    return report("L6", count(Coupon.objects, coupon_ids), [*astray, *sorted(set(shared))])


SUBJECTS = (
    Subject(
        "campaign",
        Campaign.objects.all,
        (("L1", issued_is_counted), ("L2", positions_are_complete), ("L3", codes_are_counted)),
        # One by one: a campaign may have a million coupons.
        size=1,
        current=lambda: Campaign.objects.filter(
            Campaign.not_closed_at(clock.now()), opens_at__lte=clock.now()
        ).values_list("pk", flat=True),
    ),
    Subject(
        "coupon",
        Coupon.objects.all,
        (("L2", none_is_repeated), ("L3", coupons_have_pool_codes), ("L6", order_fits_status)),
        size=5_000,
        is_counted=True,
    ),
    Subject(
        "pool code", PoolCode.objects.all, (("L3", codes_fit_their_coupons),), size=2_000, is_counted=True
    ),
)


def _astray_coupons() -> "QuerySet[Coupon, str]":
    """Coupons with an order that their status doesn't have, or without one that it has."""
    astray = Q(status__in=HAS_ORDER, order__isnull=True) | ~Q(status__in=HAS_ORDER) & Q(order__isnull=False)
    return Coupon.objects.filter(astray).order_by("pk").values_list("code", flat=True)


def _campaigns_with_lost_codes() -> "QuerySet[Campaign, int]":
    """Campaigns with more or fewer codes than were added."""
    lost = Campaign.objects.annotate(counted=_counted(PoolCode.objects.all()))
    return lost.exclude(codes_added=F("counted")).order_by("pk").values_list("pk", flat=True)


def _counted(rows: "QuerySet[Coupon] | QuerySet[PoolCode] | QuerySet[Confirmation]") -> Coalesce:
    """How many of the rows belong to the campaign of the outer query."""
    mine = rows.filter(campaign=OuterRef("pk")).order_by().values("campaign")
    return Coalesce(Subquery(mine.annotate(number=Count("pk")).values("number")), 0)


def _repeated(
    coupons: "QuerySet[Coupon]", *columns: str, named: str = "campaign_id"
) -> "QuerySet[Coupon, Any]":
    """What is named by rows whose values of these columns, in their index's order, occur more than once."""
    several = coupons.order_by().values(*columns).annotate(number=Count("pk")).filter(number__gt=1)
    return several.values_list(named, flat=True)


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


def _campaigns_with_taken_shared_codes() -> "QuerySet[Campaign, int]":
    """Campaigns whose shared code is also the code of a coupon or of a pool."""
    same = {"code": OuterRef("shared_code")}
    is_taken = Exists(Coupon.objects.filter(**same)) | Exists(PoolCode.objects.filter(**same))
    taken = Campaign.objects.filter(is_taken, shared_code__isnull=False)
    return taken.order_by("pk").values_list("pk", flat=True)


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
