"""Stripe's protocol. The module itself is the gateway: its functions are the contract's.

A charge is a PaymentIntent that is created first and confirmed in a second call, by the process that created
it, as only that one knows its id. A declined intent is cancelled before it is reported, because Stripe would
let it be confirmed again. A key is blocked by creating another intent under it, or under the key of its
confirmation. Stripe keeps a key's answer for 24 hours, errors too: the shop repeats no request after that
without a look-up first, and sends what keeps an error under another key. docs/stripe.md has what is assumed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import UUID

import stripe
from django.conf import settings
from django.utils.translation import gettext_noop
from pydantic import ValidationError
from structlog import get_logger

from foundation.errors import Unavailable
from foundation.lazy_texts import mark
from payments.gateways import signed_events, stripe_calls
from payments.gateways.calls import NoAnswer, return_address
from payments.gateways.contract import BookedCharge, GatewayEvent, GatewayResult, webhook_secret
from payments.gateways.measured import describe_error, measured
from payments.gateways.stripe_calls import KEY, ORDER, Intent, decisive_intent

log = get_logger(__name__)

NO_RESULT = (NoAnswer, ValidationError, stripe.StripeError)
BLOCKING_AMOUNT = 10_000_000
"""Never charged. Within the limits of every currency, because Stripe creates no intent beyond them."""
NOT_CANCELLED = "an intent that can't be cancelled yet"
CARD_REFUSED_DETAIL = gettext_noop("The gateway did not take this card; nothing was charged.")
AUTHENTICATION_DETAIL = gettext_noop(
    "The card requires its owner's authentication, which is not possible here."
)
EVENT_TYPES: Mapping[str, str] = {
    "payment_intent.succeeded": "charge.succeeded",
    "payment_intent.payment_failed": "charge.declined",
    "charge.refunded": "charge.refunded",
    # A refund whose result came later.
    "refund.updated": "charge.refunded",
    "refund.failed": "charge.refunded",
    "charge.refund.updated": "charge.refunded",
    "charge.dispute.created": "charge.disputed",
    "charge.dispute.updated": "charge.disputed",
    "charge.dispute.funds_withdrawn": "charge.disputed",
    "charge.dispute.funds_reinstated": "charge.disputed",
    "charge.dispute.closed": "dispute.closed",
}
NAMED_BY_REFERENCE = ("refund", "dispute")
"""Objects without the metadata of their intent. A refund with metadata of ours is the shop's own: its saga
asks about it, unless it failed, which may come after that has ended.
"""
FAILED_REFUND = ("failed", "canceled")


@measured(stripe.StripeError)
def charge(*, key: str, token: str, amount: int, currency: str, order_id: UUID | None) -> GatewayResult:
    try:
        intent = stripe_calls.create(
            key=key, amount=amount, currency=currency, order_id=order_id, payment_method=token
        )
    except stripe.IdempotencyError:
        # The key was used with other parameters: another card or amount, or it is blocked.
        return _check_amount(find(key=key), amount=amount)
    except stripe.InvalidRequestError as error:
        # Most often because of the card's token. Another server in Stripe's place declines no card.
        if error.http_status == 404 and error.code != "resource_missing":
            raise
        code = "unknown_token" if error.param == "payment_method" else error.code or "card_refused"
        log.warning("gateway refused a charge", key=key, code=error.code, param=error.param)
        return _declined(code, CARD_REFUSED_DETAIL)
    return _check_amount(_confirm(intent, key=key, return_url=return_address(order_id)), amount=amount)


@measured(stripe.StripeError)
def find(*, key: str) -> GatewayResult:
    found = decisive_intent([_cancel_if_declined(one) for one in stripe_calls.find_by_metadata(KEY, key)])
    return found.to_result(stripe_calls.disputes(found)) if found else GatewayResult(status="absent")


def key_of(*, reference: str) -> str | None:
    try:
        return stripe_calls.retrieve(reference).metadata.get(KEY, "")
    except stripe.InvalidRequestError as error:
        return "" if error.http_status == 404 else None
    except NO_RESULT:
        return None


@measured(stripe.StripeError)
def cancel(*, key: str) -> GatewayResult:
    try:
        return _cancel(key)
    except stripe.APIError:
        # The next attempt may be minutes away, and stock is held until then.
        return _cancel(key)


@measured(stripe.StripeError)
def refund(*, key: str, charge_reference: str, amount: int) -> GatewayResult:
    try:
        refunded = stripe_calls.refund(charge_reference, key=key, amount=amount)
    except stripe.InvalidRequestError as error:
        return _refused_refund_result(error, charge_reference=charge_reference, amount=amount)
    if (refunded.payment_intent, refunded.amount) != (charge_reference, amount):
        raise NoAnswer("another refund than requested")
    return refunded.to_result()


@measured(stripe.StripeError)
def find_refund(*, key: str, charge_reference: str) -> GatewayResult:
    found = stripe_calls.find_refund(charge_reference, key=key)
    return found.to_result() if found else GatewayResult(status="absent")


def charges(
    *,
    key: str | None = None,
    order_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[BookedCharge]:
    try:
        if key is not None:
            intents = stripe_calls.find_by_metadata(KEY, key)
        elif order_id is not None:
            intents = stripe_calls.find_by_metadata(ORDER, str(order_id))
        else:
            intents = [*stripe_calls.list_created(since=since, until=until)][::-1]
        for intent in intents:
            booked = intent.to_result(stripe_calls.disputes(intent))
            is_late = until is not None and booked.created_at >= until
            if booked.status != "absent" and not is_late and (since is None or since <= booked.created_at):
                yield booked
    except NO_RESULT as error:
        reason = describe_error(error)
        raise Unavailable(mark("The gateway's book can't be read: {reason}.", reason=reason)) from error


def event(*, signature: str, body: bytes, now: datetime) -> GatewayEvent | None:
    signed_events.verify(signature, body=body, secret=webhook_secret(), now=now)
    payload = signed_events.parse(body)
    if payload is None:
        return None
    about = signed_events.nested_object(payload, "data", "object")
    key = signed_events.charge_key(signed_events.nested_object(about, "metadata"), KEY)
    kind = about.get("object")
    is_failed = kind == "refund" and about.get("status") in FAILED_REFUND
    by_reference = kind in NAMED_BY_REFERENCE and (is_failed or not key)
    return signed_events.build(
        payload,
        type=EVENT_TYPES.get(payload["type"], payload["type"]),
        key="" if by_reference else key,
        reference=signed_events.charge_key(about, "payment_intent") if by_reference else "",
    )


def _check_amount(result: GatewayResult, *, amount: int) -> GatewayResult:
    """The result. Raises `NoAnswer` if the charge has another amount or does not exist."""
    is_charge = result.status not in ("unknown", "cancelled")
    if is_charge and (result.status == "absent" or result.amount != amount):
        raise NoAnswer(stripe_calls.WRONG_CHARGE)
    return result


def _confirm(intent: Intent, *, key: str, return_url: str) -> GatewayResult:
    """Confirm the intent, or find out its state. An intent that is declined, or waits for its customer
    without a page for them, is cancelled.
    """
    code = "authentication_required"
    detail = AUTHENTICATION_DETAIL
    try:
        intent = stripe_calls.confirm(intent.id, key=key, return_url=return_url)
    except stripe.IdempotencyError:
        # Its key is blocked.
        return find(key=key)
    except (stripe.CardError, stripe.InvalidRequestError) as error:
        # Declined, or confirmed before: the intent itself has the state.
        intent = stripe_calls.retrieve(intent.id)
        code = error.code or "card_refused"
        detail = CARD_REFUSED_DETAIL
    if intent.outcome != "absent":
        return _cancel_if_declined(intent).to_result()
    ended = _cancel_unless_final(intent)
    if ended.outcome != "cancelled":
        return ended.to_result()
    return replace(_declined(code, detail), reference=ended.id, amount=ended.amount)


def _cancel(key: str) -> GatewayResult:
    found = stripe_calls.find_by_metadata(KEY, key)
    ended = [_cancel_unless_final(one) for one in found or _block(key)]
    # Another intent of the key may not be listed yet. Only one is ever confirmed: of these, or of none.
    if all(one.outcome in ("absent", "cancelled") and one.amount != BLOCKING_AMOUNT for one in found + ended):
        ended += [_cancel_unless_final(one) for one in _confirmed_besides(ended[0], key)]
    decisive = decisive_intent(ended)
    if decisive is None:
        raise NoAnswer(NOT_CANCELLED)
    return decisive.to_result()


def _block(key: str) -> list[Intent]:
    """An intent in place of the one that a late create would make or, if the key was used, in place of the
    confirmation of what was created; where that was sent as well, the intents of the key.
    """
    create = partial(stripe_calls.create, key=key, amount=BLOCKING_AMOUNT, currency=settings.CURRENCY)
    try:
        return [create()]
    except stripe.IdempotencyError:
        pass
    try:
        return [create(sent_as=stripe_calls.confirm_key(key))]
    except stripe.IdempotencyError:
        return stripe_calls.find_created(key)


def _confirmed_besides(cancelled: Intent, key: str) -> list[Intent]:
    """The intents of the key where another one than this was confirmed: then Stripe refuses to confirm this
    one under the same key. As it is cancelled nothing is charged by that.
    """
    order_id = cancelled.metadata.get(ORDER)
    return_url = return_address(UUID(order_id) if order_id else None)
    try:
        stripe_calls.confirm(cancelled.id, key=key, return_url=return_url)
    except stripe.IdempotencyError:
        return stripe_calls.find_created(key)
    except (stripe.CardError, stripe.InvalidRequestError):
        pass
    return []


def _cancel_if_declined(intent: Intent) -> Intent:
    """The intent, cancelled if it is declined: at Stripe it may be confirmed again, and its customer has the
    client secret, and could try card after card. Charged after all where that is too late.
    """
    if intent.outcome != "declined":
        return intent
    ended = _cancel_unless_final(intent)
    # Stripe may clear the error of an intent that is changed.
    error = ended.last_payment_error or intent.last_payment_error
    return ended.model_copy(update={"last_payment_error": error})


def _cancel_unless_final(intent: Intent) -> Intent:
    """The intent after it is cancelled, or in its present state where that is too late. Raises `NoAnswer` if
    it may still be confirmed.
    """
    if intent.status in ("succeeded", "canceled"):
        return intent
    ended = stripe_calls.cancel(intent.id)
    if ended.status == "requires_payment_method":
        raise NoAnswer(NOT_CANCELLED)
    return ended


def _refused_refund_result(
    error: stripe.InvalidRequestError, *, charge_reference: str, amount: int
) -> GatewayResult:
    """The result of a refused refund. Stripe's codes don't show the reason for certain, the charge does."""
    if error.http_status == 404 or error.code == "resource_missing":
        return _declined("charge_not_found", gettext_noop("The gateway has no such charge."))
    charged = stripe_calls.retrieve(charge_reference)
    if amount > charged.to_result(stripe_calls.disputes(charged)).kept_amount:
        text = gettext_noop("The refund exceeds what is left of the charge.")
        return _declined("refund_exceeds_charge", text)
    return _declined(error.code or "refund_refused", gettext_noop("The gateway refused the refund."))


def _declined(code: str, detail: str) -> GatewayResult:
    return GatewayResult(status="declined", failure_code=code, failure_detail=detail)
