"""Events of gateways make sagas query the gateway; the content of an event is never trusted."""

from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings as bounds, strategies as some

from foundation.models import JournalLine
from foundation.tests.factories import reloaded, set_columns
from foundation.tests.instants import from_now
from foundation.tests.journal_lines import journal_line
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.second_connection import another_connection, ask, holding
from foundation.tests.servers import waiting_for_locks
from foundation.tests.waiting import in_background
from orders.models import Refund, Saga
from orders.payment import gateway_events
from orders.tests import buying, stepping
from orders.tests.listening import Killed
from orders.tests.owners import charge_of, order, payment_of, time_is_over
from payments import gateways, webhooks
from payments.gateways import gateway, simulator
from payments.models import Payment, WebhookEvent
from payments.tests import events
from payments.tests.own_gateway import SimulatorBut, change_book, nobody_there, on_its_page, use

pytestmark = pytest.mark.django_db(transaction=True)
LOCK_ORDER = "SELECT id FROM orders_order WHERE id = %s FOR UPDATE"
LOCK_PAYMENT = "SELECT id FROM payments_payment WHERE id = %s FOR UPDATE"
TYPES = ["charge.succeeded", "charge.declined", "charge.refunded"]


def failed() -> Payment:
    """The payment of an order whose card was declined."""
    placed = order("tok_declined")
    assert buying.advance(placed).status == "payment_failed"
    return payment_of(placed)


@pytest.fixture
def late(gateway_process):
    """A payment that failed, and that the gateway charged after it had declined it."""
    payment = failed()
    statement = (
        "UPDATE charges SET status = 'succeeded', token = 'tok_ok', failure = NULL,"
        " amount = ?, order_id = ?, currency = 'KRW' WHERE key = ?"
    )
    values = [payment.card_amount, str(payment.order_id), payment.charge_key]
    assert change_book(gateway_process[1], statement, values) == 1
    return payment


def left_alone():
    """Postpone all sagas, so that only an event advances them."""
    Saga.objects.filter(ended_at__isnull=True).update(next_attempt_at=timezone.now().replace(year=2100))


def late_refunds() -> list[tuple[str, Any]]:
    lines = JournalLine.objects.filter(what="charge.late_refunded")
    return [(line.subject, line.after) for line in lines]


def test_an_event_advances_the_saga_that_waits_for_it():
    placed = order("tok_webhook")
    assert buying.advance(placed).status == "paying"
    payment = payment_of(placed)
    assert payment.status == "pending"
    left_alone()
    early = events.take(key=payment.charge_key)
    assert not gateway_events.handle(early.id)
    assert payment_of(placed).status == "pending"
    wait_until(lambda: charge_of(payment).status == "succeeded")
    left_alone()
    event = events.take(key=payment.charge_key)
    assert gateway_events.handle(event.id)
    assert payment_of(placed).status == "succeeded"
    assert buying.status_of(placed) == "paid"
    assert gateway_events.handle(early.id)


def test_an_event_that_arrives_while_the_saga_is_advanced_is_retried_afterwards():
    """The running executor may have queried the gateway before the charge was settled."""
    placed = order("tok_ok")
    sagas = Saga.objects.filter(id=placed.started.saga.id)
    sagas.update(lease_token="another executor", leased_until=from_now(minutes=1))
    event = events.take(key=payment_of(placed).charge_key)
    assert not gateway_events.handle(event.id)
    waiting = webhooks.get_unhandled(event.id)
    assert waiting and waiting.outcome == "the payment is pending"
    sagas.update(leased_until=None)
    assert gateway_events.handle(event.id)
    assert buying.status_of(placed) == "paid"


@pytest.mark.parametrize("token", ["tok_ok", "tok_declined"])
@pytest.mark.parametrize("type", TYPES)
def test_the_content_of_an_event_is_never_trusted(token, type):
    placed = order(token)
    event = events.take(type=type, key=payment_of(placed).charge_key, amount=7, charge="ch_of_somebody")
    assert gateway_events.handle(event.id)
    ends = {"tok_ok": "paid", "tok_declined": "payment_failed"}
    assert buying.status_of(placed) == ends[token]


def test_a_charge_that_succeeds_after_the_payment_ended_is_refunded_once(late, caplog):
    assert [law.law for law in buying.broken_laws()] == ["L9"]
    taken = [events.take(type=type, key=late.charge_key).id for type in TYPES * 4]
    assert race_each(gateway_events.handle, taken) == [True] * len(taken)
    found = charge_of(late)
    assert (found.amount, found.refunded_amount) == (500, 500)
    assert late_refunds() == [(f"payment {late.id}", {"amount": 500})]
    line = journal_line("charge.late_refunded")
    assert (line.order_id, line.reference, line.actor) == (late.order_id, found.reference, "system")
    [refund] = Refund.objects.all()
    assert (refund.order_id, refund.source, refund.status) == (late.order_id, "late_charge", "succeeded")
    assert (refund.amount, refund.card_amount) == (500, 500)
    assert "orphaned charge" in caplog.text
    assert late.status == reloaded(late).status == "failed"


def test_a_late_charge_whose_refund_fails_is_refunded_later(late, gateway_process):
    change_book(gateway_process[1], "UPDATE charges SET token = 'tok_refund_fails'")
    event = events.take(key=late.charge_key)
    assert [gateway_events.handle(event.id) for _ in range(3)] == [False, False, True]
    assert charge_of(late).refunded_amount == 500
    assert len(late_refunds()) == 1


def test_a_late_refund_whose_worker_crashed_is_recorded_by_the_next(late, monkeypatch):
    class Deadly(SimulatorBut):
        """A crash of the caller before the reply to a refund."""

        def refund(self, **asked):
            assert simulator.refund(**asked).status == "succeeded"
            raise Killed

    event = events.take(key=late.charge_key)
    with monkeypatch.context() as struck, pytest.raises(Killed):
        use(Deadly(), struck)
        gateway_events.handle(event.id)
    assert late_refunds() == []
    assert gateway_events.handle(event.id)
    assert late_refunds() == [(f"payment {late.id}", {"amount": 500})]


def test_while_the_gateway_is_unavailable_an_event_is_postponed(settings):
    event = events.take(key=failed().charge_key)
    with nobody_there(settings):
        assert not gateway_events.handle(event.id)
    waiting = webhooks.get_unhandled(event.id)
    assert waiting and waiting.outcome == "the gateway says unknown"
    assert gateway_events.handle(event.id)


@pytest.mark.parametrize(
    ("claims", "outcome"),
    [
        ({"type": "charge.captured", "key": "payment-1"}, "events of this type are ignored"),
        ({"key": "payment-1"}, "no payment has this key"),
        ({"key": ""}, "no payment has this key"),
    ],
)
def test_an_event_without_effect_is_handled_with_the_reason(claims, outcome):
    event = events.take(**claims)
    assert gateway_events.handle(event.id)
    assert reloaded(event).outcome == outcome


def test_a_gateway_that_does_not_find_the_charge_of_its_event_is_queried_for_a_while():
    """The search of some gateways lags; after a restore there may really be no charge."""
    placed = order("tok_error")
    payment = payment_of(placed)
    set_columns(payment, status="failed", settled_at=timezone.now(), token="")
    set_columns(placed.started.saga, state="compensated", ended_at=timezone.now(), next_attempt_at=None)
    event = events.take(key=payment.charge_key)
    assert not gateway_events.handle(event.id)
    set_columns(event, attempts=gateway_events.MAX_ABSENT_LOOKUPS)
    assert gateway_events.handle(event.id)


def test_an_event_advances_a_postponed_refund():
    placed = order("tok_refund_fails")
    assert buying.advance(placed).status == "paid"
    started = buying.refund(placed.order)
    assert buying.execute_refund(started).status == "pending"
    left_alone()
    for _ in range(2):
        event = events.take(type="charge.refunded", key=payment_of(placed).charge_key)
        assert gateway_events.handle(event.id)
    assert buying.status_of(placed) == "refunded"


def test_an_event_whose_worker_crashes_is_handled_by_the_next(monkeypatch):
    placed = order("tok_ok")
    event = events.take(key=payment_of(placed).charge_key)

    with monkeypatch.context() as struck, pytest.raises(Killed):
        struck.setattr(stepping, "failpoint", stepping.at("charge_card do called", Killed))
        gateway_events.handle(event.id)
    waiting = webhooks.get_unhandled(event.id)
    assert waiting and waiting.next_attempt_at
    Saga.objects.update(leased_until=None)
    WebhookEvent.objects.update(next_attempt_at=event.received_at)
    assert webhooks.dequeue_due(limit=10) == [event.id]
    assert gateway_events.handle(event.id)
    assert buying.status_of(placed) == "paid"
    assert [one.kept_amount for one in gateway().charges(key=event.charge_key)] == [500]


MOVES = [
    "succeeded", "succeeded again", "declined", "refunded", "unknown type", "drive", "time is over", "sweep",
]  # fmt: skip


@pytest.mark.parametrize("token", ["tok_ok", "tok_declined", "tok_timeout_charged", "tok_error"])
def test_events_in_any_order_have_one_outcome(token, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 0.3

    @bounds(
        max_examples=5,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @example(moves=MOVES)
    @example(moves=MOVES[::-1])
    @given(moves=some.permutations(MOVES))
    def happen(moves):
        placed = order(token)
        payment = payment_of(placed)
        succeeded = events.body_of(key=payment.charge_key)
        for move in moves:
            _move(move, placed, payment.charge_key, succeeded)
        buying.settle_everything()
        _handle_everything()
        is_paid = buying.order_now(placed).status == "paid"
        assert is_paid == (payment_of(placed).status == "succeeded")
        kept = sum(one.kept_amount for one in gateway().charges(key=payment.charge_key))
        assert kept == (500 if is_paid else 0)
        assert not (is_paid and token in ("tok_declined", "tok_error"))
        assert late_refunds() == []
        assert buying.broken_laws() == []

    happen()


def _move(move, placed, key, succeeded):
    match move:
        case "succeeded" | "succeeded again":
            gateway_events.handle(events.take(succeeded).id)
        case "declined" | "refunded":
            gateway_events.handle(events.take(type=f"charge.{move}", key=key).id)
        case "unknown type":
            assert gateway_events.handle(events.take(type="charge.captured", key=key).id)
        case "drive":
            stepping.advance(placed.started.saga.id)
        case "time is over":
            time_is_over(placed)
        case "sweep":
            _handle_everything()


def _handle_everything():
    for event_id in WebhookEvent.objects.filter(handled_at__isnull=True).values_list("id", flat=True):
        gateway_events.handle(event_id)


def test_concurrent_events_and_executors_charge_once():
    placed = order("tok_ok")
    saga_id, key = placed.started.saga.id, payment_of(placed).charge_key
    ids = [events.take(type=type, key=key).id for type in TYPES * 3]
    race([*(lambda id=id: gateway_events.handle(id) for id in ids), *[lambda: stepping.advance(saga_id)] * 3])
    buying.settle_everything()
    _handle_everything()
    assert WebhookEvent.objects.filter(handled_at__isnull=True).count() == 0
    assert buying.status_of(placed) == "paid"
    assert [one.kept_amount for one in gateway().charges(key=key)] == [500]


def test_a_late_charge_of_which_the_gateway_gave_a_part_back_is_refunded_the_rest(late):
    """Also where that part was given back between an attempt that failed and the next.

    A part that is disputed is refunded once the dispute is won; its refund had the key of the one before, of
    as much, and was taken for it.
    """
    reference = charge_of(late).reference
    simulator.refund(key=f"orphan-{reference}-0-500", charge_reference="ch_unknown", amount=500)
    on_its_page("/refunds", charge=reference, amount=200)
    opened = on_its_page("/disputes", charge=reference, amount=150)
    parts = []
    for type, before in (("charge.refunded", 200), ("charge.disputed", 0), ("dispute.closed", 350)):
        parts += [{"amount": 150, "refunded_before_amount": before}] if before else []
        if type == "dispute.closed":
            on_its_page(f"/disputes/{opened['id']}/close", status="won")
        assert gateway_events.handle(events.take(type=type, key=late.charge_key).id)
        assert late_refunds() == [(f"payment {late.id}", part) for part in parts]
    assert charge_of(late).refunded_amount == 500
    assert [refund.amount for refund in Refund.objects.all()] == [150, 150]


def test_a_late_refund_locks_the_order_and_no_payment_before_it(late):
    """It locked the payment first: bookings, which lock the order before it, met it in a deadlock."""
    event = events.take(key=late.charge_key)
    with another_connection() as watching, holding(LOCK_ORDER, late.order_id.hex) as other:
        handled = in_background(lambda: gateway_events.handle(event.id))
        wait_until(lambda: waiting_for_locks(watching, tables="orders_") > 0)
        assert ask(other, f"{LOCK_PAYMENT} NOWAIT", late.id.hex)
    assert handled.result(timeout=20)


@pytest.mark.parametrize("end", ["", "lost"])
def test_a_compensation_refunds_what_the_gateway_has_left(end, unlawful):
    """It used to be retried for good: the gateway declines a refund of more than is left.

    A charge that is disputed is not refunded: the shop may win.
    """
    payment = payment_of(order("tok_ok"))
    asked = {"key": payment.charge_key, "token": "tok_ok", "amount": 500, "currency": "KRW", "order_id": None}
    charged = gateway().charge(**asked)
    on_its_page("/refunds", charge=charged.reference, amount=200)
    undo = {"key": "undo", "charge_key": payment.charge_key, "charge_reference": charged.reference}
    if end:
        opened = on_its_page("/disputes", charge=charged.reference)
        assert gateways.refund_rest(payment.books, **undo, amount=500).status == "declined"
        on_its_page(f"/disputes/{opened['id']}/close", status=end)
    for _ in range(2):
        assert gateways.refund_rest(payment.books, **undo, amount=500).status == "succeeded"
    assert charge_of(payment).refunded_amount == (200 if end else 500)
