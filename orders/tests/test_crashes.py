"""A crash at any failpoint of an order or a refund: the next executor finishes it, and every law holds.

It crashes once for each thing that a crash can leave, and the run of each scenario shows that its points
leave nothing else. `make simulate` crashes at any statement, by a seed.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from foundation import clock
from foundation.tests.factories import set_columns
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, Refund, Saga, SagaLog
from orders.payment import refund_saga
from orders.payment.refunding import StartedRefund
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, crash_points, owners, stepping
from orders.tests.listening import Killed
from payments import ledger
from payments.gateways import gateway
from payments.models import Payment

pytestmark = pytest.mark.django_db(transaction=True)

NOWHERE = "http://127.0.0.1:1"


class Crasher:
    """Records every point and what a crash there leaves, and crashes the executor at the chosen one."""

    def __init__(self, strike_at=None, remains=str):
        self.points: list[str] = []
        self.left: dict[str, str] = {}
        self.strike_at, self.remains = strike_at, remains

    def __call__(self, point):
        # A crash within the transaction leaves what its begin does.
        if point != "batch decided":
            self.left[f"{len(self.points)} {point}"] = self.remains()
        self.points.append(point)
        if len(self.points) - 1 == self.strike_at:
            raise Killed(point)


RECORDED = json.loads(Path(__file__).with_name("recorded_sagas.json").read_text())
"""The rows that the engine before this one left at these points, without ids and instants: what is recovered
from here are sagas of that engine, too.
"""
COLUMNS = "kind state direction attempts failure_code failure_detail last_error open_call is_irreversible"


def recorded(saga_id: UUID) -> dict[str, Any]:
    """The saga and its log as `RECORDED` has them."""
    saga = Saga.objects.get(id=saga_id)
    instants = {"leased": saga.leased_until, "next": saga.next_attempt_at}
    return {
        **{name: getattr(saga, name) for name in COLUMNS.split()},
        "lease_token": bool(saga.lease_token),
        **{name: at is not None for name, at in instants.items()},
        "lines": [
            f"{line.step} {line.direction} {line.attempt} {line.event}"
            + (f": {line.detail}" if line.detail else "")
            + (" (id)" if line.reference else "")
            for line in SagaLog.objects.filter(saga=saga).order_by("id")
        ],
    }


Remains = Callable[..., str]


@pytest.fixture
def remains(own_gateway, own_data_platform):
    """What a crash of the saga now leaves."""

    def read(saga_id, *, is_overdue=False):
        return crash_points.left_by(saga_id, own_gateway, own_data_platform, is_overdue=is_overdue)

    return read


def unforeseen(left: dict[str, str], crashes: dict[str, dict[str, str]]) -> dict[str, str]:
    """The points whose remainder no crash of these leaves."""
    foreseen = {remainder for points in crashes.values() for remainder in points.values()}
    return {point: remainder for point, remainder in left.items() if remainder not in foreseen}


@pytest.fixture(autouse=True)
def _quick_gateway(settings):
    """Shortens the wait for a gateway that never replies."""
    settings.GATEWAY_TIMEOUT_SECONDS = 1


def buy(token: str, *, points=300, is_kept=False) -> PlacedOrder:
    """An order that uses everything: two lines, a coupon, points and a card."""
    buyer = buying.account(points=1_000 + points)
    first, second = ProductFactory.create_batch(2, on_hand=5, price=500)
    coupon = buying.coupon_code(buyer, discount_value=100)
    paid = {"coupon": coupon, "points": points, "token": token, "keep_on_decline": is_kept}
    return buying.place(buyer, {first: 2, second: 1}, **paid)


def buy_in(scenario, request: pytest.FixtureRequest) -> PlacedOrder:
    if scenario.is_transmitting:
        request.getfixturevalue("transmitting")
    return buy(scenario.token, is_kept=scenario.is_kept)


def act(placed: PlacedOrder, decision: str):
    """What the card's owner does, if the payment waits for them."""
    payment = owners.payment_of(placed)
    if payment.requires_action and decision == "none":
        owners.let_action_end(payment.id)
    elif payment.requires_action and decision:
        owners.decide(payment, decision)


def run_scenario(placed: PlacedOrder, scenario, settings):
    """Advance the order to its end in this scenario."""
    saga_id, gateway_url = placed.started.saga.id, settings.GATEWAY_URL
    if scenario.is_late_from_the_start:
        Saga.objects.filter(id=saga_id).update(deadline_at=placed.order.placed_at)
    stepping.advance(saga_id)
    act(placed, scenario.decision)
    if scenario.is_given_up:
        Saga.objects.filter(id=saga_id).update(deadline_at=placed.order.placed_at)
    if scenario.is_blind:
        settings.GATEWAY_URL = NOWHERE
        stepping.advance(saga_id)
        settings.GATEWAY_URL = gateway_url
    if not Saga.objects.get(id=saga_id).ended_at:
        stepping.advance(saga_id)


@pytest.mark.parametrize("name", crash_points.WAYS)
def test_a_scenario_passes_exactly_these_points(name, monkeypatch, settings, remains, request):
    scenario = crash_points.WAYS[name]
    placed = buy_in(scenario, request)
    saboteur = Crasher(remains=partial(remains, placed.started.saga.id, is_overdue=scenario.is_given_up))
    monkeypatch.setattr(stepping, "failpoint", saboteur)
    run_scenario(placed, scenario, settings)
    assert saboteur.points == scenario.points
    assert unforeseen(saboteur.left, crash_points.CRASHES) == {}, "add these to CRASHES"
    assert buying.status_of(placed) in scenario.ends


@pytest.mark.parametrize(
    ("name", "point", "left"),
    [(name, *one) for name, points in crash_points.CRASHES.items() for one in points.items()],
)
def test_a_crash_at_any_point_is_recovered_from(name, point, left, monkeypatch, settings, remains, request):
    scenario, gateway_url = crash_points.WAYS[name], settings.GATEWAY_URL
    placed = buy_in(scenario, request)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(stepping, "failpoint", Crasher(crash_points.point_index(scenario.points, point)))
        run_scenario(placed, scenario, settings)
    settings.GATEWAY_URL = gateway_url
    assert recorded(placed.started.saga.id) == RECORDED[f"{name}: {point}"]
    if scenario.is_given_up:
        set_columns(placed.started.saga, deadline_at=placed.order.placed_at)
    assert remains(placed.started.saga.id) == left
    assert buying.broken_laws() == []
    if scenario.decision:
        Saga.objects.filter(ended_at__isnull=True).update(leased_until=None)
        stepping.advance(placed.started.saga.id)
        act(placed, scenario.decision)
    buying.settle_everything()
    assert buying.status_of(placed) in scenario.ends


def test_an_undo_that_another_release_called_before_it_crashed_is_repeated(own_gateway, remains):
    """Of releases that undid charges which were never tried."""
    placed = buy("tok_ok")
    saga_id, until = placed.started.saga.id, clock.now()
    SagaLog.objects.create(saga_id=saga_id, step="charge_card", direction="do", event="void", at=until)
    Saga.objects.filter(id=saga_id).update(
        direction="undo",
        failure_code="gave_up",
        failure_detail="The deadline passed before it was tried.",
        open_call="charge_card undo",
        lease_token="dead",
        leased_until=until,
        next_attempt_at=until,
    )
    assert recorded(saga_id) == RECORDED["never called: charge_card undo calling"]
    buying.settle_everything()
    assert buying.status_of(placed) == Order.Status.PAYMENT_FAILED
    assert [one.status for one in gateway().charges()] == ["cancelled"]
    assert buying.broken_laws() == []


def begin_refund(scenario: crash_points.RefundScenario) -> StartedRefund:
    """Start a refund of an order paid as in this scenario."""
    placed = buy(scenario.token, points=scenario.points_amount)
    assert buying.advance(placed).status == Order.Status.PAID
    some = {Product.objects.get(id=placed.lines[0].product_id): 1}
    return buying.refund(placed.order, None if scenario.is_whole else some)


def execute_refund(started: StartedRefund, scenario: crash_points.RefundScenario, settings):
    """Advance the refund to its end in this scenario."""
    if scenario.is_late:
        Saga.objects.filter(id=started.saga_id).update(deadline_at=started.refund.created_at)
    gateway_url = settings.GATEWAY_URL
    if scenario.is_blind:
        settings.GATEWAY_URL = NOWHERE
    for _ in range(scenario.attempts):
        stepping.advance(started.saga_id)
        settings.GATEWAY_URL = gateway_url


def assert_refunded_once(started: StartedRefund, scenario: crash_points.RefundScenario):
    """Assert points, card, stock and order as one refund leaves them."""
    refund = Refund.objects.select_related("order").get(id=started.refund.id)
    order = refund.order
    assert (refund.status, order.status, order.refunded_amount) == ("succeeded", scenario.ends, refund.amount)
    assert ledger.balance_amount(order.account_id) == 1_000 + refund.points_amount
    kept = sum(charge.kept_amount for charge in gateway().charges(order_id=order.id))
    assert kept == order.card_amount - refund.card_amount
    products = [line.product for line in order.lines.all()]
    assert sum(product.on_hand for product in products) == 10 - 3 + (3 if scenario.is_whole else 1)


@pytest.mark.parametrize("name", crash_points.REFUND_WAYS)
def test_a_refund_passes_exactly_these_points(name, monkeypatch, settings, remains):
    scenario = crash_points.REFUND_WAYS[name]
    started = begin_refund(scenario)
    saboteur = Crasher(remains=partial(remains, started.saga_id))
    monkeypatch.setattr(stepping, "failpoint", saboteur)
    execute_refund(started, scenario, settings)
    assert saboteur.points == scenario.points
    assert unforeseen(saboteur.left, crash_points.REFUND_CRASHES) == {}, "add these to REFUND_CRASHES"
    assert_refunded_once(started, scenario)


@pytest.mark.parametrize(
    ("name", "point", "left"),
    [(name, *one) for name, points in crash_points.REFUND_CRASHES.items() for one in points.items()],
)
def test_a_crash_in_a_refund_is_recovered_from(name, point, left, monkeypatch, settings, remains):
    scenario, gateway_url = crash_points.REFUND_WAYS[name], settings.GATEWAY_URL
    started = begin_refund(scenario)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(stepping, "failpoint", Crasher(crash_points.point_index(scenario.points, point)))
        execute_refund(started, scenario, settings)
    settings.GATEWAY_URL = gateway_url
    assert recorded(started.saga_id) == RECORDED[f"refund {name}: {point}"]
    assert remains(started.saga_id) == left
    assert buying.broken_laws() == []
    buying.settle_everything()
    assert_refunded_once(started, scenario)


def test_a_refund_whose_card_another_release_refunded_before_it_crashed_is_settled(settings):
    """Of releases whose refunds shared no batch: they recorded the card's refund by itself."""
    scenario = crash_points.REFUND_WAYS["all"]
    started = begin_refund(scenario)
    refund, payment = started.refund, Payment.objects.get(order_id=started.refund.order_id)
    made = gateway().refund(
        key=refund_saga.refund_key(refund),
        charge_reference=payment.charge_reference,
        amount=refund.card_amount,
    )
    SagaLog.objects.create(
        saga_id=started.saga_id,
        step="refund_card",
        direction="do",
        event="done",
        detail=f"{refund.card_amount} refunded",
        reference=made.reference,
        at=refund.created_at,
    )
    until = clock.now()
    Saga.objects.filter(id=started.saga_id).update(
        is_irreversible=True, lease_token="dead", leased_until=until, next_attempt_at=until
    )
    assert recorded(started.saga_id) == RECORDED["refund all: batch decided #3"]
    buying.settle_everything()
    assert_refunded_once(started, scenario)
