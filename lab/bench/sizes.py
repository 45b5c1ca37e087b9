"""How much is measured: everything, or in two minutes enough to see that everything works."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

VUS = 100
"""Buyers at once if a row has no number of its own, each with one request under way at any time."""
CROWD_PAUSE_SECONDS = 1
WAITING_BUYERS = 40
"""Buyers that wait for their payment: as many as could while each held a web thread, so that earlier commits
compare."""
PRODUCTS = 1_000
DEMO_PRODUCTS = 20
"""`make run` seeds these by itself; seeding more counts them as made."""
STOCK = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Size:
    """The defaults are those of a full run."""

    name: str
    seconds: int = 3
    """Of each load."""
    rounds: int = 3
    """Over the rows that are compared with the null endpoint."""
    users: int = 40_000
    alone_seconds: int = 3
    connections: int = 10_000
    crowd_vus: int = 2_000
    crowd_seconds: int = 15
    hot_vus: int = 1_000
    paid_seconds: int = 15
    paid_accounts: int = 8_000
    accepted_seconds: int = 8
    accepted_accounts: int = 12_000
    vus: Sequence[int] = (10, 30, 100, 300, 1_000)
    step_seconds: int = 4
    tables: Sequence[int] = (1_000_000, 2_500_000, 5_000_000)
    """Coupons in the table at each step at which its growth is measured."""
    filled_orders: int = 1_000_000
    waiting: int = 10_000
    """Buyers that wait for their payment at once."""
    estimates: tuple[int, int, int] = (62, 10, 60)
    """Seconds after a sale's opening at which estimates are read, and the least and most that are waited."""


FULL = Size(name="full")
QUICK = Size(
    name="quick",
    seconds=2,
    rounds=1,
    users=12_000,
    alone_seconds=1,
    connections=2_000,
    crowd_vus=500,
    crowd_seconds=3,
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
