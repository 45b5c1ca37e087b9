"""The simulator's protocol. The module itself is the gateway: its functions are the contract's."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from django.utils.translation import gettext_noop
from pydantic import AwareDatetime, Field, ValidationError, model_validator

from foundation.db.rows import present
from foundation.errors import Unavailable
from foundation.lazy_texts import mark
from payments.gateways import signed_events
from payments.gateways.calls import (
    Address,
    Amount,
    Detail,
    JsonReply,
    NoAnswer,
    Reference,
    ReplyPart,
    Word,
    request_json,
    return_address,
)
from payments.gateways.contract import (
    BookedCharge,
    GatewayDispute,
    GatewayEvent,
    GatewayResult,
    webhook_secret,
)
from payments.gateways.measured import describe_error, measured

PAGE = 1_000

Answers = Mapping[int, Collection[str]]
"""The charge's states that each HTTP status may come with; any other combination is no answer."""
CHARGED: Answers = {201: {"succeeded"}, 202: {"pending"}, 402: {"declined"}, 409: {"cancelled"}}
CANCELLED: Answers = {200: {"cancelled", "declined"}, 409: {"succeeded"}}


class Failure(ReplyPart):
    code: Word
    detail: Detail


class NextAction(ReplyPart):
    """What the card's owner must do before the charge is decided."""

    type: Literal["redirect"]
    url: Address


class Dispute(ReplyPart):
    id: Reference
    status: Literal["open", "won", "lost"]
    amount: Amount
    currency: str
    due_at: Annotated[AwareDatetime, Field(strict=False)]

    def to_result(self) -> GatewayDispute:
        return GatewayDispute(reference=self.id, **self.model_dump(exclude={"id"}))


class Charge(ReplyPart):
    id: Reference
    key: str
    order: str | None
    status: Literal["succeeded", "declined", "pending", "cancelled"]
    amount: Amount
    refunded_amount: Amount
    currency: str | None
    created_at: Annotated[AwareDatetime, Field(strict=False)]
    failure: Failure | None = None
    next_action: NextAction | None = None
    disputes: list[Dispute] = []

    @model_validator(mode="after")
    def _refunds_no_more_than_it_charged(self) -> Self:
        if self.refunded_amount > self.amount:
            raise ValueError("more was refunded than charged")
        return self

    def to_result(self) -> BookedCharge:
        failure = self.failure or Failure(code="card_declined", detail=gettext_noop("The card was declined."))
        is_declined = self.status == "declined"
        action = self.next_action if self.status == "pending" else None
        return BookedCharge(
            status="requires_action" if action else self.status,
            reference=self.id,
            key=self.key,
            order_id=self.order,
            created_at=self.created_at,
            failure_code=failure.code if is_declined else "",
            failure_detail=failure.detail if is_declined else "",
            amount=self.amount,
            refunded_amount=self.refunded_amount,
            action_url=action.url if action else "",
            currency=self.currency or "",
            disputes=tuple(dispute.to_result() for dispute in self.disputes),
        )


class Conflict(ReplyPart):
    """A refusal of a call that came too late, with the charge in its present state."""

    charge: Charge


class Page(ReplyPart):
    results: list[Charge]
    next: str | None


class RefundRefusal(ReplyPart):
    """A final refusal of a refund."""

    code: Literal["charge_not_found", "refund_exceeds_charge"]
    detail: Detail


class Refund(ReplyPart):
    id: Reference
    key: str
    charge: str
    amount: Amount
    status: Literal["succeeded", "failed"]

    def to_result(self) -> GatewayResult:
        is_failed = self.status == "failed"
        return GatewayResult(
            status="declined" if is_failed else "succeeded",
            reference=self.id,
            failure_code="refund_failed" if is_failed else "",
            failure_detail=gettext_noop("The card did not take the refund.") if is_failed else "",
            amount=self.amount,
            refunded_amount=0 if is_failed else self.amount,
        )


class RefundPage(ReplyPart):
    results: list[Refund]
    next: str | None


@measured()
def charge(*, key: str, token: str, amount: int, currency: str, order_id: UUID | None) -> GatewayResult:
    body = {"token": token, "amount": amount, "currency": currency, "order": order_id and str(order_id)}
    if return_url := return_address(order_id):
        body["return_url"] = return_url
    answer = request_json("POST", "/charges", body=body, key=key)
    if answer.status == 400:
        refusal = Failure.model_validate(answer.content)
        found = find(key=key)
        # An earlier attempt with the key has charged. Otherwise the customer reads a text of ours, as the
        # gateway's own may be meant for the shop only.
        detail = gettext_noop("The gateway did not take this card; nothing was charged.")
        declined = GatewayResult(status="declined", failure_code=refusal.code, failure_detail=detail)
        return declined if found.status == "absent" else found
    charged = _read_charge(answer, key, CHARGED)
    if charged.status != "cancelled" and (charged.amount, charged.currency) != (amount, currency):
        raise NoAnswer("another amount than requested")
    return charged.to_result()


@measured()
def find(*, key: str) -> GatewayResult:
    found = _read_page({"key": key}).results
    if not found:
        return GatewayResult(status="absent")
    if len(found) > 1 or found[0].key != key:
        raise NoAnswer("charges of other keys than requested")
    return found[0].to_result()


def key_of(*, reference: str) -> str | None:
    try:
        found = _read_page({"id": reference}).results
    except (NoAnswer, ValidationError):
        return None
    return found[0].key if found else ""


@measured()
def cancel(*, key: str) -> GatewayResult:
    answer = request_json("POST", "/charges/cancel", body={"key": key})
    return _read_charge(answer, key, CANCELLED).to_result()


@measured()
def refund(*, key: str, charge_reference: str, amount: int) -> GatewayResult:
    answer = request_json("POST", "/refunds", body={"charge": charge_reference, "amount": amount}, key=key)
    if answer.status in (404, 409):
        refusal = RefundRefusal.model_validate(answer.content)
        return GatewayResult(status="declined", failure_code=refusal.code, failure_detail=refusal.detail)
    refunded = Refund.model_validate(answer.content)
    made = refunded.key, refunded.charge, refunded.amount
    if answer.status != 201 or made != (key, charge_reference, amount):
        raise NoAnswer(f"HTTP {answer.status} with another refund than requested")
    return refunded.to_result()


@measured()
def find_refund(*, key: str, charge_reference: str) -> GatewayResult:
    answer = request_json("GET", "/refunds", query={"key": key, "limit": "1"})
    found = RefundPage.model_validate(answer.content).results
    if answer.status != 200 or any((one.key, one.charge) != (key, charge_reference) for one in found):
        raise NoAnswer("refunds of other keys than requested")
    return found[0].to_result() if found else GatewayResult(status="absent")


def charges(
    *,
    key: str | None = None,
    order_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[BookedCharge]:
    query = present(
        key=key,
        order=order_id and str(order_id),
        created_from=since and since.isoformat(),
        created_to=until and until.isoformat(),
    )
    while True:
        try:
            page = _read_page(query)
        except (NoAnswer, ValidationError) as error:
            reason = describe_error(error)
            raise Unavailable(mark("The gateway's book can't be read: {reason}.", reason=reason)) from error
        yield from (one.to_result() for one in page.results)
        if page.next is None:
            return
        if not page.results or page.next == query.get("after"):
            raise Unavailable(mark("The gateway's book can't be read: its pages go in circles."))
        query["after"] = page.next


def event(*, signature: str, body: bytes, now: datetime) -> GatewayEvent | None:
    signed_events.verify(signature, body=body, secret=webhook_secret(), now=now)
    payload = signed_events.parse(body)
    if payload is None:
        return None
    data = signed_events.nested_object(payload, "data")
    # Its key is the refund's.
    reference = signed_events.charge_key(data, "charge") if payload["type"] == "refund.failed" else ""
    key = "" if reference else signed_events.charge_key(data, "key")
    return signed_events.build(payload, type=payload["type"], key=key, reference=reference)


def _read_charge(answer: JsonReply, key: str, expected: Answers) -> Charge:
    """The charge in the answer, which must have this key and a state that the HTTP status may come with."""
    if answer.status not in expected:
        raise NoAnswer(f"HTTP {answer.status}")
    is_conflict = answer.status == 409
    content = answer.content
    charged = Conflict.model_validate(content).charge if is_conflict else Charge.model_validate(content)
    if charged.key != key or charged.status not in expected[answer.status]:
        raise NoAnswer(f"HTTP {answer.status} with another charge than requested")
    return charged


def _read_page(query: Mapping[str, str]) -> Page:
    answer = request_json("GET", "/charges", query={"limit": str(PAGE), **query})
    if answer.status != 200:
        raise NoAnswer(f"HTTP {answer.status}")
    return Page.model_validate(answer.content)
