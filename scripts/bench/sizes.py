"""How much is measured: all of it, or in two minutes enough to see that everything works."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

VUS = 100
"""Buyers at once where a row says nothing else, each with one request under way at any time."""
CROWD_PAUSE_SECONDS = 1
WAITING_BUYERS = 40
"""Those who wait for their payment: `Prefer: wait` may hold half of the web threads, 32 of each of two
processes, and connections fall on the two as chance has it."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """`seconds` of each load, `rounds` over the rows that are compared with the null endpoint, and the
    accounts there are; then what single rows want."""

    name: str
    seconds: int
    rounds: int
    users: int
    alone_seconds: int
    connections: int
    crowd_vus: int
    crowd_seconds: int
    hot_vus: int
    paid_seconds: int
    paid_accounts: int
    accepted_seconds: int
    accepted_accounts: int
    vus: Sequence[int]
    step_seconds: int
    tables: Sequence[int]
    """Coupons in the table where its growth is measured, one after the other."""
    filled_orders: int
    waiting: int
    """Buyers who wait for their payment at once."""


PRODUCTS = 1_000
DEMO_PRODUCTS = 20
"""What `make run` seeds by itself; seeding more counts them as made."""
STOCK = 1_000_000

FULL = Size(
    name="full",
    seconds=3,
    rounds=3,
    users=40_000,
    alone_seconds=3,
    connections=10_000,
    crowd_vus=2_000,
    crowd_seconds=15,
    hot_vus=1_000,
    paid_seconds=15,
    paid_accounts=8_000,
    accepted_seconds=8,
    accepted_accounts=12_000,
    vus=(10, 30, 100, 300, 1_000),
    step_seconds=4,
    tables=(1_000_000, 2_500_000, 5_000_000),
    filled_orders=1_000_000,
    waiting=10_000,
)
QUICK = Size(
    name="quick",
    seconds=2,
    rounds=1,
    users=12_000,
    alone_seconds=1,
    connections=2_000,
    crowd_vus=500,
    crowd_seconds=3,
    hot_vus=1_000,
    paid_seconds=2,
    paid_accounts=1_500,
    accepted_seconds=2,
    accepted_accounts=3_000,
    vus=(10, 1_000),
    step_seconds=1,
    tables=(50_000,),
    filled_orders=5_000,
    waiting=2_000,
)
AGAINST_FULL = replace(FULL, paid_seconds=10, paid_accounts=6_000)
"""Beside another commit. An account has points for ten orders."""
AGAINST_QUICK = replace(
    QUICK, rounds=2, crowd_vus=2_000, paid_seconds=3, accepted_seconds=3, accepted_accounts=4_000
)
