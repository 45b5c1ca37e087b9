"""Exports for an accountant: orders, lines, refunds and coupons of a period, as CSV.

Their sums are the totals of the sales report of the same period, to the unit: they are of the same instants,
by the days of the shop's time zone, and end where its figures end.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from django.db.models import Sum
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from backoffice import list_exports, sales_report, windows
from backoffice.sales_report import Figures
from backoffice.windows import Window
from foundation import clock, journal
from foundation.admin_base.actions import require_permission
from foundation.admin_base.display import admin_page
from foundation.lazy_texts import Text
from orders import order_numbers, pricing
from orders.models import Order, OrderLine, Refund

PERMISSIONS = (*sales_report.PERMISSIONS, list_exports.PERMISSION)
Row = Sequence[Any]


class Export(NamedTuple):
    """A file: what a row of it is, the right that it needs besides those of the page, and how it is read."""

    title: Text
    about: Text
    permission: str
    columns: Sequence[str]
    read: Callable[[Figures], Iterator[list[Row]]]


def _windows(model: Any, column: str, figures: Figures) -> Iterator[Window]:
    return windows.between(model._base_manager.all(), column, figures.since, figures.until)


def _named(order: Order) -> list[Any]:
    return [order_numbers.shown(order.number) if order.number else "", order.pk]


def _read_orders(figures: Figures) -> Iterator[list[Row]]:
    for window in _windows(Order, "paid_at", figures):
        yield [
            [
                *_named(order),
                clock.day_of(order.paid_at),
                order.paid_at,
                order.units,
                order.items_amount,
                order.discount_amount,
                order.total_amount,
                order.points_amount,
                order.card_amount,
                order.coupon_code,
                order.currency,
            ]
            for order in windows.fetch(Order.objects.filter(**window).order_by("paid_at", "pk"))
        ]


def _read_lines(figures: Figures) -> Iterator[list[Row]]:
    """The points of an order are split over its lines as the report splits them."""
    for window in _windows(Order, "paid_at", figures):
        of_window = {f"order__{condition}": instant for condition, instant in window.items()}
        lines = OrderLine.objects.filter(**of_window).select_related("order").order_by("order_id", "pk")
        page: list[Row] = []
        for order, found in groupby(windows.fetch(lines), key=attrgetter("order")):
            of_order = list(found)
            amounts = [line.line_amount - line.discount_amount for line in of_order]
            for line, amount, points in zip(
                of_order, amounts, pricing.split_discount(order.points_amount, amounts), strict=True
            ):
                page.append(
                    [
                        *_named(order),
                        clock.day_of(order.paid_at),
                        line.sku,
                        line.name,
                        line.quantity,
                        line.unit_price,
                        line.line_amount,
                        line.discount_amount,
                        amount,
                        points,
                        amount - points,
                        order.currency,
                    ]
                )
        yield page


def _read_refunds(figures: Figures) -> Iterator[list[Row]]:
    """Each refund on its day; one that failed also on the day when it did, with what came back."""
    for column, has_failed in (("settled_at", False), ("failed_at", True)):
        for window in _windows(Refund, column, figures):
            rows = Refund.objects.filter(**window).select_related("order").order_by(column, "pk")
            page: list[Row] = []
            for refund in windows.fetch(rows.annotate(units=Sum("lines__quantity", default=0))):
                at = getattr(refund, column)
                given = [refund.units, refund.amount, refund.points_amount, refund.card_amount]
                # Of one that failed the card's part came back: not its points, nor its units.
                taken = [0, -refund.card_amount, 0, -refund.card_amount]
                what = "failed" if has_failed else "refunded"
                order = refund.order
                facts = [refund.source, refund.reason, order.currency]
                page.append(
                    [*_named(order), clock.day_of(at), at, what, *(taken if has_failed else given), *facts]
                )
            yield page


def _read_coupons(figures: Figures) -> Iterator[list[Row]]:
    for window in _windows(Order, "paid_at", figures):
        orders = Order.objects.filter(**window).exclude(coupon_code="")
        found = windows.fetch(
            orders.annotate(campaign=sales_report.campaign_of("")).order_by("paid_at", "pk")
        )
        names = sales_report.campaign_names({order.campaign for order in found})
        yield [
            [
                order.coupon_code,
                names.get(order.campaign, ""),
                *_named(order),
                clock.day_of(order.paid_at),
                order.discount_amount,
                order.total_amount,
                order.currency,
            ]
            for order in found
        ]


ORDER = ["order", "order_id"]
AMOUNTS = ["items_amount", "discount_amount", "sales_amount", "points_amount", "card_amount"]
REFUNDED = ["refunded_units", "refunded_amount", "refunded_points_amount", "refunded_card_amount"]
EXPORTS = {
    "orders": Export(
        _("Orders"),
        _("A row for each order that was paid: discount, points, card."),
        "orders.view_order",
        [*ORDER, "paid_on", "paid_at", "units", *AMOUNTS, "coupon", "currency"],
        _read_orders,
    ),
    "lines": Export(
        _("Order lines"),
        _("A row for each product of these orders."),
        "orders.view_orderline",
        [*ORDER, "paid_on", "sku", "product_name", "units", "unit_price", *AMOUNTS, "currency"],
        _read_lines,
    ),
    "refunds": Export(
        _("Refunds"),
        _("A row for each refund that was made; one that failed later is taken off again."),
        "orders.view_refund",
        [*ORDER, "refunded_on", "refunded_at", "what", *REFUNDED, "made_by", "reason", "currency"],
        _read_refunds,
    ),
    "coupons": Export(
        _("Coupons"),
        _("A row for each coupon that paid a part of these orders."),
        "coupons.view_coupon",
        ["coupon", "campaign_name", *ORDER, "paid_on", "discount_amount", "sales_amount", "currency"],
        _read_coupons,
    ),
}


@require_GET
def show(request: HttpRequest) -> HttpResponseBase:
    """The page: the period, which is last month at first, and a button for each file."""
    require_permission(request, *PERMISSIONS)
    form = _period(request)
    shown = {
        "title": _("Exports"),
        "form": form,
        "is_valid": form.is_valid(),
        "exports": [
            (reverse(f"report-{name}"), one)
            for name, one in EXPORTS.items()
            if request.user.has_perm(one.permission)
        ],
    }
    return admin_page(request, "backoffice/exports.html", shown)


@require_GET
def send(request: HttpRequest, name: str) -> HttpResponseBase:
    """The file; it is journaled. Its header is English in every language, because programs read it."""
    export = EXPORTS[name]
    require_permission(request, *PERMISSIONS, export.permission)
    form = _period(request)
    if not form.is_valid():
        return sales_report.refusal_of(form)
    days = {name: day.isoformat() for name, day in form.cleaned_data.items()}
    return windows.respond_csv(
        request,
        export.columns,
        export.read(sales_report.figures_of(form)),
        filename="{name}-{since}-{through}.csv".format(name=name, **days),
        note=partial(
            journal.note, what="report.exported", subject=f"report {name}", after=days, is_internal=True
        ),
    )


def _period(request: HttpRequest) -> sales_report.PeriodForm:
    last = clock.today().replace(day=1) - timedelta(days=1)
    return sales_report.read_period(request, since=last.replace(day=1), through=last)
