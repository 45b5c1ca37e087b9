"""The results of a campaign: how fast it issued, what became of its coupons, and the revenue they brought.

Positions grow with the instants of issue, so a hundred of them, which the index of campaign and position has,
are the curve, however many coupons there are.
"""

from collections import Counter
from datetime import datetime, timedelta
from functools import partial

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
MOST_POINTS = 100
"""Of the curve, besides its last."""


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
        (begins_at, _first), (ends_at, _last) = curve[0], curve[-1]
        length = max(ends_at - begins_at, timedelta(seconds=1))
        context |= {
            "begins_at": begins_at,
            "half_at": curve[len(curve) // 2][0],
            "ends_at": ends_at,
            "line": [(1_000 * ((at - begins_at) / length), position) for at, position in curve],
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


def read_curve(campaign: Campaign) -> list[tuple[datetime, int | None]]:
    """When how many coupons were issued, from the first to the last; empty unless they have positions."""
    step = 1 + campaign.issued // MOST_POINTS
    positions = {*range(1, campaign.issued, step), campaign.issued}
    found = campaign.coupons.filter(position__in=positions).order_by("position")
    return list(found.values_list("issued_at", "position"))
