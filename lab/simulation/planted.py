"""Planted defects, each of which the simulation has to find: `make simulate PLANTED=early-reply`."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

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
from lab.simulation import faults
from lab.simulation.outside import Gateway
from orders.payment import charging
from orders.saga import store
from payments import payment_states, points_grants
from payments.gateways.contract import GatewayResult
from shop import approvals
from shop.approval_models import Approval

DEFECTS: dict[str, Callable[[], None]] = {}
"""What plants each defect in this process, for good."""
numbers = count()


def defect(of: Any, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The function takes the place of `name` in `of`, which it gets first."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        def plant() -> None:
            usual = getattr(of, name)
            setattr(of, name, lambda *arguments, **named: function(usual, *arguments, **named))

        DEFECTS[function.__name__.replace("_", "-")] = plant
        return function

    return add


@defect(faults, "say_lost")
def early_reply(usual: Any, what: str) -> None:
    """A COMMIT that never arrived counts as done: the answer was given before it."""
    if what == "reply":
        usual(what)


@defect(Gateway, "charge")
def new_charge_keys(usual: Any, gateway: Gateway, *, key: str, **of: Any) -> Any:
    """Each attempt to charge a card has a key of its own."""
    return usual(gateway, key=f"{key}-{next(numbers)}", **of)


@defect(store, "due_condition")
def no_recovery(usual: Any, cells: Any) -> str:
    """No worker finds sagas that a crash left behind, or whose pause is over."""
    return f"lease_token = '' AND attempts = 0 AND {usual(cells)}"


@defect(charging, "_cancel_charge")
def uncancelled(usual: Any, key: str) -> GatewayResult:
    """What is given up is not cancelled at the gateway: the card's owner may approve it later."""
    return GatewayResult(status="cancelled")


@defect(payment_states, "require_action")
def forgotten_action(usual: Any, payment_id: Any, **of: Any) -> bool:
    """When an owner's action ends is not recorded, so each look-up moves it: nothing gives it up."""
    return True


@defect(redis_gate, "_allocate")
def gate_without_row(usual: Any, campaign_id: int, requests: Sequence[IssueRequest]) -> list[Issued]:
    """The gate grants by itself: an admitted account is answered a coupon that no row has."""
    campaign = Campaign.objects.get(pk=campaign_id)
    gate.record_results(campaign, members={one.user_id for one in requests}, refused={})
    return [Issued(Coupon(campaign=campaign, code=f"GATE-{one.user_id}"), is_new=True) for one in requests]


@defect(tickets, "write")
def tickets_in_redis_alone(usual: Any, campaign_id: int, positions: Sequence[QueuePosition]) -> list[Queued]:
    """A ticket is answered as soon as Redis has it; only an issuer writes its row."""
    return [
        Queued(
            QueueTicket(
                id=one.ticket_id,
                campaign_id=campaign_id,
                account_id=one.user_id,
                number=one.number,
                created_at=one.at,
            ),
            ahead=0,
        )
        for one in positions
    ]


@defect(confirmation, "_register")
def silence_is_consent(usual: Any, slot: PendingConfirmation) -> Any:
    """A partner that gave no answer counts as one that has registered the code."""
    answer = usual(slot)
    return PartnerReply.REGISTERED if isinstance(answer, NoAnswer) else answer


@defect(coupon_requests, "_read_shared")
def endless_shared_code(usual: Any, codes: Collection[str], *requests: Any, lock: bool) -> Any:
    """An order that names the code of a sold-out campaign gets one more coupon made for it."""
    full = Campaign.objects.filter(shared_code__in=codes, quantity=F("issued"))
    full.update(quantity=F("quantity") + 1)
    return usual(codes, *requests, lock=lock)


@defect(approvals, "_read_waiting")
def approved_again(usual: Any, approval_id: int, *, is_locked: bool = False) -> Approval:
    """What is decided may be decided once more."""
    return Approval.objects.get(pk=approval_id)


@defect(delivery_pass, "_order_key")
def overtaking_events(usual: Any, row: Any) -> str:
    """Each event is delivered by itself, also while an earlier one of its order waits."""
    return str(row.event_id)


@defect(delivery_pass, "_apply")
def forgotten_failures(usual: Any, endpoint: Any, row: Any, attempt: Any, now: Any) -> None:
    """What an endpoint did not take is not tried again."""
    usual(endpoint, row, replace(attempt, error=""), now)
