"""The page of the sales report: the figures of a period beside those of the period before, a plot, and tables
whose rows add up.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.db.models import Count, Model, Sum
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.http import require_GET

from backoffice import list_exports, periods, sales_report, windows
from backoffice.periods import DAY, Period
from backoffice.sales_report import Amounts, Figures
from foundation import clock
from foundation.admin_base.actions import require_permission
from foundation.admin_base.display import Context, admin_page
from foundation.lazy_texts import Text
from foundation.money import format_amount, format_number
from inventory import selectors as stock_selectors
from inventory.models import ProductDay
from orders.models import Order, Refund

ROWS_SHOWN = 50
MANY_TIMES = 10
SHORTEST_PLOT = 27
"""The plot of a shorter period begins so long before its last day."""
TOTALS = {
    "orders": _("Orders paid"),
    "units": _("Units sold"),
    "items_amount": _("Before discounts"),
    "discount_amount": _("− Discounts"),
    "sales_amount": _("= Sales"),
    "points_amount": _("of them paid with points"),
    "card_amount": _("of them paid by card"),
    "refunded_amount": _("− Refunds"),
    "net_amount": _("= Sales less refunds"),
    "lost_amount": _("Lost sales (not included)"),
}
"""The rows of the summary, in the order in which they are added up."""
OF_ORDERS = ("units", "items_amount", "discount_amount", "total_amount", "points_amount", "card_amount")
LOST = {
    "lost_sold_out": _("Sold out"),
    "lost_over_limit": _("Over a limit"),
    "lost_expired": _("Order expired unpaid"),
    "lost_declined": _("Card declined"),
    "lost_given_up": _("Payment given up"),
}
SHOWN = (
    "orders", "units", "items_amount", "discount_amount", "sales_amount", "points_amount", "refunded_amount",
    "net_amount",
)  # fmt: skip
LOST_SHOWN = ("lost_units", "lost_amount")
"""The figures of the page's tables, in the order of the templates' columns."""
Names = dict[Any, str]
Row = tuple[str, int | None, list[str]]
"""The name and the id of a product or campaign, and its figures."""


@require_GET
def sales(request: HttpRequest) -> HttpResponseBase:
    """The page: a form for the period, and the place of the figures."""
    require_permission(request, *sales_report.PERMISSIONS)
    form = sales_report.read_period(request)
    shown = {
        "title": gettext("Sales report"),
        "form": form,
        "is_valid": form.is_valid(),
        "period": form.is_valid() and Period(**form.cleaned_data),
        "named": periods.named(),
        "may_export": request.user.has_perm(list_exports.PERMISSION),
    }
    return admin_page(request, "backoffice/sales.html", shown)


@require_GET
def sales_figures(request: HttpRequest) -> HttpResponseBase:
    """The figures of the page, which are read in parts."""
    require_permission(request, *sales_report.PERMISSIONS)
    form = sales_report.read_period(request)
    if not form.is_valid():
        return sales_report.refusal_of(form)
    read = partial(read_page, sales_report.figures_of(form), Period(**form.cleaned_data))
    return windows.respond(request, "backoffice/sales_figures.html", read)


def read_page(figures: Figures, period: Period) -> Context:
    """What the template of the figures shows."""
    figures.read()
    earlier = periods.before(period)
    bars = _read_bars(
        Period(min(period.since, periods.days_before(period.through, SHORTEST_PLOT)), period.through),
        figures.until,
    )
    checks = figures.checks()
    lost = figures.lost
    lost_products = windows.read_elsewhere(partial(stock_selectors.lost_by_product, *period))
    accounts = sum(lost[name] for name in LOST)
    name_campaigns = partial(sales_report.campaign_names, without=gettext("Without a coupon"))
    return {
        "currency": settings.CURRENCY,
        "since": figures.since,
        "until": figures.until,
        "period": period,
        "earlier": earlier,
        "shown_periods": [period, earlier],
        "is_cut": figures.until < clock.day_bounds(period.through)[1],
        "summary": _summarize(figures, period, earlier),
        "bars": bars,
        "most": max(bars, key=lambda bar: bar[1]),
        "products": _rank(figures.by_product(), SHOWN, "sales_amount", _name_products),
        "campaigns": _rank(figures.by_campaign(), SHOWN, "sales_amount", name_campaigns),
        "causes": [(title, lost[name], 100 * lost[name] // max(1, accounts)) for name, title in LOST.items()],
        "accounts": accounts,
        "lost_products": _rank(lost_products, LOST_SHOWN, LOST_SHOWN[-1], _name_products),
        "points": [(name, format_number(amount)) for name, amount in figures.points()],
        "checks": [
            (check, format_number(check.reported_amount), format_number(check.ledger_amount))
            for check in checks
        ],
        "is_right": not any(check.difference_amount for check in checks),
    }


def read_totals(since: datetime, until: datetime, *, of_orders: Iterable[str] = OF_ORDERS) -> Amounts:
    """The totals of a period from whole orders and refunds, which are those of `Figures`."""
    sum_up = partial(_sum, since, until)
    total = sum_up(Order, "paid_at", of_orders)
    done = sum_up(Refund, "settled_at", ["amount"])["amount"]
    total["refunded_amount"] = done - sum_up(Refund, "failed_at", ["card_amount"])["card_amount"]
    total["sales_amount"] = total["total_amount"]
    total["net_amount"] = total["total_amount"] - total["refunded_amount"]
    return total


def change_text(now: int, before: int) -> str:
    """By how much it rose or fell, in percent, or how many times as much it is; nothing beside nothing."""
    times = now / before if before else 0
    if times >= MANY_TIMES:
        return f"×{times:,.0f}"
    return f"{times - 1:+.0%}".replace("-", "−") if before else ""


def _sum(since: datetime, until: datetime, model: type[Model], column: str, names: Iterable[str]) -> Amounts:
    """The number of the rows of a period, as `orders`, and the sums of columns of them."""
    rows = model._base_manager.all()
    sums = {name: Sum(name, default=0) for name in names}
    total = Amounts()
    for window in windows.between(rows, column, since, until):
        total.update(windows.aggregate(rows.filter(**window), orders=Count("pk"), **sums))
    return total


def _summarize(figures: Figures, period: Period, earlier: Period) -> list[tuple[Text, str, str, str]]:
    """The totals beside those of the period before, up to the same time if this one is not over."""
    since, end = clock.day_bounds(earlier.since)[0], clock.day_bounds(earlier.through)[1]
    if figures.until < clock.day_bounds(period.through)[1]:
        end = min(end, since + (figures.until - figures.since))
    before = read_totals(since, end)
    lost = windows.read_elsewhere(partial(stock_selectors.lost_on, *earlier))
    totals = figures.total()
    rows: list[tuple[Text, str, str, str]] = []
    for name, title in TOTALS.items():
        now, then = (figures.lost[name], lost[name]) if name in lost else (totals[name], before[name])
        shown = format_amount if name.endswith("amount") else "{:,}".format
        rows.append((title, shown(now), shown(then), change_text(now, then)))
    return rows


def _read_bars(period: Period, until: datetime) -> list[tuple[Any, int, str]]:
    """What was sold on each day, and on the last one until then."""
    days = ProductDay.objects.filter(day__range=period).order_by().values_list("day")
    sold = dict(windows.fetch(days.annotate(Sum("sold_amount"))))
    last = clock.day_of(until)
    sold[last] = read_totals(clock.day_bounds(last)[0], until, of_orders=["total_amount"])["sales_amount"]
    number = (period.through - period.since).days + 1
    amounts = [(day, int(sold.get(day, 0))) for day in (period.since + DAY * n for n in range(number))]
    return [(day, amount, format_amount(amount)) for day, amount in amounts]


def _rank(
    found: Mapping[Any, Amounts], columns: Sequence[str], by: str, name_all: Callable[[set[Any]], Names]
) -> tuple[list[Row], list[str]]:
    """The rows with the most, all others together, and the sum of all."""
    ranked = sorted(found.items(), key=lambda row: -row[1][by])
    shown = ranked[:ROWS_SHOWN]
    names = name_all({id for id, _row in shown})
    rows: list[Row] = [(names[id], id, _cells(row, columns)) for id, row in shown]
    if len(ranked) > len(shown):
        rows.append((gettext("All others"), None, _cells(_total(ranked[ROWS_SHOWN:]), columns)))
    return rows, _cells(_total(ranked), columns)


def _total(rows: Iterable[tuple[Any, Amounts]]) -> Amounts:
    return sales_report.add_up((None, row) for _id, row in rows)[None]


def _cells(row: Amounts, columns: Sequence[str]) -> list[str]:
    return [format_number(row[name]) if name.endswith("amount") else f"{row[name]:,}" for name in columns]


def _name_products(ids: set[Any]) -> Names:
    return {id: " ".join(names) for id, names in sales_report.products_of(ids).items()}
