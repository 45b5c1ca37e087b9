"""Single calls to Stripe, by its own package: tried once, with the time-out of every call to a gateway.

Its objects become results of the contract: an intent is a charge once its confirmation is complete.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import stripe
from django.conf import settings
from django.utils.translation import gettext_noop
from pydantic import Field, ValidationError, model_validator

from payments.gateways.calls import Address, Amount, Detail, NoAnswer, Reference, ReplyPart, Word, exchange
from payments.gateways.contract import BookedCharge, GatewayDispute, GatewayResult, Status, own

if TYPE_CHECKING:
    # Modules of thousands of lines that only types need.
    from stripe.params import PaymentIntentConfirmParams, PaymentIntentCreateParams

PAGE = 100
LATEST = 2**33
EXPANDED = ["latest_charge"]
EXPANDED_IN_LISTS = ["data.latest_charge"]
NOT_LISTED = "an intent that is not listed yet"
WRONG_CHARGE = "another charge than requested"
API_VERSION = "2026-10-28.endive"
"""The version of Stripe's API whose parameters and objects the installed package describes."""
LIST_PATHS = ("/payment_intents", "/payment_intents/search", "/refunds", "/disputes")
KEY = "firstcome_key"
ORDER = "firstcome_order"
"""Names in the metadata of our objects; objects without them in the Stripe account are not the shop's."""
REFUND_STATUS: Mapping[str, Status] = {
    "succeeded": "succeeded",
    "pending": "pending",
    "requires_action": "pending",
    "failed": "declined",
    "canceled": "declined",
}
# An inquiry (`warning_…`) holds no money, and a refund settles it; Stripe itself refunds a prevented dispute.
# The money is the card owner's during an appeal.
DISPUTE_STATUS: Mapping[str, Literal["open", "won", "lost"]] = {
    "needs_response": "open",
    "under_review": "open",
    "appeal_needs_response": "lost",
    "appeal_under_review": "lost",
    "won": "won",
    "lost": "lost",
}
UUID_7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$")
MOST_KEYS = 10
"""Idempotency keys of one request: about as many as it has attempts until a payment's deadline."""
CLOCKS_APART = timedelta(minutes=5)
"""Of ours and Stripe's, at most."""
# A key may have several intents, because Stripe forgets keys after a day: the first of these states counts.
STATUS_PRECEDENCE = ("succeeded", "pending", "requires_action", "declined", "cancelled")
Listed = TypeVar("Listed", stripe.PaymentIntent, stripe.Refund, stripe.Dispute)
Sent = TypeVar("Sent", stripe.PaymentIntent, "Refund")

# By default the package sends durations and the machine's details to Stripe, and logs messages about cards.
stripe.enable_telemetry = False
logging.getLogger("stripe").setLevel(logging.WARNING)


class ListItem(ReplyPart):
    """The fields of a list's object that Stripe's package needs to fetch the next page."""

    object: Literal["payment_intent", "refund", "dispute"]
    id: Reference


class Page(ReplyPart):
    object: Literal["list", "search_result"]
    data: list[ListItem]


class ErrorPart(ReplyPart):
    """The error in a reply with an error status."""

    type: str


class Failure(ReplyPart):
    error: ErrorPart


class PaymentError(ReplyPart):
    """Why the last attempt to charge failed."""

    code: Word | None = None
    decline_code: Word | None = None
    message: Detail | None = None


class LatestCharge(ReplyPart):
    amount_refunded: Amount
    disputed: bool = False


class Redirect(ReplyPart):
    url: Address | None = None


class NextAction(ReplyPart):
    """What the card's owner must do; only a redirect works without Stripe's own scripts."""

    redirect_to_url: Redirect | None = None


class Intent(ReplyPart):
    """A PaymentIntent, its latest charge expanded."""

    object: Literal["payment_intent"]
    id: Reference
    status: Literal[
        "requires_payment_method",
        "requires_confirmation",
        "requires_action",
        "processing",
        "requires_capture",
        "succeeded",
        "canceled",
    ]
    amount: Amount
    currency: str
    created: Annotated[int, Field(ge=0, le=LATEST)]
    metadata: dict[str, str]
    latest_charge: LatestCharge | None = None
    last_payment_error: PaymentError | None = None
    next_action: NextAction | None = None

    @model_validator(mode="after")
    def _refunds_no_more_than_it_charged(self) -> Self:
        if self.refunded_amount > self.amount:
            raise ValueError("more was refunded than charged")
        return self

    @property
    def outcome(self) -> Status:
        """The status of the charge: absent until the intent's confirmation is complete.

        An intent in between waits for no customer, unless it has a page for them: charging by its key
        continues it, cancelling ends it.
        """
        match self.status:
            case "succeeded":
                return "succeeded"
            case "processing":
                return "pending"
            case "canceled":
                return "declined" if self.last_payment_error else "cancelled"
            case "requires_payment_method" if self.last_payment_error:
                return "declined"
            case "requires_action" if self.action_url:
                return "requires_action"
        return "absent"

    @property
    def action_url(self) -> str:
        """The page on which the card's owner confirms the charge; empty where there is none."""
        redirect = self.next_action.redirect_to_url if self.next_action else None
        return (redirect.url or "") if redirect and self.status == "requires_action" else ""

    @property
    def refunded_amount(self) -> int:
        return self.latest_charge.amount_refunded if self.latest_charge else 0

    @property
    def is_disputed(self) -> bool:
        return self.latest_charge is not None and self.latest_charge.disputed

    def to_result(self, disputes: Sequence[GatewayDispute] = ()) -> BookedCharge:
        outcome = self.outcome
        error = self.last_payment_error or PaymentError()
        is_declined = outcome == "declined"
        # Stripe advises to keep most reasons of a decline from customers.
        is_told = error.decline_code == "insufficient_funds"
        code = error.decline_code if is_told else error.code
        return BookedCharge(
            status=outcome,
            reference=self.id,
            key=self.metadata.get(KEY, ""),
            order_id=self.metadata.get(ORDER),
            created_at=datetime.fromtimestamp(self.created, UTC),
            failure_code=(code or "card_declined") if is_declined else "",
            failure_detail=(error.message or gettext_noop("The card was declined.")) if is_declined else "",
            amount=self.amount,
            refunded_amount=self.refunded_amount,
            action_url=self.action_url,
            currency=self.currency.upper(),
            disputes=tuple(disputes),
        )


class Refund(ReplyPart):
    object: Literal["refund"]
    id: Reference
    status: Literal["succeeded", "pending", "requires_action", "failed", "canceled"]
    amount: Amount
    payment_intent: Reference
    metadata: dict[str, str]
    failure_reason: Word | None = None

    def to_result(self) -> GatewayResult:
        status = REFUND_STATUS[self.status]
        is_declined = status == "declined"
        return GatewayResult(
            status=status,
            reference=self.id,
            failure_code=(self.failure_reason or f"refund_{self.status}") if is_declined else "",
            failure_detail=gettext_noop("The card did not take the refund.") if is_declined else "",
            amount=self.amount,
            refunded_amount=self.amount if status == "succeeded" else 0,
        )


class EvidenceDetails(ReplyPart):
    due_by: Annotated[int, Field(ge=0, le=LATEST)] | None = None


class Dispute(ReplyPart):
    object: Literal["dispute"]
    id: Reference
    status: str
    amount: Amount
    currency: str
    evidence_details: EvidenceDetails = EvidenceDetails()

    def to_result(self) -> GatewayDispute | None:
        """None for an inquiry, and for what Stripe has prevented or refunded itself."""
        if self.status not in DISPUTE_STATUS:
            return None
        due_by = self.evidence_details.due_by
        return GatewayDispute(
            reference=self.id,
            status=DISPUTE_STATUS[self.status],
            amount=self.amount,
            currency=self.currency.upper(),
            due_at=None if due_by is None else datetime.fromtimestamp(due_by, UTC),
        )


class Transport(stripe.HTTPClient):
    """Sends the package's requests by our own HTTP client, time-out and circuit breaker."""

    name = "pycurl"

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        body = post_data.encode() if isinstance(post_data, str) else post_data
        reply = exchange(method.upper(), url, headers=headers or {}, body=body)
        # The package itself trusts the shape of what it processes.
        is_list = method == "get" and urlsplit(url).path.endswith(LIST_PATHS)
        expected = Failure if reply.status >= 400 else Page if is_list else ListItem
        try:
            expected.model_validate_json(reply.body)
        except ValidationError as error:
            raise NoAnswer(f"HTTP {reply.status} with an answer that can't be read") from error
        return reply.body, reply.status, reply.headers


def create(
    *,
    key: str,
    amount: int,
    currency: str,
    order_id: UUID | None = None,
    payment_method: str | None = None,
    sent_as: str = "",
) -> Intent:
    """Create an intent of the key, not confirmed, so not charged; a repeat returns it as it was created. The
    request itself goes out under the key `sent_as`, if one is given.

    Raises `stripe.IdempotencyError` when that was used with other parameters.
    """
    parameters: PaymentIntentCreateParams = {
        "amount": amount,
        "currency": currency.lower(),
        "allowed_payment_method_types": ["card"],
        "metadata": {KEY: key} | ({ORDER: str(order_id)} if order_id else {}),
    }
    if payment_method is not None:
        parameters["payment_method"] = payment_method
    created = _send(
        sent_as or key,
        lambda own_key: _client().payment_intents.create(parameters, {"idempotency_key": own_key}),
        is_spent=lambda error: isinstance(error, stripe.APIError) and _is_replayed(error.headers),
    )
    intent = _to_intent(created)
    if intent.metadata.get(KEY) != key or intent.currency != currency.lower():
        raise NoAnswer(WRONG_CHARGE)
    return intent


def confirm_key(key: str) -> str:
    """The key of the first confirmation of an intent of this key: another request under it prevents that."""
    return f"{key}:confirm"


def confirm(intent_id: str, *, key: str, return_url: str = "") -> Intent:
    """Charge the intent, and return its present state; its card's owner may be sent to a page that leads back
    to `return_url`.

    Raises `stripe.CardError` for a declined card, and `stripe.IdempotencyError` where the confirmation is
    prevented.
    """
    parameters: PaymentIntentConfirmParams = {"expand": EXPANDED}
    if return_url:
        parameters["return_url"] = return_url
    confirm = _client().payment_intents.confirm
    try:
        confirmed = confirm(intent_id, parameters, {"idempotency_key": confirm_key(key)})
        response = confirmed.last_response
        if response is None or not _is_replayed(response.headers):
            return _to_intent(confirmed, intent_id)
    except stripe.APIError as error:
        if not _is_replayed(error.headers):
            raise
    # The replay of an earlier answer may be out of date, or an error.
    intent = retrieve(intent_id)
    if intent.status != "requires_confirmation":
        return intent
    # Under a key of its own: an intent is charged once, and one that is cancelled never.
    return _to_intent(confirm(intent_id, parameters), intent_id)


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
    first, end = (at and ceil(at.timestamp()) for at in (since, until))
    pages = _client().payment_intents.list(
        {"limit": PAGE, "expand": EXPANDED_IN_LISTS, "created": {"gte": first or 0, "lt": end or LATEST}}
    )
    return (one for one in map(_to_intent, _iterate_pages(pages)) if KEY in one.metadata)


def find_created(key: str) -> list[Intent]:
    """The intents of a key that ends with a UUID of version 7, by the list of all that were created since
    then: it is never behind. Raises `NoAnswer` where there are none, and for another key.
    """
    made = UUID(key[-36:]) if UUID_7.search(key) else None
    since = made and datetime.fromtimestamp((made.int >> 80) // 1000, UTC) - CLOCKS_APART
    found = (
        [one for one in list_created(since=since, until=None) if one.metadata[KEY] == key] if since else []
    )
    if not found:
        raise NoAnswer(NOT_LISTED)
    return found


def refund(intent_id: str, *, key: str, amount: int) -> Refund:
    """Refund a part of the charge, or find the refund of this key, however old: Stripe forgets keys after a
    day. Where there is none, one whose key keeps an error goes out under another.
    """

    def send(own_key: str) -> Refund:
        # Before each key: another process may have made it meanwhile, though its key keeps an error.
        if made := find_refund(intent_id, key=key):
            return made
        refunded = _client().refunds.create(
            {"payment_intent": intent_id, "amount": amount, "metadata": {KEY: key}},
            {"idempotency_key": own_key},
        )
        return Refund.model_validate(refunded.to_dict())

    return _send(key, send, is_spent=lambda error: _is_replayed(error.headers))


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


def decisive_intent(intents: Sequence[Intent]) -> Intent | None:
    """The intent that decides the state of a key; None when none of them is a charge."""
    charges = [intent for intent in intents if intent.outcome in STATUS_PRECEDENCE]
    return min(charges, key=lambda intent: STATUS_PRECEDENCE.index(intent.outcome), default=None)


def _send(
    key: str, request: Callable[[str], Sent], *, is_spent: Callable[[stripe.StripeError], bool]
) -> Sent:
    """The answer to the request under the first of its keys that is not spent.

    They follow from the key, and only an answer that Stripe has kept spends one: processes that send the same
    request at once all come to the same key.
    """
    keys = [key] + [f"{key}~{number}" for number in range(2, MOST_KEYS + 1)]
    for own_key in keys[:-1]:
        try:
            return request(own_key)
        except stripe.StripeError as error:
            if not is_spent(error):
                raise
    return request(keys[-1])


def _is_replayed(headers: Mapping[str, str] | None) -> bool:
    """Whether it is the answer that Stripe has kept of an earlier request under the same key."""
    return (headers or {}).get("Idempotent-Replayed") == "true"


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
    return _made_client(own("STRIPE_API_KEY"), settings.STRIPE_API_BASE)


@cache
def _made_client(api_key: str, api_base: str) -> stripe.V1Services:
    return stripe.StripeClient(
        api_key,
        stripe_version=API_VERSION,
        base_addresses={"api": api_base},
        http_client=Transport(),
        max_network_retries=0,
    ).v1
