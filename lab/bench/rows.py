"""The rows of the benchmark in the order in which they are measured: what each calls, its load, its goals.

Two more goals are in `judging`: of a run beside another commit the memory of web processes, which `memory`
has once more; of `make bench BUDGET=1` the processor time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from scripts.stack import Words

# What measures a row (`parts.PARTS`): rows `beside null` are measured in rounds, each between two loads of
# null; those `once` after them.
Part = Literal[
    "beside null",
    "once",
    "recovery",
    "refunds",
    "growth",
    "memory",
    "board",
    "staff_pages",
    "waiting",
    "sales",
    "sign_ins",
    "draw",
    "idle",
    "audit",
]
Needed = Literal[
    "a campaign",
    "a campaign sold out",
    "coupons of its buyers",
    "accounts with a page of coupons",
    "staff",
    "",
]
NumberOfSize = Literal[
    "accounts", "crowd_seconds", "crowd_vus", "hot_vus", "paid_seconds", "refunding_seconds", "signing_in"
]
Goals = Mapping[str, str]  # of each figure, as `≥ 834` or `< 0.1`

# What loads make, each a number. `{CAMPAIGN}` and `{SALE}` are settings of the load: ids.
ISSUED_MADE = "SELECT issued FROM coupons_campaign WHERE id = {CAMPAIGN}"
HELD_MADE = "SELECT COUNT(*) FROM coupons_coupon WHERE campaign_id = {CAMPAIGN} AND status = 'held'"
ORDERS_MADE = "SELECT COUNT(*) FROM orders_order"
JOINED_MADE = "SELECT COUNT(*) FROM sales_saleentry WHERE sale_id = {SALE}"
USED_MADE = "SELECT COUNT(*) FROM sales_saleentry WHERE sale_id = {SALE} AND status = 'used'"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row: a load of k6, or what `parts` measures under its name.

    Of the settings of k6, `VUS` are buyers at once, each with one request under way, `SECONDS` is how long
    the load lasts, and `PAUSE` the seconds for which a buyer rests. `AGAIN` lets an account call more than
    once. Orders of a load that `PAYS` are followed until the last is settled.

    A run fails for figures that begin with `of_`, which compare two loads of the run and mean the same on
    every machine, and only shows whether others are met. A row without `ratios` and `against` isn't measured
    beside another commit; one with `ratios` has a goal of its web processes' memory as well.
    """

    name: str
    calls: str
    part: Part = "beside null"
    script: str = ""  # of k6/
    k6: Mapping[str, int | str] = field(default_factory=dict)
    sized: Mapping[str, NumberOfSize] = field(default_factory=dict)  # settings of k6 that depend on the size
    times: str = "http_req_duration"  # the trend of k6 with the times of a call
    needs: Needed = ""  # what the load has to find (`loads.needed`)
    makes: Words = ()  # what its answers have to make, by SQL
    goals: Goals = field(default_factory=dict)  # of a run by itself
    ratios: Goals = field(default_factory=dict)  # of figures divided by those of the other commit
    against: Goals = field(default_factory=dict)  # of figures of this commit beside another


ORDERS = Row(
    name="orders",
    calls="`POST /api/v1/orders` without payment, three of 1,000 products: keyed, stock reserved",
    script="orders",
    makes=(ORDERS_MADE,),
    goals={"per_second": "≥ 3000", "p95_ms": "< 100"},
    ratios={"per_second": "≥ 1.35"},
)
HOT_ORDERS = replace(
    ORDERS,
    name="hot_orders",
    calls="`POST /api/v1/orders` without payment, all of the same product",
    k6={"ORDER_LINES": 1, "OF_PRODUCTS": 1},
)
PRODUCT_LIST = Row(
    name="product_list",
    calls="`GET /api/v1/products`: a page of 50",
    part="once",
    script="list",
    k6={"LIST": "/api/v1/products", "AGAIN": 1},
    ratios={"per_second": "≥ 0.9"},
)
# 40 buyers: as many as could wait while each held a web thread, so that earlier commits compare.
PAID_CARD = Row(
    name="paid_card",
    calls=(
        "`POST /api/v1/orders` with a card and `Prefer: wait=20`, by 40 buyers: 201 once it is paid; "
        "the gateway answers in 20 ms"
    ),
    script="orders",
    k6={"ORDER_LINES": 1, "PAYS": 1, "WAIT": 20, "VUS": 40},
    sized={"ACCOUNTS": "accounts", "SECONDS": "paid_seconds"},
    ratios={"per_second": "≥ 0.95"},
)
ACCEPTED_CARD = Row(
    name="accepted_card",
    calls="`POST /api/v1/orders` with a card: 202 once it is accepted, or 503 `overloaded`",
    script="orders",
    k6={"ORDER_LINES": 1, "PAYS": 1},
    sized={"ACCOUNTS": "accounts", "SECONDS": "paid_seconds"},
    goals={"longest_seconds": "< 5"},
    ratios={"settled_per_second": "≥ 0.95"},
    against={"longest_seconds": "< 5"},
)
# An order may be held for 5 s before, and k6 gives up after 25 s.
REFUNDS = Row(
    name="refunds",
    calls=(
        "`POST /api/v1/orders/{id}/refunds` by staff, 40 at once, of paid orders; meanwhile orders "
        "with a card and `Prefer: wait=15` by 40 buyers, beside before it"
    ),
    part="refunds",
    script="orders",
    k6={"ORDER_LINES": 1, "PAYS": 1, "WAIT": 15, "VUS": 40},
    sized={"SECONDS": "refunding_seconds"},
    goals={"refunds_per_second": "≥ 100", "rate_of_quiet": "≥ 0.7", "p95_of_quiet": "< 2"},
)
BOARD = Row(
    name="board",
    calls="`GET /admin/board/figures/` every second by 48 viewers beside 8",
    part="board",
    script="list",
    k6={"LIST": "/admin/board/figures/?since=99999999999", "AGAIN": 1, "PAUSE": 1},
    sized={"SECONDS": "crowd_seconds"},
    goals={"viewers_cores": "< 0.3"},
)
# By one operator, in the tables that `growth` has filled.
STAFF_LIST = Row(
    name="staff_list",
    calls="`GET /admin/orders/order/`: the operators' first page of all orders",
    part="staff_pages",
    script="list",
    k6={"LIST": "/admin/orders/order/", "AGAIN": 1, "VUS": 1, "SECONDS": 5},
    goals={"processor_us": "< 200000"},
)
STAFF_HOME = replace(
    STAFF_LIST,
    name="staff_home",
    calls="`GET /admin/`: today's orders, revenue, coupons and work",
    k6={**STAFF_LIST.k6, "LIST": "/admin/"},
    goals={"processor_us": "< 1000000"},
)
WAITING = Row(
    name="waiting",
    calls=(
        "`POST /api/v1/orders` with points, a card and `Prefer: wait=30` on a connection each, while "
        "the worker is stopped, which advances the payments of orders with points; it goes on before "
        "the first of them has waited 30 s"
    ),
    part="waiting",
    script="waiting",
    k6={"PAYS": 1, "POINTS": 500, "WAIT": 30, "VUS": 100, "SPREAD": 18, "SECONDS": 110},
    goals={"waiting_kib": "< 32", "waiting_cores": "< 0.1", "of_null_alone": "< 1.5"},
    against={"waiting_kib": "< 32", "waiting_cores": "< 0.1", "of_null_alone": "< 1.5"},
)
SALE_ORDER = Row(
    name="sale_order",
    calls=(
        "`POST /api/v1/orders` of one product of a sale by admitted accounts, beside orders of a "
        "product without a sale"
    ),
    part="sales",
    script="orders",
    k6={"ORDER_LINES": 1, "SECONDS": 120},
    makes=(ORDERS_MADE, USED_MADE),
    goals={"of_plain_order": "< 1.1"},
)

_ALL = (
    Row(
        name="null",
        calls="`POST /api/v1/lab/null`: sign-in, parser and renderer of a coupon, and nothing in between",
        script="null",
        ratios={"per_second": "≥ 0.95"},
    ),
    Row(
        name="coupon",
        calls="`POST /api/v1/coupons`, all of one campaign: all requests want the same row",
        script="coupons",
        needs="a campaign",
        makes=(ISSUED_MADE,),
        goals={"per_second": "≥ 5000", "p95_ms": "< 50"},
        ratios={"per_second": "≥ 1.3", "p95_ms": "< 0.75"},
    ),
    Row(
        name="sold_out",
        calls="`POST /api/v1/coupons` of a campaign that has none left: 409",
        script="coupons",
        k6={"EXPECTED": 409},
        needs="a campaign sold out",
        makes=(ISSUED_MADE,),
        ratios={"per_second": "≥ 1.3"},
    ),
    ORDERS,
    HOT_ORDERS,
    Row(
        name="points_orders",
        calls=(
            "`POST /api/v1/orders` without payment, three lines, points and the account's own coupon, "
            "issued before"
        ),
        script="orders",
        k6={"POINTS": 100},
        sized={"ACCOUNTS": "accounts"},
        needs="coupons of its buyers",
        makes=(ORDERS_MADE, HELD_MADE),
    ),
    Row(
        name="buyers_1000",
        calls="`POST /api/v1/coupons` by 1,000 buyers",
        part="once",
        script="coupons",
        sized={"VUS": "hot_vus"},
        needs="a campaign",
        makes=(ISSUED_MADE,),
        ratios={"per_second": "≥ 0.95"},
    ),
    Row(
        name="crowd",
        calls="`POST /api/v1/coupons` by many buyers who rest a second between requests",
        part="once",
        script="coupons",
        k6={"PAUSE": 1},
        sized={"VUS": "crowd_vus", "SECONDS": "crowd_seconds"},
        needs="a campaign",
        makes=(ISSUED_MADE,),
        goals={"p95_ms": "< 200"},
        ratios={"p95_ms": "< 0.5"},
    ),
    replace(
        HOT_ORDERS,
        name="hot_crowd",
        calls="`POST /api/v1/orders` without payment, all of the same product, by 1,000 buyers",
        part="once",
        sized={"VUS": "hot_vus"},
        goals={"p95_ms": "< 700", "max_ms": "< 3000"},
        ratios={"per_second": "≥ 1.2"},
    ),
    Row(
        name="coupon_list",
        calls="`GET /api/v1/coupons` by accounts that have 50 or more: a page of 50",
        part="once",
        script="list",
        k6={"LIST": "/api/v1/coupons", "AGAIN": 1},
        needs="accounts with a page of coupons",
        ratios={"per_second": "≥ 0.9"},
    ),
    # Since calls have two lanes, one in Django's costs more than before:
    # docs/adr/058-calls-have-two-lanes.md.
    Row(
        name="wallet",
        calls="`GET /api/v1/wallet`: the shortest call in Django's lane",
        part="once",
        script="list",
        k6={"LIST": "/api/v1/wallet", "AGAIN": 1},
        ratios={"per_second": "≥ 0.3"},
    ),
    PRODUCT_LIST,
    replace(
        PRODUCT_LIST,
        name="order_list",
        calls="`GET /api/v1/orders` by staff: a page of 50 of all accounts' orders",
        k6={"LIST": "/api/v1/orders", "AGAIN": 1},
        needs="staff",
    ),
    PAID_CARD,
    replace(
        PAID_CARD,
        name="paid",
        calls="the same with points, coupon and card",
        k6={**PAID_CARD.k6, "POINTS": 1000},
        needs="coupons of its buyers",
        goals={"per_second": "≥ 300", "p95_ms": "< 500"},
    ),
    ACCEPTED_CARD,
    replace(
        ACCEPTED_CARD,
        name="accepted",
        calls="the same with points, coupon and card",
        k6={**ACCEPTED_CARD.k6, "POINTS": 1000},
        needs="coupons of its buyers",
    ),
    Row(
        name="recovery",
        calls=(
            "`POST /api/v1/orders` with a card by buyers who don't wait, at each fiftieth of which the "
            "gateway fails twice: how late such a payment is looked up, from the instant at which it is "
            "to be tried again to the line of its log with what the gateway said; `waiting` are new "
            "payments that wait for the worker"
        ),
        part="recovery",
        script="orders",
        k6={"ORDER_LINES": 1, "PAYS": 1, "FLAKY_EVERY": 50, "SECONDS": 10},
        goals={"late_max_seconds": "< 1"},
    ),
    REFUNDS,
    Row(
        name="growth",
        calls=(
            "`POST /api/v1/coupons` with so many coupons in the table, beside those just before it was filled"
        ),
        part="growth",
        goals={"of_empty": "≥ 0.9"},
    ),
    Row(
        name="memory",
        calls=(
            "the most that each web process held in memory, and connections to the database at once, in "
            "all rows before"
        ),
        part="memory",
        goals={"peak_mib": "< 250", "connections_share": "< 1"},
    ),
    BOARD,
    STAFF_LIST,
    STAFF_HOME,
    WAITING,
    Row(
        name="sale_entries",
        calls=(
            "`POST /api/v1/sales/7/entries` by one account after the other before the sale opens: all "
            "join one waiting room"
        ),
        part="sales",
        script="sale_entries",
        k6={"SECONDS": 120},
        makes=(JOINED_MADE,),
        goals={"per_second": "≥ 834"},
    ),
    Row(
        name="sale_poll_wait",
        calls=(
            "`GET /api/v1/sale-entries/{id}` with `Prefer: wait=30` on a connection each, from the "
            "admission to the answer"
        ),
        part="sales",
        script="sale_wait",
        k6={"SECONDS": 40},
        times="late",
        goals={"p95_ms": "< 2000", "max_ms": "< 2000"},
    ),
    Row(
        name="sale_poll",
        calls="`GET /api/v1/sale-entries/{id}` by accounts that wait, while others are admitted",
        part="sales",
        script="sale_poll",
        k6={"AGAIN": 1},
        goals={"of_null_processor": "< 1.1", "statements": "< 0.05"},
    ),
    SALE_ORDER,
    Row(
        name="sign_ins",
        calls=(
            "`POST /api/v1/auth/token` with the right passwords of as many accounts at once, from an "
            "address each, beside 16 anonymous readers of products; `readers_` are times of theirs, "
            "without sign-ins and beside them"
        ),
        part="sign_ins",
        script="sign_ins",
        k6={"SECONDS": 30},
        sized={"VUS": "signing_in", "ACCOUNTS": "signing_in"},
        goals={"max_ms": "< 20000"},
    ),
    Row(
        name="draw",
        calls=(
            "the draw of a sale that many have joined, until all have their places and the first is "
            "admitted; meanwhile the admissions of another sale, and orders with a card by 4 buyers, "
            "beside before it"
        ),
        part="draw",
        goals={"ordered_seconds": "< 15", "of_quiet_payment": "< 1.2", "of_quiet_admission": "< 1.2"},
    ),
    # The goal of commit bb470e27: to take less than half of what the commit takes that it is compared with.
    Row(
        name="idle",
        calls="nothing: what each process takes of a core while nobody calls",
        part="idle",
        ratios={"cores": "< 0.45"},
    ),
    Row(
        name="audit",
        calls="`manage.py audit` over all of it: every law",
        part="audit",
        goals={"seconds": "< 60"},
    ),
)
ROWS = {row.name: row for row in _ALL}
# The rows that are measured beside another commit.
COMPARED = [row.name for row in _ALL if row.ratios or row.against]
# What CI measures beside the last release, by processor time.
BUDGET = ["null", "coupon", "sold_out", "orders", "points_orders", "paid", "wallet", "idle"]
MOST_PROCESSOR = 1.15  # times the other commit's, in each round: other programs of the machine make a tenth
