"""How many entries of sales there are: for operators' pages, the launch board and metrics."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from django.db.models import Count

from sales.models import Sale, SaleEntry
from sales.waiting_room.admission import WINDOW


def by_status(sale_ids: Collection[int]) -> Mapping[int, Counter[str]]:
    """Of each of these sales, its entries by their recorded status: an index read of all of them."""
    rows = SaleEntry.objects.filter(sale__in=sale_ids).values_list("sale", "status")
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for sale_id, status, number in rows.annotate(number=Count("pk")).order_by():
        counts[sale_id][status] = number
    return counts


def waiting(sale: Sale) -> int:
    """How many entries wait: by the positions, or before the draw by the entries that will take part."""
    return sale.last_position - sale.passed_position if sale.drawn_at else sale.drawn_count


def admitted_now(sale_ids: Collection[int]) -> Mapping[int, int]:
    """Of each of these sales with any, how many entries are admitted, neither used nor expired."""
    return _numbers(sale__in=sale_ids, status=SaleEntry.Status.ADMITTED)


def admitted_lately(sales: Collection[Sale], now: datetime) -> Mapping[int, int]:
    """Of each of these sales with any, how many were admitted in the last 60 seconds of its admission clock,
    by a statement for each distance of that clock.
    """
    alike: defaultdict[timedelta, list[int]] = defaultdict(list)
    for sale in sales:
        alike[sale.admission_clock_ahead].append(sale.pk)
    counts: dict[int, int] = {}
    for ahead, sale_ids in alike.items():
        counts |= _numbers(sale__in=sale_ids, admitted_at__gte=now + ahead - WINDOW)
    return counts


def _numbers(**condition: object) -> dict[int, int]:
    rows = SaleEntry.objects.filter(**condition).values_list("sale")
    return dict(rows.annotate(number=Count("pk")).order_by())
