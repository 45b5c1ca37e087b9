"""What a gateway's event means: a reason to ask the gateway, and nothing more."""

import time

from django.conf import settings

from orders.models import Refund, Saga
from orders.saga import executor, recovery
from orders.saga.definitions import SAGA_TYPES, UNFINISHED
from payments import webhooks
from payments.gateways import gateway
from payments.models import Payment, WebhookEvent
from payments.payment_states import UNSETTLED
from payments.reconciliation import orphans

HANDLED_TYPES = ("charge.succeeded", "charge.declined", "charge.refunded")
# A gateway may need a while until it finds what it has just told of; past some 25 minutes it has nothing.
MAX_ABSENT_LOOKUPS = 12
# For the saga to be taken up, and then for the gateway to be asked; else the event is handled when it is due
# again. Nothing here waits for what comes after the payment has settled.
ACCEPT_SECONDS, SETTLE_SECONDS, PAUSE_SECONDS = 5.0, 2.0, 0.05


def handle(event_id: int) -> bool:
    """Do about the event what can be done now. Returns whether nothing is left; else try again later.

    Safe to call at any time, from anywhere, as often as one likes. Call it outside any transaction.
    """
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
    """Whether the event is handled by now, and what came of it."""
    if event.type not in HANDLED_TYPES:
        return True, "nothing is to be done about this type"
    if event.gateway != settings.PAYMENT_GATEWAY:
        # Its own book may be right, but no payment of now is with it: whoever changes gateways reconciles.
        return True, f"not asked: PAYMENT_GATEWAY is {settings.PAYMENT_GATEWAY}"
    payment = Payment.objects.filter(charge_key=event.charge_key).first()
    if payment is None:
        return True, "no payment has this key"
    _advance_sagas_now(payment)
    _wait_until_settled(payment)
    if payment.status in UNSETTLED:
        return False, f"the payment is {payment.status}"
    if payment.status == Payment.Status.SUCCEEDED:
        return True, "the payment is succeeded"
    return _refund_late_charge(event, payment)


def _advance_sagas_now(payment: Payment) -> None:
    """Have the sagas of the payment and of its refunds ask the gateway now instead of after their pause.

    One that is being advanced just now may have asked too early: then the payment is still unsettled
    afterwards, and the event waits.
    """
    refunds = Refund.objects.filter(order=payment.order_id).exclude(status=Refund.Status.SUCCEEDED)
    subjects = [payment.id, *refunds.values_list("id", flat=True)]
    sagas = Saga.objects.filter(kind__in=SAGA_TYPES, subject_id__in=subjects, state__in=UNFINISHED)
    for saga_id in list(sagas.values_list("id", flat=True)):
        # Should this process die now, recovery finds it due.
        recovery.make_due(saga_id)
        executor.process_executor().accept([saga_id], seconds=ACCEPT_SECONDS)


def _wait_until_settled(payment: Payment) -> None:
    ends_at = time.monotonic() + SETTLE_SECONDS
    payment.refresh_from_db()
    while payment.status in UNSETTLED and time.monotonic() < ends_at and _is_being_advanced(payment):
        time.sleep(PAUSE_SECONDS)
        payment.refresh_from_db()


def _is_being_advanced(payment: Payment) -> bool:
    return Saga.objects.filter(subject_id=payment.id, kind__in=SAGA_TYPES).exclude(lease_token="").exists()


def _refund_late_charge(event: WebhookEvent, payment: Payment) -> tuple[bool, str]:
    """The payment ended with nothing kept: see to it that this is so."""
    found = gateway().find(key=payment.charge_key)
    kept_amount = found.amount - found.refunded_amount
    match found.status:
        case "succeeded" if kept_amount:
            is_done = orphans.refund_charge(
                charge_reference=found.reference, amount=kept_amount, payment=payment
            )
            return is_done, f"{kept_amount} came too late: {'refunded' if is_done else 'refund failed'}"
        case "succeeded" | "declined" | "cancelled":
            orphans.note_already_refunded(charge_reference=found.reference, payment=payment)
            return True, f"the payment is {payment.status}, and nothing is kept"
        case "absent" if event.attempts >= MAX_ABSENT_LOOKUPS:
            return True, "the gateway has nothing under this key"
    return False, f"the gateway says {found.status}"
