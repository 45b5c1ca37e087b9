"""The laws of orders for a scheduled audit: a chunk of orders, sagas, keys, payments or accounts at a time.

The findings of reconciliation, which compares the gateway's book all the time, are this audit's part of L9.
"""

from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet

from orders import audit
from orders.models import Order, Saga
from payments import audit as ledger
from payments.models import Payment
from shop.models import IdempotencyKey
from shop.operations.audits.audit_report import report
from shop.operations.audits.audit_scope import Subject, WholeCheck


def _unfinished_sagas() -> "QuerySet[Saga, Any]":
    """All of them, by the index of attempts: it is the time that makes a saga overdue, not a change."""
    return Saga.objects.filter(next_attempt_at__isnull=False).values_list("pk", flat=True)


SUBJECTS = (
    Subject(
        "order",
        Order.objects.all,
        (
            ("L6", audit.coupons_are_held_by_open_orders),
            ("L7", ledger.holding_never_gives_more_than_it_took),
            ("L9", audit.payments_fit_orders),
            ("L11", audit.ended_orders_hold_nothing),
            ("L12", audit.paid_orders_were_published),
            ("L14", audit.queued_orders_used_an_entry),
        ),
    ),
    Subject("account", User.objects.all, (("L13", audit.accounts_are_within_their_limits),)),
    Subject("key", IdempotencyKey.objects.all, (("L8", audit.keys_have_one_effect),), is_counted=True),
    Subject(
        "payment", Payment.objects.filter(order__isnull=True).all, (("L9", audit.top_ups_are_under_way),)
    ),
    Subject("saga", Saga.objects.all, (("L10", audit.overdue_sagas_are_stuck),), current=_unfinished_sagas),
)
WHOLE_CHECKS = (
    # It joins from the few open orders to their lines, by an index.
    WholeCheck("L5", audit.reserved_is_what_open_orders_hold),
    WholeCheck("L9", ledger.books_agree, is_in_full=False),
    WholeCheck("L12", audit.archived_paid_events_are_counted, is_frequent=False),
    # No index has the references, but keys are deleted after a day.
    WholeCheck("L8", lambda: report("L8", 0, audit.shared_references()), is_frequent=False),
)
