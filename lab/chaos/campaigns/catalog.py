"""The campaigns of faults: what each makes, and the planted defect that it has to find.

A fault's last word is what it is about, and the words before it are its sort: those of `faults.LASTING` and
`faults.make`, and of links those of `network.State`. Without seconds of its own a fault lasts 0.5 to 3. One
that happens at once lasts no time: `kill`, `flush`, `replace` (`releases`), `lose` (`restore`).
"""

from dataclasses import replace

from lab import shop
from lab.chaos.campaigns import defects
from lab.chaos.campaigns.month import Month
from lab.chaos.campaigns.network import State
from lab.chaos.campaigns.plans import Gateway, Payments, Sales, Stores
from lab.chaos.campaigns.releases import NAMES, Releases
from lab.chaos.campaigns.restore import Restore
from lab.chaos.campaigns.run import Campaign
from lab.chaos.campaigns.tasks import Tasks
from lab.chaos.campaigns.trials import Chaos, Soak
from lab.chaos.campaigns.upgrade import Upgrade
from lab.chaos.faults import Fault, Faults

# Times of payments and orders as a shop has them.
USUAL_TIMES = {"PAYMENT_GIVE_UP_SECONDS": "900", "ORDER_HOLD_SECONDS": "900"}
LINKS = ("database", "redis", "gateway", "sink", "partner", "webhooks")
LINK_STATES = (State.SLOW, State.CUT, State.CUT_REPLIES, State.HALF_OPEN, State.LATE, State.BYTEWISE)
LINK_FAULTS: Faults = {f"{state} {link}": (2, 3, 12) for state in LINK_STATES for link in LINKS}

# Six rounds, each of which replaces every process once, in an order of the seed: three rolls between the
# releases, then three rounds of restarts. `Releases` counts the rounds by the number of faults. A quick run
# makes one round.
RELEASES = Campaign(
    "releases",
    {f"replace {name}": 6 for name in NAMES},
    Releases,
    needs=["haproxy"],
    touched_by=["*/migrations/*", "orders/saga/*", "shop/web_server.py"],
    has_3ds=False,
    has_sale=False,
    minutes=6,
    pauses=(1.0, 5.0),
    settings={"WEB_WORKERS": "1", "TRUSTED_PROXIES": "1"},
)
CHAOS = Campaign(
    "chaos",
    {},
    Chaos,
    database="sqlite",
    client_seconds=60,
    settle_seconds=shop.SETTLE_SECONDS,
    pauses=(0.3, 3.0),
)
SOAK = Campaign("soak", {}, Soak, client_seconds=600, settle_seconds=shop.SETTLE_SECONDS, pauses=(2.0, 8.0))

PROCESSES = Campaign(
    "processes",
    {"kill web": 20, "kill worker": 20, "kill beat": 20, "kill issuer": 20},
    planted=defects.forget_keys,
    touched_by=[
        "orders/saga/*",
        "orders/payment/*",
        "orders/placement/*",
        "coupons/*",
        "foundation/concurrency/*",
        "foundation/idempotency/*",
        "shop/web_server.py",
    ],
)
SALES = Campaign(
    "sales",
    {"kill worker": 5, "kill beat": 5, "flush redis": 5, "kill web": 10, "kill mariadb": 3, "kill redis": 3},
    Sales,
    touched_by=["sales/*"],
    planted_patches=["admissions-in-memory"],
)
STORES = Campaign(
    "stores",
    {
        "flush redis": 5,
        "down redis": 5,
        "no memory for redis": 5,
        "old data for redis": 5,
        "kill mariadb": 5,
        "kill redis": 10,
        "kill rabbitmq": 5,
        "down mariadb": 2,
    },
    Stores,
    planted=defects.commit_in_memory,
    needs=["rabbitmq"],
    touched_by=["foundation/redis/*", "coupons/*", "inventory/mirror.py"],
)
GATEWAY = Campaign(
    "gateway",
    {
        "kill gateway": 10,
        "down gateway": (2, 120, 120),
        "slow gateway": (5, 10, 25),
        "freeze gateway": (5, 5, 15),
        "late bytes to webhooks": (5, 5, 15),
        "cut link to webhooks": (5, 5, 15),
        "cut replies of webhooks": (5, 5, 15),
        "reordered calls of webhooks": (5, 5, 15),
    },
    Gateway,
    planted=defects.renew_charge_keys,
    links=["webhooks"],
    touched_by=["payments/*", "orders/payment/*", "orders/saga/*", "foundation/outbound/*"],
    # Attempts of long outages are made ever more rarely, by the shop and by the gateway's webhooks.
    settle_seconds=120,
    planted_settle_seconds=120,
)
FROZEN = (3, 15, 15)
# `Payments` adds the steps of clocks after these.
PAYMENTS = Campaign(
    "payments",
    {
        "kill worker": 3,
        "kill web": 3,
        "kill beat": 3,
        "kill redis": 3,
        "kill rabbitmq": 3,
        "kill mariadb": 3,
        "freeze worker": FROZEN,
        "freeze web-process": FROZEN,
        "freeze beat": FROZEN,
        "freeze redis": FROZEN,
        "freeze rabbitmq": FROZEN,
        "freeze mariadb": FROZEN,
        "down gateway": (3, 30, 30),
    },
    Payments,
    planted=defects.renew_charge_keys,
    needs=["rabbitmq", "libfaketime"],
    touched_by=["orders/saga/*", "orders/payment/*", "payments/*", "foundation/clock.py"],
    has_3ds=False,
    has_sale=False,
    has_reader=False,
    patches=["frequently-measured-clock"],  # a step is met by payments in flight
    clocks="mariadb=mariadb worker=worker",
    minutes=3,
    settings={**USUAL_TIMES, "WEB_WORKERS": "1"},
)
LOCKS = Campaign(
    "locks",
    {
        "hold all rows of mariadb": (10, 2, 20),  # a lock is waited for 5 s
        "deadlocks in mariadb": (10, 5, 15),
    },
    planted=defects.forget_keys,
    touched_by=[
        "foundation/db/*",
        "orders/placement/*",
        "coupons/allocation/*",
        "*/rows.py",
        "sales/waiting_room/*",
    ],
)
DATABASE = Campaign(
    "database",
    {"read only mariadb": (10, 2, 15), "take all connections of mariadb": (10, 2, 15)},
    planted=defects.forget_keys,
    required_answers=["503 unavailable"],
    touched_by=["foundation/db/*"],
)
DISK = Campaign(
    "disk",
    {"fill the disk of mariadb": (10, 10, 30)},
    planted=defects.forget_keys,
    required_answers=["503 unavailable"],
    needs=["root"],
    touched_by=["foundation/db/*"],
    # A server that starts on a full disk waits for a minute before it writes its system tables again.
    disk_megabytes=1024,
    ready_seconds=90,
)
NETWORK = Campaign(
    "network",
    LINK_FAULTS,
    planted_faults=[Fault(State.LOSE_COMMITS, "database", 8)],
    quick_name="database",
    required_answers=["503 unavailable"],
    links=LINKS,
    touched_by=["foundation/outbound/*", "foundation/db/*", "foundation/redis/*"],
)
# The previous release's database has orders and coupons of months, a fiftieth of them in a quick run. The
# faults are those of one round, of which each run makes three.
UPGRADE = replace(
    RELEASES,
    name="upgrade",
    faults={f"replace {name}": 1 for name in NAMES},
    kind=Upgrade,
    touched_by=["*/migrations/*", "shop/management/commands/migrate.py"],
)
TASKS = Campaign(
    "tasks",
    {"clock behind of beat": (5, 5, 15), "clock ahead of beat": (5, 5, 15)},
    Tasks,
    needs=["libfaketime"],
    touched_by=["*/tasks.py", "foundation/operations/*", "orders/saga/*", "orders/cancellation.py"],
    has_sale=False,
    planted_patches=["host-clock", "no-leases"],
    clocks="worker=worker beat=beat",  # a clock for each
    has_to_happen=["order expired", "payment given up", "saga retried", "shop_idempotencykey swept"],
    # Each message of what is left to do may be a minute late, and one leads to another.
    settle_seconds=180,
    planted_settle_seconds=60,
    settings={"IDEMPOTENCY_RETENTION_SECONDS": "86400", "LOG_LEVEL": "INFO"},
)
# A fault is a day, after which the clocks jump to the next one. Its numbers are no seconds but hours: the
# jump stops once in between, 2 to 20 hours on. A quick run makes three days, and stops after 8 hours at
# most.
MONTH = Campaign(
    "month",
    {"next day of clocks": (30, 2, 20)},
    Month,
    needs=["libfaketime"],
    has_sale=False,
    has_reader=False,  # events are deleted meanwhile
    patches=["frequently-measured-clock"],
    planted_patches=["early-sweep", "no-sweep-of-marks"],
    # One clock, named `all`.
    clocks=("redis=all mariadb=all gateway=all sink=all partner=all web=all worker=all beat=all issuer=all"),
    has_to_happen=[
        "order expired",
        "payment given up",
        "shop_idempotencykey swept",
        "shop_committedtransaction swept",
    ],
    client_seconds=4.0,
    minutes=6,
    settle_seconds=120,
    planted_settle_seconds=120,
    # As a shop has them, but for the last; it waits for none of them, because the clocks jump.
    settings={
        **USUAL_TIMES,
        "IDEMPOTENCY_LEASE_SECONDS": "30",
        "IDEMPOTENCY_RETENTION_SECONDS": "86400",
        "SWEEP_SECONDS": "1",
    },
)
# The database is lost once, so a run can't be made shorter by fewer faults: a quick one has less load.
RESTORE = Campaign(
    "restore",
    {"lose mariadb": 1},
    Restore,
    touched_by=["*/management/commands/*", "events/feed/*"],
    has_3ds=False,
    has_sale=False,
    has_reader=False,  # the feed goes back with the database
    client_seconds=600,
    settings={"MARIADB_BINARY_LOG": "1"},
)
_ALL = (
    PROCESSES,
    SALES,
    STORES,
    GATEWAY,
    PAYMENTS,
    LOCKS,
    DATABASE,
    DISK,
    NETWORK,
    RELEASES,
    UPGRADE,
    TASKS,
    MONTH,
    RESTORE,
)
CAMPAIGNS = {campaign.name: campaign for campaign in _ALL}
TRIALS = {campaign.name: campaign for campaign in (CHAOS, SOAK)}
