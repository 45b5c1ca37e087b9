"""How much the benchmark measures: everything, or in three minutes enough to see that everything works
(`QUICK`) or that nothing has become slower (`SMALL`, which is kept as `budget`)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Size:
    """Under its name the results are kept, with all of these fields."""

    name: str
    seconds: int  # of each load
    idle_seconds: int
    rounds: int
    users: int
    connections: int  # buyers that wait for their payment at once, each on one
    crowd_vus: int
    crowd_seconds: int
    hot_vus: int
    signing_in: int
    paid_seconds: int
    accounts: int  # with a coupon each, for orders; an account has points for ten orders
    tables: Sequence[int]  # coupons in the table at each step at which its growth is measured
    filled_orders: int
    refunds: int
    refunding_seconds: int  # for which buyers pay before refunds, and beside them
    entrants: int  # of a draw
    draw_seconds: int  # for which others are watched before a draw, and from its beginning on


FULL = Size(
    name="full",
    seconds=3,
    idle_seconds=20,
    rounds=3,
    users=40_000,
    connections=10_000,
    crowd_vus=2_000,
    crowd_seconds=15,
    hot_vus=1_000,
    signing_in=300,
    paid_seconds=10,
    accounts=12_000,
    tables=[1_000_000, 2_500_000, 5_000_000],
    filled_orders=1_000_000,
    refunds=1_000,
    refunding_seconds=12,
    entrants=200_000,
    draw_seconds=15,
)
QUICK = replace(
    FULL,
    name="quick",
    seconds=2,
    rounds=1,
    users=12_000,
    connections=2_000,
    crowd_vus=500,
    crowd_seconds=3,
    paid_seconds=2,
    accounts=3_000,
    tables=[50_000],
    filled_orders=5_000,
    refunds=200,
    refunding_seconds=4,
    entrants=20_000,
    draw_seconds=4,
)
# Each row again for what was slow in all rounds before.
SMALL = replace(
    FULL, name="budget", seconds=2, rounds=3, users=6_000, paid_seconds=3, idle_seconds=10, accounts=3_000
)
