"""The bodies of requests and answers about payments and wallets. No answer contains a card's token."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from django.conf import settings
from pydantic import BaseModel, Field

from foundation import lazy_texts
from foundation.http.json_format import JsonObject
from foundation.http.validation import Id, Input, NonBlankText, PositiveAmount, Query, Uuid, body
from foundation.lazy_texts import ENGLISH
from payments.disputes import shown_dispute
from payments.models import Dispute, Entry, Payment

PaymentStatus = Literal["pending", "requires_action", "in_doubt", "succeeded", "failed", "reversed"]
Token = Annotated[str, Field(min_length=1, max_length=255, repr=False)]


class TopUpInput(Input):
    """Points to buy by card."""

    amount: PositiveAmount
    token: Token


class GrantInput(Input):
    """Points to give to an account."""

    user: Id
    amount: PositiveAmount
    reason: NonBlankText


class FindPaymentsQuery(Query):
    """Which payments are listed."""

    order: Uuid | None = None
    status: PaymentStatus | None = None


class FailureBody(BaseModel):
    """Why a payment failed."""

    code: str
    detail: str


class NextActionBody(BaseModel):
    """What the card's owner must do."""

    type: Literal["redirect"]
    url: str
    expires_at: datetime


class DisputeBody(BaseModel):
    """What the card's owner disputes at their bank: it can't be refunded until the shop has won."""

    status: Literal["open", "won", "lost"]
    amount: int
    due_at: datetime | None


class PaymentBody(BaseModel):
    """A payment of an order, or of a top-up of the wallet."""

    id: UUID
    order: UUID | None
    account: int
    gateway: str | None
    status: PaymentStatus
    currency: str
    points_amount: int
    card_amount: int
    failure: FailureBody | None
    dispute: DisputeBody | None
    created_at: datetime
    next_action: NextActionBody | None


class WalletBody(BaseModel):
    """The caller's points."""

    balance_amount: int
    currency: str


class EntryBody(BaseModel):
    """A change of a wallet."""

    id: int
    account: int
    amount: int
    balance_after_amount: int
    currency: str
    kind: Literal["hold", "release", "refund", "top_up", "grant", "forfeit", "loss"]
    order: UUID | None
    at: datetime


class ReceivedBody(BaseModel):
    """The event was received."""

    received: Literal[True]


def failure_body(code: str, detail: str, language: str) -> dict[str, str] | None:
    """Why a payment failed, in the language if the catalogs have the text; None if it has not failed."""
    return {"code": code, "detail": lazy_texts.translate_stored(detail, language)} if code else None


def payment_body(
    payment: Payment,
    language: str = ENGLISH,
    *,
    reader_id: int | None = None,
    disputes: Iterable[Dispute] = (),
) -> JsonObject:
    """The body of a payment, as `reader_id` may see it; only why it failed is in the language. The answer of
    a call that pays is given before there are `disputes`.
    """
    dispute = shown_dispute(disputes)
    return body(
        PaymentBody,
        payment,
        order=payment.order_id,
        account=payment.account_id,
        gateway=payment.books.gateway if payment.card_amount else None,
        status=payment.shown_status,
        failure=failure_body(payment.failure_code, payment.failure_detail, language),
        dispute=dispute and body(DisputeBody, dispute),
        next_action=next_action_body(payment, reader_id=reader_id),
    )


def next_action_body(payment: Payment, *, reader_id: int | None = None) -> JsonObject | None:
    """What the card's owner must do for the payment now; None where there is nothing, and for other readers:
    the page's URL is all that one needs to confirm or refuse the charge there.
    """
    if not payment.requires_action or reader_id not in (None, payment.account_id):
        return None
    return {"type": "redirect", "url": payment.action_url, "expires_at": payment.action_expires_at}


def entry_body(entry: Entry) -> JsonObject:
    transfer = entry.transfer
    return body(
        EntryBody,
        entry,
        # A wallet has its owner's number.
        account=entry.account_id,
        currency=settings.CURRENCY,
        kind=transfer.kind,
        order=transfer.order_id,
        at=transfer.at,
    )
