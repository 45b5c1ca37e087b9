"""A crash at any point of an order's way: the next driver finishes it, and every law holds."""

from dataclasses import dataclass
from typing import Any

import pytest

from inventory.tests.factories import ProductFactory
from orders import saga, steps
from orders.checkout import Placed
from orders.models import Saga
from orders.tests import buying

NOWHERE = "http://127.0.0.1:1"


def do(*names: str) -> list[str]:
    """The points of local steps that are done."""
    return [f"{name} do {point}" for name in names for point in ("before", "committed")]


def undo(*names: str) -> list[str]:
    """The points of local steps that are undone."""
    return [f"{name} undo {point}" for name in names for point in ("before", "committed")]


def outside(name: str) -> list[str]:
    """The points of a call outside, `charge_card do` or the like."""
    return [f"{name} {point}" for point in ("before", "called", "committed")]


SETTLED = [*do("settle"), *outside("transmit do"), "ended"]
GIVEN_BACK = [
    *outside("charge_card undo"),
    *undo("debit_balance", "hold_coupon", "reserve_inventory"),
    "ended",
]


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


CHARGE, IN_VAIN = outside("charge_card do"), "charge_card do postponed"
WAYS = {
    "charged": Way("tok_ok", {"paid"}, [*do("debit_balance"), *CHARGE, *SETTLED]),
    "declined": Way(
        "tok_declined",
        {"payment_failed"},
        [
            *do("debit_balance"),
            *CHARGE,
            *undo("debit_balance", "hold_coupon", "reserve_inventory"),
            "ended",
        ],
    ),
    "charged without a reply": Way(
        "tok_timeout_charged",
        {"paid"},
        [*do("debit_balance"), *CHARGE, IN_VAIN, *CHARGE, *SETTLED],
    ),
    "given up": Way(
        "tok_error",
        {"payment_failed"},
        [*do("debit_balance"), *CHARGE, IN_VAIN, *CHARGE, *GIVEN_BACK],
        is_given_up=True,
    ),
    "given up, though charged": Way(
        "tok_timeout_charged",
        {"payment_failed", "paid"},
        [
            *do("debit_balance"),
            *CHARGE,
            IN_VAIN,
            *CHARGE,
            *outside("charge_card undo"),
            "charge_card undo postponed",
            *GIVEN_BACK,
        ],
        is_given_up=True,
        is_blind=True,
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


def buy(token: str) -> Placed:
    """An order that uses everything: two lines, a coupon, points and a card."""
    buyer = buying.account(points=1_000)
    first, second = ProductFactory.create_batch(2, on_hand=5, price=500)
    coupon = buying.coupon_of(buyer.id, discount_value=100).code
    return buying.place(buyer.id, {first: 2, second: 1}, coupon=coupon, points=300, token=token)


def drive(placed: Placed, way: Way, settings: Any) -> None:
    """Bring the order to its end as the way says."""
    assert placed.started
    saga_id, gateway_url = placed.started.saga.id, settings.GATEWAY_URL
    saga.advance(saga_id)
    if way.is_given_up:
        Saga.objects.filter(id=saga_id).update(deadline_at=placed.order.placed_at)
    if way.is_blind:
        settings.GATEWAY_URL = NOWHERE
        saga.advance(saga_id)
        settings.GATEWAY_URL = gateway_url
    saga.advance(saga_id)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", WAYS)
def test_a_way_passes_exactly_these_points(name: str, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    saboteur = Saboteur()
    monkeypatch.setattr(steps, "reach", saboteur)
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
        patched.setattr(steps, "reach", Saboteur(strike_at))
        drive(placed, way, settings)
    settings.GATEWAY_URL = gateway_url
    if way.is_given_up:
        Saga.objects.filter(id=placed.started.saga.id).update(deadline_at=placed.order.placed_at)
    buying.settle_everything()
    assert buying.state_of(placed.order.id) in way.ends
    assert buying.broken_laws() == []
