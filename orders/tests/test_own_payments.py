"""A web process advances the payments that it begins: leased as they are inserted, one call, one batch.

What it doesn't finish, or has no place for, is the workers', by the path of recovery.
"""

import threading
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.tokens import token_pairs
from foundation import clock
from foundation.db import bulk_sql
from foundation.idempotency import recorded_answers
from foundation.operations import dispatch
from foundation.redis import completion_notifications
from foundation.tests.asgi_client import Answer, send_request_blocking
from foundation.tests.factories import AccountFactory
from foundation.tests.instants import ago
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race, wait_until
from inventory.tests.factories import ProductFactory, levels_of
from orders.models import Order, Saga
from orders.payment import purchase
from orders.placement.decisions import PlacedOrder
from orders.saga import backlog, rows as saga_rows, run
from orders.saga.definitions import LEASE_SECONDS, OF_WEB, WorkClass
from orders.saga.run import POOL_SIZES, SHARES, Executor, ThreadPools
from orders.tests import buying, owners, stepping
from orders.tests.buying import saga_of
from orders.tests.listening import Killed
from payments.gateways import gateway, simulator
from payments.gateways.contract import GatewayResult
from payments.tests.own_gateway import SimulatorBut, use

pytestmark = pytest.mark.django_db(transaction=True)
POINT = "new sagas committed"


@pytest.fixture
def product():
    return ProductFactory(on_hand=100, price=500)


@pytest.fixture
def own(monkeypatch):
    """This process's executor, with places for 4 sagas that it begins; tests step it."""
    executor = stepping.SteppedExecutor()
    executor.new_places = 4
    monkeypatch.setattr(run, "process_executor", lambda: executor)
    return executor


@pytest.fixture
def own_threads(monkeypatch):
    """The same with its threads."""
    executor = Executor(pools=ThreadPools(POOL_SIZES))
    executor.new_places = 4
    monkeypatch.setattr(run, "process_executor", lambda: executor)
    yield executor
    executor.new_places = 0
    assert executor.finish(seconds=20)


@pytest.fixture
def told(monkeypatch):
    """The tasks that workers are told of."""
    tasks = list[Any]()
    monkeypatch.setattr(dispatch, "enqueue_shared", tasks.append)
    return tasks


def place(product, **more) -> PlacedOrder:
    return buying.place(buying.account(points=500), product, **{"token": "tok_ok"} | more)


def step_all(executor: stepping.SteppedExecutor):
    while executor.pools.step():
        pass


def let_lease_end(placed: PlacedOrder):
    """The worker that looks next finds the lease lapsed."""
    Saga.objects.filter(id=placed.started.saga.id, ended_at=None).update(
        leased_until=clock.now(), next_attempt_at=clock.now()
    )


def charges() -> list[str]:
    return [charge.status for charge in gateway().charges()]


def charged_once(product, count=1):
    assert charges() == ["succeeded"] * count
    assert levels_of(product) == (100 - count, 0)
    assert set(Order.objects.values_list("status", flat=True)) == {"paid"}


def test_a_payment_is_leased_with_its_call_open_by_the_transaction_that_inserts_it(own, product):
    placed = place(product)
    saga = saga_of(placed)
    assert saga.lease_token == own._token
    assert (saga.open_call, saga.work_class) == ("charge_card do", WorkClass.RECOVERY)
    assert saga.next_attempt_at == saga.leased_until > clock.now()
    assert placed.started.saga.id not in [each.id for each in stepping.due(limit=10)]
    with CaptureQueriesContext(connection) as before_settled:
        assert own.pools.step()
    assert [query["sql"] for query in before_settled] == []
    step_all(own)
    charged_once(product)
    assert not own._sagas


def test_a_coupon_goes_with_the_call_and_points_are_held_by_workers(own, product):
    buyer = buying.account(points=1_000)
    coupon = buying.coupon_code(buyer, discount_value=100)
    with_coupon = buying.place(buyer, product, coupon=coupon, token="tok_ok")
    with_points = buying.place(buyer, product, points=100, token="tok_ok")
    points_alone = buying.place(buyer, product, points=500, token="")
    placed = [with_coupon, with_points, points_alone]
    assert [saga_of(one).lease_token for one in placed] == [own._token, "", ""]
    step_all(own)
    assert [buying.status_of(one) for one in placed] == ["paid", "paying", "paying"]
    buying.settle_everything()
    assert {buying.status_of(one) for one in placed} == {"paid"}


@pytest.mark.parametrize("token", ["tok_declined", "tok_timeout_charged", "tok_3ds"])
def test_what_does_not_settle_at_once_is_left_to_workers_in_its_usual_state(own, product, settings, token):
    settings.GATEWAY_TIMEOUT_SECONDS = 0.3
    placed = place(product, token=token)
    step_all(own)
    saga = saga_of(placed)
    assert not own._sagas
    assert saga.lease_token == ""
    found = {"tok_declined": "payment_failed"}.get(token, "paying")
    assert buying.status_of(placed) == found
    if token == "tok_3ds":
        owners.decide(owners.payment_of(placed), "approve")
    buying.settle_everything()
    assert buying.status_of(placed) == ("payment_failed" if token == "tok_declined" else "paid")


def test_an_order_that_is_paid_later_is_advanced_by_the_process_that_answers(own, product):
    buyer = buying.account()
    order = buying.order(buyer, product)
    started = purchase.pay(account_id=buyer.id, order_id=order.id, token="tok_ok", keyed=buying.keyed(buyer))
    assert Saga.objects.get().lease_token == own._token == started.saga.lease_token
    step_all(own)
    charged_once(product)


def test_without_a_place_payments_are_the_workers(own, product):
    placed = [place(product) for _ in range(6)]
    tokens = [saga_of(one).lease_token for one in placed]
    assert tokens == [own._token] * 4 + [""] * 2
    step_all(own)
    assert [buying.status_of(one) for one in placed] == ["paid"] * 4 + ["paying"] * 2
    assert {saga_of(one).work_class for one in placed[4:]} == {WorkClass.NEW}
    assert saga_of(place(product)).lease_token == own._token
    step_all(own)
    buying.settle_everything()
    charged_once(product, 7)


def test_a_process_that_stops_leases_no_more_and_finishes_what_it_has(own_threads, product):
    placed = place(product)
    run.stop_leasing()
    assert saga_of(place(product)).lease_token == ""
    run.finish()
    assert buying.status_of(placed) == "paid"
    buying.settle_everything()
    charged_once(product, 2)


def test_the_processes_of_a_web_server_share_its_places_and_workers_have_the_others(monkeypatch, settings):
    executor = stepping.SteppedExecutor()
    monkeypatch.setattr(run, "process_executor", lambda: executor)
    settings.WEB_WORKERS = 2
    run.start_leasing()
    assert executor.new_places == 24
    assert executor._token.startswith(OF_WEB)
    assert SHARES[WorkClass.NEW] + 2 * executor.new_places == 96
    monkeypatch.setattr(run, "WEB_PLACES", 0)
    run.start_leasing()
    assert executor.new_places == 0


def test_a_transaction_that_is_rolled_back_gives_its_places_back(own, product, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(recorded_answers, "record", lambda effects: 1 // 0)
        place(product)
    assert own._sagas == {}
    assert not own.pools.step()
    place(product)
    step_all(own)
    charged_once(product)


def test_payments_that_could_not_be_begun_are_placed_and_left_to_workers(own, product, monkeypatch):
    """As if the system had no memory for their calls: the order has committed, whatever happens after."""
    with monkeypatch.context() as patched:
        patched.setattr(own.pools, "submit", lambda pool, task: 1 // 0)
        placed = place(product)
    assert own._sagas == {}
    assert buying.status_of(placed) == "paying"
    let_lease_end(placed)
    buying.settle_everything()
    charged_once(product)


def test_a_process_that_dies_before_its_call_leaves_the_payment_to_a_look_up(
    own, product, monkeypatch, settings
):
    settings.INVENTORY_STRATEGY = "pessimistic"
    monkeypatch.setattr(stepping, "failpoint", stepping.at(POINT, Killed))
    with pytest.raises(Killed):
        place(product)
    monkeypatch.setattr(stepping, "failpoint", stepping.no_failpoint)
    [saga] = Saga.objects.all()
    assert (saga.open_call, saga.lease_token) == ("charge_card do", own._token)
    buying.settle_everything()
    charged_once(product)


@pytest.mark.parametrize("point", ["charge_card do calling", "charge_card do called", "batch decided"])
def test_a_process_that_dies_around_its_call_leaves_one_charge(own, product, monkeypatch, point):
    place(product)
    monkeypatch.setattr(stepping, "failpoint", stepping.at(point, Killed))
    with pytest.raises(Killed):
        step_all(own)
    monkeypatch.setattr(stepping, "failpoint", stepping.no_failpoint)
    assert Order.objects.get().status == "paying"
    buying.settle_everything()
    charged_once(product)


def test_a_lost_reply_to_commit_leaves_the_payment_to_recovery(own, product, tmp_path):
    """The batch is decided again, and finds its own order; nobody makes its call twice."""
    buyer = buying.account().id
    with losing_reply_to_commit(tmp_path):
        placed = buying.place(buyer, product, token="tok_ok")
    assert Order.objects.count() == 1
    assert own._sagas == {}
    step_all(own)
    assert charges() == []
    let_lease_end(placed)
    buying.settle_everything()
    charged_once(product)


def test_a_transaction_that_outlasts_its_lease_makes_no_call(own, product, monkeypatch):
    with transaction.atomic():
        placed = place(product)
        [saga] = own._sagas.values()
        saga.leased_until -= timedelta(seconds=LEASE_SECONDS + 1)
    step_all(own)
    assert charges() == []
    assert buying.status_of(placed) == "paying"
    let_lease_end(placed)
    buying.settle_everything()
    charged_once(product)


def test_a_batch_locks_no_sagas_but_its_own(product):
    """Also when these are most there are, as in a new shop: other processes would skip theirs."""
    ids = [place(product).started.saga.id for _ in range(24)]
    with transaction.atomic():
        assert saga_rows.lock_sagas(saga_rows.read_sagas(ids[:20]), token="a").keys() == set(ids[:20])
        [locked] = race([partial(bulk_sql.locked_values, Saga, ids)])
    assert locked == set(ids[:20])
    buying.settle_everything()


class FrozenGateway(SimulatorBut):
    """Charges wait for `is_back`; `at_once` is how many waited at the same time, at most."""

    def __init__(self):
        self.is_back, self.waiting, self.at_once = threading.Event(), 0, 0
        self._mutex = threading.Lock()

    def charge(self, *, key: str, **more) -> GatewayResult:
        with self._mutex:
            self.waiting += 1
            self.at_once = max(self.at_once, self.waiting)
        assert self.is_back.wait(20)
        with self._mutex:
            self.waiting -= 1
        return simulator.charge(key=key, **more)


def test_a_frozen_gateway_gets_no_more_calls_than_there_are_places(own_threads, product, monkeypatch):
    frozen = FrozenGateway()
    use(frozen, monkeypatch)
    placed = race([partial(place, product)] * 12)
    wait_until(lambda: frozen.waiting == 4)
    assert sorted(saga_of(one).lease_token for one in placed)[7:] == ["", *[own_threads._token] * 4]
    frozen.is_back.set()
    wait_until(lambda: not own_threads._sagas)
    assert frozen.at_once == 4
    buying.settle_everything()
    charged_once(product, 12)


def test_a_web_process_shows_no_live_worker(own, product):
    """While no worker is alive no payment is held: what is new then waits for one."""
    own._token = f"{OF_WEB}1"
    for _ in range(5):
        place(product)
    Saga.objects.filter(lease_token="").update(created_at=ago(seconds=5))
    assert backlog.oldest_waiting_seconds() == 0
    Saga.objects.filter(lease_token=own._token).update(lease_token="1")
    assert backlog.oldest_waiting_seconds() >= 5
    buying.settle_everything()


def answer_to(product, wait: int) -> Answer:
    """The answer to a new buyer's order, which waits for so many seconds."""
    headers = {"Idempotency-Key": "a", "Prefer": f"wait={wait}"}
    access, body = token_pairs.create_access_token(AccountFactory()), buying.order_of(product, "tok_ok")
    return send_request_blocking("POST", "/api/v1/orders", body, access=access, headers=headers)


def test_a_buyer_who_waits_is_told_by_the_process_itself(own_threads, product, told, monkeypatch):
    """Without a worker, and without the notifications of other processes."""
    monkeypatch.setattr(completion_notifications, "LISTENING_RECHECK_SECONDS", 60.0)
    monkeypatch.setattr(completion_notifications.redis_client, "attempt", lambda *_, otherwise: otherwise)
    answer = answer_to(product, 20)
    assert (answer.status, answer.json()["status"]) == (201, "paid")
    assert told == []


def test_a_payment_that_is_over_before_its_request_waits_is_answered_at_once(own, product, told, monkeypatch):
    """Its notification has come before there was anyone to be told."""
    monkeypatch.setattr(completion_notifications, "RECHECK_SECONDS", 60.0)
    monkeypatch.setattr(completion_notifications, "LISTENING_RECHECK_SECONDS", 60.0)
    begin = own._begin

    def begin_and_finish(sagas):
        begin(sagas)
        step_all(own)

    monkeypatch.setattr(own, "_begin", begin_and_finish)
    answer = answer_to(product, 20)
    assert (answer.status, answer.json()["status"]) == (201, "paid")


@pytest.mark.parametrize("places", [0, 1])
def test_a_worker_is_told_of_what_this_process_does_not_advance(own, product, told, places):
    own.new_places = places
    answer = answer_to(product, 0)
    assert answer.status == 202
    assert len(told) == 1 - places
    step_all(own)
    buying.settle_everything()
