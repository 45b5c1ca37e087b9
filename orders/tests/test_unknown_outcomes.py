"""Charges of unknown outcome: lookups, holdings, cancellation. Away: the gateway, or the database."""

import logging
import os
import signal
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts.tests.clients import client_of
from foundation import clock
from foundation.observability import gauges
from foundation.operations import dispatch
from foundation.redis import completion_notifications
from foundation.tests.hung_server import relayed
from foundation.tests.instants import from_now
from foundation.tests.racing import race, wait_until
from foundation.tests.waiting import within
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import tasks
from orders.models import Order, Saga
from orders.payment import gateway_events
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, stepping
from orders.tests.buying import saga_of
from orders.tests.conftest import start_worker
from orders.tests.listening import Killed
from orders.tests.owners import charge_of, kept_amount, order, payment_of, time_is_over
from payments import ledger
from payments.gateways import calls, gateway, simulator
from payments.gateways.contract import GatewayResult
from payments.models import Payment
from payments.tests import events
from payments.tests.own_gateway import SimulatorBut, nobody_there, use
from scripts.stack import children
from scripts.tests.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def quick(settings):
    """Shortens the time-outs."""
    settings.GATEWAY_TIMEOUT_SECONDS = 0.3


class CannotCancel(SimulatorBut):
    """It can't promise that no charge of a key will arrive."""

    def cancel(self, *, key: str) -> GatewayResult:
        return GatewayResult(status="unsupported")


@pytest.fixture
def cannot_cancel(monkeypatch):
    use(CannotCancel(), monkeypatch)


def test_a_payment_whose_gateway_is_known_to_be_away_is_tried_soon_after_it_is_back():
    """A call that isn't made counts as no attempt: after many of them the pause would be minutes."""
    placed, before = order("tok_ok"), clock.now()
    for _ in range(calls.FAILURES_TO_OPEN):
        calls.breaker("simulator").record_failure()
    for _ in range(12):
        calls.breaker("simulator").record_failure()
        stepping.advance(placed.started.saga.id)
    saga = saga_of(placed)
    assert (saga.attempts, saga.state, saga.lease_token) == (0, "running", "")
    assert "not reachable" in saga.last_error
    assert before < saga.next_attempt_at <= from_now(seconds=8)
    calls.forget()
    assert stepping.advance(placed.started.saga.id) == "done"
    assert kept_amount(placed) == placed.order.card_amount


def test_it_is_looked_up_from_a_second_to_five_minutes_apart_with_jitter(settings):
    placed = order("tok_ok")
    Saga.objects.update(deadline_at=from_now(days=1))
    pauses = []
    with nobody_there(settings):
        for _ in range(13):
            # Each call is made, and gets no answer.
            calls.forget()
            stepping.advance(saga_of(placed).id)
            later = saga_of(placed).next_attempt_at
            pauses.append((later - timezone.now()).total_seconds())
    assert all(0.5 * 2**turn - 1 <= pause <= 2**turn for turn, pause in enumerate(pauses[:9]))
    assert all(149 <= pause <= 300 for pause in pauses[9:])
    assert len({round(pause / 300, 3) for pause in pauses[9:]}) > 1
    assert payment_of(placed).status == "in_doubt"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("token", "end"),
    [
        ("tok_error", "failed"),
        ("tok_timeout_lost", "failed"),
        ("tok_timeout_charged", "reversed"),
        ("tok_webhook", "failed"),
    ],
)
def test_after_the_deadline_it_is_cancelled_by_key_and_nothing_is_kept(token, end, settings):
    placed = order(token)
    buying.advance(placed)
    time_is_over(placed)
    with nobody_there(settings):
        buying.advance(placed)
    buying.settle_everything()
    assert buying.status_of(placed) == "payment_failed"
    payment = payment_of(placed)
    assert (payment.status, payment.failure_code) == (end, "gave_up")
    # An attempt that is still in flight can't succeed any more.
    gateway().charge(
        key=payment.charge_key, token=token, amount=500, currency="KRW", order_id=placed.order.id
    )
    assert [one.kept_amount for one in gateway().charges(key=payment.charge_key)] == [0]


@pytest.fixture
def given_up(cannot_cancel, settings):
    """An order that is given up, whose charge the gateway, which was away, can't cancel."""
    placed = order("tok_ok")
    with nobody_there(settings):
        buying.advance(placed)
    time_is_over(placed)
    Saga.objects.update(direction="undo", failure_code="gave_up")
    return placed


def test_a_gateway_that_can_not_cancel_leaves_it_in_doubt_and_raises_the_alarm(given_up, caplog):
    placed = given_up
    with caplog.at_level(logging.ERROR):
        assert buying.advance(placed).status == "paying"
    stuck = saga_of(placed)
    assert (stuck.state, stuck.ended_at) == ("stuck", None)
    assert "unsupported" in stuck.last_error
    assert payment_of(placed).status == "in_doubt"
    assert "saga is stuck" in caplog.text
    assert b'firstcome_sagas_stuck{kind="purchase"} 1.0' in gauges.exposition()
    assert Product.objects.get().reserved == 1


@pytest.mark.usefixtures("cannot_cancel")
def test_a_pending_payment_is_in_doubt_once_its_saga_is_stuck():
    placed = order("tok_webhook")
    assert buying.advance(placed).status == "paying"
    assert payment_of(placed).status == "pending"
    time_is_over(placed)
    assert buying.advance(placed).status == "paying"
    assert (saga_of(placed).state, payment_of(placed).status) == ("stuck", "in_doubt")
    wait_until(lambda: charge_of(payment_of(placed)).status == "succeeded")
    assert buying.advance(placed).status == "payment_failed"
    assert payment_of(placed).status == "reversed", "it was charged, but the reply was lost"
    assert [one.kept_amount for one in gateway().charges(order_id=placed.order.id)] == [0]


@pytest.mark.parametrize(("token", "kept"), [("tok_ok", "succeeded"), ("tok_declined", "declined")])
def test_the_late_reply_of_such_a_gateway_ends_it(token, kept, given_up):
    placed, payment = given_up, payment_of(given_up)
    buying.advance(placed)
    late = simulator.charge(
        key=payment.charge_key, token=token, amount=500, currency="KRW", order_id=placed.order.id
    )
    assert late.status == kept
    event = events.take(type=f"charge.{kept}", key=payment.charge_key)
    assert gateway_events.handle(event.id)
    assert buying.status_of(placed) == "payment_failed"
    assert payment_of(placed).status == ("reversed" if kept == "succeeded" else "failed")
    assert [one.kept_amount for one in gateway().charges(order_id=placed.order.id)] == [0]
    assert Product.objects.get().reserved == 0


@contextmanager
def frozen(gateway: Simulator):
    """Freezes the gateway: it accepts connections and never replies."""
    os.kill(gateway.child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(gateway.child.pid, signal.SIGCONT)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("has_ended", [False, True])
def test_while_the_gateway_hangs_other_sagas_advance_and_afterwards_all_continue(
    own_gateway, settings, has_ended
):
    placed = [order("tok_ok") for _ in range(calls.FAILURES_TO_OPEN + 5)]
    with nobody_there(settings) if has_ended else frozen(own_gateway):
        for one in placed[: calls.FAILURES_TO_OPEN]:
            buying.advance(one)
        with within(5 * 0.3):
            for one in placed[calls.FAILURES_TO_OPEN :]:
                buying.advance(one)
        assert {buying.status_of(one) for one in placed} == {"paying"}
        assert {payment_of(one).status for one in placed} == {"in_doubt"}
        assert "not reachable" in saga_of(placed[-1]).last_error
        assert buying.broken_laws()[0].law == "L9"
    wait_until(lambda: gateway().find(key="unknown").status == "absent")
    buying.settle_everything()
    assert {buying.status_of(one) for one in placed} == {"paid"}


@pytest.mark.boots("a worker", in_first_circle=True)
def test_a_worker_recovers_by_itself_when_the_gateway_is_back(own_gateway, tmp_path):
    """With 4 threads and a time-out of 3 s orders would queue; the circuit breaker prevents that."""
    worker = start_worker(tmp_path / "worker.log", own_gateway)

    def is_paid_after_a_beat():
        dispatch.enqueue(tasks.advance)
        return {buying.status_of(one) for one in placed} == {"paid"}

    try:
        with frozen(own_gateway):
            placed = [order("tok_ok") for _ in range(30)]
            dispatch.enqueue(tasks.advance)
            wait_until(lambda: Saga.objects.filter(attempts__gt=0).count() == 30, seconds=30)
            assert {buying.status_of(one) for one in placed} == {"paying"}
        wait_until(is_paid_after_a_beat, seconds=30)
    finally:
        children.stop(worker)
    calls.forget()


@pytest.fixture
def buyer():
    return buying.account(points=100)


def answer_while_losing_it(folder: Path, call: Callable[[], Any], *, once: Callable[[], bool]):
    """The answer to a call during which the database is lost, from `once()` until the answer."""
    with relayed(folder) as relay:

        def lose():
            wait_until(once)
            relay.close()

        answer, _ = race([call, lose])
    return answer


@pytest.mark.parametrize("path", ["/orders", "/payments", "/wallet/top-ups"])
def test_a_call_whose_payment_is_under_way_is_answered_as_started(path, buyer, tmp_path):
    product, api = ProductFactory(on_hand=2), client_of(buyer)
    unpaid = buying.order(buyer, product).id
    body = {
        "/orders": buying.order_of(product, "tok_ok"),
        "/payments": {"order": str(unpaid), "token": "tok_ok"},
        "/wallet/top-ups": {"amount": 500, "token": "tok_slow"},
    }[path]
    # What a call of this process started is committed once it waits; a top-up is charged by its own call.
    is_top_up = path == "/wallet/top-ups"
    headers = {} if is_top_up else {"Prefer": "wait=20"}
    charging, waiting = Saga.objects.exclude(lease_token="").exists, completion_notifications._waiting
    once = charging if is_top_up else lambda: bool(waiting)

    def call():
        return api.post(path, body, key="a", **headers)

    answer = answer_while_losing_it(tmp_path, call, once=once)

    payment = Payment.objects.get()
    started = ("paying", str(payment.order_id)) if path == "/orders" else ("pending", str(payment.id))
    assert (answer.status_code, answer.json()["status"], answer.json()["id"]) == (202, *started)
    assert answer["Location"] == f"/api/v1/{'orders' if path == '/orders' else 'payments'}/{started[1]}"
    buying.settle_everything()
    replayed = call()
    assert (replayed.status_code, replayed.json()["id"]) == (201, started[1])
    assert ledger.balance_amount(buyer.id) == (600 if is_top_up else 100)


def die_after_the_answer(placed: PlacedOrder, monkeypatch):
    """Charge the card by a worker that records nothing of it, not even an attempt."""
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(stepping, "failpoint", stepping.at("charge_card do called", Killed))
        buying.advance(placed)
    saga = saga_of(placed)
    assert (saga.attempts, saga.open_call) == (0, "charge_card do")


def recover(placed: PlacedOrder, *, is_overdue: bool) -> str:
    """The next worker advances the saga once the lease has lapsed, possibly a day later."""
    late: dict[str, Any] = {"deadline_at": clock.now()} if is_overdue else {}
    Saga.objects.update(leased_until=clock.now(), **late)
    buying.settle_everything()
    return buying.status_of(placed)


def test_a_day_later_with_the_key_forgotten_the_order_is_charged_once(own_stripe, monkeypatch, settings):
    """An order was charged twice, a day after its deadline."""
    settings.GATEWAY_TIMEOUT_SECONDS = 2
    placed = order("pm_card_visa")
    die_after_the_answer(placed, monkeypatch)
    own_stripe.forget_keys()

    assert recover(placed, is_overdue=True) == Order.Status.PAID

    assert (kept_amount(placed), len(list(gateway().charges()))) == (500, 1)


def test_a_charge_unknown_to_the_gateway_is_not_made_past_the_deadline(monkeypatch, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 0.3
    placed = order("tok_error")
    die_after_the_answer(placed, monkeypatch)

    assert recover(placed, is_overdue=True) == Order.Status.PAYMENT_FAILED

    assert kept_amount(placed) == 0
    assert Payment.objects.get().failure_code == "gave_up"


def test_a_charge_whose_worker_crashed_is_found_and_not_repeated(monkeypatch):
    placed = order("tok_ok")
    die_after_the_answer(placed, monkeypatch)
    assert recover(placed, is_overdue=False) == Order.Status.PAID
    assert kept_amount(placed) == 500
    assert Saga.objects.get().attempts == 1
