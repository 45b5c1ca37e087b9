"""What the page of an order shows, read by a bounded number of queries, all by index."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Prefetch
from django.http import HttpRequest
from django.utils.translation import gettext

from events.webhooks import deliveries
from orders import cancellation, order_states, selectors
from orders.admin import timeline
from orders.models import Order, OrderLine, Refund, RefundLine, Saga, SagaLog
from orders.saga.definitions import SAGA_TYPES
from payments import disputes, gateways
from payments.models import Entry, Payment, Transfer
from shop import clock
from shop.admin_base.display import (
    OF_DISPUTES,
    permitted_address,
    status_label,
    stored_text,
)
from shop.models import JournalLine

MOST_REFUNDS, MOST_LOG_LINES, MOST_JOURNAL_LINES, MOST_TRANSFERS = 50, 400, 200, 60
"""The newest of each; the lists of the models have all."""


Page = dict[str, Any]


def read(order: Order, request: HttpRequest) -> Page:
    """What the page shows of the order; a part whose permission is missing is empty, named by `hidden`."""
    now = clock.now()
    lapsed = order_states.is_lapsed(order)
    status = Order.Status.EXPIRED.value if lapsed else order.status
    failure = cancellation.last_failure(order.id) if lapsed else None
    amounts = [
        (gettext("discount"), "discount", order.discount_amount),
        (gettext("points"), "points", order.points_amount),
        (gettext("card"), "card", order.card_amount),
    ]
    kept = order.total_amount - order.refunded_amount
    paid_back = [(gettext("refunded"), "refunded", order.refunded_amount), (gettext("kept"), "kept", kept)]
    page: Page = {
        "status": status_label(status),
        "account_page": permitted_address(request, "auth_user_change", "auth.view_user", order.account_id),
        "coupon_page": permitted_address(
            request, "coupons_coupon_changelist", "coupons.view_coupon", query=f"q={order.coupon_code}"
        ),
        "journal_page": permitted_address(
            request, "shop_journalline_changelist", "shop.view_journalline", query=f"q={order.id}"
        ),
        "amounts": [part for part in amounts if part[-1]],
        "paid_back": [part for part in paid_back if part[-1]] if order.refunded_amount else [],
        "failure": _failure(order),
        "cannot_expire": f"{failure.at:%Y-%m-%d %H:%M:%S} {stored_text(failure.detail)}" if failure else "",
        "lines": OrderLine.objects.filter(order_id=order.id).order_by("id"),
        "may_view_products": request.user.has_perm("inventory.view_product"),
        "dispute_colours": OF_DISPUTES,
        "truncated": [],
        "hidden": [],
    }
    payments = list(Payment.objects.filter(order_id=order.id).prefetch_related("disputes").order_by("id"))
    refunds = _read_refunds(order.id)
    if _may_view(page, request, "payments.view_payment", gettext("payment")):
        page["payments"] = [
            {
                "row": payment,
                "dispute": disputes.shown_dispute(payment.disputes.all()),
                "gateway_page": gateways.charge_page(payment.charge_reference),
                "failure": _failure(payment),
            }
            for payment in payments
        ]
    if _may_view(page, request, "orders.view_refund", gettext("refunds")):
        page["refunds"] = _newest(page, refunds, MOST_REFUNDS, gettext("the newest %(count)s refunds"))
    if _may_view(page, request, "orders.view_saga", gettext("sagas")):
        subjects = [payment.id for payment in payments] + [refund.id for refund in refunds]
        page["timelines"] = _timelines(page, subjects, now)
    if _may_view(page, request, "payments.view_transfer", gettext("ledger")):
        entries = Prefetch("entries", Entry.objects.select_related("account__user").order_by("id"))
        rows = Transfer.objects.filter(order_id=order.id).order_by("-id").prefetch_related(entries)
        shown = _newest(page, rows, MOST_TRANSFERS, gettext("the newest %(count)s transfers"))
        page["transfers"] = shown[::-1]
    if _may_view(page, request, "shop.view_journalline", gettext("journal and events")):
        _add_journal(page, order.id)
        page["archived"] = [month.file for month in selectors.archived_months(order)]
    return page


def _may_view(page: Page, request: HttpRequest, permission: str, part: str) -> bool:
    if request.user.has_perm(permission):
        return True
    page["hidden"].append(part)
    return False


def _failure(row: Order | Payment) -> str:
    """Why the order or payment failed; empty if it didn't."""
    return ": ".join(filter(None, (row.failure_code, stored_text(row.failure_detail))))


def _read_refunds(order_id: UUID) -> list[Refund]:
    """The newest refunds with their lines, and one more than are shown if there are more."""
    lines = Prefetch("lines", RefundLine.objects.select_related("line").order_by("id"))
    newest = Refund.objects.filter(order_id=order_id).order_by("-id").prefetch_related(lines)
    return list(newest[: MOST_REFUNDS + 1])


def _newest(page: Page, rows: Any, most: int, text: str) -> list[Any]:
    """The newest rows; if there are more, the text says so."""
    newest = list(rows[: most + 1])
    if len(newest) > most:
        page["truncated"].append(text % {"count": most})
    return newest[:most]


def _timelines(page: Page, subjects: list[UUID], now: datetime) -> list[Page]:
    """The sagas of these payments and refunds, the first one first, each with its log."""
    sagas = list(Saga.objects.filter(kind__in=SAGA_TYPES, subject_id__in=subjects).order_by("id"))
    newest = SagaLog.objects.filter(saga_id__in=[saga.id for saga in sagas]).order_by("-at", "-id")
    lines = _newest(
        page,
        newest,
        MOST_LOG_LINES,
        gettext("the newest %(count)s lines of the sagas' logs"),
    )
    logs: dict[UUID, list[SagaLog]] = {saga.id: [] for saga in sagas}
    for line in reversed(lines):
        logs[line.saga_id].append(line)
    return [timeline.draw(saga, logs[saga.id], now=now) for saga in sagas]


def _add_journal(page: Page, order_id: UUID) -> None:
    rows = JournalLine.objects.filter(order_id=order_id).order_by("-at", "-id")
    newest = _newest(
        page,
        rows,
        MOST_JOURNAL_LINES,
        gettext("the newest %(count)s lines of the journal"),
    )
    page["journal"] = newest
    page["events"] = deliveries.of_order(order_id)
