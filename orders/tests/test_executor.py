"""The executor with its threads: sagas share batches, no call delays another saga, all is bounded.

A saga that fails within a batch, or finds no free slot, is postponed, counted, and delays no other.
"""

import dataclasses
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from itertools import count as counter
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from coupons.tests.factories import accounts
from foundation import clock
from foundation.db import transactions
from foundation.models import JournalLine
from foundation.redis import completion_notifications
from foundation.tests.instants import ago
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import wait_until
from foundation.tests.second_connection import holding
from foundation.tests.waiting import within
from inventory.tests.factories import ProductFactory, levels_of
from orders import audit
from orders.metrics import state
from orders.models import Order, Saga
from orders.payment import purchase
from orders.placement.decisions import PlacedOrder
from orders.saga import batch, rows as saga_rows, run
from orders.saga.definitions import AT_ONCE, LEASE_SECONDS, SAGA_TYPES, Call, Event, StepResult
from orders.saga.run import POOL_SIZES, Executor, ThreadPools
from orders.tests import buying, stepping
from orders.tests.listening import Killed
from payments import ledger
from payments.models import LedgerAccount, Payment
from payments.tests.own_gateway import nobody_there

pytestmark = pytest.mark.django_db(transaction=True)


def bought(*tokens: str) -> list[PlacedOrder]:
    """Orders of one product, one per card, each with a coupon and 300 points."""
    product = ProductFactory(on_hand=100, price=1_000)
    placed = []
    for token in tokens:
        buyer = buying.account(points=300)
        coupon = buying.coupon_code(buyer, discount_value=100)
        placed.append(buying.place(buyer, product, coupon=coupon, points=300, token=token))
    return placed


def saga_ids(placed: Sequence[PlacedOrder]) -> list[UUID]:
    return [one.started.saga.id for one in placed if one.started]


def ended(placed: Sequence[PlacedOrder]) -> list[str]:
    """The orders' statuses once all their sagas have ended."""
    wait_until(lambda: not Saga.objects.filter(id__in=saga_ids(placed), ended_at=None).exists(), seconds=30)
    return [buying.status_of(one) for one in placed]


def test_a_slow_card_delays_its_own_order_alone(threaded):
    placed = bought("tok_slow", "tok_ok", "tok_ok")
    threaded.wake()
    assert ended(placed[1:]) == ["paid", "paid"]
    assert buying.status_of(placed[0]) == Order.Status.PAYING
    assert ended(placed) == ["paid"] * 3


def test_an_order_whose_points_were_spent_meanwhile_is_refused_alone(threaded, unlawful):
    placed = bought("tok_ok", "tok_ok", "tok_ok")
    spender = placed[1].order.account_id
    LedgerAccount.objects.filter(id=spender).update(balance_amount=299)
    threaded.wake()
    assert ended(placed) == ["paid", "payment_failed", "paid"]
    assert ledger.balance_amount(spender) == 299


def test_an_order_that_cannot_be_settled_fails_no_other_of_its_batch(threaded, unlawful):
    placed = bought("tok_ok", "tok_ok", "tok_ok")
    # The shop never does this: the saga must not end as if the order were paid.
    buying.change_order(placed[1].order, status=Order.Status.EXPIRED)
    threaded.wake()
    assert ended([placed[0], placed[2]]) == ["paid", "paid"]
    assert buying.status_of(placed[1]) == Order.Status.EXPIRED
    wait_until(lambda: Saga.objects.get(id=saga_ids(placed)[1]).attempts == 1)
    assert Saga.objects.get(id=saga_ids(placed)[1]).log.filter(step="charge_card", event="done").exists()


def test_a_batch_takes_as_many_statements_for_ten_as_for_two():
    counts = []
    for count in (2, 10):
        bought(*["tok_ok"] * count)
        with CaptureQueriesContext(connection) as captured:
            batch.advance(stepping.due(limit=99), token="one", failpoint=print)
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_each_line_of_a_batch_names_the_request_that_started_its_saga(threaded):
    placed, buyers = bought("tok_ok", "tok_ok"), accounts(2)
    top_ups = [buying.start_top_up(buyer).saga.id for buyer in buyers]
    for number, saga_id in enumerate(saga_ids(placed) + top_ups):
        Saga.objects.filter(id=saga_id).update(request_id=f"request-{number}")
    threaded.wake()
    assert ended(placed) == ["paid", "paid"]
    wait_until(lambda: not Saga.objects.filter(ended_at=None).exists())
    for number, buyer in enumerate(buyers, start=2):
        line = JournalLine.objects.get(what="points.top_up", subject=f"wallet {buyer}")
        assert line.request_id == f"request-{number}"
    for number, one in enumerate(placed):
        lines = JournalLine.objects.filter(order_id=one.order.id, at__gt=one.order.placed_at)
        since = lines.exclude(what__in=["order.placed", "coupon.held"]).exclude(request_id="")
        assert set(since.values_list("request_id", flat=True)) == {f"request-{number}"}


@pytest.mark.parametrize(
    "point",
    ["batch begins", "batch decided", "batch committed", "charge_card do calling", "charge_card do called"],
)
@pytest.mark.parametrize("passed", [0, 1])
def test_a_crash_of_an_executor_at_any_point_is_recovered_from(point, passed):
    placed, left = bought("tok_ok", "tok_ok", "tok_declined"), [passed]

    def die(at):
        if at.startswith(point):
            left[0] -= 1
        if left[0] < 0:
            raise Killed(at)

    dying = Executor(pools=ThreadPools(POOL_SIZES), failpoint=die)
    dying.wake()
    assert dying.finish(seconds=20)
    buying.settle_everything()
    assert ended(placed) == ["paid", "paid", "payment_failed"]


@pytest.mark.parametrize("token", ["tok_ok", "tok_declined"])
@pytest.mark.parametrize("lost", [1, 2, 3])
@pytest.mark.usefixtures("transmitting")
def test_a_lost_reply_to_commit_loses_no_callback_of_the_batch(lost, token, tmp_path, monkeypatch):
    """Waiting requests are woken, and a declined card is counted, once the batch has committed."""
    woken = []
    monkeypatch.setattr(completion_notifications, "notify_completed", lambda *names: woken.extend(names))
    [placed] = bought(token)
    batches = counter(1)
    with ExitStack() as relay:

        def lose_the_reply(point):
            if point == "batch begins" and next(batches) == lost:
                lost_replies.append(relay.enter_context(losing_reply_to_commit(tmp_path)))

        lost_replies = []
        monkeypatch.setattr(stepping, "failpoint", lose_the_reply)
        stepping.SteppedExecutor().advance(saga_ids([placed])[0])
        [is_lost] = lost_replies
        assert is_lost.is_set()
        assert str(placed.order.id) in woken
    assert buying.status_of(placed) == ("paid" if token == "tok_ok" else "payment_failed")
    declined = Payment.objects.exclude(declined_at=None).values_list("account_id", flat=True)
    assert [*declined] == ([] if token == "tok_ok" else [placed.order.account_id])


def test_a_row_that_another_transaction_keeps_locked_delays_no_other_saga(threaded):
    placed = bought("tok_ok", "tok_ok", "tok_ok")
    held = placed[1].order.id
    threaded.polls = True
    # Not even for the time of a lock wait.
    with holding("SELECT id FROM orders_order WHERE id = %s FOR UPDATE", held.hex), within(4):
        threaded.wake()
        assert ended([placed[0], placed[2]]) == ["paid", "paid"]
    assert ended(placed) == ["paid"] * 3


def replaced(monkeypatch, **changes):
    """Changes the purchase's step that charges the card."""
    purchase_type = SAGA_TYPES["purchase"]
    steps = (
        one if one.name != "charge_card" else dataclasses.replace(one, **changes)
        for one in purchase_type.steps
    )
    monkeypatch.setitem(SAGA_TYPES, "purchase", dataclasses.replace(purchase_type, steps=tuple(steps)))


class Blocked:
    """Charges of cards, which wait until they are released."""

    def __init__(self, monkeypatch):
        self.is_over = threading.Event()
        self.started: list[UUID] = []
        replaced(monkeypatch, do=self.do)

    def do(self, sagas: Sequence[Any]) -> list[Call]:
        return [partial(self.make, saga.id) for saga in sagas]

    def start(self, executor, count: int):
        """Wake the executor, and wait until so many have started."""
        executor.wake()
        wait_until(lambda: len(self.started) == count)

    def make(self, saga_id: UUID) -> StepResult:
        self.started.append(saga_id)
        assert self.is_over.wait(30)
        return StepResult(Event.DONE, reference="ch_blocked")


def with_places(monkeypatch, **shares: int):
    """Let each class of work have so many places, and those that aren't named none."""
    monkeypatch.setattr(run, "SHARES", {name: shares.get(name.value, 0) for name in run.SHARES})


@pytest.mark.usefixtures("unlawful")
def test_no_more_sagas_are_leased_than_there_are_threads_for_calls_and_others_stay_due(threaded, monkeypatch):
    """The queue was unbounded."""
    with_places(monkeypatch, new=3)
    blocked = Blocked(monkeypatch)
    placed = bought(*["tok_ok"] * 6)
    blocked.start(threaded, 3)
    assert Saga.objects.exclude(lease_token="").count() == 3
    assert len(threaded._sagas) == 3
    assert saga_rows.due().count() == 3
    blocked.is_over.set()
    assert threaded.finish(seconds=20)
    left = Saga.objects.filter(id__in=saga_ids(placed), ended_at=None)
    assert left.count() == 3
    assert all(saga.next_attempt_at and not saga.lease_token for saga in left)
    buying.settle_everything()
    assert set(ended(placed)) == {"paid"}


def test_repeated_calls_take_no_slots_of_first_calls(threaded, monkeypatch, unlawful):
    with_places(monkeypatch, again=2, new=3)
    blocked = Blocked(monkeypatch)
    placed = bought(*["tok_ok"] * 4)
    Saga.objects.update(open_call="charge_card do", work_class="again")
    blocked.start(threaded, 2)
    put_off = Saga.objects.filter(lease_token="")
    assert put_off.count() == 2
    assert not put_off.exclude(attempts=0).exists()
    fresh = bought("tok_ok", "tok_ok", "tok_ok")
    blocked.start(threaded, 5)
    blocked.is_over.set()
    assert set(ended(fresh)) == {"paid"}
    buying.settle_everything()
    assert set(ended(placed)) == {"paid"}


def test_an_executor_that_is_woken_repeatedly_has_one_run_of_a_saga(threaded, monkeypatch, unlawful):
    blocked = Blocked(monkeypatch)
    placed = bought("tok_ok", "tok_ok")
    for _ in range(3):
        threaded.wake()
        time.sleep(0.1)
    wait_until(lambda: len(blocked.started) == 2)
    assert len(threaded._sagas) == 2
    blocked.is_over.set()
    assert ended(placed) == ["paid", "paid"]
    assert len(blocked.started) == 2


def test_a_task_is_done_though_the_system_has_no_thread(monkeypatch):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("saga_batch"):
            raise RuntimeError("can't start new thread")
        start(thread)

    done = list[int]()
    pools = ThreadPools({"batch": 1})
    monkeypatch.setattr(threading.Thread, "start", refuse)
    pools.submit("batch", lambda: done.append(1))
    pools.submit("batch", lambda: done.append(1 // 0))
    assert done == [1]


def test_finish_waits_for_sagas_in_progress(threaded):
    bought("tok_slow", "tok_ok", "tok_declined")
    threaded.wake()
    wait_until(lambda: len(threaded._sagas) == 3)
    assert not threaded.finish(seconds=0)
    assert threaded.finish(seconds=30)
    assert not Saga.objects.filter(ended_at=None).exists()


def test_a_call_longer_than_the_lease_keeps_the_lease(threaded, monkeypatch, settings, unlawful):
    """Two workers took the lease from each other for ever: 48 calls, nothing recorded."""
    monkeypatch.setattr(batch, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(run, "LEASE_SECONDS", 2.0)
    blocked = Blocked(monkeypatch)
    placed = bought("tok_ok")
    threaded.wake()
    other = Executor(pools=ThreadPools(POOL_SIZES))
    for _ in range(12):
        time.sleep(0.25)
        threaded.renew_leases()
        other.wake()
    assert len(blocked.started) == 1
    blocked.is_over.set()
    assert ended(placed) == ["paid"]


def test_sagas_whose_traces_cannot_be_read_are_released(threaded, monkeypatch):
    """They once stayed in progress until the process ended, because reading failed before the batch began."""

    @contextmanager
    def fail(name, sagas):
        raise RuntimeError("a defect")
        yield

    bought("tok_ok")
    with monkeypatch.context() as patched:
        patched.setattr(run, "observe", fail)
        threaded.wake()
        wait_until(lambda: not threaded._scheduled)
        assert threaded.finish(seconds=20)
    assert not threaded._sagas


def test_nothing_is_found_before_the_databases_clock_is_known(threaded, monkeypatch):
    """A worker that started while the database was away took others' sagas by its host's clock."""
    placed = bought("tok_ok")
    with monkeypatch.context() as patched:
        patched.setattr(clock, "is_measured", lambda: False)
        threaded.wake()
        wait_until(lambda: not threaded._scheduled)
        assert not threaded._sagas and Saga.objects.get().lease_token == ""
    threaded.wake()
    assert ended(placed) == ["paid"]


def test_found_sagas_are_those_that_are_due():
    """`find_due` finds what `due` says, which beat and the backlog ask."""
    now, minute = clock.now(), timedelta(minutes=1)
    going = {"created_at": now, "deadline_at": now, "state": "running"}
    done = going | {"state": "done", "ended_at": now}
    Saga.objects.bulk_create(
        Saga(kind=kind, subject_id=uuid4(), next_attempt_at=at, leased_until=until, **(going if at else done))
        for kind in ("purchase", "refund", "of a later release")
        for at in (AT_ONCE, now - minute, now + minute, None)
        for until in (None, now - minute, now + timedelta(seconds=LEASE_SECONDS))
    )
    due = list(saga_rows.due().order_by("next_attempt_at", "id").values_list("id", flat=True))
    assert [saga.id for saga in stepping.due(limit=100)] == due and len(due) == 2 * 2 * 2
    assert [saga.id for saga in stepping.due(limit=3)] == due[:3]
    Saga.objects.filter(id__in=due[1::2]).update(work_class="new")
    found = stepping.due(limit=2)
    assert [saga.id for saga in found if saga.work_class == "new"] == due[1:4:2]
    assert sorted(saga.id for saga in found) == sorted(due[:4])
    assert {one.work_class for one in found[:2]} == {"new", "again"}, "in turn"


def test_a_saga_of_a_later_release_is_released(threaded, unlawful):
    bought("tok_ok")
    Saga.objects.update(kind="of_a_later_release")
    threaded.wake()
    wait_until(lambda: not threaded._scheduled)
    assert not threaded._sagas
    assert Saga.objects.get().state == Saga.State.RUNNING


MOST_TASKS = 100


def explode(*_, **__):
    raise RuntimeError("a row of the stock is bad" + "!" * 300)


def advanced(*ids: UUID) -> int:
    """How many tasks a new executor runs until these sagas need no more; at most `MOST_TASKS`."""
    Saga.objects.filter(id__in=ids).update(next_attempt_at=clock.now())
    own = stepping.SteppedExecutor()
    own.wake()
    count = 0
    while count < MOST_TASKS and own.pools.step():
        count += 1
    return count


def test_a_compensation_that_raises_counts_as_an_attempt_and_is_postponed(monkeypatch):
    """It was retried for ever without a pause, and its lease blocked every operator."""
    placed = bought("tok_declined")
    with monkeypatch.context() as patched:
        patched.setattr(purchase.stock_levels, "release", explode)
        assert advanced(*saga_ids(placed)) < MOST_TASKS
        saga = Saga.objects.get()
        assert (saga.attempts, saga.lease_token, saga.state) == (1, "", "running")
        assert "stock is bad" in saga.last_error
        assert len(saga.last_error) == 255, "as long as its column"
        Saga.objects.update(deadline_at=clock.now())
        assert advanced(saga.id) < MOST_TASKS
        assert Saga.objects.get().state == "stuck"
        # So is an order by points alone that was overdue from the start.
        buyer = buying.account(points=100)
        by_points = buying.place(buyer, ProductFactory(on_hand=9, price=100), points=100, token="")
        overdue = Saga.objects.filter(id__in=saga_ids([by_points]))
        overdue.update(deadline_at=ago(seconds=1))
        assert advanced(*saga_ids([by_points])) < MOST_TASKS
        assert overdue.get().attempts == 1
    buying.settle_everything()
    assert ended([*placed, by_points]) == ["payment_failed"] * 2


def test_a_result_whose_recording_raises_counts_each_time(monkeypatch):
    placed = bought("tok_declined")
    replaced(monkeypatch, on_result=explode)
    for _ in range(3):
        assert advanced(*saga_ids(placed)) < MOST_TASKS
        Saga.objects.update(leased_until=clock.now())
    assert Saga.objects.get().attempts >= 2


def test_a_saga_whose_payment_is_missing_is_postponed(monkeypatch):
    # It can't be told from one that is locked until it is waited for.
    monkeypatch.setattr(run, "LOCKED_SECONDS", 0.0)
    row, lines = saga_rows.new_saga(kind="top_up", subject_id=uuid4())
    transactions.run(lambda: saga_rows.insert_sagas([(row, lines)]), transactions.KEYED)
    assert advanced(row.id) < MOST_TASKS
    assert Saga.objects.get().attempts == 1


def test_a_saga_without_a_slot_is_postponed_once_and_not_polled_again(threaded, monkeypatch, unlawful):
    blocked = Blocked(monkeypatch)
    with_places(monkeypatch, recovery=1)
    bought(*["tok_ok"] * 4)
    Saga.objects.update(open_call="charge_card do", work_class="recovery")
    threaded.polls = True
    blocked.start(threaded, 1)
    batches, advance = list[int](), batch.advance
    monkeypatch.setattr(
        batch, "advance", lambda runs, **more: batches.append(len(runs)) or advance(runs, **more)
    )
    time.sleep(2)
    assert len(batches) < 5
    blocked.is_over.set()


def test_an_overdue_saga_without_a_slot_is_stuck_and_visible(settings, monkeypatch, threaded):
    """A charge whose outcome was unknown was put off for ever: not stuck, L10 broken, the gauge at 0."""
    product = ProductFactory(on_hand=5, price=500)
    placed = buying.place_for_newcomer(product, token="tok_ok")
    with nobody_there(settings):
        stepping.advance(placed.started.saga.id)
    long_ago = ago(seconds=audit.GRACE_SECONDS + 5)
    with_places(monkeypatch)
    Saga.objects.update(deadline_at=long_ago, next_attempt_at=long_ago, leased_until=None)

    for _ in range(2):
        threaded.look()

    assert Saga.objects.get().state == Saga.State.STUCK
    assert state.count_stuck()["purchase"] == 1
    assert buying.broken_laws() == []
    monkeypatch.undo()
    buying.settle_everything()
    assert buying.status_of(placed) == Order.Status.PAYMENT_FAILED
    assert levels_of(product)[1] == 0


def test_a_full_executor_does_not_spin(threaded, monkeypatch, unlawful):
    """It ran 30,000 empty batches a second while all slow calls waited for the gateway."""
    with_places(monkeypatch, new=1)
    blocked = Blocked(monkeypatch)
    placed = bought(*["tok_ok"] * 3)
    threaded.polls = True
    blocked.start(threaded, 1)
    time.sleep(run.IDLE_SECONDS + 0.5)
    taken, find = list[int](), threaded._find
    monkeypatch.setattr(threaded, "_find", lambda: taken.append(1) or find())
    time.sleep(1)
    most = len(taken)
    blocked.is_over.set()
    assert set(ended(placed)) == {"paid"}
    assert most <= 75


def test_an_executor_that_finishes_accepts_no_more_sagas(threaded, monkeypatch, unlawful):
    blocked = Blocked(monkeypatch)
    bought("tok_ok")
    threaded.polls = True
    blocked.start(threaded, 1)
    stopping = threading.Thread(target=threaded.finish, kwargs={"seconds": 5})
    stopping.start()
    bought("tok_ok", "tok_ok")
    time.sleep(0.5)
    started = len(blocked.started)
    blocked.is_over.set()
    stopping.join()
    assert started == 1
