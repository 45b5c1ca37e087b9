"""The rows of the benchmark as data: what each calls, and every goal that a later change may edit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OF_NULL, OF_PESSIMISTIC, OF_EMPTY = "of_null", "of_pessimistic", "of_empty"
SETTLED, OLDEST_WAITING = "settled_per_second", "oldest_waiting_seconds"
PER_SECOND, P95, PROCESSOR, PEAK = "per_second", "p95_ms", "processor", "peak_mib"
WAITING, WAITING_KIB, WAITING_CORES, NULL_WAITING = "waiting", "waiting_kib", "waiting_cores", "of_null_alone"
RATIOS = {
    OF_NULL: "null",
    OF_PESSIMISTIC: "pessimistic",
    OF_EMPTY: "empty",
    NULL_WAITING: "p95 of a null call alone",
}
"""Figures that compare two loads of one run, and with what: they mean the same on every machine, hence a run
without another commit fails for these goals alone."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure should be: at least so much, or below so much. `of_other`: the figure is divided by that
    of the other commit."""

    figure: str
    least: float | None = None
    below: float | None = None
    of_other: bool = False

    @property
    def is_ratio(self) -> bool:
        return self.figure in RATIOS

    def is_met(self, number: float) -> bool:
        if self.least is not None:
            return number >= self.least
        return self.below is not None and number < self.below


@dataclass(frozen=True, kw_only=True)
class Row:
    """`calls` says for a reader what is done, `goals` are those of a run by itself, and `against` those of a
    run beside another commit; a row without any isn't measured there."""

    name: str
    calls: str
    goals: Sequence[Goal] = ()
    against: Sequence[Goal] = ()


def _fast(per_second: float, p95_ms: float) -> list[Goal]:
    return [Goal(figure=PER_SECOND, least=per_second), Goal(figure=P95, below=p95_ms)]


PEAK_GOAL = Goal(figure=PEAK, below=250)
OLDEST_GOAL = Goal(figure=OLDEST_WAITING, below=5)
WAITING_GOALS = (
    Goal(figure=WAITING_KIB, below=32),
    Goal(figure=WAITING_CORES, below=0.1),
    Goal(figure=NULL_WAITING, below=1.5),
)


def _against(
    least: float | None = None,
    *,
    p95: float | None = None,
    figure: str = PER_SECOND,
    own: Sequence[Goal] = (),
) -> list[Goal]:
    """`figure`, a rate, and p95 as ratios to the other commit, the memory of a web process, and `own`."""
    goals = []
    if least is not None:
        goals.append(Goal(figure=figure, least=least, of_other=True))
    if p95 is not None:
        goals.append(Goal(figure=P95, below=p95, of_other=True))
    return [*goals, PEAK_GOAL, *own]


ROWS: Mapping[str, Row] = {
    "null": Row(
        name="null endpoint",
        calls="`POST /api/v1/lab/null`: sign-in, parser and renderer of a coupon, and nothing in between",
        against=_against(0.95),
    ),
    "coupon": Row(
        name="coupon, group_commit",
        calls="`POST /api/v1/coupons`, all of one campaign: all requests want the same row",
        goals=_fast(5_000, 50),
        against=_against(1.3, p95=0.75),
    ),
    "buyers_1000": Row(name="coupon, 1,000 buyers", calls="the same by 1,000 buyers", against=_against(0.95)),
    "pessimistic": Row(
        name="coupon, pessimistic",
        calls="coupons with a row lock and a transaction for each request",
        against=_against(0.95),
    ),
    "alone": Row(
        name="coupon without HTTP",
        calls="issuing by 64 requests at once on the event loop of each of two processes",
        goals=[Goal(figure=PER_SECOND, least=12_000)],
    ),
    "sold_out": Row(
        name="refusals once sold out",
        calls="`POST /api/v1/coupons` of a campaign that has none left: 409",
        against=_against(1.3),
    ),
    "same_again": Row(
        name="the same account again",
        calls="`POST /api/v1/coupons` by accounts that have theirs: the same coupon, 200",
        against=_against(1.3),
    ),
    "connections": Row(
        name="open connections",
        calls="all are opened first; then each asks for a coupon, of which there are half as many",
        goals=[Goal(figure=P95, below=3_000)],
        against=_against(p95=0.75),
    ),
    "crowd": Row(
        name="crowd",
        calls="`POST /api/v1/coupons` by many buyers who rest a second between requests",
        goals=[Goal(figure=P95, below=200)],
        against=_against(p95=0.5),
    ),
    "orders": Row(
        name="orders, 3 lines",
        calls="`POST /api/v1/orders` without payment, three of 1,000 products: keyed, stock reserved",
        goals=_fast(3_000, 100),
        against=_against(1.35),
    ),
    "hot_orders": Row(
        name="orders, one hot product",
        calls="`POST /api/v1/orders` without payment, all of the same product",
        goals=_fast(3_000, 100),
        against=_against(1.35),
    ),
    "hot_crowd": Row(
        name="orders, one hot product, 1,000 buyers",
        calls="the same by 1,000 buyers",
        goals=[Goal(figure=P95, below=700), Goal(figure="max_ms", below=3_000)],
        against=_against(1.2),
    ),
    "coupon_list": Row(
        name="own coupons",
        calls="`GET /api/v1/coupons` by accounts that have 50 or more: a page of 50",
        against=_against(0.9),
    ),
    "product_list": Row(name="products", calls="`GET /api/v1/products`: a page of 50", against=_against(0.9)),
    "grants": Row(
        name="grants by staff",
        calls="`POST /api/v1/wallet/grants` by staff: points for one account after the other",
        against=_against(0.9),
    ),
    "order_list": Row(
        name="orders as staff see them",
        calls="`GET /api/v1/orders` by staff: a page of 50 of all accounts' orders",
        against=_against(0.9),
    ),
    "paid_card": Row(
        name="paid orders, card, waiting",
        calls="`POST /api/v1/orders` with a card and `Prefer: wait=20`, by 40 buyers: 201 once it is paid; "
        "the gateway answers in 20 ms",
        against=_against(0.95),
    ),
    "paid": Row(
        name="paid orders, mixed, waiting",
        calls="the same with points, coupon and card",
        goals=_fast(300, 500),
        against=_against(0.95),
    ),
    "accepted_card": Row(
        name="paid orders, card, not waiting",
        calls="`POST /api/v1/orders` with a card: 202 once it is accepted, or 503 `overloaded`",
        goals=[OLDEST_GOAL],
        against=_against(0.95, figure=SETTLED, own=[OLDEST_GOAL]),
    ),
    "accepted": Row(
        name="paid orders, mixed, not waiting",
        calls="the same with points, coupon and card",
        goals=[OLDEST_GOAL],
        against=_against(0.95, figure=SETTLED, own=[OLDEST_GOAL]),
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
    "waiting": Row(
        name="buyers who wait for their payment",
        calls="`POST /api/v1/orders` with a card and `Prefer: wait=30` on a connection each, while the "
        "worker is stopped; it goes on before the first of them has waited 30 s",
        goals=WAITING_GOALS,
        against=WAITING_GOALS,
    ),
    "audit": Row(
        name="audit",
        calls="`manage.py audit` over all of it: every law",
        goals=[Goal(figure="seconds", below=60)],
    ),
    "memory": Row(
        name="web processes and database",
        calls="the most that each web process held in memory, and connections to the database at once",
        goals=[PEAK_GOAL, Goal(figure="connections_share", below=1)],
    ),
}
COMPARED = [name for name, row in ROWS.items() if row.against]
"""The rows that are measured beside another commit, in their order."""
