"""Sagas that begin under one list of steps and go on under another, as after a roll-out.

A paid order whose saga waited at `transmit` was compensated by a step that a release added before `settle`:
the step was missing in the saga's log, ran, and refused. Past its point of no return a saga never does or
undoes a step before it.
"""

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from foundation.errors import Rejected
from foundation.tests.factories import set_columns
from foundation.tests.instants import ago, from_now
from inventory.models import Product
from orders.models import Order, Saga, SagaLog
from orders.payment import purchase
from orders.saga.definitions import (
    DO,
    SAGA_TYPES,
    Event,
    LocalStep,
    OutsideStep,
    PrepareCalls,
    SagaRow,
    Step,
    StepResult,
)
from orders.tests import buying, hanging, owners, stepping
from payments.gateways import gateway, simulator
from payments.models import Payment
from payments.tests.own_gateway import SimulatorBut, use

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("transmitting")]
NAME = "screen_order"


def for_each(call) -> PrepareCalls:
    return lambda sagas: [call] * len(sagas)


@dataclass
class Screening:
    """A step that refuses or accepts every saga, and counts how often it was done and undone."""

    refuses: bool
    done: int = 0
    undone: int = 0

    def step(self, kind: str, *, has_undo=True) -> Step:
        if kind == "local":
            return LocalStep(NAME, do=self._do, undo=self.undo if has_undo else None)
        undo = for_each(self._undo_call) if has_undo else None
        return OutsideStep(NAME, do=for_each(self._call), undo=undo)

    def _do(self, sagas):
        self.done += len(sagas)
        return [Rejected("too large", code="too_large") if self.refuses else "accepted"] * len(sagas)

    def undo(self, sagas: Sequence[SagaRow]) -> list[str]:
        self.undone += len(sagas)
        return ["nothing to undo"] * len(sagas)

    def _call(self):
        self.done += 1
        refused = StepResult(Event.REFUSED, "too large", code="too_large")
        return refused if self.refuses else StepResult(Event.DONE)

    def _undo_call(self):
        self.undone += 1
        return StepResult(Event.DONE)


@contextmanager
def steps_replaced(steps: tuple[Step, ...]):
    """The purchase has these steps until the block ends."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(SAGA_TYPES, purchase.KIND, replace(SAGA_TYPES[purchase.KIND], steps=steps))
        yield


@contextmanager
def rolled_out(step, *, before: str):
    """The purchase has this step before the one of that name, until the block ends."""
    old = SAGA_TYPES[purchase.KIND].steps
    at = [one.name for one in old].index(before)
    with steps_replaced((*old[:at], step, *old[at:])):
        yield


def make_due(saga, *, is_overdue: bool):
    past = ago(seconds=1)
    late = {"deadline_at": past} if is_overdue else {}
    set_columns(saga, next_attempt_at=past, leased_until=None, **late)


def paid_and_not_transmitted(settings) -> tuple[Order, Saga, Any]:
    """A paid order whose event the data platform hasn't got yet."""
    platform, settings.DATA_PLATFORM_URL = settings.DATA_PLATFORM_URL, "http://127.0.0.1:9"
    order = buying.advance(owners.order("tok_ok"))
    saga, product = Saga.objects.get(about_id=order.id), Product.objects.get()
    assert (order.status, saga.state) == (Order.Status.PAID, Saga.State.RUNNING)
    settings.DATA_PLATFORM_URL = platform
    return order, saga, product


def assert_paid_once(order, product):
    order.refresh_from_db()
    product.refresh_from_db()
    assert (order.status, order.failure_code) == (Order.Status.PAID, "")
    assert [one.status for one in Payment.objects.all()] == [Payment.Status.SUCCEEDED]
    assert [(one.amount, one.refunded_amount) for one in gateway().charges(order_id=order.id)] == [(500, 0)]
    assert (product.on_hand, product.reserved) == (4, 0)


@pytest.mark.parametrize("is_overdue", [False, True], ids=["in time", "overdue"])
@pytest.mark.parametrize("refuses", [False, True], ids=["accepting", "refusing"])
@pytest.mark.parametrize("kind", ["local", "outside"])
def test_a_step_added_before_settle_is_not_done_for_a_paid_order(kind, refuses, is_overdue, settings):
    order, saga, product = paid_and_not_transmitted(settings)
    screening = Screening(refuses)

    with rolled_out(screening.step(kind), before="charge_card"):
        make_due(saga, is_overdue=is_overdue)
        assert stepping.advance(saga.id) == Saga.State.DONE

    assert (screening.done, screening.undone) == (0, 0)
    assert_paid_once(order, product)


@pytest.mark.parametrize("is_overdue", [False, True], ids=["in time", "overdue"])
@pytest.mark.parametrize("refuses", [False, True], ids=["accepting", "refusing"])
@pytest.mark.parametrize("has_undo", [False, True], ids=["without undo", "with undo"])
@pytest.mark.parametrize("kind", ["local", "outside"])
def test_a_step_added_after_settle_is_only_tried_forward(kind, has_undo, refuses, is_overdue, settings):
    order, saga, product = paid_and_not_transmitted(settings)
    screening = Screening(refuses)

    with rolled_out(screening.step(kind, has_undo=has_undo), before="transmit"):
        make_due(saga, is_overdue=is_overdue)
        state = stepping.advance(saga.id)

    assert screening.done == 1 and screening.undone == 0
    refused = Saga.State.STUCK if is_overdue else Saga.State.RUNNING
    assert state == (refused if refuses else Saga.State.DONE)
    assert_paid_once(order, product)


def test_a_step_after_settle_may_have_a_deadline_of_its_own(settings):
    """A mail server that was away for a quarter of an hour made the sagas of paid orders stuck."""
    order, saga, product = paid_and_not_transmitted(settings)
    step = replace(Screening(refuses=True).step("outside", has_undo=False), give_up_seconds=86_400)
    with rolled_out(step, before="transmit"):
        make_due(saga, is_overdue=True)
        assert stepping.advance(saga.id) == Saga.State.RUNNING
        saga.refresh_from_db()
        assert saga.deadline_at > from_now(hours=23)
        make_due(saga, is_overdue=True)
        assert stepping.advance(saga.id) == Saga.State.STUCK
    assert stepping.advance(saga.id) == Saga.State.DONE
    assert_paid_once(order, product)


@pytest.mark.parametrize("change", ["renamed", "with an undo"])
def test_a_paid_order_stays_paid_whatever_the_type_says_of_settle_today(change, settings):
    order, saga, product = paid_and_not_transmitted(settings)
    screening = Screening(refuses=True)
    settle, changed = "settle", {"name": "book_sale"} if change == "renamed" else {"undo": screening.undo}
    old = SAGA_TYPES[purchase.KIND].steps
    with steps_replaced(tuple(replace(step, **changed) if step.name == settle else step for step in old)):
        make_due(saga, is_overdue=True)
        assert hanging.refusal(hanging.compensate, saga) == "saga_not_reversible"
        if change == "with an undo":
            assert stepping.advance(saga.id) == Saga.State.DONE

    assert screening.undone == 0
    assert not SagaLog.objects.filter(saga=saga, direction="undo").exists()
    assert_paid_once(order, product)


@pytest.mark.parametrize("kind", ["local", "outside"])
def test_a_step_added_before_settle_may_refuse_an_order_that_is_not_paid_yet(kind, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 0.2
    owners.order("tok_timeout_charged")
    saga, screening = Saga.objects.get(), Screening(refuses=True)

    with rolled_out(screening.step(kind), before="settle"):
        buying.settle_everything()

    order = Order.objects.get()
    saga.refresh_from_db()
    assert (order.status, order.failure_code) == (Order.Status.PAYMENT_FAILED, "too_large")
    assert (saga.state, saga.is_irreversible) == (Saga.State.COMPENSATED, False)
    assert SagaLog.objects.get(saga=saga, step=NAME, direction=DO).event == Event.REFUSED
    assert all(one.amount == one.refunded_amount for one in gateway().charges(order_id=order.id))


def test_a_charge_in_doubt_is_looked_up_before_a_step_that_was_added_before_it(settings, monkeypatch):
    """The new step was called first, and the charge then repeated without a look-up."""
    settings.GATEWAY_TIMEOUT_SECONDS = 0.2
    assert buying.advance(owners.order("tok_timeout_charged")).status == "paying"
    calls = list[str]()

    class Noting(SimulatorBut):
        def find(self, **more):
            calls.append("find")
            return simulator.find(**more)

        def charge(self, **more):
            calls.append("charge")
            return simulator.charge(**more)

    use(Noting(), monkeypatch)
    screening = Screening(refuses=False)
    with rolled_out(screening.step("outside"), before="charge_card"):
        buying.settle_everything()
    assert ({*calls}, screening.done) == ({"find"}, 1)
    assert Order.objects.get().status == Order.Status.PAID


@pytest.mark.parametrize("waits", ["postponed", "stuck", "called"])
def test_a_saga_that_waits_at_a_step_that_is_gone_just_ends(waits, settings):
    order, saga, product = paid_and_not_transmitted(settings)
    changes = {
        "postponed": {},
        "stuck": {"state": Saga.State.STUCK, "deadline_at": order.placed_at},
        "called": {"open_call": "transmit do", "lease_token": "dead", "leased_until": order.placed_at},
    }
    set_columns(saga, **changes[waits])
    with steps_replaced(SAGA_TYPES[purchase.KIND].steps[:-1]):
        assert stepping.advance(saga.id) == Saga.State.DONE

    saga.refresh_from_db()
    assert (saga.open_call, saga.lease_token, saga.next_attempt_at) == ("", "", None)
    assert_paid_once(order, product)
