"""Requests for coupons, and what becomes of them: a coupon, a slot that is being confirmed, or a refusal."""

from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from coupons import eligibility
from coupons.models import Confirmation, Coupon, QueueTicket
from foundation import journal
from foundation.errors import FirstcomeError, Rejected
from foundation.journal import ActorContext


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """A request for an account's coupon, and its actor: created in the request's thread, not the leader's.

    `written` has the codes that attempts at it wrote, by which a retry knows its coupon after a lost COMMIT
    reply. Its strategy may have claimed a `code` of the pool, or drawn a `ticket` of the gate for it.
    """

    user_id: int
    by: ActorContext = field(default_factory=journal.current_actor)
    written: list[str] = field(default_factory=list, compare=False)
    code: str = ""
    ticket: str = ""


class Issued(NamedTuple):
    """An account's coupon, with its campaign loaded; `is_new` if this request made it: `pk` is unset then."""

    coupon: Coupon
    is_new: bool


class PendingConfirmation(NamedTuple):
    """A slot that becomes the account's coupon once the partner confirms it, under `key`.

    `is_new` for the request that took the slot: none has called the partner before it.
    """

    key: UUID
    campaign_id: int
    user_id: int
    code: str
    partner: str
    is_new: bool = False


Slot = Issued | PendingConfirmation
"""What an account has of a campaign: its coupon, or what its partner is to confirm."""
AllocationResult = Slot | FirstcomeError


class Queued(NamedTuple):
    """A ticket, with its campaign and coupon loaded, and the number of waiting tickets ahead of it."""

    ticket: QueueTicket
    ahead: int


Answer = Issued | Queued
"""What an account gets for its request."""


def unwrap(outcome: AllocationResult) -> Slot:
    """Return the result; raise it if it is a refusal."""
    if isinstance(outcome, FirstcomeError):
        raise outcome
    return outcome


def existing_result(existing: Coupon | Confirmation) -> AllocationResult:
    """The result of a request whose account already has this coupon or confirmation."""
    if isinstance(existing, Coupon):
        return existing_coupon_result(existing)
    refused = eligibility.refusal_of_confirmation(is_cancelled=existing.is_cancelled)
    return refused or pending_confirmation(existing)


def existing_coupon_result(coupon: Coupon) -> Issued | Rejected:
    """The result of a request whose account already has this coupon."""
    return eligibility.refusal_of_coupon(coupon.status) or Issued(coupon, is_new=False)


def pending_confirmation(confirmation: Confirmation, *, is_new: bool = False) -> PendingConfirmation:
    """The slot of this confirmation, as its campaign's partner is to be called about it."""
    return PendingConfirmation(
        key=confirmation.key,
        campaign_id=confirmation.campaign_id,
        user_id=confirmation.account_id,
        code=confirmation.code,
        partner=confirmation.campaign.partner,
        is_new=is_new,
    )
