"""Payments by their outcome, and points that moved: counters of this process, made after each commit."""

from collections import Counter as Tally
from collections.abc import Mapping, Sequence

from prometheus_client import Counter

from payments.models import HOLDING, Transfer

Kind = Transfer.Kind
PAYMENTS = Counter(
    "firstcome_payments",
    "Payments that ended: succeeded, declined, cancelled (no answer in time), failed (another step).",
    ["gateway", "outcome"],
)
POINTS = Counter(
    "firstcome_points", "Points that were granted, bought, spent, returned or forfeited.", ["movement"]
)
WITHOUT_CARD = "none"
"""The gateway of a payment by points alone, and of an order that costs nothing."""
MOVEMENTS = {
    Kind.GRANT.value: "granted",
    Kind.TOP_UP.value: "topped_up",
    Kind.REFUND.value: "returned",
    Kind.LOSS.value: "returned",
    Kind.SALE.value: "spent",
    Kind.FORFEIT.value: "forfeited",
}
"""Points that are held for an order, or released, are neither spent nor returned."""


def count_payments(ended: Sequence[tuple[str, str]]) -> None:
    """Count payments by gateway and outcome; called after the commit."""
    for (gateway, outcome), number in Tally(ended).items():
        PAYMENTS.labels(gateway, outcome).inc(number)


def count_points(transfers: Sequence[tuple[str, Mapping[int, int]]]) -> None:
    """Count the points that transfers moved: their kinds, and amounts by account. Called after the commit."""
    points: Tally[str] = Tally()
    for kind, amounts in transfers:
        if kind == Kind.SALE:
            points[kind] -= amounts.get(HOLDING, 0)
        elif kind in MOVEMENTS:
            moved = sum([amount for account_id, amount in amounts.items() if account_id > 0])
            # A top-up whose charge the gateway took back takes points, as the erasure of an account does.
            points[Kind.FORFEIT.value if moved < 0 else kind] += abs(moved)
    for kind, number in points.items():
        if number:
            POINTS.labels(MOVEMENTS[kind]).inc(number)
