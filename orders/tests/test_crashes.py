"""A crash at any point of an order's way, or a refund's: the next driver finishes it, and every law holds."""

from dataclasses import dataclass
from typing import Any

import pytest

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, Refund, Saga
from orders.payment.refunding import StartedRefund
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, stepping
from payments import ledger
from payments.gateways import gateway

NOWHERE = "http://127.0.0.1:1"


def commits(*lines: str) -> list[str]:
    """The points of a batch that writes these lines."""
    return ["batch begins", "batch decided", f"batch committed: {', '.join(lines)}"]


def calls(name: str) -> list[str]:
    """The points of a call outside, `charge_card do` or the like."""
    return [f"{name} calling", f"{name} called"]


DEBIT = commits("debit_balance do")
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
class Way:
    """One way an order can take: the card, how it may end, and every point it passes.

    An order that is given up is late from its second attempt on; `is_blind`, the gateway is away then.
    """

    token: str
    ends: set[str]
    points: list[str]
    is_given_up: bool = False
    is_blind: bool = False
    is_late_from_the_start: bool = False


WAYS = {
    "charged": Way("tok_ok", {"paid"}, [*DEBIT, *CHARGE, *SETTLED]),
    "declined": Way(
        "tok_declined",
        {"payment_failed"},
        [*DEBIT, *CHARGE, *commits("charge_card do"), *undone("debit_balance undo")],
    ),
    "charged without a reply": Way(
        "tok_timeout_charged", {"paid"}, [*DEBIT, *CHARGE, *POSTPONED, *RETRIED, *SETTLED]
    ),
    "given up": Way(
        "tok_error",
        {"payment_failed"},
        [
            *[*DEBIT, *CHARGE, *POSTPONED, *RETRIED, *NOTHING_FINAL],
            *[*DECIDED_TO_UNDO, *UNDO, *undone("debit_balance undo")],
        ],
        is_given_up=True,
    ),
    "given up, though charged": Way(
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
    "never called": Way(
        "tok_ok",
        {"payment_failed"},
        [
            *[*NOTHING_FINAL, *DECIDED_TO_UNDO, *UNDO],
            *undone("debit_balance do", "debit_balance undo"),
        ],
        is_late_from_the_start=True,
    ),
}


class Killed(BaseException):
    """The end of a process, as far as one thread can feel it."""


class Saboteur:
    """Stands at every point and notes it; kills whoever comes to the one where it is to strike."""

    def __init__(self, strike_at: int | None = None) -> None:
        self.points: list[str] = []
        self.strike_at = strike_at

    def __call__(self, point: str) -> None:
        self.points.append(point)
        if len(self.points) - 1 == self.strike_at:
            raise Killed(point)


@pytest.fixture(autouse=True)
def _quick_gateway(settings: Any) -> None:
    """A gateway that never answers is waited for only briefly."""
    settings.GATEWAY_TIMEOUT_SECONDS = 0.3


def buy(token: str, *, points: int = 300) -> PlacedOrder:
    """An order that uses everything: two lines, a coupon, points and a card."""
    buyer = buying.account(points=1_000 + points)
    first, second = ProductFactory.create_batch(2, on_hand=5, price=500)
    coupon = buying.coupon_of(buyer.id, discount_value=100).code
    return buying.place(buyer.id, {first: 2, second: 1}, coupon=coupon, points=points, token=token)


def drive(placed: PlacedOrder, way: Way, settings: Any) -> None:
    """Bring the order to its end as the way says."""
    assert placed.started
    saga_id, gateway_url = placed.started.saga.id, settings.GATEWAY_URL
    if way.is_late_from_the_start:
        Saga.objects.filter(id=saga_id).update(deadline_at=placed.order.placed_at)
    stepping.advance(saga_id)
    if way.is_given_up:
        Saga.objects.filter(id=saga_id).update(deadline_at=placed.order.placed_at)
    if way.is_blind:
        settings.GATEWAY_URL = NOWHERE
        stepping.advance(saga_id)
        settings.GATEWAY_URL = gateway_url
    if not Saga.objects.get(id=saga_id).ended_at:
        stepping.advance(saga_id)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", WAYS)
def test_a_way_passes_exactly_these_points(name: str, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    saboteur = Saboteur()
    monkeypatch.setattr(stepping, "failpoint", saboteur)
    placed = buy(WAYS[name].token)
    drive(placed, WAYS[name], settings)
    assert saboteur.points == WAYS[name].points
    assert buying.state_of(placed.order.id) in WAYS[name].ends
    assert buying.broken_laws() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("name", "strike_at"),
    [
        pytest.param(name, index, id=f"{name}, {index} {point}")
        for name, way in WAYS.items()
        for index, point in enumerate(way.points)
    ],
)
def test_a_crash_there_is_recovered_from(
    name: str, strike_at: int, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    way, gateway_url = WAYS[name], settings.GATEWAY_URL
    placed = buy(way.token)
    assert placed.started
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(stepping, "failpoint", Saboteur(strike_at))
        drive(placed, way, settings)
    settings.GATEWAY_URL = gateway_url
    if way.is_given_up:
        Saga.objects.filter(id=placed.started.saga.id).update(deadline_at=placed.order.placed_at)
    buying.settle_everything()
    assert buying.state_of(placed.order.id) in way.ends
    assert buying.broken_laws() == []


@dataclass(frozen=True)
class RefundWay:
    """One way a refund can take: how its order was paid, whether it is of all, and every point it passes.

    A refund that `is_late` is stuck from its first attempt in vain on; `is_blind`, the gateway is away then.
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
# Alone in its batches: a result is recorded before the next step is done.
GIVEN = [*REFUND, *commits("refund_card do"), *commits("settle_refund do", "ended")]
FAILS_TWICE = [*REFUND_POSTPONED, *REFUND_POSTPONED, *GIVEN]
REFUND_WAYS = {
    "all": RefundWay(GIVEN),
    "a line": RefundWay(GIVEN, is_whole=False, ends=Order.Status.PAID),
    "points alone": RefundWay(commits("settle_refund do", "ended"), points_amount=1_400),
    "failing twice": RefundWay(FAILS_TWICE, token="tok_refund_fails", attempts=3),
    "stuck meanwhile": RefundWay(FAILS_TWICE, token="tok_refund_fails", attempts=3, is_late=True),
    "with the gateway away": RefundWay([*REFUND_POSTPONED, *GIVEN], attempts=2, is_late=True, is_blind=True),
}


def begin_refund(way: RefundWay) -> StartedRefund:
    """A refund of an order that is paid as the way says."""
    placed = buy(way.token, points=way.points_amount)
    assert buying.drive(placed).status == Order.Status.PAID
    some = {Product.objects.get(id=placed.lines[0].product_id): 1}
    return buying.refund(placed.order.id, None if way.is_whole else some)


def give_back(begun: StartedRefund, way: RefundWay, settings: Any) -> None:
    """Bring the refund to its end as the way says."""
    if way.is_late:
        Saga.objects.filter(id=begun.saga_id).update(deadline_at=begun.refund.created_at)
    gateway_url = settings.GATEWAY_URL
    if way.is_blind:
        settings.GATEWAY_URL = NOWHERE
    for _ in range(way.attempts):
        stepping.advance(begun.saga_id)
        settings.GATEWAY_URL = gateway_url


def assert_given_back_once(begun: StartedRefund, way: RefundWay) -> None:
    """Points, card, goods and the order, each as one refund leaves them."""
    refund = Refund.objects.select_related("order").get(id=begun.refund.id)
    order = refund.order
    assert (refund.status, order.status, order.refunded_amount) == ("succeeded", way.ends, refund.amount)
    assert ledger.balance_amount(order.account_id) == 1_000 + refund.points_amount
    kept = sum(charge.kept_amount for charge in gateway().charges(order_id=order.id))
    assert kept == order.card_amount - refund.card_amount
    products = [line.product for line in order.lines.all()]
    assert sum(product.on_hand for product in products) == 10 - 3 + (3 if way.is_whole else 1)
    assert buying.broken_laws() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", REFUND_WAYS)
def test_a_refund_passes_exactly_these_points(
    name: str, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    way, saboteur = REFUND_WAYS[name], Saboteur()
    begun = begin_refund(way)
    monkeypatch.setattr(stepping, "failpoint", saboteur)
    give_back(begun, way, settings)
    assert saboteur.points == way.points
    assert_given_back_once(begun, way)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("name", "strike_at"),
    [
        pytest.param(name, index, id=f"{name}, {index} {point}")
        for name, way in REFUND_WAYS.items()
        for index, point in enumerate(way.points)
    ],
)
def test_a_crash_in_a_refund_is_recovered_from(
    name: str, strike_at: int, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    way, gateway_url = REFUND_WAYS[name], settings.GATEWAY_URL
    begun = begin_refund(way)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(stepping, "failpoint", Saboteur(strike_at))
        give_back(begun, way, settings)
    settings.GATEWAY_URL = gateway_url
    assert buying.broken_laws() == []
    buying.settle_everything()
    assert_given_back_once(begun, way)
