"""Planted defects, each of which the simulation has to find: `make simulate PLANTED=early-reply`."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import uuid4

from django.db.models import F

from coupons import coupon_requests, gate
from coupons.allocation.writes import Issued, IssueRequest, PendingConfirmation, Queued
from coupons.issuing.strategies import redis_gate
from coupons.models import Campaign, Coupon, QueueTicket
from coupons.partners import confirmation
from coupons.partners.contract import NoAnswer, PartnerReply
from coupons.queue import tickets
from coupons.queue.stream import QueuePosition
from events.webhooks import delivery_pass
from lab.simulation.outside import Gateway
from orders.payment import charging
from orders.saga import store
from payments import payment_states, points_grants
from payments.gateways.contract import GatewayResult
from shop import approvals
from shop.approval_models import Approval
from shop.db.bulk_sql import SqlLiterals

is_early = False
"""Whether a COMMIT that is lost counts as done: the answer was given before it."""


@contextmanager
def _early_reply() -> Iterator[None]:
    global is_early
    is_early = True
    try:
        yield
    finally:
        is_early = False


@contextmanager
def _new_charge_keys() -> Iterator[None]:
    """Each attempt to charge a card has a key of its own."""
    usual, numbers = Gateway.charge, count()

    def charge(gateway: Gateway, *, key: str, **of: Any) -> Any:
        return usual(gateway, key=f"{key}-{next(numbers)}", **of)

    with _replaced(Gateway, "charge", charge):
        yield


@contextmanager
def _no_recovery() -> Iterator[None]:
    """No worker finds sagas that a crash left behind, or whose pause is over."""
    usual = store.due_condition

    def due_anew(cells: SqlLiterals) -> str:
        return f"lease_token = '' AND attempts = 0 AND {usual(cells)}"

    with _replaced(store, "due_condition", due_anew):
        yield


@contextmanager
def _uncancelled() -> Iterator[None]:
    """What is given up is not cancelled at the gateway: the card's owner may approve it later."""
    cancelled = GatewayResult(status="cancelled")
    with _replaced(charging, "_cancel_charge", lambda key: cancelled):
        yield


@contextmanager
def _forgotten_action() -> Iterator[None]:
    """When an owner's action ends is not recorded, so each look-up moves it: nothing gives it up."""
    with _replaced(payment_states, "require_action", lambda payment_id, **of: True):
        yield


@contextmanager
def _gate_without_row() -> Iterator[None]:
    """The gate grants by itself: an admitted account is answered a coupon that no row has."""

    def allocate(campaign_id: int, requests: Sequence[IssueRequest]) -> list[Issued]:
        campaign = Campaign.objects.get(pk=campaign_id)
        gate.record_results(campaign, members={one.user_id for one in requests}, refused={})
        return [
            Issued(Coupon(campaign=campaign, code=f"GATE-{one.user_id}"), is_new=True) for one in requests
        ]

    with _replaced(redis_gate, "_allocate", allocate):
        yield


@contextmanager
def _tickets_in_redis_alone() -> Iterator[None]:
    """A ticket is answered as soon as Redis has it; only an issuer writes its row."""

    def write(campaign_id: int, positions: Sequence[QueuePosition]) -> list[Queued]:
        return [Queued(_unwritten(campaign_id, one), ahead=0) for one in positions]

    with _replaced(tickets, "write", write):
        yield


def _unwritten(campaign_id: int, position: QueuePosition) -> QueueTicket:
    return QueueTicket(
        id=position.ticket_id,
        campaign_id=campaign_id,
        account_id=position.user_id,
        number=position.number,
        created_at=position.at,
    )


@contextmanager
def _silence_is_consent() -> Iterator[None]:
    """A partner that gave no answer counts as one that has registered the code."""
    usual = confirmation._register

    def register(slot: PendingConfirmation) -> Any:
        answer = usual(slot)
        return PartnerReply.REGISTERED if isinstance(answer, NoAnswer) else answer

    with _replaced(confirmation, "_register", register):
        yield


@contextmanager
def _endless_shared_code() -> Iterator[None]:
    """An order that names the code of a sold-out campaign gets one more coupon made for it."""
    usual = coupon_requests._read_shared

    def read_shared(codes: Collection[str], *requests: Any, lock: bool) -> Any:
        full = Campaign.objects.filter(shared_code__in=codes, quantity=F("issued"))
        full.update(quantity=F("quantity") + 1)
        return usual(codes, *requests, lock=lock)

    with _replaced(coupon_requests, "_read_shared", read_shared):
        yield


@contextmanager
def _approved_again() -> Iterator[None]:
    """What is decided may be approved once more, and is then done once more."""
    usual = approvals.ACTS[points_grants.GRANT]

    def read(approval_id: int, *, is_locked: bool = False) -> Approval:
        return Approval.objects.get(pk=approval_id)

    def prepare(approval: Approval) -> Callable[[], str]:
        approval.arguments["reference"] = str(uuid4())
        return usual.prepare(approval)

    approvals.ACTS[points_grants.GRANT] = replace(usual, prepare=prepare)
    try:
        with _replaced(approvals, "_read_waiting", read):
            yield
    finally:
        approvals.ACTS[points_grants.GRANT] = usual


@contextmanager
def _overtaking() -> Iterator[None]:
    """Each event is delivered by itself, also while an earlier one of its order waits."""
    with _replaced(delivery_pass, "_order_key", lambda row: str(row.event_id)):
        yield


@contextmanager
def _unrecorded_failures() -> Iterator[None]:
    """What an endpoint did not take is not tried again."""
    usual = delivery_pass._apply

    def apply(endpoint: Any, row: Any, attempt: Any, now: Any) -> None:
        usual(endpoint, row, replace(attempt, error=""), now)

    with _replaced(delivery_pass, "_apply", apply):
        yield


@contextmanager
def _replaced(of: Any, name: str, by: Callable[..., Any]) -> Iterator[None]:
    usual = getattr(of, name)
    setattr(of, name, by)
    try:
        yield
    finally:
        setattr(of, name, usual)


DEFECTS = {
    "early-reply": _early_reply,
    "new-charge-keys": _new_charge_keys,
    "no-recovery": _no_recovery,
    "uncancelled": _uncancelled,
    "forgotten-action": _forgotten_action,
    "gate-without-row": _gate_without_row,
    "tickets-in-redis-alone": _tickets_in_redis_alone,
    "silence-is-consent": _silence_is_consent,
    "endless-shared-code": _endless_shared_code,
    "approved-again": _approved_again,
    "overtaking-events": _overtaking,
    "forgotten-failures": _unrecorded_failures,
}
