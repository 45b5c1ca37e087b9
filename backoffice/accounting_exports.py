"""Exports for an accountant: orders, lines, refunds and coupons of a period, as CSV.

Their sums are the totals of the sales report of the same period, to the unit: they are of the same instants,
by the days of the shop's time zone, and end where its figures end.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from django.db.models import Count, Model, QuerySet, Sum
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext_lazy as _, pgettext_lazy
from django.views.decorators.http import require_GET

from backoffice import list_exports, periods, sales_report, windows
from backoffice.periods import Period
from backoffice.sales_report import Amounts, Figures, Pages
from backoffice.windows import Window
from foundation import clock
from foundation.admin_base.actions import require_permission
from foundation.admin_base.display import Context, admin_page, instant_text
from foundation.lazy_texts import Text
from foundation.money import format_amount
from orders import order_numbers, pricing
from orders.models import Order, OrderLine, Refund

PERMISSIONS = (*sales_report.PERMISSIONS, list_exports.PERMISSION)
Row = Sequence[Any]


class Counted(NamedTuple):
    """Rows of a file that are of the instants in this column, and the sum of them."""

    model: type[Model]
    column: str
    rows: "Callable[[Window], QuerySet[Any]]"
    amount: Any


class Export(NamedTuple):
    """A file: what a row of it is, the right that it needs besides those of the page, how it is read, and how
    its rows are counted and summed before.
    """

    title: Text
    about: Text
    permission: str
    columns: Sequence[Text]
    read: Callable[[Figures], Pages]
    sum_of: Text
    counted: Sequence[Counted]


def _named(order: Order, at: Any) -> list[Any]:
    return [order_numbers.shown(order.number) if order.number else "", order.pk, clock.day_of(at)]


def _read_orders(figures: Figures) -> Pages:
    facts = attrgetter(
        *("units", "items_amount", "discount_amount", "total_amount", "points_amount"),
        *("card_amount", "coupon_code", "currency"),
    )
    for window in figures.windows(Order, "paid_at"):
        orders = windows.fetch(Order.objects.filter(**window).order_by("paid_at", "pk"))
        yield [
            [*_named(order, order.paid_at), instant_text(order.paid_at), *facts(order)] for order in orders
        ]


def _read_lines(figures: Figures) -> Pages:
    """The points of an order are split over its lines as the report splits them."""
    facts = attrgetter("sku", "name", "quantity", "unit_price", "line_amount", "discount_amount")
    for window in figures.windows(Order, "paid_at"):
        lines = OrderLine.objects.filter(**sales_report.of("order", window)).select_related("order")
        page: list[Row] = []
        for order, found in groupby(windows.fetch(lines.order_by("order_id", "pk")), key=attrgetter("order")):
            of_order = list(found)
            amounts = [line.line_amount - line.discount_amount for line in of_order]
            points = pricing.split_discount(order.points_amount, amounts)
            for line, amount, part in zip(of_order, amounts, points, strict=True):
                named = _named(order, order.paid_at)
                page.append([*named, *facts(line), amount, part, amount - part, order.currency])
        yield page


def _read_refunds(figures: Figures) -> Pages:
    """Each refund on its day; one that failed also on the day when it did, with what came back."""
    for column, has_failed in (("settled_at", False), ("failed_at", True)):
        for window in figures.windows(Refund, column):
            rows = Refund.objects.filter(**window).select_related("order").order_by(column, "pk")
            page: list[Row] = []
            for refund in windows.fetch(rows.annotate(units=Sum("lines__quantity", default=0))):
                at = getattr(refund, column)
                moved = ["refunded", refund.units, refund.amount, refund.points_amount, refund.card_amount]
                if has_failed:
                    # The card's part came back: not its points, nor its units.
                    moved = ["failed", 0, -refund.card_amount, 0, -refund.card_amount]
                order = refund.order
                facts = [refund.source, refund.reason, order.currency]
                page.append([*_named(order, at), instant_text(at), *moved, *facts])
            yield page


def _read_coupons(figures: Figures) -> Pages:
    facts = attrgetter("discount_amount", "total_amount", "currency")
    for window in figures.windows(Order, "paid_at"):
        orders = Order.objects.filter(**window).exclude(coupon_code="").order_by("paid_at", "pk")
        found = windows.fetch(orders.annotate(campaign=sales_report.campaign_of()))
        names = sales_report.campaign_names({order.campaign for order in found})
        yield [
            [order.coupon_code, names.get(order.campaign, ""), *_named(order, order.paid_at), *facts(order)]
            for order in found
        ]


ORDER = [_("Order"), _("Order ID")]
PAID_ON, UNITS, CURRENCY = _("Paid on"), _("Units"), _("Currency")
DISCOUNT, SALES = _("Discount amount"), _("Sales amount")
AMOUNTS = [_("Items amount"), DISCOUNT, SALES, _("Points amount"), _("Card amount")]
REFUNDED = [
    *(_("Refunded units"), _("Refunded amount")),
    *(_("Refunded points amount"), _("Refunded card amount")),
]


_sum = partial(Sum, default=0)


def _paid(window: Window) -> "QuerySet[Order]":
    return Order.objects.filter(**window)


EXPORTS = {
    "orders": Export(
        _("Orders"),
        _("One row for each paid order: discount, points, card."),
        "orders.view_order",
        [*ORDER, PAID_ON, _("Paid at"), UNITS, *AMOUNTS, _("Coupon"), CURRENCY],
        _read_orders,
        SALES,
        [Counted(Order, "paid_at", _paid, _sum("total_amount"))],
    ),
    "lines": Export(
        _("Order lines"),
        _("One row for each product of these orders."),
        "orders.view_orderline",
        [*ORDER, PAID_ON, _("SKU"), _("Product name"), UNITS, _("Unit price"), *AMOUNTS, CURRENCY],
        _read_lines,
        SALES,
        [
            Counted(
                Order,
                "paid_at",
                lambda window: OrderLine.objects.filter(**sales_report.of("order", window)),
                _sum("line_amount") - _sum("discount_amount"),
            )
        ],
    ),
    "refunds": Export(
        _("Refunds"),
        _("One row for each refund. One that failed later is taken off again."),
        "orders.view_refund",
        [
            *(*ORDER, _("Refunded on"), _("Refunded at"), pgettext_lazy("of a refund", "What")),
            *(*REFUNDED, _("Made by"), _("Reason"), CURRENCY),
        ],
        _read_refunds,
        REFUNDED[1],
        [
            Counted(Refund, column, lambda window: Refund.objects.filter(**window), amount)
            for column, amount in (("settled_at", _sum("amount")), ("failed_at", -_sum("card_amount")))
        ],
    ),
    "coupons": Export(
        _("Coupons"),
        _("One row for each coupon that paid part of these orders."),
        "coupons.view_coupon",
        [_("Coupon"), _("Campaign name"), *ORDER, PAID_ON, DISCOUNT, SALES, CURRENCY],
        _read_coupons,
        DISCOUNT,
        [
            Counted(
                Order,
                "paid_at",
                lambda window: _paid(window).exclude(coupon_code=""),
                _sum("discount_amount"),
            )
        ],
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
        "period": form.is_valid() and Period(**form.cleaned_data),
        "named": periods.named(),
        "exports": [
            (reverse(f"report-{name}"), one)
            for name, one in EXPORTS.items()
            if request.user.has_perm(one.permission)
        ],
    }
    return admin_page(request, "backoffice/exports.html", shown)


@require_GET
def sizes(request: HttpRequest) -> HttpResponseBase:
    """The rows and the sum of each file, which are read in parts."""
    require_permission(request, *PERMISSIONS)
    form = _period(request)
    if not form.is_valid():
        return sales_report.refusal_of(form)
    exports = [one for one in EXPORTS.values() if request.user.has_perm(one.permission)]
    read = partial(_read_sizes, exports, sales_report.figures_of(form))
    return windows.respond(request, "backoffice/export_sizes.html", read)


@require_GET
def send(request: HttpRequest, name: str) -> HttpResponseBase:
    """The file, whose header is in the reader's language; it is journaled."""
    export = EXPORTS[name]
    require_permission(request, *PERMISSIONS, export.permission)
    return sales_report.send(request, name, _period(request), [*map(str, export.columns)], export.read)


def _read_sizes(exports: Sequence[Export], figures: Figures) -> Context:
    found = []
    for one in exports:
        total = Amounts()
        for part in one.counted:
            for window in figures.windows(part.model, part.column):
                sums = {"count": Count("pk"), "amount": part.amount}
                total.update(windows.aggregate(part.rows(window), **sums))
        found.append((one.title, total["count"], one.sum_of, format_amount(total["amount"])))
    return {"sizes": found}


def _period(request: HttpRequest) -> sales_report.PeriodForm:
    last = clock.today().replace(day=1) - timedelta(days=1)
    return sales_report.read_period(request, since=last.replace(day=1), through=last)
