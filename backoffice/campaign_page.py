"""The results of a campaign: how fast it issued, what became of its coupons, and the revenue they brought.

Positions grow with the instants of issue, so the number of coupons before an instant is found by bisection in
the index of campaign and position: some twenty statements of a few rows each, however many coupons there are.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from django.db.models import Count, Sum
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.http import require_GET

from backoffice import windows
from coupons.models import Campaign, Coupon
from foundation import clock
from foundation.admin_base.actions import require_permission
from foundation.admin_base.display import admin_page
from foundation.db import transactions
from foundation.money import format_amount

PERMISSIONS = ("coupons.view_campaign", "coupons.view_coupon", "orders.view_order")
COUPONS_AT_ONCE = 10_000
"""Positions that one statement reads."""
AMOUNTS = ("items_amount", "discount_amount", "total_amount", "points_amount", "refunded_amount")
LENGTHS = {
    timedelta(seconds=1): _("per second"),
    timedelta(seconds=10): _("per 10 seconds"),
    timedelta(minutes=1): _("per minute"),
    timedelta(minutes=5): _("per 5 minutes"),
    timedelta(minutes=15): _("per 15 minutes"),
    timedelta(hours=1): _("per hour"),
    timedelta(hours=6): _("per 6 hours"),
    timedelta(days=1): _("per day"),
    timedelta(days=7): _("per 7 days"),
    timedelta(days=30): _("per 30 days"),
}
"""Of the intervals of a curve."""
MOST_INTERVALS = 120


@require_GET
def campaign_results(request: HttpRequest, campaign_id: int) -> HttpResponseBase:
    """The page: the curve of issue, and the place of the results."""
    campaign = _campaign(request, campaign_id)
    issued = f"{campaign.issued:,}"
    if campaign.capacity is not None:
        issued = gettext("%(count)s of %(total)s") % {"count": issued, "total": f"{campaign.capacity:,}"}
    context: dict[str, Any] = {
        "title": gettext("Results of %(name)s") % {"name": campaign.name},
        "campaign": campaign,
        "issued": issued,
        "status": campaign.status_at(clock.now()).label,
        "opts": Campaign._meta,
    }
    if curve := transactions.read(partial(read_curve, campaign)):
        length = {"length": LENGTHS.get(curve.length, curve.length)}
        context |= {
            "curve": curve,
            "curve_title": gettext("Coupons issued %(length)s") % length,
            "bars": [(curve.begins_at + at * curve.length, count) for at, count in enumerate(curve.counts)],
            "most": max(curve.counts),
            "most_text": f"{max(curve.counts):,}",
        }
    return admin_page(request, "backoffice/campaign.html", context)


@require_GET
def campaign_figures(request: HttpRequest, campaign_id: int) -> HttpResponseBase:
    """The results of the page, which are read in parts."""
    campaign = _campaign(request, campaign_id)
    return windows.respond(request, "backoffice/campaign_figures.html", partial(_read_results, campaign))


def _read_results(campaign: Campaign) -> dict[str, Any]:
    """What became of its coupons, and the paid orders that used them; read by the coupons' positions.

    An order that was refunded completely counts as long as its coupon was not released.
    """
    coupons: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for first in range(1, campaign.issued + 1, COUPONS_AT_ONCE):
        found = campaign.coupons.order_by().filter(
            position__gte=first, position__lt=first + COUPONS_AT_ONCE, position__lte=campaign.issued
        )
        coupons.update(dict(windows.fetch(found.values_list("status").annotate(Count("pk")))))
        # No row without orders.
        paid = found.filter(order__paid_at__isnull=False).values("campaign_id")
        of_orders = {f"of_{name}": Sum(f"order__{name}") for name in AMOUNTS}
        for row in windows.fetch(paid.annotate(of_orders=Count("pk"), **of_orders)):
            sums.update({name: number for name, number in row.items() if name.startswith("of_")})
    amounts = {name: format_amount(sums[f"of_{name}"]) for name in AMOUNTS}
    revenue = format_amount(sums["of_total_amount"] - sums["of_refunded_amount"])
    return {
        "coupons": [(status.label, f"{coupons[status]:,}") for status in Coupon.Status],
        "cards": [
            (gettext("Paid orders with its coupons"), f"{sums['of_orders']:,}"),
            (gettext("Before discounts"), amounts["items_amount"]),
            (gettext("Discount it gave"), amounts["discount_amount"]),
            (gettext("Paid by buyers"), amounts["total_amount"]),
            (gettext("Of them with points"), amounts["points_amount"]),
            (gettext("Refunded"), amounts["refunded_amount"]),
            (gettext("Revenue it brought"), revenue),
        ],
    }


def _campaign(request: HttpRequest, campaign_id: int) -> Campaign:
    """Raises `Http404` and `PermissionDenied`."""
    require_permission(request, *PERMISSIONS)
    return get_object_or_404(Campaign, pk=campaign_id)


class IssueCurve(NamedTuple):
    """The coupons of each interval of this length, the first of which begins at `begins_at`."""

    begins_at: datetime
    length: timedelta
    counts: list[int]

    @property
    def ends_at(self) -> datetime:
        return self.begins_at + self.length * len(self.counts)


def read_curve(campaign: Campaign) -> IssueCurve | None:
    """The curve from the opening, or the first coupon if that is earlier, to the last coupon; None without
    coupons that have positions.
    """
    first = _issued_at(campaign, [1]).get(1)
    last = _issued_at(campaign, [campaign.issued])
    if first is None or campaign.issued not in last:
        return None
    begins_at = min(first, campaign.opens_at)
    span = last[campaign.issued] - begins_at
    fitting = (length for length in LENGTHS if span // length < MOST_INTERVALS)
    length = next(fitting, span // MOST_INTERVALS + timedelta(seconds=1))
    borders = [begins_at + length * number for number in range(1, span // length + 1)]
    issued = [0, *_issued_before(campaign, borders), campaign.issued]
    return IssueCurve(begins_at, length, [after - before for before, after in pairwise(issued)])


def _issued_before(campaign: Campaign, borders: Sequence[datetime]) -> list[int]:
    """How many coupons were issued before each of these instants, which ascend."""
    low = [0] * len(borders)
    high = [campaign.issued] * len(borders)
    while open_ones := [place for place in range(len(borders)) if low[place] < high[place]]:
        middles = {place: (low[place] + high[place] + 1) // 2 for place in open_ones}
        instants = _issued_at(campaign, set(middles.values()))
        for place, middle in middles.items():
            # A position that is not there yet belongs to a transaction in progress: it is later.
            instant = instants.get(middle)
            if instant is not None and instant < borders[place]:
                low[place] = middle
            else:
                high[place] = middle - 1
    return low


def _issued_at(campaign: Campaign, positions: Collection[int]) -> dict[int | None, datetime]:
    return dict(campaign.coupons.filter(position__in=positions).values_list("position", "issued_at"))
