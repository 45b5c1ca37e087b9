"""What the page of an order shows, read by a bounded number of queries, all by index.

A saga has the entries of its log, the oldest first.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Prefetch
from django.http import HttpRequest
from django.utils.translation import gettext

from events.webhooks import deliveries
from foundation import clock
from foundation.admin_base.display import (
    COLOURS,
    OF_DISPUTES,
    Context,
    instant_text,
    status_label,
    stored_text,
)
from foundation.admin_base.history import name_actors
from foundation.admin_base.status_words import status_word
from foundation.models import JournalLine
from orders import cancellation, selectors
from orders.admin import situations
from orders.models import Order, OrderNote, Refund, RefundLine, Saga, SagaLog
from orders.saga.definitions import GAVE_UP, SAGA_TYPES, UNDO
from payments import disputes, gateways
from payments.models import Entry, Payment

MOST_REFUNDS = 50
MOST_NOTES = 50
MOST_LOG_LINES = 400
MOST_TRANSFERS = 60
"""The newest of each; the lists of the models have all."""
EVENT_COLOURS = {
    "done": "success",
    "refused": "danger",
    "failed": "danger",
    "pending": "warning",
    "requires_action": "info",
    "forced": "info",
}


def read(order: Order, request: HttpRequest) -> Context:
    """What the page shows of the order; a part whose permission is missing is empty, named by `hidden`."""
    now = clock.now()
    status = order.status_at(now)
    lapsed = status != order.status
    failure = cancellation.failure_lines(order.id).first() if lapsed else None
    amounts = [
        (gettext("discount"), "discount", order.discount_amount),
        (gettext("points"), "points", order.points_amount),
        (gettext("card"), "card", order.card_amount),
    ]
    kept = order.total_amount - order.refunded_amount
    paid_back = [(gettext("refunded"), "refunded", order.refunded_amount), (gettext("kept"), "kept", kept)]
    page: Context = {
        "status": status_label(status),
        "is_unsettled": status in (Order.Status.PAYING, Order.Status.REFUNDING),
        "awaits_payment": status == Order.Status.AWAITING_PAYMENT,
        "amounts": [part for part in amounts if part[-1]],
        "paid_back": [part for part in paid_back if part[-1]] if order.refunded_amount else [],
        "failure": _failure(order),
        "cannot_expire": f"{instant_text(failure.at)} {stored_text(failure.detail)}" if failure else "",
        "lines": order.lines.order_by("id"),
        "notes": _notes(order),
        # A template takes a key that is called items for the method.
        "metadata": (order.metadata or {}).items(),
        "dispute_colours": OF_DISPUTES,
        "truncated": [],
        "hidden": [],
    }
    payments = list(order.payments.prefetch_related("disputes").order_by("id"))
    refund_lines = Prefetch("lines", RefundLine.objects.select_related("line").order_by("id"))
    newest_refunds = order.refunds.order_by("-id")
    # One more than are shown, if there are more.
    refunds = list(newest_refunds.prefetch_related(refund_lines)[: MOST_REFUNDS + 1])
    if _may_view(page, request, "payments.view_payment", gettext("payment")):
        page["money"] = situations.money_text(payments[-1]) if payments else ""
        page["payments"] = [
            {
                "row": payment,
                "dispute": disputes.shown_dispute(payment.disputes.all()),
                "gateway_page": gateways.charge_page(payment.books.gateway, payment.charge_reference),
                "failure": _failure(payment),
            }
            for payment in payments
        ]
    if _may_view(page, request, "orders.view_refund", gettext("refunds")):
        page["refunds"] = _newest(page, refunds, MOST_REFUNDS, gettext("the newest %(count)s refunds"))
        if any(refund.source == Refund.Source.STAFF for refund in page["refunds"]):
            _name_makers(request, order, page["refunds"])
    if _may_view(page, request, "orders.view_saga", gettext("technical log")):
        subjects = [payment.id for payment in payments] + [refund.id for refund in refunds]
        sagas = Saga.objects.filter(kind__in=SAGA_TYPES, subject_id__in=subjects).order_by("id")
        found = list(selectors.with_final_lines(sagas))
        page["timelines"] = _draw_sagas(page, found, now)
        if request.user.has_perm("payments.view_payment"):
            # One question at most: each may take a second.
            page["situation"] = next(filter(None, map(situations.read, found)), None)
    if _may_view(page, request, "payments.view_transfer", gettext("ledger")):
        entries = Prefetch("entries", Entry.objects.select_related("account__user").order_by("id"))
        rows = order.transfers.order_by("-id").prefetch_related(entries)
        shown = _newest(page, rows, MOST_TRANSFERS, gettext("the newest %(count)s transfers"))
        page["transfers"] = shown[::-1]
    if _may_view(page, request, "shop.view_journalline", gettext("journal and events")):
        page["events"] = deliveries.of_order(order.id)
    return page


def _notes(order: Order) -> list[tuple[OrderNote, str]]:
    """The newest notes of staff, each with the name of its author."""
    notes = list(order.notes.order_by("-id")[:MOST_NOTES])
    authors = User.objects.filter(pk__in={note.author_id for note in notes})
    names = dict(authors.values_list("pk", "username"))
    return [(note, names.get(note.author_id, "")) for note in notes]


def _name_makers(request: HttpRequest, order: Order, refunds: Sequence[Any]) -> None:
    """Give each refund of staff the name of who made it, by the journal."""
    requested = JournalLine.objects.filter(order_id=order.pk, what="refund.requested")
    lines = name_actors(request, requested.order_by("-id")[:MOST_REFUNDS])
    makers = {line.subject: line.actor_name for line in lines}
    for refund in refunds:
        refund.maker = makers.get(f"refund {refund.pk}", "")


def _may_view(page: Context, request: HttpRequest, permission: str, part: str) -> bool:
    if request.user.has_perm(permission):
        return True
    page["hidden"].append(part)
    return False


def _failure(row: Order | Payment | Saga) -> str:
    """Why it failed; empty if it didn't, or if it was given up: what that means is said elsewhere."""
    if row.failure_code == GAVE_UP:
        return "" if isinstance(row, Order) else gettext("no answer of the gateway in time")
    return ": ".join(filter(None, (status_word(row.failure_code), stored_text(row.failure_detail))))


def _newest(page: Context, rows: Any, most: int, text: str) -> list[Any]:
    """The newest rows; if there are more, the text says so."""
    newest = list(rows[: most + 1])
    if len(newest) > most:
        page["truncated"].append(text % {"count": most})
    return newest[:most]


def _draw_sagas(page: Context, sagas: list[Saga], now: datetime) -> list[Context]:
    """These sagas, the first one first, each with its log, whose oldest line comes first."""
    newest = SagaLog.objects.filter(saga_id__in=[saga.id for saga in sagas]).order_by("-at", "-id")
    text = gettext("the newest %(count)s lines of the technical log")
    shown = reversed(_newest(page, newest, MOST_LOG_LINES, text))
    logs: dict[UUID, list[SagaLog]] = defaultdict(list)
    for line in shown:
        logs[line.saga_id].append(line)
    return [_draw(saga, logs[saga.id], now) for saga in sagas]


def _draw(saga: Saga, log: Sequence[SagaLog], now: datetime) -> Context:
    """`duration` is of the time until the saga's end or now. Consecutive lines of the log about the same step
    that ended alike are one entry; a final line has an entry of its own.
    """
    end = max(saga.ended_at or now, log[-1].at if log else saga.created_at)
    alike = groupby(
        log, key=lambda line: (line.step, line.direction, line.event, not line.attempt and line.pk)
    )
    return {
        "row": saga,
        "colour": COLOURS.get(saga.state, "default"),
        "is_compensating": saga.direction == UNDO and not saga.ended_at,
        "failure": _failure(saga),
        "last_error": "" if saga.ended_at else situations.why_late(saga),
        "duration": situations.duration_text(end - saga.created_at),
        "entries": [_entry(saga, list(lines)) for _, lines in alike],
    }


def _entry(saga: Saga, alike: Sequence[SagaLog]) -> Context:
    """Consecutive lines of the log about the same step that ended alike."""
    first = alike[0]
    return {
        "first": first,
        "last": alike[-1],
        "count": len(alike),
        "colour": EVENT_COLOURS.get(first.event, "default"),
        "after": situations.duration_text(first.at - saga.created_at),
    }
