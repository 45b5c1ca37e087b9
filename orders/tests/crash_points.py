"""The points at which orders and refunds may crash: every point of each scenario, and the distinct ones.

Many points leave the same: a transaction that is rolled back leaves what its batch began with, and other
cards pass the same points on their way to another end. `left_by` says what a crash leaves, as far as it
decides what the next executor does. `CRASHES` and `REFUND_CRASHES` name one point for each such remainder.
"""

from dataclasses import dataclass
from uuid import UUID

from foundation import clock
from orders.models import Order, Saga, SagaLog
from orders.saga.definitions import DO, SAGA_TYPES, UNFINISHED
from payments.models import Payment
from scripts.tests.simulator import Simulator


def commits(*lines: str) -> list[str]:
    """The points of a batch that writes these lines."""
    return ["batch begins", "batch decided", f"batch committed: {', '.join(lines)}"]


def calls(name: str) -> list[str]:
    """The points of an outside call such as `charge_card do`."""
    return [f"{name} calling", f"{name} called"]


DEBIT = commits("debit_balance do")
WAITS = commits("charge_card do waits for an action")
CHARGE, POSTPONED = calls("charge_card do"), commits("charge_card do postponed")
SETTLED = commits("charge_card do", "settle do", "ended")
# With a step after the point of no return, as `orders.tests.transmitting` has one.
TRANSMITTED = [
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


LOCAL_UNDONE = ("reserve_inventory undo", "hold_coupon undo", "debit_balance do", "debit_balance undo")
NEVER_CALLED = commits("charge_card do", "charge_card undo", *LOCAL_UNDONE, "ended")


@dataclass(frozen=True)
class Scenario:
    """A scenario of an order: the card, its possible ends, and every point it passes.

    With `is_transmitting` the purchase has the step of `orders.tests.transmitting`.
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
    is_transmitting: bool = False


REFUSED = [*commits("charge_card do"), *undone("debit_balance undo")]
GIVEN_UP = [*NOTHING_FINAL, *DECIDED_TO_UNDO, *UNDO]
LATE = [*DEBIT, *CHARGE, *POSTPONED, *RETRIED, *GIVEN_UP]
ASKED = [*DEBIT, *CHARGE, *WAITS, *RETRIED]
FAILED = {"payment_failed"}
WAYS = {
    "charged": Scenario("tok_ok", {"paid"}, [*DEBIT, *CHARGE, *SETTLED]),
    "charged and transmitted": Scenario(
        "tok_ok", {"paid"}, [*DEBIT, *CHARGE, *TRANSMITTED], is_transmitting=True
    ),
    "declined": Scenario("tok_declined", FAILED, [*DEBIT, *CHARGE, *REFUSED]),
    "charged without a reply": Scenario(
        "tok_timeout_charged", {"paid"}, [*DEBIT, *CHARGE, *POSTPONED, *RETRIED, *SETTLED]
    ),
    "given up": Scenario("tok_error", FAILED, [*LATE, *undone("debit_balance undo")], is_given_up=True),
    "given up, though charged": Scenario(
        "tok_timeout_charged",
        {"payment_failed", "paid"},
        [
            *[*LATE, *commits("charge_card undo postponed")],
            *[*NOTHING_FINAL, *NOTHING_FINAL, *UNDO, *undone("debit_balance undo")],
        ],
        is_given_up=True,
        is_blind=True,
    ),
    "never called": Scenario("tok_ok", FAILED, [*NOTHING_FINAL, *NEVER_CALLED], is_late_from_the_start=True),
    "confirmed by the card's owner": Scenario("tok_3ds", {"paid"}, [*ASKED, *SETTLED], decision="approve"),
    "refused by the card's owner": Scenario("tok_3ds", FAILED, [*ASKED, *REFUSED], decision="refuse"),
    "not confirmed in time": Scenario(
        "tok_3ds", FAILED, [*ASKED, *GIVEN_UP, *undone("debit_balance undo")], decision="none"
    ),
    "declined, and kept for another card": Scenario(
        "tok_declined", {"awaiting_payment"}, [*DEBIT, *CHARGE, *REFUSED], is_kept=True
    ),
}

CRASHES = {
    "charged": {
        "batch decided": "do debit_balance; no charge",
        "charge_card do calling": "do charge_card, calling, leased; no charge",
        "charge_card do called": "do charge_card, calling, leased; charged",
        "ended": "done: paid; charged",
    },
    "charged and transmitted": {
        "transmit do calling": "do transmit, calling, leased; charged",
        "transmit do called": "do transmit, calling, leased; charged, delivered",
        "ended": "done: paid; charged, delivered",
    },
    "declined": {
        "batch decided #2": "do charge_card, calling, leased; declined",
        "batch decided #3": "undo charge_card refused, leased; declined",
        "ended": "compensated: payment_failed; declined",
    },
    "charged without a reply": {
        "batch decided #3": "do charge_card, calling, failed; charged",
        "batch decided #4": "do charge_card, calling, leased, failed; charged",
    },
    "given up": {
        "batch decided": "do debit_balance, overdue; no charge",
        "batch decided #2": "do charge_card, calling, leased, overdue; no charge",
        "batch decided #3": "do charge_card, calling, failed, overdue; no charge",
        "batch decided #4": "do charge_card, calling, leased, failed, overdue; no charge",
        "batch decided #5": "undo charge_card unresolved, calling, leased, failed, overdue; no charge",
        "charge_card undo calling": "undo charge_card void, calling, leased, overdue; no charge",
        "batch decided #6": "undo charge_card void, calling, leased, overdue; cancelled",
        "ended": "compensated: payment_failed; cancelled",
    },
    "given up, though charged": {
        "batch decided #2": "do charge_card, calling, leased, overdue; charged",
        "batch decided #3": "do charge_card, calling, failed, overdue; charged",
        "batch decided #4": "do charge_card, calling, leased, failed, overdue; charged",
        "batch decided #5": "undo charge_card unresolved, calling, leased, failed, overdue; charged",
        "batch decided #6": "undo charge_card void, calling, leased, overdue; charged",
        "batch decided #7": "undo charge_card void, calling, failed, stuck; charged",
        "batch decided #8": "undo charge_card void, calling, leased, failed, stuck; charged",
        "batch decided #9": "undo charge_card void, calling, leased, failed, stuck; refunded",
        "ended": "compensated: payment_failed; refunded",
    },
    "never called": {
        "batch decided #2": "undo charge_card unresolved, leased, overdue, undebited; no charge",
        "ended": "compensated: payment_failed; no charge",
    },
    "confirmed by the card's owner": {
        "batch decided #2": "do charge_card, calling, leased; pending",
        "charge_card do waits for an action": "do charge_card, calling; pending",
        "batch decided #3": "do charge_card, calling; charged",
    },
    "refused by the card's owner": {"batch decided #3": "do charge_card, calling; declined"},
    "not confirmed in time": {
        "batch decided #5": "undo charge_card unresolved, calling, leased; pending",
        "charge_card undo calling": "undo charge_card void, calling, leased; pending",
        "batch decided #6": "undo charge_card void, calling, leased; cancelled",
    },
    "declined, and kept for another card": {
        "batch decided #3": "undo charge_card refused, leased, kept; declined",
        "ended": "compensated: awaiting_payment; declined",
    },
}
"""Of each scenario, the points at which it crashes, and what that leaves."""


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
GIVEN = [*REFUND, *commits("refund_card do", "settle_refund do", "ended")]
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
REFUND_CRASHES = {
    "all": {
        "batch decided": "do refund_card; charged",
        "refund_card do calling": "do refund_card, calling, leased; charged",
        "refund_card do called": "do refund_card, calling, leased; refunded",
        "ended": "done: refunded; refunded",
    },
    "a line": {"ended": "done: paid; refunded"},
    "points alone": {"batch decided": "do settle_refund; no charge", "ended": "done: refunded; no charge"},
    "failing twice": {
        "batch decided #3": "do refund_card, calling, failed; charged",
        "batch decided #4": "do refund_card, calling, leased, failed; charged",
        "batch decided #6": "do refund_card, calling, leased, failed; refunded",
    },
    "stuck meanwhile": {
        "batch decided": "do refund_card, overdue; charged",
        "batch decided #2": "do refund_card, calling, leased, overdue; charged",
        "batch decided #3": "do refund_card, calling, failed, stuck; charged",
        "batch decided #4": "do refund_card, calling, leased, failed, stuck; charged",
        "batch decided #6": "do refund_card, calling, leased, failed, stuck; refunded",
    },
}
"""As `CRASHES`, for refunds."""


def point_index(points: list[str], name: str) -> int:
    """Where the named point is: the one that ends so, or the second one with ` #2`."""
    ending, _, number = name.partition(" #")
    return [index for index, point in enumerate(points) if point.endswith(ending)][int(number or 1) - 1]


def left_by(saga_id: UUID, gateway: Simulator, platform: Simulator, *, is_overdue=False) -> str:
    """What a crash now leaves, in the database and outside; `is_overdue` if the next executor comes too late.

    `do` or `undo` with the step at which the saga goes on; whether a call was prepared (`calling`), whether
    the dead executor's lease is left, whether an attempt failed before; then the card, and the platform.
    """
    saga = Saga.objects.get(id=saga_id)
    order = Order.objects.get(id=saga.about_id)
    card = _card(gateway)
    if saga.kind == "purchase" and platform.get("/events")[1]["results"]:
        card += ", delivered"
    if saga.state not in UNFINISHED:
        return f"{saga.state}: {order.status}; {card}"
    lines = SagaLog.objects.filter(saga=saga).values_list("step", "direction", "event")
    final = {(step, direction): event for step, direction, event in lines if event != "failed"}
    failed = any((step, direction) not in final for step, direction, _ in lines)
    if saga.direction == DO:
        names = [step.name for step in SAGA_TYPES[saga.kind].steps]
        at = next((name for name in names if (name, DO) not in final), "end")
    else:
        at = f"charge_card {final.get(('charge_card', DO), 'unresolved')}"
    is_undone, is_stuck = saga.direction != DO, saga.state == Saga.State.STUCK
    facts = {
        "calling": saga.open_call and tuple(saga.open_call.split()) not in final,
        "leased": saga.lease_token,
        "failed": failed,
        "stuck": is_stuck,
        "overdue": not is_stuck and (is_overdue or saga.deadline_at <= clock.now()),
        "undebited": is_undone and ("debit_balance", DO) not in final,
        "kept": is_undone and Payment.objects.get(id=saga.subject_id).keep_on_decline,
    }
    return f"{saga.direction} {', '.join([at, *(name for name in facts if facts[name])])}; {card}"


def _card(gateway):
    """The state of the only charge in the gateway's book; of a cancelled key it knows no order."""
    charges = gateway.get("/charges")[1]["results"]
    if not charges:
        return "no charge"
    [charge] = charges
    if charge["refunded_amount"]:
        return "refunded"
    return "charged" if charge["status"] == "succeeded" else charge["status"]
