"""The state of running sales for metrics and the launch board, by small reads of the 50 that opened last."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime

from django.db.models import Count, QuerySet

from foundation import clock
from foundation.observability.gauges import Readings
from inventory import sale_terms
from sales import terms
from sales.models import Sale, SaleEntry
from sales.waiting_room.admission import WINDOW

MOST_RUNNING = 50
WAITING = "firstcome_sale_waiting"
ADMITTED = "firstcome_sale_admitted"
ADMITTED_LATELY = "firstcome_sale_admitted_last_minute"
PASSED_POSITION = "firstcome_sale_passed_position"
ADMISSION_AGE = "firstcome_sale_admission_age_seconds"
HELPS = {
    WAITING: "Entries that wait in the waiting room of each of the running sales that opened last.",
    ADMITTED: "Entries of each of these sales that are admitted, and have neither ordered nor expired.",
    ADMITTED_LATELY: "Entries of each of these sales that were admitted in the last 60 seconds.",
    PASSED_POSITION: "The position up to which entries of each of these sales wait no more.",
    ADMISSION_AGE: "Seconds since the last admission of each of these sales that is not paused, in which "
    "entries wait and something is available.",
}


def read_running() -> Readings:
    now = clock.now()
    rooms = [sale for sale in running() if sale.is_queued]
    if not rooms:
        return {name: {} for name in HELPS}
    # By the positions, or before the draw by the entries that will take part.
    waiting = {
        sale.pk: sale.last_position - sale.passed_position if sale.drawn_at else sale.drawn_count
        for sale in rooms
    }
    due = [sale for sale in rooms if waiting[sale.pk] and sale.paused_at is None and available(sale)]
    return {
        WAITING: {str(pk): number for pk, number in waiting.items()},
        ADMITTED: {str(sale.pk): sale.entries.filter(status="admitted").count() for sale in rooms},
        # By their clocks of admissions.
        ADMITTED_LATELY: {
            str(sale.pk): sale.entries.filter(
                admitted_at__gte=now + sale.admission_clock_ahead - WINDOW
            ).count()
            for sale in rooms
        },
        PASSED_POSITION: {str(sale.pk): sale.passed_position for sale in rooms},
        ADMISSION_AGE: {str(sale.pk): _admission_age_seconds(sale, now) for sale in due},
    }


def running() -> "QuerySet[Sale]":
    """The 50 sales that opened last of those that are open or paused, the latest first."""
    now = clock.now()
    unended = Sale.objects.filter(ended_at=None, opens_at__lte=now, closes_at__gt=now)
    return unended.order_by("-opens_at", "-id")[:MOST_RUNNING]


def available(sale: Sale) -> int:
    """Units of the sale's products that new orders may reserve."""
    return sale_terms.read_levels(terms.product_ids_of(sale.pk)).available


def entries_by_status(sale_ids: Collection[int]) -> Mapping[int, Counter[str]]:
    """Of each of these sales, its entries by their recorded status: an index read of all of them."""
    rows = SaleEntry.objects.filter(sale__in=sale_ids).values_list("sale", "status")
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for sale_id, status, number in rows.annotate(number=Count("pk")).order_by():
        counts[sale_id][status] = number
    return counts


def _admission_age_seconds(sale: Sale, now: datetime) -> float:
    """Since the last admission, or the opening before the first one."""
    last = sale.last_admitted_at
    age = now - sale.opens_at if last is None else now + sale.admission_clock_ahead - last
    return max(0.0, age.total_seconds())
