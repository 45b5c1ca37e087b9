"""The audit of sales: L14. `orders.audit` has the half that needs orders."""

from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain, islice

from django.db.models import Count, F, Q

from foundation import clock
from foundation.operations.audits.checks import (
    OFFENDERS_REPORTED,
    Chosen,
    LawReport,
    Subject,
    count,
    offenders_of,
    report,
    within,
)
from sales.models import Sale, SaleEntry, SaleProduct
from sales.waiting_room.admission import WINDOW


def audit() -> list[LawReport]:
    """The sales' part of the laws."""
    return [admissions_are_within_the_rate(), entries_are_in_order(), products_obey_their_sale()]


def admissions_are_within_the_rate(sale_ids: Chosen = None) -> LawReport:
    """L14, first half: at no admission have more been admitted in 60 s than its own rate allows."""
    ids = Sale.objects.filter(within("pk", sale_ids)).order_by("pk").values_list("pk", flat=True)
    offenders = islice(chain.from_iterable(map(_over_the_rate, ids)), OFFENDERS_REPORTED)
    return report("L14", count(SaleEntry.objects, sale_ids), offenders)


def entries_are_in_order(sale_ids: Chosen = None) -> LawReport:
    """L14's order: no entry waits at a place before one that was admitted. Offenders are entries."""
    of_sales = within("sale", sale_ids)
    passed = SaleEntry.objects.filter(of_sales, status=SaleEntry.Status.WAITING, position__isnull=False)
    waiting = passed.filter(position__lte=F("sale__passed_position"))
    early = SaleEntry.objects.filter(of_sales, admitted_at__isnull=False).filter(
        Q(position__isnull=True) | Q(position__gt=F("sale__passed_position"))
    )
    return report("L14", 0, offenders_of(waiting) + offenders_of(early))


def products_obey_their_sale(sale_ids: Chosen = None) -> LawReport:
    """For L14: a product of a sale that is not over obeys that sale. Offenders are sales with it."""
    running = SaleProduct.objects.filter(within("sale", sale_ids), sale__closes_at__gt=clock.now())
    others = running.exclude(product__sale=F("sale")).order_by("pk").values_list("sale", "product")
    offenders = [
        f"sale {sale_id}: product {product_id} obeys another"
        for sale_id, product_id in others[:OFFENDERS_REPORTED]
    ]
    return report("L14", count(running, sale_ids), offenders)


def _over_the_rate(sale_id: int) -> Iterator[str]:
    admitted = SaleEntry.objects.filter(sale_id=sale_id, admitted_at__isnull=False)
    instants = admitted.order_by("admitted_at", "rate_per_minute").values_list(
        "admitted_at", "rate_per_minute"
    )
    window: deque[tuple[datetime, int]] = deque()
    total = 0
    for at, rate, number in instants.annotate(number=Count("pk")):
        assert at is not None and rate is not None
        window.append((at, number))
        total += number
        while window[0][0] < at - WINDOW:
            total -= window.popleft()[1]
        if total > rate:
            yield f"sale {sale_id}: {total} admitted in the 60 s until {at.isoformat()}, {rate} allowed"


SUBJECTS = (
    Subject(
        "sale",
        Sale.objects.all,
        (
            ("L14", admissions_are_within_the_rate),
            ("L14", entries_are_in_order),
            ("L14", products_obey_their_sale),
        ),
        # A sale may have a hundred thousand entries.
        size=5,
        # All that have not ended, or ended lately.
        current=lambda: Sale.objects.filter(
            Q(ended_at=None) | Q(ended_at__gte=clock.now() - timedelta(hours=1))
        ).values_list("pk", flat=True),
    ),
)
