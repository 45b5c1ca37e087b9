"""A crash at any failpoint of an order or a refund: the next executor finishes it, and every law holds."""

from dataclasses import dataclass
from typing import Any

import pytest

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, Refund, Saga
from orders.payment.refunding import StartedRefund
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, owners, stepping
from payments import ledger
from payments.gateways import gateway

NOWHERE = "http://127.0.0.1:1"


def commits(*lines: str) -> list[str]:
    """The points of a batch that writes these lines."""
    return ["batch begins", "batch decided", f"batch committed: {', '.join(lines)}"]


def calls(name: str) -> list[str]:
    """The points of an outside call such as `charge_card do`."""
    return [f"{name} calling", f"{name} called"]


DEBIT = commits("debit_balance do")
WAITS = commits("charge_card do waits for an action")
CHARGE, POSTPONED = calls("charge_card do"), commits("charge_card do postponed")
SETTLED = [
    *commits("charge_card do", "settle do"),
    *calls("transmit do"),
    *commits("transmit do", "ended"),
]
NOTHING_FINAL = commits("nothing final")
DECIDED_TO_UNDO = commits("charge_card do")
RETRIED = [*NOTHING_FINAL, *CHARGE]
UNDO = calls("charge_card undo")


def undone(*lines: str) -> list[str]:
    """The points of the batch that ends a saga compensated; its card is undone first."""
    return commits("charge_card undo", "reserve_inventory undo", "hold_coupon undo", *lines, "ended")


@dataclass(frozen=True)
class Scenario:
    """A scenario of an order: the card, its possible ends, and every point it passes.

    An order that is given up is overdue from its second attempt on; with `is_blind` the gateway is away then.
    Where the card's owner must act, they make the `decision`, or let their time pass.
    """

    token: str
    ends: set[str]
    points: list[str]
    is_given_up: bool = False
    is_blind: bool = False
    is_late_from_the_start: bool = False
    decision: str = ""
    is_kept: bool = False


WAYS = {
    "charged": Scenario("tok_ok", {"paid"}, [*DEBIT, *CHARGE, *SETTLED]),
    "declined": Scenario(
        "tok_declined",
        {"payment_failed"},
        [*DEBIT, *CHARGE, *commits("charge_card do"), *undone("debit_balance undo")],
    ),
    "charged without a reply": Scenario(
        "tok_timeout_charged", {"paid"}, [*DEBIT, *CHARGE, *POSTPONED, *RETRIED, *SETTLED]
    ),
    "given up": Scenario(
        "tok_error",
        {"payment_failed"},
        [
            *[*DEBIT, *CHARGE, *POSTPONED, *RETRIED, *NOTHING_FINAL],
            *[*DECIDED_TO_UNDO, *UNDO, *undone("debit_balance undo")],
        ],
        is_given_up=True,
    ),
    "given up, though charged": Scenario(
        "tok_timeout_charged",
        {"payment_failed", "paid"},
        [
            *[*DEBIT, *CHARGE, *POSTPONED, *RETRIED, *NOTHING_FINAL],
            *[*DECIDED_TO_UNDO, *UNDO, *commits("charge_card undo postponed")],
            *[*NOTHING_FINAL, *NOTHING_FINAL, *UNDO, *undone("debit_balance undo")],
        ],
        is_given_up=True,
        is_blind=True,
    ),
    "never called": Scenario(
        "tok_ok",
        {"payment_failed"},
        [
            *[*NOTHING_FINAL, *DECIDED_TO_UNDO, *UNDO],
            *undone("debit_balance do", "debit_balance undo"),
        ],
        is_late_from_the_start=True,
    ),
    "confirmed by the card's owner": Scenario(
        "tok_3ds", {"paid"}, [*DEBIT, *CHARGE, *WAITS, *RETRIED, *SETTLED], decision="approve"
    ),
    "refused by the card's owner": Scenario(
        "tok_3ds",
        {"payment_failed"},
        [*DEBIT, *CHARGE, *WAITS, *RETRIED, *commits("charge_card do"), *undone("debit_balance undo")],
        decision="refuse",
    ),
    "not confirmed in time": Scenario(
        "tok_3ds",
        {"payment_failed"},
        [
            *[*DEBIT, *CHARGE, *WAITS, *RETRIED, *NOTHING_FINAL],
            *[*DECIDED_TO_UNDO, *UNDO, *undone("debit_balance undo")],
        ],
        decision="none",
    ),
    "declined, and kept for another card": Scenario(
        "tok_declined",
        {"awaiting_payment"},
        [*DEBIT, *CHARGE, *commits("charge_card do"), *undone("debit_balance undo")],
        is_kept=True,
    ),
}


class Killed(BaseException):
    """The crash of a process, as one thread sees it."""


class Crasher:
    """Records every point, and crashes the executor at the chosen one."""

    def __init__(self, strike_at: int | None = None) -> None:
        self.points: list[str] = []
        self.strike_at = strike_at

    def __call__(self, point: str) -> None:
        self.points.append(point)
        if len(self.points) - 1 == self.strike_at:
            raise Killed(point)


@pytest.fixture(autouse=True)
def _quick_gateway(settings: Any) -> None:
    """Shortens the wait for a gateway that never replies."""
    settings.GATEWAY_TIMEOUT_SECONDS = 0.3


def buy(token: str, *, points: int = 300, is_kept: bool = False) -> PlacedOrder:
    """An order that uses everything: two lines, a coupon, points and a card."""
    buyer = buying.account(points=1_000 + points)
    first, second = ProductFactory.create_batch(2, on_hand=5, price=500)
    coupon = buying.coupon_of(buyer.id, discount_value=100).code
    return buying.place(
        buyer.id,
        {first: 2, second: 1},
        coupon=coupon,
        points=points,
        token=token,
        keep_on_decline=is_kept,
    )


def act(placed: PlacedOrder, decision: str) -> None:
    """What the card's owner does, if the payment waits for them."""
    payment = owners.payment_of(placed)
    if payment.requires_action and decision == "none":
        owners.let_action_end(payment.id)
    elif payment.requires_action and decision:
        owners.decide(payment, decision)


def run_scenario(placed: PlacedOrder, scenario: Scenario, settings: Any) -> None:
    """Advance the order to its end in this scenario."""
    assert placed.started
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


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", WAYS)
def test_a_scenario_passes_exactly_these_points(
    name: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    saboteur = Crasher()
    monkeypatch.setattr(stepping, "failpoint", saboteur)
    placed = buy(WAYS[name].token, is_kept=WAYS[name].is_kept)
    run_scenario(placed, WAYS[name], settings)
    assert saboteur.points == WAYS[name].points
    assert buying.state_of(placed.order.id) in WAYS[name].ends
    assert buying.broken_laws() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("name", "strike_at"),
    [
        pytest.param(name, index, id=f"{name}, {index} {point}")
        for name, scenario in WAYS.items()
        for index, point in enumerate(scenario.points)
    ],
)
def test_a_crash_at_any_point_is_recovered_from(
    name: str, strike_at: int, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    scenario, gateway_url = WAYS[name], settings.GATEWAY_URL
    placed = buy(scenario.token, is_kept=scenario.is_kept)
    assert placed.started
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(stepping, "failpoint", Crasher(strike_at))
        run_scenario(placed, scenario, settings)
    settings.GATEWAY_URL = gateway_url
    if scenario.is_given_up:
        Saga.objects.filter(id=placed.started.saga.id).update(deadline_at=placed.order.placed_at)
    if scenario.decision:
        Saga.objects.filter(ended_at__isnull=True).update(leased_until=None)
        stepping.advance(placed.started.saga.id)
        act(placed, scenario.decision)
    buying.settle_everything()
    assert buying.state_of(placed.order.id) in scenario.ends
    assert buying.broken_laws() == []


@dataclass(frozen=True)
class RefundScenario:
    """A scenario of a refund: how its order was paid, whether all is refunded, every point it passes.

    A refund that `is_late` is stuck after its first failed attempt; with `is_blind` the gateway is away then.
    """

    points: list[str]
    token: str = "tok_ok"
    points_amount: int = 300
    is_whole: bool = True
    attempts: int = 1
    is_late: bool = False
    is_blind: bool = False
    ends: str = Order.Status.REFUNDED


REFUND = [*NOTHING_FINAL, *calls("refund_card do")]
REFUND_POSTPONED = [*REFUND, *commits("refund_card do postponed")]
# Runs in single batches: a result is recorded before the next step is done.
GIVEN = [*REFUND, *commits("refund_card do"), *commits("settle_refund do", "ended")]
FAILS_TWICE = [*REFUND_POSTPONED, *REFUND_POSTPONED, *GIVEN]
REFUND_WAYS = {
    "all": RefundScenario(GIVEN),
    "a line": RefundScenario(GIVEN, is_whole=False, ends=Order.Status.PAID),
    "points alone": RefundScenario(commits("settle_refund do", "ended"), points_amount=1_400),
    "failing twice": RefundScenario(FAILS_TWICE, token="tok_refund_fails", attempts=3),
    "stuck meanwhile": RefundScenario(FAILS_TWICE, token="tok_refund_fails", attempts=3, is_late=True),
    "with the gateway away": RefundScenario(
        [*REFUND_POSTPONED, *GIVEN], attempts=2, is_late=True, is_blind=True
    ),
}


def begin_refund(scenario: RefundScenario) -> StartedRefund:
    """Start a refund of an order paid as in this scenario."""
    placed = buy(scenario.token, points=scenario.points_amount)
    assert buying.advance(placed).status == Order.Status.PAID
    some = {Product.objects.get(id=placed.lines[0].product_id): 1}
    return buying.refund(placed.order.id, None if scenario.is_whole else some)


def execute_refund(started: StartedRefund, scenario: RefundScenario, settings: Any) -> None:
    """Advance the refund to its end in this scenario."""
    if scenario.is_late:
        Saga.objects.filter(id=started.saga_id).update(deadline_at=started.refund.created_at)
    gateway_url = settings.GATEWAY_URL
    if scenario.is_blind:
        settings.GATEWAY_URL = NOWHERE
    for _ in range(scenario.attempts):
        stepping.advance(started.saga_id)
        settings.GATEWAY_URL = gateway_url


def assert_refunded_once(started: StartedRefund, scenario: RefundScenario) -> None:
    """Assert points, card, stock and order as one refund leaves them."""
    refund = Refund.objects.select_related("order").get(id=started.refund.id)
    order = refund.order
    assert (refund.status, order.status, order.refunded_amount) == ("succeeded", scenario.ends, refund.amount)
    assert ledger.balance_amount(order.account_id) == 1_000 + refund.points_amount
    kept = sum(charge.kept_amount for charge in gateway().charges(order_id=order.id))
    assert kept == order.card_amount - refund.card_amount
    products = [line.product for line in order.lines.all()]
    assert sum(product.on_hand for product in products) == 10 - 3 + (3 if scenario.is_whole else 1)
    assert buying.broken_laws() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", REFUND_WAYS)
def test_a_refund_passes_exactly_these_points(
    name: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    scenario, saboteur = REFUND_WAYS[name], Crasher()
    started = begin_refund(scenario)
    monkeypatch.setattr(stepping, "failpoint", saboteur)
    execute_refund(started, scenario, settings)
    assert saboteur.points == scenario.points
    assert_refunded_once(started, scenario)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("name", "strike_at"),
    [
        pytest.param(name, index, id=f"{name}, {index} {point}")
        for name, scenario in REFUND_WAYS.items()
        for index, point in enumerate(scenario.points)
    ],
)
def test_a_crash_in_a_refund_is_recovered_from(
    name: str, strike_at: int, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    scenario, gateway_url = REFUND_WAYS[name], settings.GATEWAY_URL
    started = begin_refund(scenario)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(stepping, "failpoint", Crasher(strike_at))
        execute_refund(started, scenario, settings)
    settings.GATEWAY_URL = gateway_url
    assert buying.broken_laws() == []
    buying.settle_everything()
    assert_refunded_once(started, scenario)
