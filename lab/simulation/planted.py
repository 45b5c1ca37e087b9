"""Planted defects, each of which the simulation has to find: `make simulate PLANTED=early-reply`."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from django.db.models import F

from accounts.operating import approvals
from coupons import coupon_requests, gate
from coupons.allocation.writes import Issued, IssueRequest, Queued
from coupons.issuing.strategies import redis_gate
from coupons.models import Campaign, Coupon, QueueTicket
from coupons.partners import confirmation
from coupons.partners.contract import NoAnswer, PartnerReply
from coupons.queue import tickets
from events.webhooks import delivery_pass
from foundation.approval_models import Approval
from lab.simulation import world
from lab.simulation.outside import Gateway
from orders.payment import charging
from orders.saga import store
from orders.saga.run import Executor
from payments import ledger, payment_states
from payments.gateways.contract import GatewayResult

numbers = count()


def _grant(usual: Any, campaign_id: int, requests: Sequence[IssueRequest]) -> list[Issued]:
    campaign = Campaign.objects.get(pk=campaign_id)
    gate.record_results(campaign, members={one.user_id for one in requests}, refused={})
    return [Issued(Coupon(campaign=campaign, code=f"GATE-{one.user_id}"), is_new=True) for one in requests]


def _answer_tickets(usual: Any, campaign_id: int, positions: Sequence[Any]) -> list[Queued]:
    names = {"id": "ticket_id", "account_id": "user_id", "number": "number", "created_at": "at"}
    fields = [{field: getattr(one, name) for field, name in names.items()} for one in positions]
    return [Queued(QueueTicket(campaign_id=campaign_id, **each), ahead=0) for each in fields]


def _read_shared(usual: Any, codes: Sequence[str], *requests: Any, lock: bool) -> Any:
    full = Campaign.objects.filter(shared_code__in=codes, quantity=F("issued"))
    full.update(quantity=F("quantity") + 1)
    return usual(codes, *requests, lock=lock)


def _register(usual: Any, slot: Any) -> Any:
    answer = usual(slot)
    if isinstance(answer, NoAnswer):
        return PartnerReply.REGISTERED
    return answer


def _charge_anew(usual: Any, gateway: Gateway, *, key: str, **of: Any) -> Any:
    return usual(gateway, key=f"{key}-{next(numbers)}", **of)


def _charge_at_once(usual: Any, executor: Executor, sagas: Any) -> Any:
    leased = usual(executor, sagas)
    for call in charging.charge([saga.attempt for saga in leased if saga.attempt]):
        call()
    return leased


def _grant_anew(usual: Any, *, reference: str, **of: Any) -> Any:
    return usual(reference=f"{reference} {next(numbers)}", **of)


def _apply(usual: Any, endpoint: Any, row: Any, attempt: Any, now: Any) -> Any:
    return usual(endpoint, row, attempt._replace(error=""), now)


DEFECTS: dict[str, list[tuple[Any, str, Callable[..., Any]]]] = {
    # A COMMIT that never arrived counts as done: the answer was given before it.
    "early-reply": [(world, "say_lost", lambda usual, lost: usual(lost) if lost == "reply" else None)],
    # Each attempt to charge a card has a key of its own.
    "new-charge-keys": [(Gateway, "charge", _charge_anew)],
    # A web process charges the card of an order that it places before this is committed.
    "charged-before-commit": [(Executor, "lease_new", _charge_at_once)],
    # No worker finds sagas that a crash left behind, or whose pause is over.
    "no-recovery": [
        (store, "due_condition", lambda usual, of: f"lease_token = '' AND attempts = 0 AND {usual(of)}")
    ],
    # What is given up is not cancelled at the gateway: the card's owner may approve it later.
    "uncancelled": [(charging, "_cancel_charge", lambda usual, key: GatewayResult(status="cancelled"))],
    # When an owner's action ends is not recorded, so each look-up moves it: nothing gives it up.
    "forgotten-action": [(payment_states, "require_action", lambda usual, payment_id, **of: True)],
    # The gate grants by itself: an admitted account is answered a coupon that no row has.
    "gate-without-row": [(redis_gate, "_allocate", _grant)],
    # A ticket is answered as soon as Redis has it; only an issuer writes its row.
    "tickets-in-redis-alone": [(tickets, "write", _answer_tickets)],
    # A partner that gave no answer counts as one that has registered the code.
    "silence-is-consent": [(confirmation, "_register", _register)],
    # An order that names the code of a sold-out campaign gets one more coupon made for it.
    "endless-shared-code": [(coupon_requests, "_read_shared", _read_shared)],
    # What is decided may be decided once more; else the reference of the approval refuses the second grant.
    "approved-again": [
        (approvals, "_read_waiting", lambda usual, id, **of: Approval.objects.get(pk=id)),
        (ledger, "grant", _grant_anew),
    ],
    # Each event is delivered by itself, also while an earlier one of its order waits.
    "overtaking-events": [(delivery_pass, "_order_key", lambda usual, row: str(row.event_id))],
    # What an endpoint did not take is not tried again.
    "forgotten-failures": [(delivery_pass, "_apply", _apply)],
}
"""What each replaces, where, and by what, which gets it first."""


def plant(defect: str) -> None:
    """For good, in this process."""
    for of, name, by in DEFECTS[defect]:
        usual = getattr(of, name)
        setattr(of, name, lambda *given, by=by, usual=usual, **named: by(usual, *given, **named))
