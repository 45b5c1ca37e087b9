"""The rows of the benchmark as data: what each calls, and the goals of its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OF_NULL, OF_PESSIMISTIC, OF_EMPTY = "of_null", "of_pessimistic", "of_empty"
SETTLED, OLDEST_WAITING = "settled_per_second", "oldest_waiting_seconds"
RATIOS = {OF_NULL: "null", OF_PESSIMISTIC: "pessimistic", OF_EMPTY: "empty"}
"""Figures that compare two loads of one run, and with what: the only ones that mean the same on every
machine, hence the only ones that the command fails for."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure should be: at least so much, or below so much."""

    figure: str
    least: float | None = None
    below: float | None = None

    @property
    def is_ratio(self) -> bool:
        return self.figure in RATIOS

    def is_met(self, number: float) -> bool:
        if self.least is not None:
            return number >= self.least
        return self.below is not None and number < self.below


@dataclass(frozen=True, kw_only=True)
class Row:
    """`calls` says for a reader what is done."""

    name: str
    calls: str
    goals: Sequence[Goal] = ()


def _fast(per_second: float, p95_ms: float) -> list[Goal]:
    return [Goal(figure="per_second", least=per_second), Goal(figure="p95_ms", below=p95_ms)]


ROWS: Mapping[str, Row] = {
    "null": Row(
        name="null endpoint",
        calls="`POST /api/v1/lab/null`: sign-in, parser and renderer of a coupon, and nothing in between",
    ),
    "coupon": Row(
        name="coupon, group_commit",
        calls="`POST /api/v1/coupons`, all of one campaign: everybody wants the same row",
        goals=[
            *_fast(5_000, 50),
            Goal(figure=OF_NULL, least=0.6),
            Goal(figure=OF_PESSIMISTIC, least=5),
        ],
    ),
    "pessimistic": Row(
        name="coupon, pessimistic", calls="the same, with a row lock and a transaction for each request"
    ),
    "alone": Row(
        name="coupon without HTTP",
        calls="`issuing.issue()` by 64 threads in each of two processes",
        goals=[Goal(figure="per_second", least=12_000)],
    ),
    "sold_out": Row(
        name="refusals once sold out",
        calls="`POST /api/v1/coupons` of a campaign that has none left: 409",
        goals=[Goal(figure=OF_NULL, least=0.85)],
    ),
    "same_again": Row(
        name="the same account again",
        calls="`POST /api/v1/coupons` by accounts that have theirs: the same coupon, 200",
        goals=[Goal(figure=OF_NULL, least=0.5)],
    ),
    "connections": Row(
        name="open connections",
        calls="all are opened first; then each asks for a coupon, of which there are half as many",
        goals=[Goal(figure="p95_ms", below=3_000)],
    ),
    "crowd": Row(
        name="crowd",
        calls="`POST /api/v1/coupons` by many buyers who rest a second between requests",
        goals=[Goal(figure="p95_ms", below=200)],
    ),
    "orders": Row(
        name="orders, 3 lines",
        calls="`POST /api/v1/orders` without payment, three of 1,000 products: keyed, stock reserved",
        goals=[*_fast(3_000, 100), Goal(figure=OF_NULL, least=0.45)],
    ),
    "hot_orders": Row(
        name="orders, one hot product",
        calls="`POST /api/v1/orders` without payment, all of the same product",
        goals=[*_fast(3_000, 100), Goal(figure=OF_NULL, least=0.45)],
    ),
    "hot_crowd": Row(
        name="orders, one hot product, 1,000 buyers",
        calls="the same by 1,000 buyers",
        goals=[Goal(figure="p95_ms", below=700), Goal(figure="max_ms", below=3_000)],
    ),
    "paid_card": Row(
        name="paid orders, card, waiting",
        calls="`POST /api/v1/orders` with a card and `Prefer: wait=20`, by 40 buyers: 201 once it is paid; "
        "the gateway answers in 20 ms",
    ),
    "paid": Row(
        name="paid orders, mixed, waiting",
        calls="the same with points, coupon and card",
        goals=_fast(300, 500),
    ),
    "accepted_card": Row(
        name="paid orders, card, not waiting",
        calls="`POST /api/v1/orders` with a card: 202 once it is accepted, or 503 `overloaded`",
        goals=[Goal(figure=OLDEST_WAITING, below=5)],
    ),
    "accepted": Row(
        name="paid orders, mixed, not waiting",
        calls="the same with points, coupon and card",
        goals=[Goal(figure=OLDEST_WAITING, below=5)],
    ),
    "limits": Row(
        name="limits of an account",
        calls="what the limits add to a coupon and to an order of 3 lines in a batch of 25, without HTTP",
        goals=[Goal(figure="coupon_microseconds", below=15), Goal(figure="order_microseconds", below=15)],
    ),
    "buyers": Row(
        name="more and more buyers",
        calls="the null endpoint, coupons and orders of 3 lines, each by more and more buyers",
    ),
    "growth": Row(
        name="coupon, table filled",
        calls="`POST /api/v1/coupons` with so many coupons in the table, beside the first rounds of this run",
        goals=[Goal(figure=OF_EMPTY, least=0.9)],
    ),
    "audit": Row(
        name="audit",
        calls="`manage.py audit` over all of it: every law",
        goals=[Goal(figure="seconds", below=60)],
    ),
    "memory": Row(
        name="web processes and database",
        calls="the most that each web process held in memory, and connections to the database at once",
        goals=[Goal(figure="peak_mib", below=250), Goal(figure="connections_share", below=1)],
    ),
}
