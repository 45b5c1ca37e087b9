"""Stripe's objects as the contract's results: an intent is a charge once its confirmation is complete."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from django.utils.translation import gettext_noop
from pydantic import Field, ValidationError, model_validator

from payments.gateways.calls import Address, Amount, Detail, NoAnswer, Reference, ReplyPart, Word
from payments.gateways.contract import BookedCharge, GatewayDispute, GatewayResult, Status
from shop.outbound.http_client import Reply

KEY, ORDER = "firstcome_key", "firstcome_order"
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
# A key may have several intents, because Stripe forgets keys after a day: the first of these states counts.
STATUS_PRECEDENCE = ("succeeded", "pending", "requires_action", "declined", "cancelled")


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
    created: Annotated[int, Field(ge=0, le=2**33)]
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
        outcome, error = self.outcome, self.last_payment_error or PaymentError()
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
    due_by: Annotated[int, Field(ge=0, le=2**33)] | None = None


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


def validate_reply(reply: Reply, *, is_list: bool) -> None:
    """Check that the package can process this reply, because the package itself trusts its shape. Raises
    `NoAnswer`.
    """
    expected = Failure if reply.status >= 400 else Page if is_list else ListItem
    try:
        expected.model_validate_json(reply.body)
    except ValidationError as error:
        raise NoAnswer(f"HTTP {reply.status} with an answer that can't be read") from error


def decisive_intent(intents: Sequence[Intent]) -> Intent | None:
    """The intent that decides the state of a key; None when none of them is a charge."""
    charges = [intent for intent in intents if intent.outcome in STATUS_PRECEDENCE]
    return min(charges, key=lambda intent: STATUS_PRECEDENCE.index(intent.outcome), default=None)
