"""What is sold today beside yesterday up to the same time, by the shop's days, and what opens next."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q
from django.http import HttpRequest

from backoffice import sales_page
from backoffice.page_elements import may_view, row_link
from backoffice.periods import DAY
from coupons.models import Campaign, Coupon
from foundation import clock
from foundation.money import format_amount
from orders.models import Order
from sales.models import Sale

OPENINGS_SHOWN = 5
LATE_IDS = timedelta(minutes=1)
"""By how much a coupon's id may be behind its instant of issue, compared with others."""
Span = tuple[datetime, datetime]


def spans() -> Sequence[Span]:
    """Today until now, and yesterday until the same time of the day."""
    now = clock.local(clock.now())
    # In a zone the difference of a day is one of the clock on the wall.
    return [(clock.day_bounds(at.date())[0], at) for at in (now, now - DAY)]


def read_figures(request: HttpRequest) -> dict[str, Sequence[str]]:
    """Those that the account may see, of today and yesterday, with the change: a statement for each table and
    day, by the indexes of its instants.
    """
    days = spans()
    found: dict[str, Sequence[int]] = {}
    if may_view(request, Order):
        # The other sums would take 0.3 s more of a day with a million paid orders.
        totals = [sales_page.read_totals(*day, of_orders=["total_amount"]) for day in days]
        for name in ("orders", "sales_amount", "refunded_amount"):
            found[name] = [total[name] for total in totals]
    if may_view(request, Coupon):
        found["coupons"] = _count_coupons(days)
    return {
        name: [
            *(format_amount(number) if name.endswith("amount") else f"{number:,}" for number in numbers),
            sales_page.change_text(*numbers),
        ]
        for name, numbers in found.items()
    }


def read_openings(request: HttpRequest) -> list[tuple[Any, Any]]:
    """The campaigns and sales that open next, the first first, each with a link to it."""
    rows: list[Any] = []
    for model in (Campaign, Sale):
        if may_view(request, model):
            soon: Any = model._base_manager.filter(opens_at__gt=clock.now())
            rows += soon.order_by("opens_at")[:OPENINGS_SHOWN]
    rows.sort(key=lambda row: row.opens_at)
    return [(row, row_link(row, row.name)) for row in rows[:OPENINGS_SHOWN]]


def _count_coupons(days: Sequence[Span]) -> Sequence[int]:
    """The coupons issued in each; an index on the instants would slow issuing down, so by their ids."""
    recent = Coupon.objects.filter(pk__gte=_first_since(days[-1][0] - LATE_IDS)).order_by()
    counts = (Count("pk", filter=Q(issued_at__gte=since, issued_at__lt=until)) for since, until in days)
    return [*recent.aggregate(**{f"day_{number}": count for number, count in enumerate(counts)}).values()]


def _first_since(at: datetime) -> int:
    """The id of the first coupon that was issued since then, by bisection: some twenty reads of one row."""
    coupons = Coupon.objects.order_by("pk").values_list("pk", "issued_at")
    newest = coupons.last()
    low, high = 0, newest[0] + 1 if newest else 0
    while low < high:
        middle = (low + high) // 2
        id, issued_at = coupons.filter(pk__gte=middle)[0]
        low, high = (id + 1, high) if issued_at < at else (low, middle)
    return low
