"""Single calls to Stripe, by its own package: tried once, with the time-out of every call to a gateway."""

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from math import ceil
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import stripe
from django.conf import settings

from payments.gateways.calls import NoAnswer, exchange
from payments.gateways.contract import GatewayDispute
from payments.gateways.stripe_reading import KEY, ORDER, Dispute, Intent, Refund, validate_reply

if TYPE_CHECKING:
    # Modules of thousands of lines that only types need.
    from stripe.params import (
        PaymentIntentConfirmParams,
        PaymentIntentCreateParams,
        PaymentIntentListParams,
        PaymentIntentListParamsCreated,
    )

PAGE = 100
EXPANDED, EXPANDED_IN_LISTS = ["latest_charge"], ["data.latest_charge"]
WRONG_CHARGE = "another charge than requested"
API_VERSION = "2026-10-28.endive"
"""The version of Stripe's API whose parameters and objects the installed package describes."""
LIST_PATHS = ("/payment_intents", "/payment_intents/search", "/refunds", "/disputes")
Listed = TypeVar("Listed", stripe.PaymentIntent, stripe.Refund, stripe.Dispute)

# By default the package sends durations and the machine's details to Stripe, and logs messages about cards.
stripe.enable_telemetry = False
logging.getLogger("stripe").setLevel(logging.WARNING)


class Transport(stripe.HTTPClient):
    """Sends the package's requests by our own HTTP client, time-out and circuit breaker."""

    name = "pycurl"

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        body = post_data.encode() if isinstance(post_data, str) else post_data
        reply = exchange(method.upper(), url, headers=headers or {}, body=body)
        validate_reply(reply, is_list=method == "get" and urlsplit(url).path.endswith(LIST_PATHS))
        return reply.body, reply.status, reply.headers


def create(
    *,
    key: str,
    amount: int,
    currency: str,
    order_id: UUID | None = None,
    payment_method: str | None = None,
) -> Intent:
    """Create an intent under the key, not confirmed, so not charged; a repeat returns it as it was created.
    Raises `stripe.IdempotencyError` when the key was used with other parameters.
    """
    parameters: PaymentIntentCreateParams = {
        "amount": amount,
        "currency": currency.lower(),
        "allowed_payment_method_types": ["card"],
        "metadata": {KEY: key} | ({ORDER: str(order_id)} if order_id else {}),
    }
    if payment_method is not None:
        parameters["payment_method"] = payment_method
    intent = _to_intent(_client().payment_intents.create(parameters, {"idempotency_key": key}))
    if intent.metadata.get(KEY) != key or intent.currency != currency.lower():
        raise NoAnswer(WRONG_CHARGE)
    return intent


def confirm(intent_id: str, *, key: str, return_url: str = "") -> Intent:
    """Charge the intent, and return its present state; its card's owner may be sent to a page that leads back
    to `return_url`. Raises `stripe.CardError` for a declined card.
    """
    parameters: PaymentIntentConfirmParams = {"expand": EXPANDED}
    if return_url:
        parameters["return_url"] = return_url
    confirmed = _client().payment_intents.confirm(
        intent_id, parameters, {"idempotency_key": f"{key}:confirm"}
    )
    response = confirmed.last_response
    if response is not None and response.headers.get("Idempotent-Replayed") == "true":
        # The replay of an earlier answer may be out of date.
        return retrieve(intent_id)
    return _to_intent(confirmed, intent_id)


def retrieve(intent_id: str) -> Intent:
    """The intent in its present state."""
    return _to_intent(_client().payment_intents.retrieve(intent_id, {"expand": EXPANDED}), intent_id)


def cancel(intent_id: str) -> Intent:
    """Cancel the intent, or return its present state where it is too late."""
    try:
        return _to_intent(_client().payment_intents.cancel(intent_id, {"expand": EXPANDED}), intent_id)
    except stripe.InvalidRequestError:
        return retrieve(intent_id)


def find_by_metadata(name: str, value: str) -> list[Intent]:
    """The intents whose metadata have this value, oldest first, in their present state.

    Stripe's search is up to a minute behind, during an outage an hour, so the newest intents are searched as
    well. An empty result is still no proof that no intent exists.
    """
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    found = _client().payment_intents.search({"query": f"metadata['{name}']:'{escaped}'", "limit": PAGE})
    newest = _client().payment_intents.list({"limit": PAGE, "expand": EXPANDED_IN_LISTS})
    fresh = {one.id: one for one in map(_to_intent, newest.data) if one.metadata.get(name) == value}
    older = [retrieve(one.id) for one in found.data if one.id not in fresh]
    # Both lists are newest first, and the sort must not reorder intents of the same second.
    both = [*fresh.values(), *(one for one in older if one.metadata.get(name) == value)]
    return sorted(both, key=lambda one: one.created, reverse=True)[::-1]


def list_created(*, since: datetime | None, until: datetime | None) -> Iterator[Intent]:
    """The intents of a period that are ours, newest first. Stripe's instants are whole seconds."""
    period: PaymentIntentListParamsCreated = {}
    if since:
        period["gte"] = ceil(since.timestamp())
    if until:
        period["lt"] = ceil(until.timestamp())
    query: PaymentIntentListParams = {"limit": PAGE, "expand": EXPANDED_IN_LISTS}
    if period:
        query["created"] = period
    pages = _client().payment_intents.list(query)
    return (one for one in map(_to_intent, _iterate_pages(pages)) if KEY in one.metadata)


def refund(intent_id: str, *, key: str, amount: int) -> Refund:
    """Refund a part of the charge, or find the refund of this key, however old: Stripe forgets keys after a
    day.
    """
    if made := find_refund(intent_id, key=key):
        return made
    refunded = _client().refunds.create(
        {"payment_intent": intent_id, "amount": amount, "metadata": {KEY: key}}, {"idempotency_key": key}
    )
    return Refund.model_validate(refunded.to_dict())


def find_refund(intent_id: str, *, key: str) -> Refund | None:
    """The refund of this key, however old it is."""
    made = _client().refunds.list({"payment_intent": intent_id, "limit": PAGE})
    found = (Refund.model_validate(one.to_dict()) for one in _iterate_pages(made))
    return next((one for one in found if one.metadata.get(KEY) == key), None)


def disputes(intent: Intent) -> list[GatewayDispute]:
    """The disputes of the intent's charge, oldest first; one that isn't disputed costs no call."""
    if not intent.is_disputed:
        return []
    pages = _iterate_pages(_client().disputes.list({"payment_intent": intent.id, "limit": PAGE}))
    found = [Dispute.model_validate(one.to_dict()).to_result() for one in pages]
    return [one for one in reversed(found) if one]


def _iterate_pages(pages: stripe.ListObject[Listed]) -> Iterator[Listed]:
    """Every object of a list, page by page; a list that repeats an object is no answer."""
    seen: set[str] = set()
    for item in pages.auto_paging_iter():
        if item.id in seen:
            raise NoAnswer("pages that go in circles")
        seen.add(item.id)
        yield item


def _to_intent(intent: stripe.PaymentIntent, intent_id: str = "") -> Intent:
    """The intent, checked to have this id where one is given."""
    read = Intent.model_validate(intent.to_dict())
    if intent_id and read.id != intent_id:
        raise NoAnswer(WRONG_CHARGE)
    return read


def _client() -> stripe.V1Services:
    return _made_client(settings.STRIPE_API_KEY, settings.STRIPE_API_BASE)


@cache
def _made_client(api_key: str, api_base: str) -> stripe.V1Services:
    return stripe.StripeClient(
        api_key,
        stripe_version=API_VERSION,
        base_addresses={"api": api_base},
        http_client=Transport(),
        max_network_retries=0,
    ).v1
