"""Payments whose card's owner must act: the saga rests, and a webhook or a look-up moves it on."""

from functools import partial
from types import SimpleNamespace

import pytest

from coupons.models import Coupon
from foundation import clock
from foundation.db import transactions
from foundation.errors import Rejected
from foundation.tests.instants import ago, from_now
from foundation.tests.journal_lines import times_noted
from inventory.models import Product
from orders import cancellation, selectors
from orders.metrics import state
from orders.models import Saga, SagaLog
from orders.payment import charging, gateway_events, gateway_lookups
from orders.saga import backlog, run
from orders.tests import buying, hanging, owners, stepping
from orders.tests.owners import charge_of, decide, kept_amount, let_action_end, payment_of, saga_of, waiting
from payments import ledger, rows
from payments.gateways import gateway
from payments.gateways.contract import GatewayResult
from payments.models import Payment, WebhookEvent
from payments.tests import events
from payments.tests.own_gateway import nobody_there

pytestmark = pytest.mark.django_db(transaction=True)
ENDS = {"approve": ("paid", "succeeded", 500), "refuse": ("payment_failed", "failed", 0)}


def event_of(payment) -> WebhookEvent:
    """The gateway's webhook about the payment's charge, received."""
    return events.take(key=payment.charge_key)


def test_a_saga_that_waits_for_the_owner_has_no_lease_no_attempt_and_no_alarm(settings):
    settings.PAYMENT_ACTION_SECONDS, settings.PAYMENT_GIVE_UP_SECONDS = 600, 20
    placed = waiting()
    payment, saga = payment_of(placed), saga_of(payment_of(placed))
    assert abs((payment.action_expires_at - clock.now()).total_seconds() - 600) < 5
    assert (saga.attempts, saga.lease_token, saga.leased_until) == (0, "", None)
    assert (saga.state, saga.next_attempt_at) == ("running", payment.action_expires_at)
    assert saga.deadline_at > payment.action_expires_at
    assert not SagaLog.objects.filter(saga=saga, step="charge_card").exists()
    assert stepping.due(limit=10) == []
    assert selectors.count_needing_operator(most=10) == 0
    assert backlog.oldest_waiting_seconds() == 0
    assert state.read_in_doubt()[state.IN_DOUBT] == 0
    owners.order()
    found = Payment.objects.filter(rows.with_action())
    assert [payment.id for payment in found] == [payment_of(placed).id]
    let_action_end(payment.id)
    assert not found.all().exists()


def test_the_deadline_counts_from_the_action_on_and_is_moved_once(settings):
    settings.PAYMENT_ACTION_SECONDS, settings.PAYMENT_GIVE_UP_SECONDS = 60, 900
    placed = owners.order()
    Saga.objects.update(deadline_at=from_now(seconds=5))
    stepping.advance(placed.started.saga.id)
    payment = payment_of(placed)
    first = saga_of(payment)
    assert abs((first.deadline_at - clock.now()).total_seconds() - 900) < 5
    stepping.advance(first.id)
    again = saga_of(payment)
    assert (again.deadline_at, again.next_attempt_at) == (first.deadline_at, first.next_attempt_at)
    assert payment_of(placed).action_expires_at == payment.action_expires_at
    assert times_noted("charge_card.requires_action") == 1


def test_an_action_whose_commit_was_done_though_its_answer_was_lost_is_noted_once(monkeypatch):
    """The work is repeated, and finds the saga at rest."""
    run, lost = transactions.run, []

    def run_and_lose(work, mode, *more, **options):
        result = run(work, mode, *more, **options)
        if not lost and times_noted("charge_card.requires_action"):
            lost.append(work)
            result = run(work, mode, *more, **options)
        return result

    monkeypatch.setattr(transactions, "run", run_and_lose)
    placed = waiting()
    assert lost
    assert times_noted("charge_card.requires_action") == 1
    assert saga_of(payment_of(placed)).next_attempt_at == payment_of(placed).action_expires_at


@pytest.mark.parametrize("decision", ENDS)
def test_a_webhook_moves_it_on_and_the_order_holds_all_until_then(decision):
    buyer = buying.account(points=400)
    coupon = buying.coupon_code(buyer, discount_value=100)
    placed = waiting(buyer=buyer, coupon=coupon, points=100)
    buying.change_order(placed.order, expires_at=ago(minutes=1))
    cancellation.expire_due()
    with pytest.raises(Rejected, match="being paid"):
        buying.cancel(placed)
    assert Product.objects.get().reserved == 1
    assert Coupon.objects.get().status == "held"
    assert ledger.balance_amount(buyer.id) == 300
    payment = payment_of(placed)
    assert decide(payment, decision) == 303
    for event in [event_of(payment) for _ in range(2)]:
        assert gateway_events.handle(event.id)
    order_status, payment_status, kept = ENDS[decision]
    ended = payment_of(placed)
    assert (buying.status_of(placed), ended.status) == (order_status, payment_status)
    assert (ended.action_url, ended.token) == ("", "")
    assert ended.failure_code == ("authentication_failed" if decision == "refuse" else "")
    assert Product.objects.get().reserved == 0
    assert kept_amount(placed) == (kept and payment.card_amount)


def test_when_its_time_is_over_it_is_cancelled_at_the_gateway_and_compensated():
    placed = waiting(points=100)
    payment = payment_of(placed)
    let_action_end(payment.id)
    assert payment_of(placed).shown_status == "pending"
    assert buying.advance(placed).status == "payment_failed"
    ended = payment_of(placed)
    assert (ended.status, ended.failure_code) == ("failed", "action_expired")
    assert charge_of(payment).status == "cancelled"
    assert decide(payment, "approve") == 303
    assert kept_amount(placed) == 0
    assert Product.objects.get().reserved == 0
    assert ledger.balance_amount(placed.order.account_id) == 1_100


def test_an_approval_between_the_last_look_up_and_the_cancellation_is_refunded_once(monkeypatch):
    placed = waiting()
    payment = payment_of(placed)
    let_action_end(payment.id)

    approve_late = stepping.at("charge_card undo calling", partial(decide, payment, "approve"))
    monkeypatch.setattr(stepping, "failpoint", approve_late)
    assert buying.advance(placed).status == "payment_failed"
    assert payment_of(placed).status == "reversed"
    event = event_of(payment)
    assert gateway_events.handle(event.id)
    [charge] = gateway().charges(key=payment.charge_key)
    assert (charge.status, charge.refunded_amount, charge.kept_amount) == ("succeeded", 500, 0)


def test_a_webhook_before_the_saga_s_own_commit_is_handled_after_it(monkeypatch):
    """The owner is faster than the worker that records that they must act."""
    placed = owners.order()
    payment = payment_of(placed)
    received = []

    def approve_at_once():
        if not received:
            owners.decide_at(owners.page_of(payment), "approve")
            received.append(event_of(payment))
            # The saga is leased: the executor finds nothing.
            assert not gateway_events.handle(received[0].id)
            assert stepping.due(limit=10) == []

    with monkeypatch.context() as patched:
        patched.setattr(run, "process_executor", lambda: SimpleNamespace(wake=lambda: None))
        patched.setattr(stepping, "failpoint", stepping.at("charge_card do called", approve_at_once))
        assert buying.advance(placed).status == "paying"
    assert payment_of(placed).shown_status == "requires_action"
    assert gateway_events.handle(received[0].id)
    assert buying.status_of(placed) == "paid"


def test_a_gateway_that_is_away_meanwhile_leaves_the_action_and_its_end(settings):
    placed = waiting()
    payment = payment_of(placed)
    with nobody_there(settings):
        assert buying.advance(placed).status == "paying"
        assert payment_of(placed).shown_status == "requires_action", "the gateway is known to wait"
        let_action_end(payment.id)
        assert buying.advance(placed).status == "paying"
        assert payment_of(placed).shown_status == "in_doubt"
        assert buying.broken_laws()[0].law == "L9"
    buying.settle_everything()
    assert buying.status_of(placed) == "payment_failed"
    assert payment_of(placed).failure_code == "action_expired"


def test_an_operator_s_retry_looks_it_up_and_leaves_it_to_its_owner(settings):
    settings.PAYMENT_GIVE_UP_SECONDS = 20
    placed = waiting()
    payment = payment_of(placed)
    hanging.retry(saga_of(payment))
    assert buying.advance(placed).status == "paying"
    saga = saga_of(payment)
    assert (saga.next_attempt_at, saga.attempts) == (payment.action_expires_at, 0)
    assert saga.deadline_at > saga.next_attempt_at
    found = charge_of(payment)
    assert "card's owner" in gateway_lookups.in_words(found, payment)
    hanging.compensate(saga)
    assert buying.advance(placed).status == "payment_failed"
    assert charge_of(payment).status == "cancelled"


class LosingAnswers:
    """The gateway while it makes charges, and none of its answers arrives."""

    def charge(self, **asked) -> GatewayResult:
        gateway().charge(**asked)
        return GatewayResult(status="unknown")


@pytest.mark.parametrize("decision", [*ENDS, "leave"])
def test_a_charge_in_doubt_waits_for_its_owner_once_a_look_up_says_so_and_no_longer_than_any(
    decision, monkeypatch
):
    """Each look-up moved the action's end once more, because a payment in doubt did not record it."""
    placed = owners.order()
    with monkeypatch.context() as patched:
        patched.setattr(charging, "gateways", SimpleNamespace(of=lambda books: LosingAnswers()))
        assert buying.advance(placed).status == "paying"
    assert payment_of(placed).shown_status == "in_doubt"
    assert buying.advance(placed).status == "paying"
    payment, saga = payment_of(placed), saga_of(payment_of(placed))
    assert payment.shown_status == "requires_action"
    assert payment.action_url == owners.page_of(payment)
    assert buying.advance(placed).status == "paying"
    assert payment_of(placed).action_expires_at == payment.action_expires_at == saga.next_attempt_at
    assert saga_of(payment).deadline_at == saga.deadline_at
    if decision != "leave":
        decide(payment, decision)
    let_action_end(payment.id)
    assert [saga.id for saga in stepping.due(limit=10)] == [saga_of(payment).id]
    order_status, payment_status, kept = ENDS.get(decision, ("payment_failed", "failed", 0))
    assert buying.advance(placed).status == order_status
    assert (payment_of(placed).status, kept_amount(placed)) == (payment_status, kept)
    found = charge_of(payment).status
    assert found == {"approve": "succeeded", "refuse": "declined", "leave": "cancelled"}[decision]


def test_while_the_gateway_works_on_it_there_is_nothing_to_do_for_the_owner(monkeypatch):
    placed = waiting()
    payment, result = payment_of(placed), GatewayResult(status="pending", reference="ch_one")
    with monkeypatch.context() as patched:
        at_work = SimpleNamespace(find=lambda key: result)
        patched.setattr(charging, "gateways", SimpleNamespace(of=lambda books: at_work))
        assert buying.advance(placed).status == "paying"
        assert payment_of(placed).shown_status == "pending"
    assert buying.advance(placed).status == "paying"
    again = payment_of(placed)
    assert (again.shown_status, again.action_expires_at) == ("requires_action", payment.action_expires_at)
