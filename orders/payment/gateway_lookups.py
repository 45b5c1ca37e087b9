"""Look-ups of one payment at the gateway now, by an operator's request.

Refunds and disputes that began there are booked. A payment that is not settled is then continued at once by
its saga, which looks the charge up itself.
"""

from dataclasses import dataclass
from uuid import UUID

from django.utils import translation
from django.utils.translation import gettext, gettext_noop

from orders.payment import gateway_bookings
from orders.saga import store
from payments.gateways import gateway
from payments.gateways.contract import GatewayResult
from payments.models import Payment
from payments.payment_states import UNSETTLED
from payments.reconciliation import comparison
from shop.db import transactions
from shop.errors import Rejected, required
from shop.idempotency import recorded_answers
from shop.idempotency.recorded_answers import KeyedCall, Replay
from shop.journal import journal
from shop.lazy_texts import mark as _
from shop.money import format_amount

LOOKED_UP = "payment.looked_up"
SAID = {
    "cancelled": gettext_noop("The charge is cancelled at the gateway: nothing can be charged any more."),
    "requires_action": gettext_noop("The gateway waits for the card's owner to confirm the charge."),
    "pending": gettext_noop("The gateway is still working on the charge."),
    "absent": gettext_noop("The gateway has nothing under this payment's key so far."),
}


@dataclass(frozen=True, slots=True)
class Lookup:
    """The gateway's answer about a payment, and the sagas that now continue.

    `answer` is English, because it is recorded; `in_words` is in the language of the operator's page.
    """

    answer: str
    in_words: str


def look_up(*, payment_id: UUID, reason: str, keyed: KeyedCall) -> Lookup | Replay:
    """Ask the gateway what it has under the payment's key, and record the answer in the journal.

    Repeating the key gives a `Replay`. Raises `NotFound`, and `Rejected` `payment_without_card`.
    """
    found = Payment.objects.filter(id=payment_id).first()
    payment = required(found, _("There is no payment {payment}.", payment=payment_id))
    if not payment.card_amount:
        raise Rejected(
            _("The payment is by points alone: the gateway knows nothing of it."), code="payment_without_card"
        )
    known = transactions.read(lambda: recorded_answers.find(keyed))
    if known:
        return known
    result = gateway().find(key=payment.charge_key)
    if result.status == "succeeded":
        gateway_bookings.book(payment_id, result)
    # The call may have taken seconds, in which the payment's saga went on.
    payment = transactions.read(lambda: Payment.objects.get(id=payment_id))
    shown = in_words(result, payment)
    with translation.override("en"):
        answer = in_words(result, payment)

    def record() -> Lookup:
        journal.note(
            what=LOOKED_UP,
            subject=f"payment {payment.id}",
            order_id=payment.order_id,
            after={"status": result.status, "answer": answer},
            detail=reason,
            reference=result.reference,
            is_internal=True,
        )
        return Lookup(answer, shown)

    outcome = recorded_answers.run_once(keyed, record)
    if payment.status in UNSETTLED:
        store.advance_now([payment.id])
    return outcome


def in_words(result: GatewayResult, payment: Payment) -> str:
    """What the gateway says, and what it means for the payment."""
    match result.status:
        case "succeeded":
            said = (
                gettext(
                    "The gateway has charged %(amount)s, of which %(refunded)s is refunded (%(reference)s)."
                )
                if result.refunded_amount
                else gettext("The gateway has charged %(amount)s (%(reference)s).")
            ) % {
                "amount": format_amount(result.amount, payment.currency),
                "refunded": format_amount(result.refunded_amount, payment.currency),
                "reference": result.reference,
            }
        case "declined":
            why = (result.failure_detail or result.failure_code).removesuffix(".")
            said = gettext("The gateway has declined the charge: %(reason)s.") % {"reason": why}
        case status if status in SAID:
            said = gettext(SAID[status])
        case _:
            said = gettext("The gateway gave no answer: %(reason)s.") % {
                "reason": result.failure_detail or result.status
            }
    return f"{said} {_meaning(result, payment)}"


def _meaning(result: GatewayResult, payment: Payment) -> str:
    status = {"status": payment.get_status_display()}
    kept_amount = result.kept_amount
    if payment.status in UNSETTLED:
        if result.status == "unknown":
            return gettext("Nothing has changed; its saga goes on asking.")
        return gettext("The payment is %(status)s; its saga continues now.") % status
    if result.status == "unknown":
        return gettext("Nothing has changed: the payment is %(status)s.") % status
    least, most = comparison.kept_range(payment)
    if least <= kept_amount <= most and (payment.status == Payment.Status.SUCCEEDED or not kept_amount):
        return gettext("That agrees with the payment, which is %(status)s.") % status
    return gettext("That differs from the payment, which is %(status)s: see the reconciliations.") % status
