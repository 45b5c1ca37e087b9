"""Stuck sagas and operators' actions, for the tests of operator actions."""

import pytest

from accounts.operating import approvals
from foundation import journal
from foundation.approval_models import Approval
from foundation.journal import Actor, ActorContext
from foundation.models import JournalLine
from foundation.tests.factories import reloaded, set_columns, staff_member
from foundation.tests.instants import ago
from foundation.tests.outages import nowhere
from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from orders.saga import operator_actions
from orders.saga.definitions import UNDO
from orders.tests import buying, stepping
from payments.gateways import calls, gateway
from payments.models import Payment

ADA = ActorContext(actor=Actor.STAFF, name="ada")
"""Works by commands: a request without an account may do nothing of this."""


class Away:
    """Makes the system of `GATEWAY_URL` or `DATA_PLATFORM_URL` unreachable, and reachable again."""

    def __init__(self, settings):
        self._settings = settings

    def take(self, setting: str):
        self._setting, self._address = setting, getattr(self._settings, setting)
        setattr(self._settings, setting, nowhere())

    def back(self):
        setattr(self._settings, self._setting, self._address)
        calls.forget()


@pytest.fixture
def away(settings, transmitting):
    """Makes systems unreachable for this test, in which purchases transmit their events."""
    return Away(settings)


@pytest.fixture
def impatient(settings):
    """Shortens the time-out, as some cards never get a reply."""
    settings.GATEWAY_TIMEOUT_SECONDS = 0.5


@pytest.fixture
def product():
    return ProductFactory(on_hand=10, price=1_000)


def started(product, token="tok_ok", points=100) -> Saga:
    """The saga of a new order with a coupon and points, not advanced yet."""
    buyer = buying.account(points=points)
    coupon = buying.coupon_code(buyer, discount_value=200)
    placed = buying.place(buyer, product, coupon=coupon, points=points, token=token)
    return placed.started.saga


def make_overdue(row: Saga):
    set_columns(row, deadline_at=ago(seconds=1))


def advance(row: Saga) -> str:
    return stepping.advance(row.id)


def let_stick(row: Saga):
    """Let its time be over while it cannot go on: it is stuck."""
    make_overdue(row)
    assert advance(row) == Saga.State.STUCK


def order_of(row: Saga) -> Order:
    return Order.objects.get(id=row.about_id)


def payment_of(row: Saga) -> Payment:
    return Payment.objects.get(id=row.subject_id)


def stuck_at_charge(product) -> Saga:
    """A saga that is stuck while the outcome of its charge is unknown."""
    row = in_doubt(product)
    set_columns(row, state=Saga.State.STUCK)
    return row


def refund_by_hand(row: Saga):
    """Refund the charge of the saga's order at the gateway, as its dashboard does."""
    [charge] = gateway().charges(order_id=row.about_id)
    gateway().refund(key="by hand", charge_reference=charge.reference, amount=charge.amount)


def approve(asked, **more) -> Approval:
    """Another operator approves it."""
    assert isinstance(asked, Approval), asked
    second = staff_member()
    bob = ActorContext(actor=Actor.STAFF, id=second.pk, name=second.username)
    with journal.acting(more.pop("by", bob)):
        return approvals.approve(approval_id=asked.pk, **{"reason": "I have looked, too"} | more)


def retry(row: Saga, **more) -> Saga:
    return operator_actions.retry(saga_id=row.id, **{"reason": "looked into it", "by": ADA} | more)


def compensate(row: Saga, **more):
    return operator_actions.force_compensate(saga_id=row.id, **{"reason": "customer asked", "by": ADA} | more)


def complete(row: Saga, **more):
    return operator_actions.force_complete(saga_id=row.id, **{"reason": "seen by hand", "by": ADA} | more)


def refusal(work, row: Saga, **more) -> str:
    """The code of the refusal; asserts that the saga is unchanged."""
    before = Saga.objects.values().get(id=row.id)
    code = buying.refusal_of(work, row, **more).code
    assert Saga.objects.values().get(id=row.id) == before
    return code


def stuck_at_data_platform(product, away) -> Saga:
    """A saga of a paid order that is stuck at the data platform."""
    row = started(product)
    away.take("DATA_PLATFORM_URL")
    advance(row)
    let_stick(row)
    return row


def in_doubt(product, token="tok_timeout_charged") -> Saga:
    row = started(product, token)
    assert advance(row) == Saga.State.RUNNING
    assert payment_of(row).status == "in_doubt"
    return row


def stuck_in_compensation(product, away, token="tok_error") -> Saga:
    """A saga whose compensation is stuck: the gateway is unreachable, the outcome of the charge unknown."""
    row = started(product, token)
    advance(row)
    away.take("GATEWAY_URL")
    let_stick(row)
    assert reloaded(row).direction == UNDO
    return row


def journalled(row: Saga, what: str) -> list[JournalLine]:
    return list(JournalLine.objects.filter(order_id=row.about_id, what=what))
