"""Interleavings of look-ups, leases and clocks that the executor has to survive."""

import threading
import time
from dataclasses import dataclass, replace

import pytest

from foundation import clock
from foundation.tests.factories import set_columns
from foundation.tests.instants import ago
from foundation.tests.racing import wait_until
from foundation.tests.second_connection import holding_row
from foundation.tests.waiting import shifted, within
from inventory.tests.factories import ProductFactory
from orders.models import Saga, SagaLog
from orders.placement.decisions import PlacedOrder
from orders.saga import batch, rows as saga_rows, run
from orders.saga.definitions import LEASE_SECONDS, NO_PLACE, Event, OutsideStep, StepResult, WorkClass
from orders.saga.run import POOL_SIZES, Executor, ThreadPools
from orders.tests import buying, hanging, owners, stepping
from orders.tests.at_stripe import order
from orders.tests.buying import saga_of
from orders.tests.owners import charge_of, payment_of
from orders.tests.test_added_steps import NAME, for_each, rolled_out
from payments.gateways import gateway, simulator, stripe_calls
from payments.gateways.contract import GatewayResult
from payments.tests.own_gateway import SimulatorBut, on_its_page, use
from payments.tests.stripe_proxy import HALF_DONE

pytestmark = pytest.mark.django_db(transaction=True)
NEW, AGAIN, REFUND, RECOVERY = WorkClass.NEW, WorkClass.AGAIN, WorkClass.REFUND, WorkClass.RECOVERY


@pytest.fixture
def product():
    return ProductFactory(on_hand=1_000, price=500)


@pytest.fixture
def one_place(monkeypatch):
    monkeypatch.setattr(run, "SHARES", {NEW: 1, AGAIN: 0, REFUND: 0, RECOVERY: 1})


class Gated(SimulatorBut):
    """Look-ups and charges wait until they may go on, one by one or all; `asked` has their keys."""

    def __init__(self):
        self.asked, self.go, self.released = list[str](), threading.Event(), set[str]()

    def _wait(self, key):
        self.asked.append(key)
        wait_until(lambda: key in self.released or self.go.is_set(), seconds=30)

    def find(self, *, key: str) -> GatewayResult:
        self._wait(key)
        return simulator.find(key=key)

    def charge(self, *, key: str, **more) -> GatewayResult:
        self._wait(key)
        return simulator.charge(key=key, **more)


@pytest.fixture
def gated(monkeypatch):
    use(made := Gated(), monkeypatch)
    yield made
    made.go.set()


def place(product) -> PlacedOrder:
    return buying.place_for_newcomer(product, token="tok_ok")


def late_in_doubt(product, *, seconds: float = 60) -> PlacedOrder:
    """A payment past its deadline whose worker died so long ago, after its call."""
    placed = place(product)
    past = ago(seconds=seconds)
    set_columns(
        placed.started.saga,
        open_call="charge_card do",
        lease_token="dead",
        leased_until=past,
        next_attempt_at=past,
        deadline_at=past,
        work_class=RECOVERY,
    )
    return placed


def test_what_got_a_place_meanwhile_keeps_its_lease(threaded, product, one_place, gated, monkeypatch):
    """A look read it as late without a place; its call then began, and lost its lease."""
    first, second = late_in_doubt(product, seconds=90), late_in_doubt(product)
    keys = [payment_of(one).charge_key for one in (first, second)]
    threaded.wake()
    wait_until(lambda: gated.asked == keys[:1] and RECOVERY in threaded._waiting)
    put_off = batch.put_off

    def once_it_has_begun(*given, **more):
        gated.released.add(keys[0])
        wait_until(lambda: keys[1] in gated.asked)
        put_off(*given, **more)

    monkeypatch.setattr(batch, "put_off", once_it_has_begun)
    threaded.look()
    saga = saga_of(second)
    assert (saga.state, saga.lease_token) == ("running", threaded._token)
    gated.go.set()


def test_what_is_late_is_not_stuck_while_there_are_places_for_it(product):
    """After an outage the first look found it late, though the search for it was about to begin."""
    placed = late_in_doubt(product)
    executor = stepping.SteppedExecutor()
    executor.wake()
    executor.look()
    assert saga_of(placed).state == "running"
    while executor.pools.step():
        pass
    assert saga_of(placed).ended_at


def test_a_locked_row_of_a_late_saga_keeps_no_lease_from_being_renewed(threaded, product, one_place, gated):
    held, late = late_in_doubt(product, seconds=90), late_in_doubt(product)
    threaded.wake()
    wait_until(lambda: gated.asked == [payment_of(held).charge_key])
    wait_until(lambda: RECOVERY in threaded._waiting)
    with holding_row(late.started.saga), within(LEASE_SECONDS / 3):
        threaded.look()
    gated.go.set()
    wait_until(lambda: not Saga.objects.filter(ended_at=None).exists())


def test_a_live_lease_is_renewed_though_the_clock_was_set_back(threaded, product, gated):
    """It ended farther ahead than any can, was taken for lapsed, and was not renewed."""
    place(product)
    threaded.wake()
    wait_until(lambda: len(gated.asked) == 1)
    with shifted(minutes=-15):
        threaded.watch()
        assert stepping.due(limit=9) == []
    gated.go.set()


def test_an_action_is_not_looked_up_again_and_again_though_the_clock_was_set_back():
    """It rested until an instant that is farther ahead than any can be, so it was due at once."""
    placed = owners.waiting()
    with shifted(minutes=-15):
        assert buying.advance(placed).status == "paying"
        assert stepping.due(limit=9) == []
    assert owners.decide(payment_of(placed), "approve") < 400
    buying.settle_everything()


class OtherAmount(SimulatorBut):
    def __init__(self):
        self.is_away = False

    def find(self, *, key: str) -> GatewayResult:
        found = simulator.find(key=key)
        return GatewayResult(status="unknown") if self.is_away else replace(found, amount=found.amount + 1)


@pytest.mark.usefixtures("impatient", "unlawful")
def test_a_charge_of_another_amount_stays_with_the_operator_though_a_later_look_up_fails(
    product, monkeypatch
):
    placed = buying.place_for_newcomer(product, token="tok_timeout_charged")
    buying.advance(placed)
    use(other := OtherAmount(), monkeypatch)
    buying.advance(placed)
    saga = saga_of(placed)
    assert saga.state == "stuck"
    hanging.make_overdue(saga)
    other.is_away = True
    hanging.advance(saga)
    assert (saga_of(placed).state, saga_of(placed).direction) == ("stuck", "do")
    [charge] = gateway().charges(order_id=placed.order.id)
    assert charge.refunded_amount == 0


def test_nothing_begins_once_the_executor_has_finished(product, gated, monkeypatch):
    placed = place(product)
    found, go, find_due = threading.Event(), threading.Event(), saga_rows.find_due

    def find_slowly(*given):
        rows = find_due(*given)
        found.set()
        assert go.wait(30)
        return rows

    monkeypatch.setattr(saga_rows, "find_due", find_slowly)
    executor = Executor(pools=ThreadPools(POOL_SIZES))
    executor.wake()
    assert found.wait(10)
    assert executor.finish(seconds=1)
    go.set()
    time.sleep(0.5)
    assert (saga_of(placed).lease_token, gated.asked) == ("", [])
    gated.go.set()
    monkeypatch.undo()
    buying.settle_everything()


@dataclass
class Screening:
    """A step at another system that is done, and gives no answer to its caller."""

    done: int = 0
    undone: int = 0

    def step(self) -> OutsideStep:
        return OutsideStep(NAME, do=for_each(self._do), undo=for_each(self._undo))

    def _do(self):
        self.done += 1
        return StepResult(Event.FAILED, "no answer")

    def _undo(self):
        self.undone += 1
        return StepResult(Event.DONE)


def test_a_step_whose_call_is_open_is_undone_though_a_later_one_is_undone_first(product):
    """Another release put it before the charge, and its call came after that; the undo of the charge was
    opened in place of its call, and it was taken for never called.
    """
    settings = {"open_call": "charge_card do", "next_attempt_at": clock.now()}
    placed, screening = place(product), Screening()
    set_columns(placed.started.saga, **settings)
    with rolled_out(screening.step(), before="charge_card"):
        buying.advance(placed)
        assert (screening.done, saga_of(placed).open_call) == (1, f"{NAME} do")
        owners.time_is_over(placed)
        buying.advance(placed)
    assert (screening.undone, buying.status_of(placed)) == (1, "payment_failed")


@pytest.mark.usefixtures("unlawful")
def test_a_refund_that_another_process_makes_meanwhile_is_not_made_twice(own_stripe, monkeypatch):
    """Its key kept an error, and the refund was made all the same: after it was looked for."""
    placed = order("pm_card_visa")
    assert buying.advance(placed).status == "paid"
    reference, find = payment_of(placed).charge_reference, stripe_calls.find_refund
    of = {"key": "refund-1", "charge_reference": reference, "amount": 400}
    own_stripe.fail("refund", HALF_DONE)

    def find_before_the_other(intent_id, *, key):
        found = find(intent_id, key=key)
        monkeypatch.setattr(stripe_calls, "find_refund", find)
        assert gateway().refund(**of).status == "unknown"
        return found

    monkeypatch.setattr(stripe_calls, "find_refund", find_before_the_other)
    assert gateway().refund(**of).status == "succeeded"
    assert charge_of(payment_of(placed)).refunded_amount == 400


@pytest.mark.usefixtures("impatient", "unlawful")
@pytest.mark.parametrize("end", ["won", "lost"])
def test_a_charge_that_is_disputed_while_in_doubt_is_left_to_an_operator_until_that_is_decided(product, end):
    """It was undone, which the open dispute refuses, and no operator could end that for weeks."""
    placed = buying.place_for_newcomer(product, token="tok_timeout_charged")
    buying.advance(placed)
    [charge] = gateway().charges(order_id=placed.order.id)
    dispute = on_its_page("/disputes", charge=charge.reference, amount=200)
    hanging.make_overdue(saga_of(placed))
    buying.advance(placed)
    assert (saga_of(placed).state, saga_of(placed).direction) == ("stuck", "do")
    on_its_page(f"/disputes/{dispute['id']}/close", status=end)
    buying.settle_everything()
    assert buying.status_of(placed) == ("paid" if end == "won" else "payment_failed")


@pytest.mark.usefixtures("impatient", "unlawful")
def test_an_operator_may_take_a_charge_that_is_disputed_while_in_doubt(product):
    placed = buying.place_for_newcomer(product, token="tok_timeout_charged")
    buying.advance(placed)
    [charge] = gateway().charges(order_id=placed.order.id)
    on_its_page("/disputes", charge=charge.reference, amount=200)
    hanging.make_overdue(saga_of(placed))
    buying.advance(placed)
    hanging.complete(saga_of(placed))
    assert buying.advance(placed).status == "paid"


def test_two_looks_count_a_late_saga_once(product):
    placed = late_in_doubt(product)
    late = saga_rows.find_late([RECOVERY], since=clock.now(), limit=9)
    for token in ("one", "other"):
        batch.put_off(late, NO_PLACE, token=token)
    lines = SagaLog.objects.filter(saga=placed.started.saga.id, detail=NO_PLACE.detail)
    assert (lines.count(), saga_of(placed).state) == (1, "stuck")
    buying.settle_everything()
