"""Stripe's protocol. The module itself is the gateway: its functions are the contract's.

A charge is a PaymentIntent that is created first and confirmed in a second call. Its id, which confirming
needs, is told to nobody else, so what was not confirmed can't charge; and a key is barred by putting
another intent under it, which makes Stripe refuse a create that comes late. Stripe remembers a key for 24
hours: nothing of the shop's is sent again after that without a look first.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID

import stripe
from django.conf import settings
from pydantic import ValidationError
from structlog import get_logger

from payments.gateways import events, signatures, stripe_calls
from payments.gateways.contract import BookedCharge, GatewayEvent, Verdict
from payments.gateways.stripe_calls import KEY, ORDER
from payments.gateways.stripe_reading import Intent, foremost, reason
from shop.errors import Unavailable

log = get_logger(__name__)

NO_VERDICT = (stripe.StripeError, ValidationError)
BAR_AMOUNT = 10_000_000
"""Never charged. No currency finds it too small or too large, which would keep the intent from being made."""
NOT_TAKEN = "The gateway did not take this card; nothing was charged."
ASKS_THE_OWNER = "The card asks for its owner's consent, and nobody is there to give it."
TYPES: Mapping[str, str] = {
    "payment_intent.succeeded": "charge.succeeded",
    "payment_intent.payment_failed": "charge.declined",
    "charge.refunded": "charge.refunded",
}


def charge(*, key: str, token: str, amount: int, currency: str, order_id: UUID | None) -> Verdict:
    try:
        intent = stripe_calls.create(
            key=key, amount=amount, currency=currency, order_id=order_id, payment_method=token
        )
    except stripe.IdempotencyError:
        # The key came before with something else: another card or amount, or it is barred.
        return _if_asked_for(find(key=key), key=key, amount=amount)
    except stripe.InvalidRequestError as error:
        return _not_taken(error, key=key)
    except NO_VERDICT as error:
        return _unknown("charge", key, error)
    try:
        return _if_asked_for(_confirmed(intent, key=key), key=key, amount=amount)
    except NO_VERDICT as error:
        return _unknown("charge", key, error)


def find(*, key: str) -> Verdict:
    try:
        found = foremost(stripe_calls.marked(KEY, key))
    except NO_VERDICT as error:
        return _unknown("find", key, error)
    return found.verdict() if found else Verdict(status="absent")


def cancel(*, key: str) -> Verdict:
    try:
        intents = stripe_calls.marked(KEY, key) or [_bar(key)]
        ended = foremost([_ended(one) for one in intents])
    except NO_VERDICT as error:
        return _unknown("cancel", key, error)
    if ended is None:
        return _unknown("cancel", key, ValueError("an intent that can't be cancelled yet"))
    return ended.verdict()


def refund(*, key: str, charge_reference: str, amount: int) -> Verdict:
    try:
        refunded = stripe_calls.refund(charge_reference, key=key, amount=amount)
    except stripe.InvalidRequestError as error:
        return _not_refunded(error, key=key, charge_reference=charge_reference, amount=amount)
    except NO_VERDICT as error:
        return _unknown("refund", key, error)
    if (refunded.payment_intent, refunded.amount) != (charge_reference, amount):
        return _unknown("refund", key, ValueError("another refund than was asked for"))
    return refunded.verdict()


def charges(
    *,
    key: str | None = None,
    order_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[BookedCharge]:
    try:
        if key is not None:
            intents = stripe_calls.marked(KEY, key)
        elif order_id is not None:
            intents = stripe_calls.marked(ORDER, str(order_id))
        else:
            intents = [*stripe_calls.created(since=since, until=until)][::-1]
    except NO_VERDICT as error:
        raise Unavailable(f"The gateway's book can't be read: {reason(error)}.") from error
    for intent in intents:
        booked = intent.booked(key_name=KEY, order_name=ORDER)
        if booked.status != "absent" and _is_within(booked, order_id, since, until):
            yield booked


def event(*, headers: Mapping[str, str], body: bytes, now: datetime) -> GatewayEvent | None:
    signed = signatures.header(headers, "Stripe-Signature")
    signatures.verify(signed, body=body, secret=settings.WEBHOOK_SECRET_STRIPE, now=now)
    said = events.read(body)
    if said is None:
        return None
    return GatewayEvent(
        id=events.id_in(said),
        type=events.type_of(TYPES.get(said["type"], said["type"])),
        key=events.key_in(events.part_of(said, "data", "object", "metadata"), KEY),
    )


def _if_asked_for(verdict: Verdict, *, key: str, amount: int) -> Verdict:
    """The verdict, unless it is about a charge of another amount, or none."""
    if verdict.status in ("unknown", "cancelled"):
        return verdict
    if verdict.status == "absent" or verdict.amount != amount:
        return _unknown("charge", key, ValueError(stripe_calls.ANOTHER))
    return verdict


def _not_taken(error: stripe.InvalidRequestError, *, key: str) -> Verdict:
    """Stripe made no intent because of what was asked for: most often of the card's token."""
    if error.http_status == 404 and error.code != "resource_missing":
        return _unknown("charge", key, error)
    code = "unknown_token" if error.param == "payment_method" else error.code or "card_refused"
    log.warning("gateway took no charge", key=key, code=error.code, param=error.param)
    return Verdict(status="declined", failure_code=code, failure_detail=NOT_TAKEN)


def _confirmed(intent: Intent, *, key: str) -> Verdict:
    """Charge the intent, or learn what became of it. What needs its customer to go on is ended at once."""
    code, detail = "authentication_required", ASKS_THE_OWNER
    try:
        intent = stripe_calls.confirm(intent.id, key=key)
    except (stripe.CardError, stripe.InvalidRequestError) as error:
        # Declined, or there is nothing left to confirm: the intent itself tells which.
        intent = stripe_calls.retrieve(intent.id)
        code, detail = error.code or "card_refused", NOT_TAKEN
    if intent.outcome != "absent":
        return intent.verdict()
    ended = _ended(intent)
    if ended.outcome != "cancelled":
        return ended.verdict()
    return Verdict(
        status="declined",
        reference=ended.id,
        failure_code=code,
        failure_detail=detail,
        amount=ended.amount,
    )


def _ended(intent: Intent) -> Intent:
    """The intent once it can't charge any more, or as it stands where that is too late."""
    return intent if intent.status in ("succeeded", "canceled") else stripe_calls.cancel(intent.id)


def _bar(key: str) -> Intent:
    """An intent in the place of the one that a late create would make.

    When the key was used after all, by a create that the look-up doesn't list yet, Stripe refuses this one,
    and nobody knows for now.
    """
    return stripe_calls.create(key=key, amount=BAR_AMOUNT, currency=settings.CURRENCY)


def _not_refunded(
    error: stripe.InvalidRequestError, *, key: str, charge_reference: str, amount: int
) -> Verdict:
    """Why a refund is refused for good. Stripe's codes don't tell it for sure, the charge does."""
    if error.http_status == 404 or error.code == "resource_missing":
        detail = "The gateway has no such charge."
        return Verdict(status="declined", failure_code="charge_not_found", failure_detail=detail)
    try:
        charged = stripe_calls.retrieve(charge_reference)
    except NO_VERDICT as failure:
        return _unknown("refund", key, failure)
    if amount > charged.amount - charged.refunded_amount:
        detail = "More than is left of the charge."
        return Verdict(status="declined", failure_code="refund_exceeds_charge", failure_detail=detail)
    detail = "The gateway refused the refund."
    return Verdict(status="declined", failure_code=error.code or "refund_refused", failure_detail=detail)


def _is_within(
    booked: BookedCharge, order_id: UUID | None, since: datetime | None, until: datetime | None
) -> bool:
    return (
        (order_id is None or booked.order_id == str(order_id))
        and (since is None or since <= booked.created_at)
        and (until is None or booked.created_at < until)
    )


def _unknown(call: str, key: str, error: Exception) -> Verdict:
    told = reason(error)
    log.warning("gateway gave no verdict", call=call, key=key, reason=told)
    return Verdict(status="unknown", failure_detail=told)
