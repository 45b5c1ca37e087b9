"""Hypothesis strategies: purchases, actions on an order, and other actions in the shop."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as some

from orders.payment import gateway_events
from orders.tests.things import Order, Refund

T = TypeVar("T")
CARDS = (
    "tok_ok",
    "tok_declined",
    "tok_insufficient_funds",
    "tok_error",
    "tok_flaky",
    "tok_slow",
    "tok_timeout_charged",
    "tok_timeout_lost",
    "tok_refund_fails",
    "tok_webhook",
    "tok_3ds",
)

which = some.integers(0, 99)
buyers = some.integers(0, 1)
counts = some.dictionaries(some.integers(0, 2), some.integers(1, 2), min_size=1, max_size=2)
cards = some.sampled_from(CARDS)
operators = some.integers(0, 2)
decisions = some.tuples(which, operators, some.sampled_from(["approve", "approve", "refuse"]))
ways = some.sampled_from(["event", "look-up", "reconciliation"])
purchases = some.fixed_dictionaries(
    {
        "buyer": buyers,
        "counts": counts,
        "points": some.sampled_from([0, 0, 1, 250, 333, 833]),
        "coupon": some.none() | which,
        "campaign": some.none() | some.integers(0, 3),
        "token": some.just("tok_ok") | some.none() | cards,
        "is_kept": some.booleans(),
    }
)


def any_of(**acts: some.SearchStrategy[Any]) -> some.SearchStrategy[tuple[str, Any]]:
    """The name of one of these actions, and its parameter."""
    return some.one_of(*(some.tuples(some.just(name), parameter) for name, parameter in acts.items()))


# Actions on an order, each with its parameter.
ACTS = {
    "pay": some.tuples(cards, some.booleans()),
    "decide": some.sampled_from(["approve", "refuse"]),
    "let_action_end": some.none(),
    "cancel": some.none(),
    "lapse": some.none(),
    # Until the executor crashes, after so many failpoints; mostly soon.
    "drive": some.none() | some.integers(0, 4) | some.integers(0, 12),
    "give_up": some.none(),
    "force": some.tuples(operators, some.sampled_from(["retry", "force_complete", "force_compensate"])),
    "refund": some.tuples(some.none() | some.tuples(which, some.integers(1, 2)), some.booleans()),
    "give_back": some.sampled_from([1, 300, 9_999]),
    "dispute": some.sampled_from([200, 9_999]),
    "close_dispute": some.sampled_from(["won", "lost"]),
    "learn": ways,
    "decide_approval": decisions,
    "tell": some.tuples(some.integers(0, 4), some.sampled_from(gateway_events.HANDLED_TYPES)),
    "sweep": some.booleans(),
}


def acts(*likely: str) -> some.SearchStrategy[list[tuple[str, Any]]]:
    """A sequence of actions, the first and half of the others of these kinds."""
    some_likely = any_of(**{name: ACTS[name] for name in likely})
    more = some.lists(some_likely | any_of(**ACTS), max_size=4)
    return some.builds(lambda first, rest: [first, *rest], some_likely, more)


# Other actions in the shop.
chores = any_of(
    issue_coupon=some.tuples(buyers, some.sampled_from([0, 33, 100])),
    void_coupon=which,
    adjust=some.tuples(some.integers(0, 2), some.sampled_from([-4, -1, 1, 3])),
    place_again=which,
    top_up=some.tuples(buyers, some.sampled_from([1, 700]), cards),
    drive_any=which,
    handle=which,
    come_and_go=some.tuples(some.booleans(), some.booleans()),
    give_back_top_up=some.tuples(which, some.sampled_from([1, 500]), ways),
)
# What operators do besides forcing sagas: 1,300 are more than one grants at once, or in a day by any number.
operators_acts = some.lists(
    any_of(
        grant=some.tuples(operators, buyers, some.sampled_from([200, 500, 1_300])), decide_approval=decisions
    ),
    min_size=2,
    max_size=4,
)


def is_unpaid(order) -> bool:
    return order.status == "awaiting_payment"


def is_refundable(order) -> bool:
    return order.status in ("paid", "refunding")


def is_charged(order) -> bool:
    """Whether its card is charged for good, so that the gateway's clerk may refund it."""
    return order.status in ("paid", "refunding", "refunded") and order.card_amount > 0


def is_being_paid(order) -> bool:
    return order.status == "paying"


def is_under_way(subject) -> bool:
    return not subject.is_over


def sagas_of(order) -> list[Order | Refund]:
    """The order if its payment was started, and its refunds by the shop."""
    return [order, *(one for one in order.refunds if one.saga_id)] if order.saga_id else []


def chosen(items: Sequence[T], which: int, *, likely: Callable[[T], bool] = bool) -> T | None:
    """One of the items, newer for smaller `which`; in three of four cases a likely one, if there is one."""
    if not items:
        return None
    those = [one for one in items if likely(one)] if which % 4 else []
    return (those or items)[-1 - which // 4 % len(those or items)]
