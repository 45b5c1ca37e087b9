"""The results of a campaign: how fast it issued, what became of its coupons, and the revenue they brought.

Positions grow with the instants of issue, so the number of coupons before an instant is found by bisection in
the index of campaign and position: some twenty statements of a few rows each, however many coupons there are.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import NamedTuple

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
from foundation.admin_base.display import Context, admin_page
from foundation.db import transactions
from foundation.lazy_texts import Text
from foundation.money import format_amount

PERMISSIONS = ("coupons.view_campaign", "coupons.view_coupon", "orders.view_order")
COUPONS_AT_ONCE = 10_000
"""Positions that one statement reads."""
AMOUNTS = {
    "items_amount": _("Before discounts"),
    "discount_amount": _("Discount it gave"),
    "total_amount": _("Paid by buyers"),
    "points_amount": _("Of them with points"),
    "refunded_amount": _("Refunded"),
}
LENGTHS: dict[float, Text] = {
    1: _("per second"),
    10: _("per 10 seconds"),
    60: _("per minute"),
    300: _("per 5 minutes"),
    900: _("per 15 minutes"),
    3_600: _("per hour"),
    21_600: _("per 6 hours"),
    86_400: _("per day"),
    604_800: _("per 7 days"),
    2_592_000: _("per 30 days"),
}
"""Of the intervals of a curve, in seconds."""
MOST_INTERVALS = 120


@require_GET
def campaign_results(request: HttpRequest, campaign_id: int) -> HttpResponseBase:
    """The page: the curve of issue, and the place of the results."""
    campaign = _campaign(request, campaign_id)
    issued = f"{campaign.issued:,}"
    if campaign.capacity is not None:
        issued = gettext("%(count)s of %(total)s") % {"count": issued, "total": f"{campaign.capacity:,}"}
    context: Context = {
        "title": gettext("Results of %(name)s") % {"name": campaign.name},
        "campaign": campaign,
        "issued": issued,
        "status": campaign.status_at(clock.now()).label,
        "opts": Campaign._meta,
    }
    if curve := transactions.read(partial(read_curve, campaign)):
        length = {"length": LENGTHS.get(curve.length.total_seconds(), curve.length)}
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


def _read_results(campaign: Campaign) -> Context:
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
        paid = found.filter(order__paid_at__isnull=False)
        amounts = {name: Sum(f"order__{name}", default=0) for name in AMOUNTS}
        sums.update(windows.aggregate(paid, orders=Count("pk"), **amounts))
    revenue = format_amount(sums["total_amount"] - sums["refunded_amount"])
    return {
        "coupons": [(status.label, f"{coupons[status]:,}") for status in Coupon.Status],
        "cards": [
            (gettext("Paid orders with its coupons"), f"{sums['orders']:,}"),
            *((title, format_amount(sums[name])) for name, title in AMOUNTS.items()),
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
    lengths = (timedelta(seconds=seconds) for seconds in LENGTHS)
    fitting = (length for length in lengths if span // length < MOST_INTERVALS)
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
