"""A payment or refund that needs an operator, in three sentences: what happened, what the gateway says now,
and what is recommended, with the one button that does it, named by its outcome.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy as _

from foundation import clock
from foundation.admin_base.display import stored_text
from foundation.admin_base.status_words import plain_text
from foundation.lazy_texts import Text
from foundation.money import format_amount
from orders import order_numbers, selectors
from orders.models import Order, Refund, Saga
from orders.payment import charging, gateway_lookups, refund_saga
from orders.saga.definitions import DO, GAVE_UP, SAGA_TYPES
from payments.gateways.contract import GatewayResult
from payments.models import Payment
from payments.transitions import ENDED_UNPAID

RETRY, COMPENSATE, COMPLETE = "retry", "compensate", "complete"
"""The actions of a saga's page that the buttons lead to."""


class Outcome(NamedTuple):
    """What an operator may choose: its button, and why it is recommended. Without a button there is nothing
    to press yet.
    """

    button: Text
    advice: Text


OUTCOMES = {
    "finish": Outcome(
        _("Finish the sale: the card was charged"),
        _("Recommended: finish the sale. Nothing is charged again, and the customer gets what was paid for."),
    ),
    "credit": Outcome(
        _("Credit the points: the card was charged"),
        _("Recommended: credit the points. Nothing is charged again."),
    ),
    "go_on": Outcome(
        _("Go on with the payment"), _("Recommended: let the shop go on. Nothing is charged twice.")
    ),
    "give_back": Outcome(
        _("Give the money back and free the stock"),
        _("Recommended: give the money back. The order ends; stock, points and coupon are free again."),
    ),
    "free": Outcome(
        _("Free the stock: nothing was charged"),
        _("Recommended: end the payment. The shop keeps no money; stock, points and coupon are free again."),
    ),
    "refund_again": Outcome(
        _("Give the money back to the card"),
        _("Recommended: send the refund to the gateway again. The customer gets it once."),
    ),
    "refund_done": Outcome(
        _("Record the refund as done: the money is back"),
        _("Recommended: record the refund as done, if the money given back at the gateway was this refund."),
    ),
    "refund_elsewhere": Outcome(
        _("End the refund: the money went back another way"),
        _(
            "Recommended: give the money back another way, then end the refund here. Another member of "
            "staff approves it."
        ),
    ),
    "finish_refund": Outcome(
        _("Finish the refund: the card has its part"),
        _("Recommended: finish the refund. Points and stock are put back once."),
    ),
    "dispute": Outcome(
        "", _("Recommended: answer the dispute at the gateway first. The shop goes on once it is decided.")
    ),
    "wait": Outcome(
        "",
        _(
            "Recommended: wait. The shop keeps asking the gateway by itself, and nothing is charged twice. "
            "If it is still here in an hour, call the gateway."
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Situation:
    """The three sentences, the recommended button, empty where there is nothing to press, and what to tell
    the buyer in these words.
    """

    happened: str
    gateway: str
    advice: Text
    button: Text
    address: str
    buyer: str


def title(saga: Saga) -> str:
    """What the saga does, for people: "Payment of order K7QM-42XD"."""
    number = getattr(saga, "order_number", None)
    if not hasattr(saga, "order_number") and saga.about_id:
        number = Order.objects.filter(pk=saga.about_id).values_list("number", flat=True).first()
    texts = {
        "purchase": gettext("Payment of order %(number)s"),
        "refund": gettext("Refund of order %(number)s"),
        "top_up": gettext("Points bought by card"),
    }
    text = texts.get(saga.kind) or selectors.shown_kind(saga)
    return text % {"number": order_numbers.shown(number) if number else ""}


def money_text(payment: Payment) -> str:
    """What is known of the money of a payment that was given up, or has no answer of the gateway yet, and
    what the shop does by itself; empty of any other.
    """
    if payment.status in ENDED_UNPAID:
        if payment.failure_code != GAVE_UP:
            return ""
        if payment.status == Payment.Status.FAILED:
            return gettext("Not paid. Nothing was charged.")
        return gettext("Not paid. What was charged was given back.")
    saga = unfinished(payment)
    if saga is None or (saga.direction == DO and payment.status != Payment.Status.IN_DOUBT):
        return ""
    happened, buyer = unanswered(saga)
    told = f"{happened} {gettext('Tell the buyer:')} “{buyer}”"
    return told if happened else _happened(saga, payment, None)


def unfinished(payment: Payment) -> Saga | None:
    """The saga by which the payment is still made or cancelled."""
    sagas = Saga.objects.filter(kind__in=("purchase", "top_up"), subject_id=payment.id, ended_at__isnull=True)
    return selectors.with_final_lines(sagas).first()


def unanswered(saga: Saga) -> tuple[str, str]:
    """The situation of a purchase while the gateway doesn't answer, and what to tell the buyer in these
    words; empty where the gateway is not what it waits for.
    """
    if saga.kind == refund_saga.KIND or not _is_at_gateway(saga) or _is_charged(saga):
        return "", ""
    happened = gettext("The gateway hasn't answered; the purchase is being cancelled.")
    buyer = gettext(
        "We couldn't confirm your payment, so we are cancelling the purchase. If your card was charged, "
        "you get all of it back. Please don't pay again before you hear from us."
    )
    if saga.direction == DO:
        happened = gettext("The gateway hasn't answered; the shop asks again by itself.")
        buyer = gettext("Your payment isn't confirmed yet. Please wait for our message, and don't pay again.")
    unknown = gettext("Whether the card was charged isn't known yet.")
    return f"{happened} {unknown}", buyer


def why_late(saga: Saga) -> str:
    """Why its last attempt came to nothing."""
    if _is_at_gateway(saga) and "unknown" in saga.last_error:
        return gettext("The gateway doesn't answer.")
    return plain_text(stored_text(saga.last_error))


def read(saga: Saga) -> Situation | None:
    """The situation of a saga, with its final lines, that needs an operator; None of any other.

    The gateway is asked now, and waited for a second at most.
    """
    needs = selectors.filter_needing_operator(Saga.objects.filter(pk=saga.pk))
    if saga.kind not in SAGA_TYPES or not needs.exists():
        return None
    refund = Refund.objects.filter(id=saga.subject_id).first() if saga.kind == refund_saga.KIND else None
    of_refund = {"order_id": saga.about_id, "status": Payment.Status.SUCCEEDED}
    payment = Payment.objects.filter(**(of_refund if refund else {"id": saga.subject_id})).first()
    if payment is None:
        return None
    result = gateway_lookups.ask_briefly(payment) if payment.card_amount else None
    name = _recommend(saga, payment, refund, result)
    action = _action(saga, name)
    outcome = OUTCOMES[name]
    address = f"{reverse(f'admin:orders_saga_{action}', args=[saga.pk])}?outcome={name}" if action else ""
    is_silent = result is None or result.status == "unknown"
    happened, buyer = unanswered(saga) if is_silent and payment.card_amount else ("", "")
    happened = happened or _happened(saga, payment, refund)
    return Situation(happened, _said(result, payment), outcome.advice, outcome.button, address, buyer)


def _is_at_gateway(saga: Saga) -> bool:
    return selectors.step_name(saga) in (charging.NAME, refund_saga.REFUND_CARD)


def _happened(saga: Saga, payment: Payment, refund: Refund | None) -> str:
    amount = format_amount(refund.card_amount if refund else payment.card_amount, payment.currency)
    if refund:
        text = gettext("The card has its money back, but points and stock are not put back yet.")
        if _is_at_gateway(saga):
            text = gettext("%(amount)s was to go back to the card, and the shop doesn't know whether it did.")
            if refund.refusal_code:
                text = gettext("%(amount)s was to go back to the card, and the gateway refused it.")
    elif saga.direction == DO:
        text = gettext("The money was taken, but the shop could not finish what it was paid for.")
        if _is_at_gateway(saga):
            text = gettext("The card was to be charged %(amount)s, and the shop doesn't know whether it was.")
        elif not _is_charged(saga):
            text = gettext("The payment could not begin: nothing is charged yet.")
    else:
        text = gettext("The payment was cancelled, but its stock, points and coupon are not free yet.")
        if _is_at_gateway(saga):
            text = gettext(
                "The gateway didn't answer in time, so the shop is cancelling the payment of %(amount)s."
            )
    since = gettext("This began %(duration)s ago.") % {
        "duration": duration_text(clock.now() - saga.created_at)
    }
    return f"{text % {'amount': amount}} {since}"


def _said(result: GatewayResult | None, payment: Payment) -> str:
    """What the gateway says now, in a sentence."""
    if not payment.card_amount:
        return gettext("The payment was made with points alone, so the gateway has nothing to say.")
    if result is None or result.status == "unknown":
        return gettext("The gateway did not answer within a second.")
    said = gateway_lookups.in_words(result, payment, with_meaning=False)
    disputed = gettext("The customer disputes this charge there.") if result.is_undecided else ""
    return f"{said} {disputed}".strip()


def _is_charged(saga: Saga) -> bool:
    lines = saga.final_lines  # type: ignore[attr-defined]
    return any(line.step == charging.NAME and line.direction == DO and line.reference for line in lines)


def _recommend(saga: Saga, payment: Payment, refund: Refund | None, result: GatewayResult | None) -> str:
    """The name of the outcome that is recommended."""
    if not _is_at_gateway(saga):
        if refund:
            return "finish_refund"
        if saga.direction != DO:
            return "free"
        finish = "finish" if payment.order_id else "credit"
        return finish if _is_charged(saga) else "go_on"
    if result is None or result.status in ("unknown", "pending", "requires_action", "unsupported"):
        return "wait"
    if refund:
        besides = result.refunded_amount - payment.refunded_amount
        if besides >= refund.card_amount > 0:
            return "refund_done"
        return "refund_elsewhere" if refund.refusal_code else "refund_again"
    if result.is_undecided:
        return "dispute"
    if not result.kept_amount:
        return "free"
    is_whole = result.kept_amount == payment.card_amount and payment.expected_charge.is_met_by(result)
    if saga.direction == DO and is_whole:
        return "finish" if payment.order_id else "credit"
    return "give_back"


def _action(saga: Saga, name: str) -> str:
    """The action by which the saga comes to this outcome from where it is; empty where there is none."""
    if not OUTCOMES[name].button:
        return ""
    if name in ("go_on", "refund_again", "finish_refund") or not _is_at_gateway(saga):
        return RETRY
    if name in ("refund_done", "refund_elsewhere"):
        return COMPLETE
    is_stuck = saga.state == Saga.State.STUCK
    if saga.direction == DO:
        if name in ("finish", "credit"):
            return COMPLETE if is_stuck else RETRY
        return COMPENSATE
    return COMPENSATE if is_stuck and name == "free" else RETRY


def duration_text(time: timedelta) -> str:
    """A length of time in its largest unit and the next: `3 min 20 s`."""
    seconds, milliseconds = divmod(max(0, time // timedelta(milliseconds=1)), 1_000)
    if not seconds:
        return gettext("%(count)s ms") % {"count": milliseconds}
    if seconds < 60:
        return gettext("%(count)s s") % {"count": f"{seconds}.{milliseconds // 100}"}
    text = gettext("%(minutes)s min %(seconds)s s")
    if seconds >= 86_400:
        text = gettext("%(days)s d %(hours)s h")
    elif seconds >= 3_600:
        text = gettext("%(hours)s h %(minutes)s min")
    minutes = seconds // 60
    hours = seconds // 3_600
    days = seconds // 86_400
    return text % {"days": days, "hours": hours % 24, "minutes": minutes % 60, "seconds": seconds % 60}
