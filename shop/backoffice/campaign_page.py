"""The results of a campaign: how fast it issued, what became of its coupons, and the revenue they brought."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet, Sum
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from coupons.admin import issue_curve
from coupons.admin.issue_curve import IssueCurve
from coupons.models import Campaign, Coupon
from shop import clock
from shop.backoffice import late_figures, windows
from shop.db import transactions
from shop.money import format_amount
from shop.operators.actions import require_permission

PERMISSIONS = ("coupons.view_campaign", "coupons.view_coupon", "orders.view_order")
COUPONS_AT_ONCE = 10_000
"""Positions that one statement reads."""
AMOUNTS = ("items_amount", "discount_amount", "total_amount", "points_amount", "refunded_amount")
LENGTH_TEXTS = {
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
WIDTH, HEIGHT = 960, 240
"""Of the drawing, in its own units."""


@dataclass(slots=True)
class CampaignResults:
    """What became of a campaign's coupons, and the paid orders that used them; `read` fills it."""

    campaign: Campaign
    coupons: Counter[str] = field(default_factory=Counter)
    orders: int = 0
    amounts: Counter[str] = field(default_factory=Counter)

    def read(self) -> Iterator[None]:
        """Read the coupons by their positions; yields after each range of them.

        An order that was refunded completely counts as long as its coupon was not released.
        """
        last = self.campaign.issued
        for first in range(1, last + 1, COUPONS_AT_ONCE):
            end = min(first + COUPONS_AT_ONCE - 1, last)
            self._count(self.campaign.coupons.filter(position__gte=first, position__lte=end))
            yield

    def _count(self, coupons: "QuerySet[Coupon]") -> None:
        for status, number in windows.fetch(coupons.order_by().values_list("status").annotate(Count("pk"))):
            self.coupons[status] += number
        # No row without orders.
        paid = coupons.filter(order__paid_at__isnull=False).order_by().values("campaign_id")
        sums = {f"sum_{name}": Sum(f"order__{name}") for name in AMOUNTS}
        counted = paid.annotate(orders=Count("pk"), **sums).values_list("orders", *sums)
        for orders, *amounts in windows.fetch(counted):
            self.orders += orders
            self.amounts.update(dict(zip(AMOUNTS, amounts, strict=True)))

    def context(self) -> dict[str, Any]:
        """The results for the template."""
        amounts = self.amounts
        revenue_amount = amounts["total_amount"] - amounts["refunded_amount"]
        return {
            "coupons": [(status.label, f"{self.coupons[status]:,}") for status in Coupon.Status],
            "cards": [
                (gettext("Paid orders with its coupons"), f"{self.orders:,}"),
                (gettext("Before discounts"), format_amount(amounts["items_amount"])),
                (gettext("Discount it gave"), format_amount(amounts["discount_amount"])),
                (gettext("Paid by buyers"), format_amount(amounts["total_amount"])),
                (gettext("Of them with points"), format_amount(amounts["points_amount"])),
                (gettext("Refunded"), format_amount(amounts["refunded_amount"])),
                (gettext("Revenue it brought"), format_amount(revenue_amount)),
            ],
        }


@require_GET
def campaign_results(request: HttpRequest, campaign_id: int) -> HttpResponseBase:
    """The page: the curve of issue, and the place of the results."""
    campaign = _campaign(request, campaign_id)
    curve = transactions.read(partial(issue_curve.read, campaign))
    page = {
        "title": gettext("Results of %(name)s") % {"name": campaign.name},
        "campaign": campaign,
        "issued": gettext("%(count)s of %(total)s")
        % {"count": f"{campaign.issued:,}", "total": f"{campaign.quantity:,}"},
        "status": campaign.status_at(clock.now()).label,
        "curve": curve,
        "drawing": drawing(curve) if curve else None,
        "curve_title": _curve_title(curve) if curve else "",
        "opts": Campaign._meta,
    }
    return TemplateResponse(request, "backoffice/campaign.html", admin.site.each_context(request) | page)


@require_GET
def campaign_figures(request: HttpRequest, campaign_id: int) -> HttpResponseBase:
    """The results of the page, which are read in parts."""
    results = CampaignResults(_campaign(request, campaign_id))
    return late_figures.respond(request, "backoffice/campaign_figures.html", results.read(), results.context)


def drawing(curve: IssueCurve) -> dict[str, Any]:
    """The bars of the curve, in the drawing's units, and the largest number."""
    most = max(curve.counts)
    step = WIDTH / len(curve.counts)
    bars = [
        {
            "x": f"{number * step:.2f}",
            "y": f"{HEIGHT - count * HEIGHT / most:.2f}",
            "height": f"{count * HEIGHT / most:.2f}",
            "width": f"{max(step * 0.85, 0.5):.2f}",
            "count": count,
            "begins_at": curve.begins_at + number * curve.length,
        }
        for number, count in enumerate(curve.counts)
    ]
    return {"bars": bars, "most": f"{most:,}", "width": WIDTH, "height": HEIGHT}


def _curve_title(curve: IssueCurve) -> str:
    length = LENGTH_TEXTS.get(curve.length, curve.length)
    return gettext("Coupons issued %(length)s") % {"length": length}


def _campaign(request: HttpRequest, campaign_id: int) -> Campaign:
    """Raises `Http404` and `PermissionDenied`."""
    require_permission(request, *PERMISSIONS)
    campaign = Campaign.objects.filter(pk=campaign_id).first()
    if campaign is None:
        raise Http404(gettext("There is no campaign %(id)s.") % {"id": campaign_id})
    return campaign
