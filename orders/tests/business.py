"""The figures of business as the rows say them, to be compared with what was counted."""

from django.db.models import Count, Q, Sum

from coupons.models import Coupon
from foundation.tests.journal_lines import times_noted
from foundation.tests.samples import Increases
from orders.models import Order, Refund, SagaLog
from payments.models import GATEWAY_CLEARING, HOLDING, PROMOTIONS, Entry, Payment, Transfer

COUNTERS = (
    "firstcome_orders_total",
    "firstcome_revenue_amount_total",
    "firstcome_refunds_total",
    "firstcome_refunded_amount_total",
    "firstcome_points_total",
    "firstcome_payments_total",
    "firstcome_coupons_redeemed_total",
    "firstcome_saga_steps_total",
)
STEP = 'firstcome_saga_steps_total{{direction="{2}",outcome="{3}",saga="{0}",step="{1}"}}'
ENDED = (Order.Status.PAYMENT_FAILED, Order.Status.CANCELLED, Order.Status.EXPIRED, Order.Status.REFUNDED)


def counting() -> Increases:
    """The growth of these counters from now on."""
    return Increases(*COUNTERS, "firstcome_coupon_requests_total")


def counted(increases) -> dict[str, float]:
    """What was counted. Payments that did not succeed are one figure: their rows don't tell them apart."""
    grown = increases()
    apart = ("firstcome_payments_total", "firstcome_coupon_requests_total")
    figures = {name: number for name, number in grown.items() if not name.startswith(apart)}
    figures["issued"] = grown.get('firstcome_coupon_requests_total{outcome="issued"}', 0)
    for name, number in grown.items():
        if name.startswith("firstcome_payments_total"):
            is_successful = 'outcome="succeeded"' in name
            key = "payments succeeded" if is_successful else "payments that did not succeed"
            figures[key] = figures.get(key, 0) + number
    return _without_zeros(figures)


def in_rows() -> dict[str, float]:
    """The same figures, from the rows of all orders, payments, transfers, refunds, coupons and saga logs."""
    orders = Order.objects.aggregate(
        placed=Count("pk"),
        paid=Count("pk", filter=Q(paid_at__isnull=False)),
        revenue=Sum("total_amount", filter=Q(paid_at__isnull=False)),
        **{str(status): Count("pk", filter=Q(status=status)) for status in ENDED},
    )
    revenue = orders.pop("revenue") or 0
    refunds = Refund.objects.filter(status=Refund.Status.SUCCEEDED)
    full = orders[str(Order.Status.REFUNDED)]
    payments = Payment.objects.aggregate(
        succeeded=Count("pk", filter=Q(status="succeeded")),
        other=Count("pk", filter=Q(status__in=["failed", "reversed"])),
    )
    steps = SagaLog.objects.values_list("saga__kind", "step", "direction", "event").annotate(
        number=Count("pk")
    )
    return _without_zeros(
        {f'firstcome_orders_total{{event="{event}"}}': number for event, number in orders.items()}
        | {STEP.format(*labels): number for *labels, number in steps}
        | {
            "firstcome_revenue_amount_total": revenue,
            'firstcome_refunds_total{kind="full"}': full,
            'firstcome_refunds_total{kind="partial"}': refunds.count() - full,
            "firstcome_refunded_amount_total": refunds.aggregate(sum=Sum("amount"))["sum"] or 0,
            'firstcome_points_total{movement="granted"}': -_moved(Transfer.Kind.GRANT, PROMOTIONS),
            'firstcome_points_total{movement="topped_up"}': -_moved(Transfer.Kind.TOP_UP, GATEWAY_CLEARING),
            'firstcome_points_total{movement="spent"}': -_moved(Transfer.Kind.SALE, HOLDING),
            'firstcome_points_total{movement="returned"}': _moved(Transfer.Kind.REFUND, amount__gt=0),
            'firstcome_points_total{movement="forfeited"}': -_moved(Transfer.Kind.REFUND, amount__lt=0),
            "payments succeeded": payments["succeeded"],
            "payments that did not succeed": payments["other"],
            "firstcome_coupons_redeemed_total": times_noted("coupon.redeemed"),
            "issued": Coupon.objects.count(),
        }
    )


def _moved(kind, account_id=None, **sign):
    """The sum of the entries of these transfers at the account, of this sign; None for all wallets."""
    entries = Entry.objects.filter(transfer__kind=kind, **sign)
    of = entries.filter(account_id=account_id) if account_id is not None else entries.filter(account_id__gt=0)
    return of.aggregate(sum=Sum("amount"))["sum"] or 0


def _without_zeros(figures):
    return {name: number for name, number in figures.items() if number}
