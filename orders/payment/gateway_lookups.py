"""Look-ups of one payment at the gateway now, by an operator's request.

Refunds and disputes that began there are booked. A payment that is not settled is then continued at once by
its saga, which looks the charge up itself.
"""

import threading
from queue import Empty, SimpleQueue
from typing import NamedTuple
from uuid import UUID

from django.utils import translation
from django.utils.translation import gettext, gettext_noop

from foundation import journal
from foundation.db import transactions
from foundation.errors import Rejected, Unavailable, required
from foundation.idempotency import recorded_answers
from foundation.idempotency.recorded_answers import KeyedCall, Replay
from foundation.lazy_texts import mark
from foundation.money import format_amount
from orders.payment import gateway_bookings
from orders.saga import rows as saga_rows
from payments import gateways
from payments.gateways.contract import GatewayResult
from payments.models import Payment
from payments.reconciliation import comparison
from payments.transitions import UNSETTLED

LOOKED_UP = "payment.looked_up"
MOST_AT_ONCE = 4
"""Look-ups of a process at once: each holds a thread of the operators' pages until the gateway answers."""
BRIEFLY_SECONDS = 1.0
"""A page that shows the gateway's answer beside other things waits no longer for it."""
_free = threading.BoundedSemaphore(MOST_AT_ONCE)
SAID = {
    "succeeded": gettext_noop("The gateway has charged %(amount)s (%(reference)s)."),
    "refunded": gettext_noop(
        "The gateway has charged %(amount)s, of which %(refunded)s is refunded (%(reference)s)."
    ),
    "declined": gettext_noop("The gateway has declined the charge: %(reason)s."),
    "cancelled": gettext_noop("The charge is cancelled at the gateway: nothing can be charged any more."),
    "requires_action": gettext_noop("The gateway waits for the card's owner to confirm the charge."),
    "pending": gettext_noop("The gateway is still working on the charge."),
    "absent": gettext_noop("The gateway has nothing under this payment's key so far."),
    "unknown": gettext_noop("The gateway gave no answer: %(reason)s."),
}


class Lookup(NamedTuple):
    """The gateway's answer, and the payment as it is then; its saga continues now."""

    result: GatewayResult
    payment: Payment


def look_up(*, payment_id: UUID, reason: str, keyed: KeyedCall) -> Lookup | Replay:
    """Ask the gateway what it has under the payment's key, and record the answer in the journal.

    Repeating the key gives a `Replay`. Raises `NotFound`, `Rejected` `payment_without_card`, and
    `Unavailable` when too many are under way.
    """
    found = Payment.objects.filter(id=payment_id).first()
    payment = required(found, mark("There is no payment {payment}.", payment=payment_id))
    if not payment.card_amount:
        raise Rejected(
            mark("The payment is by points alone: the gateway knows nothing of it."),
            code="payment_without_card",
        )
    known = transactions.read(lambda: recorded_answers.find(keyed))
    if known:
        return known
    result = _look_up(payment)
    # The call may have taken seconds, in which the payment's saga went on.
    payment = transactions.read(lambda: Payment.objects.get(id=payment_id))

    def record() -> Lookup:
        with translation.override("en"):
            answer = in_words(result, payment)
        journal.note(
            what=LOOKED_UP,
            subject=f"payment {payment.id}",
            order_id=payment.order_id,
            after={"status": result.status, "answer": answer},
            detail=reason,
            reference=result.reference,
            is_internal=True,
        )
        return Lookup(result, payment)

    outcome = recorded_answers.run_once(keyed, record)
    if payment.status in UNSETTLED:
        saga_rows.advance_now([payment.id])
    return outcome


def ask_briefly(payment: Payment) -> GatewayResult | None:
    """What the gateway has under the payment's key, for a page: nothing is booked by it. None without an
    answer within `BRIEFLY_SECONDS`, or where too many look-ups wait already.
    """
    if not _free.acquire(blocking=False):
        return None
    answers = SimpleQueue[GatewayResult]()

    def ask() -> None:
        try:
            answers.put(gateways.of(payment.books).find(key=payment.charge_key))
        finally:
            _free.release()

    # The gateway's own time-out is longer than a page may take.
    threading.Thread(target=ask, name="ask briefly", daemon=True).start()
    try:
        return answers.get(timeout=BRIEFLY_SECONDS)
    except Empty:
        return None


def _look_up(payment: Payment) -> GatewayResult:
    if not _free.acquire(blocking=False):
        raise Unavailable(
            mark(
                "{most} look-ups wait for the gateway already. Nothing was asked; try again.",
                most=MOST_AT_ONCE,
            ),
            retry_after=5,
        )
    try:
        return gateway_bookings.look_up(payment).found
    finally:
        _free.release()


def in_words(result: GatewayResult, payment: Payment, *, with_meaning: bool = True) -> str:
    """What the gateway says, and what it means for the payment."""
    reason = result.failure_detail or result.failure_code or result.status
    is_refunded = result.status == "succeeded" and result.refunded_amount
    said = gettext(SAID.get("refunded" if is_refunded else result.status, SAID["unknown"])) % {
        "amount": format_amount(result.amount, payment.currency),
        "refunded": format_amount(result.refunded_amount, payment.currency),
        "reference": result.reference,
        "reason": reason.removesuffix("."),
    }
    return f"{said} {_meaning(result, payment)}" if with_meaning else said


def _meaning(result: GatewayResult, payment: Payment) -> str:
    is_unknown = result.status == "unknown"
    least, most = comparison.kept_range(payment)
    if payment.status in UNSETTLED and is_unknown:
        text = gettext("Nothing has changed. The shop goes on asking by itself.")
    elif payment.status in UNSETTLED:
        text = gettext("The payment is %(status)s, and goes on now.")
    elif is_unknown:
        text = gettext("Nothing has changed: the payment is %(status)s.")
    elif least <= result.kept_amount <= most:
        text = gettext("That agrees with the payment, which is %(status)s.")
    else:
        text = gettext(
            "That differs from the payment, which is %(status)s. The comparisons with the "
            "gateway say what to do."
        )
    return text % {"status": payment.get_status_display()}
