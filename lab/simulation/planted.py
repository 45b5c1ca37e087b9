"""Planted defects, each of which the simulation has to find: `make simulate PLANTED=early-reply`. Each
function stands in the place of another one, which it gets first, and names the promise that it breaks."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

from django.db.models import F

from accounts.operating import approvals
from coupons import coupon_requests, gate
from coupons.allocation.outcomes import Issued, IssueRequest, Queued
from coupons.models import Campaign, Coupon, QueueTicket
from coupons.partners import confirmation
from coupons.partners.contract import NoAnswer, PartnerReply
from coupons.queue import tickets
from coupons.strategies import redis_gate
from events.webhooks import delivery_pass
from foundation.approval_models import Approval
from lab.simulation import world
from lab.simulation.outside import Gateway
from orders.payment import charging
from orders.saga import rows as saga_rows
from orders.saga.run import Executor
from payments import ledger, rows as payment_rows
from payments.gateways.contract import GatewayResult

numbers = count()
Usual = Callable[..., Any]  # what is replaced


def reply_early(usual: Usual, lost: str) -> None:
    """What was answered is there: a COMMIT that never arrived counts as done."""
    if lost == "reply":
        usual(lost)


def charge_anew(usual: Usual, gateway: Gateway, *, key: str, **terms: Any) -> Any:
    """An order is charged once: each attempt to charge a card has a key of its own."""
    return usual(gateway, key=f"{key}-{next(numbers)}", **terms)


def charge_at_once(usual: Usual, executor: Executor, sagas: Any) -> Any:
    """Nothing is called before it is committed: the card of an order is charged where this is placed."""
    leased = usual(executor, sagas)
    for call in charging.charge(leased):
        call()
    return leased


def recover_none(usual: Usual, cells: Any) -> str:
    """Everything ends: no worker finds sagas that a crash left behind, or whose pause is over."""
    return f"lease_token = '' AND attempts = 0 AND {usual(cells)}"


def cancel_nothing(usual: Usual, key: str) -> GatewayResult:
    """An order that ended unpaid is not charged: what is given up stays at the gateway, where the card's
    owner may approve it later."""
    return GatewayResult(status="cancelled")


def forget_action(usual: Usual, payment_id: Any, **terms: Any) -> bool:
    """Everything ends: when an owner's action ends is not recorded, so each look-up moves it."""
    return True


def grant_without_row(usual: Usual, campaign_id: int, requests: Sequence[IssueRequest]) -> list[Issued]:
    """A coupon that was answered has a row: the gate grants by itself."""
    campaign = Campaign.objects.get(pk=campaign_id)
    gate.record_results(campaign, members={request.user_id for request in requests}, refused={})
    granted = []
    for request in requests:
        granted.append(Issued(Coupon(campaign=campaign, code=f"GATE-{request.user_id}"), is_new=True))
    return granted


def answer_tickets(usual: Usual, campaign_id: int, positions: Sequence[Any]) -> list[Queued]:
    """A ticket that was answered has a row: only an issuer writes it, once Redis has it."""
    answered = []
    for position in positions:
        ticket = QueueTicket(
            campaign_id=campaign_id,
            id=position.ticket_id,
            account_id=position.user_id,
            number=position.number,
            created_at=position.at,
        )
        answered.append(Queued(ticket, ahead=0))
    return answered


def take_silence_for_consent(usual: Usual, slot: Any) -> Any:
    """A code is the partner's, too: a partner that gave no answer counts as one that has registered it."""
    answer = usual(slot)
    if isinstance(answer, NoAnswer):
        return PartnerReply.REGISTERED
    return answer


def extend_full_campaigns(usual: Usual, codes: Sequence[str], *requests: Any, lock: bool) -> Any:
    """No more coupons than there are: an order that names the code of a sold-out campaign gets one more."""
    Campaign.objects.filter(shared_code__in=codes, quantity=F("issued")).update(quantity=F("quantity") + 1)
    return usual(codes, *requests, lock=lock)


def read_decided(usual: Usual, id: int, **terms: Any) -> Approval:
    """What is decided is decided once: it may be decided once more."""
    return Approval.objects.get(pk=id)


def grant_anew(usual: Usual, *, reference: str, **terms: Any) -> Any:
    """The same: else the reference of the approval would refuse the second grant."""
    return usual(reference=f"{reference} {next(numbers)}", **terms)


def order_by_event(usual: Usual, row: Any) -> str:
    """An order's events come in sequence: each is delivered also while an earlier one of its order waits."""
    return str(row.event_id)


def forget_failure(usual: Usual, endpoint: Any, limits: Any, row: Any, attempt: Any, now: Any) -> Any:
    """Each event is delivered: what an endpoint did not take is not tried again."""
    return usual(endpoint, limits, row, attempt._replace(error=""), now)


class Replacement(NamedTuple):
    """The function of this name, of a module or a class, and what stands in its place."""

    owner: Any
    name: str
    by: Usual

    def make(self) -> None:
        usual = getattr(self.owner, self.name)

        def replaced(*given: Any, **named: Any) -> Any:
            return self.by(usual, *given, **named)

        setattr(self.owner, self.name, replaced)


DEFECTS = {
    "early-reply": [Replacement(world, "say_lost", reply_early)],
    "new-charge-keys": [Replacement(Gateway, "charge", charge_anew)],
    "charged-before-commit": [Replacement(Executor, "lease_new", charge_at_once)],
    "no-recovery": [Replacement(saga_rows, "due_condition", recover_none)],
    "uncancelled": [Replacement(charging, "_cancel_charge", cancel_nothing)],
    "forgotten-action": [Replacement(payment_rows, "require_action", forget_action)],
    "gate-without-row": [Replacement(redis_gate, "_allocate", grant_without_row)],
    "tickets-in-redis-alone": [Replacement(tickets, "write", answer_tickets)],
    "silence-is-consent": [Replacement(confirmation, "_register", take_silence_for_consent)],
    "endless-shared-code": [Replacement(coupon_requests, "_read_shared", extend_full_campaigns)],
    "approved-again": [
        Replacement(approvals, "_read_waiting", read_decided),
        Replacement(ledger, "grant", grant_anew),
    ],
    "overtaking-events": [Replacement(delivery_pass, "_order_key", order_by_event)],
    "forgotten-failures": [Replacement(delivery_pass, "_apply", forget_failure)],
}


def plant(defect: str) -> None:
    """For good, in this process."""
    for replacement in DEFECTS[defect]:
        replacement.make()
