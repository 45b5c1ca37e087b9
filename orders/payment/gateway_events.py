"""Handles events of gateways: each is a reason to query the gateway, and its content is not trusted."""

from functools import partial

from foundation.db import transactions
from foundation.observability import logs
from orders.models import Refund
from orders.payment import gateway_bookings
from orders.payment.refund_records import UNSETTLED as UNSETTLED_REFUNDS
from orders.saga import rows as saga_rows, run
from payments import charge_notes, gateways, webhooks
from payments.models import Payment, WebhookEvent
from payments.reconciliation import reconciling
from payments.transitions import UNSETTLED

HANDLED_TYPES = ("charge.succeeded", "charge.declined", "charge.refunded", "refund.failed")
UNCONFIRMED = "payment.dispute_unconfirmed"
# A gateway may need a while until it finds the charge of an event; after some 25 minutes there is none.
MAX_ABSENT_LOOKUPS = 12


def handle(event_id: int) -> bool:
    """Handle the event now, outside any transaction; safe to repeat. False: it is retried later."""
    event = webhooks.get_unhandled(event_id)
    if event is None:
        return True
    is_handled, outcome = _handle_event(event)
    if is_handled:
        webhooks.finish(event, outcome)
    else:
        webhooks.postpone(event, outcome)
    return is_handled


def _handle_event(event: WebhookEvent) -> tuple[bool, str]:
    """Whether the event is handled, and the outcome to record."""
    if event.type not in HANDLED_TYPES and not _is_about_dispute(event):
        return True, "events of this type are ignored"
    books = gateways.books_of(event.gateway)
    if reason := gateways.lacking(books):
        return True, f"ignored: {reason}"
    if event.charge_reference and not event.charge_key:
        key = gateways.of(books).key_of(reference=event.charge_reference)
        if key is None:
            return False, "the gateway says unknown"
        webhooks.note_key(event, key)
    payment = Payment.objects.filter(charge_key=event.charge_key).first()
    if payment is None:
        return True, "no payment has this key"
    if payment.books.gateway != event.gateway:
        return True, f"ignored: the payment is at {payment.books.gateway}"
    with logs.bound(order=payment.order_id, event_id=event.event_id):
        return _handle_event_of(payment, event)


def _handle_event_of(payment: Payment, event: WebhookEvent) -> tuple[bool, str]:
    # Those of the payment and of its refunds, instead of after their pause.
    refunds = Refund.objects.filter(order=payment.order_id, status__in=UNSETTLED_REFUNDS)
    saga_rows.advance_now([payment.id, *refunds.values_list("id", flat=True)])
    run.process_executor().wake()
    payment.refresh_from_db()
    if payment.status in UNSETTLED:
        # Its saga goes on beside this, and the event is handled when it is due again.
        return False, f"the payment is {payment.status}"
    if payment.status != Payment.Status.SUCCEEDED:
        return _refund_late_charge(event, payment)
    if event.type in ("charge.succeeded", "charge.declined"):
        return True, "the payment is succeeded"
    looked_up = gateway_bookings.look_up(payment)
    if looked_up.is_booked and _is_about_dispute(event) and not payment.disputes.exists():
        detail = f"The gateway sent {event.type}, and shows no dispute of the charge so far."
        note = partial(charge_notes.note_once, payment, UNCONFIRMED, detail, reference=event.event_id)
        transactions.run(note, transactions.KEYED)
        return event.attempts >= MAX_ABSENT_LOOKUPS, "the gateway has no dispute of this charge"
    return looked_up.is_booked, looked_up.outcome


def _is_about_dispute(event: WebhookEvent) -> bool:
    return "dispute" in event.type


def _refund_late_charge(event: WebhookEvent, payment: Payment) -> tuple[bool, str]:
    found = gateways.of(payment.books).find(key=payment.charge_key)
    kept_amount = found.kept_amount
    match found.status:
        case "succeeded" if kept_amount:
            is_done = reconciling.refund_charge(found, payment, payment.books)
            return is_done, f"{kept_amount} came too late: {'refunded' if is_done else 'refund failed'}"
        case "succeeded" if found.is_undecided:
            # Its end has an event, and a comparison finds what is kept after it.
            return True, f"the payment is {payment.status}, and the charge disputed"
        case "succeeded" | "declined" | "cancelled":
            reconciling.note_already_refunded(found, payment)
            return True, f"the payment is {payment.status}, and nothing is kept"
        case "absent" if event.attempts >= MAX_ABSENT_LOOKUPS:
            return True, "the gateway has nothing under this key"
    return False, f"the gateway says {found.status}"
