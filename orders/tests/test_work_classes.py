"""Classes of work: each has places that another's arrivals can't take, and what is put off is counted."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from coupons.models import Coupon
from coupons.tests.factories import accounts
from foundation import clock
from foundation.repeated_work import RepeatedWork
from foundation.tests.factories import reloaded, set_columns
from foundation.tests.instants import ago, from_now
from foundation.tests.racing import race_each, wait_until
from foundation.tests.second_connection import holding
from inventory.tests.factories import ProductFactory
from orders import audit
from orders.metrics import state
from orders.models import Order, Saga, SagaLog
from orders.placement.decisions import PlacedOrder
from orders.saga import backlog, batch, rows as saga_rows, run
from orders.saga.definitions import Event, StepResult, WorkClass
from orders.saga.run import POOL_SIZES, Executor, ThreadPools
from orders.tests import buying, stepping
from orders.tests.buying import saga_of
from orders.tests.owners import payment_of
from payments import webhooks
from payments.gateways import simulator
from payments.gateways.contract import GatewayResult
from payments.models import LedgerAccount
from payments.rows import is_webhook_due
from payments.tests import events
from payments.tests.own_gateway import SimulatorBut, nobody_there, use

pytestmark = pytest.mark.django_db(transaction=True)
NEW, AGAIN, REFUND, RECOVERY = WorkClass.NEW, WorkClass.AGAIN, WorkClass.REFUND, WorkClass.RECOVERY


@pytest.fixture
def product():
    return ProductFactory(on_hand=1_000, price=500)


def place(product, buyer: int | None = None) -> PlacedOrder:
    return buying.place(buyer or buying.account().id, product, token="tok_ok")


def paid(product, count: int) -> list[PlacedOrder]:
    placed = [place(product) for _ in range(count)]
    assert {buying.advance(one).status for one in placed} == {"paid"}
    return placed


class SlowGateway(SimulatorBut):
    """Charges take so many seconds; `looked_up` has the keys of the charges that were looked up."""

    def __init__(self, seconds):
        self.seconds, self.charged, self.looked_up = seconds, 0, list[str]()

    def charge(self, *, key: str, **more) -> GatewayResult:
        self.charged += 1
        time.sleep(self.seconds)
        return simulator.charge(key=key, **more)

    def find(self, *, key: str) -> GatewayResult:
        self.looked_up.append(key)
        return simulator.find(key=key)


# Buyers' new payments, and what is due again


def in_doubt(product) -> PlacedOrder:
    """A payment whose worker died after its call."""
    placed = place(product)
    past = ago(seconds=30)
    set_columns(
        placed.started.saga,
        open_call="charge_card do",
        lease_token="dead",
        leased_until=past,
        next_attempt_at=past,
        work_class=RECOVERY,
    )
    return placed


def test_a_payment_in_doubt_is_looked_up_whatever_else_arrives(
    threaded, product, monkeypatch, own_gateway, settings
):
    """In 12 seconds of arrivals 148 charges began, and it was not looked up once."""
    settings.OPEN_ORDERS_PER_ACCOUNT = 1_000
    monkeypatch.setattr(run, "SHARES", {NEW: 4, AGAIN: 2, REFUND: 1, RECOVERY: 2})
    monkeypatch.setattr(run, "KEPT_FREE", 1)
    use(slow := SlowGateway(0.25), monkeypatch)
    buyers, stop = accounts(8), threading.Event()

    def keep_a_backlog():
        while not stop.is_set():
            waiting = Saga.objects.filter(work_class=NEW, lease_token="", ended_at=None).count()
            for buyer in buyers[: 12 - waiting]:
                place(product, buyer)
            time.sleep(0.02)
        connections.close_all()

    for buyer in buyers:
        place(product, buyer)
    arrivals = threading.Thread(target=keep_a_backlog)
    arrivals.start()
    threaded.polls = True
    threaded.wake()
    wait_until(lambda: slow.charged > 8)
    seconds, before = [], slow.charged
    for _ in range(5):
        key = payment_of(in_doubt(product)).charge_key
        began_at = time.monotonic()
        wait_until(lambda key=key: key in slow.looked_up)
        seconds.append(time.monotonic() - began_at)
    assert slow.charged > before, "others began meanwhile"
    stop.set()
    arrivals.join()
    # As long as a busy machine takes; `make bench` measures it.
    assert sorted(seconds)[len(seconds) // 2] < 3
    assert threaded.finish(seconds=20)
    buying.settle_everything()


def test_an_approved_payment_is_looked_up_before_a_backlog_of_new_ones(threaded, product, monkeypatch):
    monkeypatch.setattr(run, "SHARES", {NEW: 2, AGAIN: 1, REFUND: 0, RECOVERY: 0})
    use(slow := SlowGateway(0.2), monkeypatch)
    for _ in range(20):
        place(product)
    approved = place(product)
    set_columns(
        approved.started.saga, open_call="charge_card do", next_attempt_at=clock.now(), work_class=AGAIN
    )
    threaded.wake()
    wait_until(lambda: slow.looked_up)
    assert slow.looked_up == [payment_of(approved).charge_key]
    assert slow.charged < 10
    wait_until(lambda: not Saga.objects.filter(ended_at=None).exists(), seconds=30)


# Refunds


def test_refunds_share_the_statements_of_a_batch(product):
    counts = []
    for count in (2, 8):
        started = [buying.refund(one.order) for one in paid(product, count)]
        with CaptureQueriesContext(connection) as captured:
            done = batch.advance(stepping.due(limit=99), token="one", failpoint=print)
            for saga in done.rows.values():
                saga.result = None
        counts.append(len(captured))
        buying.settle_everything()
        assert {reloaded(one.refund).status for one in started} == {"succeeded"}
    assert counts[0] == counts[1]


def test_refunds_of_one_order_and_of_others_settle_in_one_batch(threaded, own_gateway):
    first, second = ProductFactory.create_batch(2, on_hand=9, price=500)
    buyer = buying.account(points=300)
    code = buying.coupon_code(buyer, discount_value=100)
    both = buying.place(buyer, {first: 2, second: 1}, coupon=code, points=300, token="tok_ok")
    others = paid(second, 3)
    assert buying.advance(both).status == "paid"
    buying.refund(both.order, first)
    buying.refund(both.order, {first: 1, second: 1}, reason="All of it.")
    for one in others:
        buying.refund(one.order, restock=False)
    threaded.wake()
    wait_until(lambda: not Saga.objects.filter(ended_at=None).exists())
    assert {buying.status_of(one) for one in (both, *others)} == {"refunded"}
    for product, on_hand in ((first, 9), (second, 6)):
        product.refresh_from_db()
        assert (product.on_hand, product.reserved) == (on_hand, 0)
    assert Coupon.objects.get().status == "issued"
    assert buying.broken_laws() == []


def test_batches_of_refunds_and_of_purchases_of_the_same_rows_do_not_deadlock(own_gateway):
    """Each has two products, the orders name them the other way round, and all buyers pay with points."""
    products = ProductFactory.create_batch(2, on_hand=500, price=500)
    buyers = [buying.account(points=5_000).id for _ in range(4)]

    def order(number):
        wanted = dict.fromkeys(products if number % 2 else products[::-1], 1)
        return buying.place(buyers[number % 4], wanted, points=100, token="tok_ok")

    bought = [order(number) for number in range(24)]
    for one in bought:
        buying.advance(one)
    for number, one in enumerate(bought):
        buying.refund(one.order, reason=f"Reason {number % 5}.")
    fresh = [order(number) for number in range(24)]
    executors = [Executor(pools=ThreadPools(POOL_SIZES)) for _ in range(2)]
    race_each(lambda executor: executor.wake(), executors)
    for executor in executors:
        executor.polls = True
        executor.wake()
    wait_until(lambda: not Saga.objects.filter(ended_at=None).exists(), seconds=60)
    assert all(executor.finish(seconds=20) for executor in executors)
    assert {buying.status_of(one) for one in bought} == {"refunded"}
    assert {buying.status_of(one) for one in fresh} == {"paid"}
    assert Saga.objects.filter(attempts__gt=0).count() == 0
    assert buying.broken_laws() == []


def test_refunds_that_staff_ask_for_hold_no_purchase(product):
    for one in paid(product, 3):
        buying.refund(one.order)
    past = ago(seconds=5)
    Saga.objects.filter(kind="refund").update(created_at=past, next_attempt_at=past)
    until = from_now(seconds=10)
    live = saga_of(place(product))
    set_columns(live, lease_token="live", leased_until=until, next_attempt_at=until)
    assert backlog.oldest_waiting_seconds() == 0


# What is put off


@pytest.mark.usefixtures("unlawful")
def test_an_overdue_saga_whose_order_stays_locked_is_counted_and_stuck(threaded, product, own_gateway):
    """It was put off by ten seconds each time, uncounted: the law of overdue sagas was broken."""
    placed = place(product)
    long_ago = ago(seconds=audit.GRACE_SECONDS + 5)
    set_columns(placed.started.saga, deadline_at=long_ago)
    with holding("SELECT id FROM orders_order WHERE id = %s FOR UPDATE", placed.order.id.hex):
        threaded.wake()
        wait_until(lambda: saga_of(placed).state == "stuck", seconds=30)
        assert state.count_stuck()["purchase"] == 1
        assert audit.overdue_sagas_are_stuck().holds
        assert saga_of(placed).attempts == 1
        assert SagaLog.objects.filter(saga=placed.started.saga.id, event="failed", attempt=1).exists()
        assert payment_of(placed).status == "in_doubt"
    buying.settle_everything()
    assert buying.status_of(placed) == Order.Status.PAYMENT_FAILED
    assert buying.broken_laws() == []


def test_a_saga_that_is_put_off_rests_without_a_lease_and_in_its_class(product):
    placed = place(product)
    [found] = stepping.due(limit=9)
    failure = StepResult(Event.FAILED, "its order is locked")
    batch.put_off([found], failure, token="one", seconds=5)
    saga = saga_of(placed)
    assert (saga.state, saga.attempts, saga.lease_token) == ("running", 1, "")
    assert (saga.work_class, saga.last_error) == (AGAIN, "its order is locked")
    assert saga.next_attempt_at > clock.now()


# Its own alarm clock


@pytest.fixture
def looking(threaded):
    """A worker that nobody wakes: neither a message nor beat."""
    works = RepeatedWork(threaded.watch, name="saga watch", pause=threaded.seconds_to_next_watch)
    threaded.polls = True
    works.start()
    yield threaded.look
    works.stop(within_seconds=5)


def test_a_worker_advances_what_nobody_woke_it_for(looking, product, own_gateway):
    """Beat hung, and without traffic payments stayed `paying` past their deadline."""
    placed = place(product)
    wait_until(lambda: buying.status_of(placed) == "paid", seconds=5)


def test_a_retry_is_made_when_it_is_due(looking, threaded, product, own_gateway):
    placed = place(product)
    wait_until(lambda: buying.status_of(placed) == "paid", seconds=5)
    threaded.polls = False
    later = place(product)
    due_at = from_now(seconds=2.5)
    set_columns(later.started.saga, next_attempt_at=due_at, work_class=AGAIN)
    threaded.polls = True
    looking()
    assert 0 < threaded.seconds_to_next_watch() <= run.MOST_PAUSE_SECONDS
    wait_until(lambda: buying.status_of(later) == "paid", seconds=5)
    assert timedelta(0) <= saga_of(later).ended_at - due_at < timedelta(seconds=1)


# Clocks and gateways


def test_what_waits_for_an_instant_goes_on_though_the_clock_was_set_back(product, own_gateway):
    """A failover's clock was 15 minutes behind: sagas, and the leases of the dead, slept as long."""
    resting, leased = place(product), place(product)
    soon = from_now(seconds=9)
    set_columns(resting.started.saga, next_attempt_at=soon, work_class=AGAIN)
    set_columns(
        leased.started.saga, lease_token="dead", leased_until=soon, next_attempt_at=soon, work_class=RECOVERY
    )
    event = events.take(type="charge.succeeded", key=payment_of(resting).charge_key)
    assert stepping.due(limit=9) == []
    with clock.shifted(by=timedelta(minutes=-15)):
        assert saga_rows.is_any_due() and is_webhook_due()
        assert {saga.id for saga in stepping.due(limit=9)} == set(Saga.objects.values_list("id", flat=True))
        assert webhooks.dequeue_due(limit=9) == [event.id]
    buying.settle_everything()
    assert {buying.status_of(one) for one in (resting, leased)} == {"paid"}


@pytest.mark.usefixtures("unlawful")
def test_an_order_that_was_never_charged_ends_though_the_gateway_is_away(own_gateway, settings):
    """It was stuck in the undo of a charge that nobody had begun, and held its stock."""
    product = ProductFactory(on_hand=5, price=500)
    buyer = buying.account(points=300)
    placed = buying.place(buyer, product, points=300, token="tok_ok")
    LedgerAccount.objects.filter(id=buyer.id).update(balance_amount=0)
    with nobody_there(settings):
        assert buying.advance(placed).status == "payment_failed"
        product.refresh_from_db()
        assert product.reserved == 0
    assert SagaLog.objects.filter(saga=placed.started.saga.id, step="charge_card").count() == 2
    LedgerAccount.objects.filter(id=buyer.id).update(balance_amount=300)
    assert buying.broken_laws() == []
