"""The launch board's figures against known rows and what processes counted, and its page's store of them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from backoffice.board import snapshots
from backoffice.board.snapshots import Figures
from coupons.models import QueueTicket
from coupons.tests.factories import CampaignFactory, coupon_of, pause as pause_campaign
from foundation import clock
from foundation.models import LawStatus
from foundation.operations.audits.laws import LAWS
from foundation.tests import servers
from foundation.tests.factories import AccountFactory
from foundation.tests.instants import ago, from_now
from foundation.tests.statements import captured_statements
from inventory.tests.factories import ProductFactory, pause as pause_product
from orders.models import Saga
from orders.tests import buying
from sales.tests.factories import create_sale, join_all, pause as pause_sale
from sales.waiting_room import advancing
from scripts.stack import places
from scripts.tests import programs

START = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SECOND = int(START.timestamp())


def goods_of(left: int) -> dict[str, list[Figures]]:
    """A campaign of which so many coupons are left, and a product."""
    campaign = {"id": 1, "name": "Spring", "status": "open", "quantity": 100, "left": left, "with_partner": 0}
    product = {"id": 1, "name": "Mug", "status": "open", "on_hand": 3, "reserved": 3, "left": 0}
    return {"campaigns": [campaign], "sales": [], "products": [product]}


def shop_of(**changes) -> Figures:
    """A shop of which nothing is open."""
    numbers = dict.fromkeys(("in_doubt", "in_doubt_oldest_seconds", "disputes", "stuck", "unfinished"), 0)
    empty: Figures = {name: {} for name in ("waiting", "wait_seconds", "orders", "locks", "sale_entries")}
    return {"product_ids": [], "laws": []} | numbers | empty | changes


class Board:
    """The snapshots of a board, each composed with the points before it."""

    def __init__(self):
        self.points: dict[int, snapshots.Values] = {}

    def compose(
        self,
        second: int,
        *,
        goods: Mapping[str, list[Figures]] | None = None,
        shop: Figures | None = None,
        counts: Mapping[int, Mapping[tuple[str, ...], int]] | None = None,
    ) -> Figures:
        figures = snapshots.compose(
            at=START + timedelta(seconds=second + 1.3),
            goods=goods or {"campaigns": [], "sales": [], "products": []},
            shop=shop or shop_of(),
            counts=counts,
            points={at: values for at, values in self.points.items() if at < SECOND + second},
        )
        self.points[figures["second"]] = figures["point"]
        orjson.dumps(figures)
        return figures


@pytest.mark.django_db(transaction=True)
def test_campaigns_that_run_are_shown_first_those_that_open_soon():
    coupon_of(CampaignFactory(name="Open", quantity=3))
    sold_out = CampaignFactory(name="Sold out", quantity=1, opens_at=ago(hours=1))
    coupon_of(sold_out)
    paused = CampaignFactory(name="Paused", opens_at=ago(days=2))
    pause_campaign(paused)
    coupon_of(CampaignFactory(name="All", quantity=None, opens_at=ago(days=3)))
    CampaignFactory(name="Soon", opens_at=from_now(minutes=30))
    CampaignFactory(name="Tomorrow", scheduled=True)
    CampaignFactory(name="Closed", closed=True)

    with captured_statements() as statements:
        goods = snapshots.read_goods([])
    assert len(statements) <= 6
    assert [(one["name"], one["status"], one["left"]) for one in goods["campaigns"]] == [
        ("Soon", "scheduled", 100),
        ("Open", "open", 2),
        ("Paused", "paused", 100),
        ("All", "open", None),
        ("Sold out", "sold_out", 0),
    ]


@pytest.mark.django_db(transaction=True)
def test_a_paused_product_stays_on_the_board_when_only_others_are_ordered():
    """It left the board, and with it the button that resumes it, once others had the newest order lines."""
    sold = ProductFactory(name="Sold")
    paused = [ProductFactory(name=f"Paused {number}") for number in range(6)]
    for product in paused:
        pause_product(product)

    with captured_statements() as statements:
        products = snapshots.read_goods([sold.pk, paused[-1].pk])["products"]

    assert len(statements) <= 6
    assert [one["name"] for one in products] == ["Paused 2", "Paused 3", "Paused 4", "Paused 5", "Sold"]
    assert [one["status"] for one in products] == ["paused"] * 4 + ["open"]


@pytest.mark.django_db(transaction=True)
def test_sales_that_open_soon_and_those_that_run_are_shown_with_their_waiting_rooms():
    tea, mug = ProductFactory(on_hand=10), ProductFactory(on_hand=5)
    running = create_sale(tea, mug, name="Running", rate_per_minute=60)
    soon = create_sale(name="Soon", opens_in=1_800, closes_in=7_200)
    open_to_all = create_sale(name="Open", opens_in=-60, admission="open")
    create_sale(name="Tomorrow", opens_in=86_400, closes_in=90_000)
    pause_sale(open_to_all)
    join_all(running, 5)
    advancing.advance(running.pk)
    join_all(soon, 3)

    goods, shop = snapshots.read_goods([]), snapshots.read_shop()

    assert [(one["name"], one["status"], one["waiting"], one["left"]) for one in goods["sales"]] == [
        ("Soon", "scheduled", None, 10),
        ("Running", "open", 3, 15),
        ("Open", "paused", None, 10),
    ]
    shown = Board().compose(0, goods=goods, shop=shop)["sales"]
    assert [(one["rate_per_minute"], one["entries"]) for one in shown] == [
        (600, {"waiting": 3, "admitted": 0, "used": 0, "expired": 0}),
        (60, {"waiting": 3, "admitted": 2, "used": 0, "expired": 0}),
        (None, None),
    ]
    assert shown[1]["id"] == running.pk


@pytest.mark.django_db(transaction=True)
def test_orders_products_sagas_tickets_and_laws_are_those_of_the_database():
    hot, cold = ProductFactory(name="Hot", on_hand=10), ProductFactory(name="Cold", on_hand=10)
    buyer = buying.account()
    for _ in range(2):
        buying.place(buyer, {hot: 2})
    buying.place(buyer, cold, token="tok_ok")
    ProductFactory(name="Not ordered", on_hand=10)
    Saga.objects.update(state=Saga.State.STUCK)
    campaign = CampaignFactory(strategy="queue")
    for number in (1, 2):
        ticket = {"number": number, "created_at": ago(seconds=30 * number)}
        QueueTicket.objects.create(campaign=campaign, account=AccountFactory(), **ticket)
    at = clock.now()
    LawStatus.objects.create(law="L1", holds=True, since=at, checked_at=at)
    LawStatus.objects.create(law="L4", holds=False, since=at, checked_at=at, offenders=["7", "8"])
    LawStatus.objects.create(law="L9", holds=True, since=at)

    with captured_statements() as statements:
        shop = snapshots.read_shop()
    # MySQL tells of its deadlocks by a statement of its own.
    assert len(statements) <= (12 if servers.is_mariadb() else 13), statements
    assert sorted(shop["product_ids"]) == [hot.pk, cold.pk]
    assert shop["orders"] == {"awaiting_payment": 2, "paying": 1, "refunding": 0}
    assert (shop["stuck"], shop["unfinished"], shop["in_doubt"]) == (1, 1, 0)
    assert shop["waiting"] == {str(campaign.pk): 2}
    assert shop["wait_seconds"][str(campaign.pk)] == pytest.approx(30, abs=5)
    assert {"row_lock_waits_total", "deadlocks_total"} == set(shop["locks"])
    laws = {one.law: (one.holds, len(one.offenders)) for one in shop["laws"]}
    assert (laws["L1"], laws["L4"], laws["L9"]) == ((True, 0), (False, 2), (None, 0))

    products = snapshots.read_goods(shop["product_ids"])["products"]
    assert [(one["name"], one["on_hand"], one["reserved"], one["left"]) for one in products] == [
        ("Cold", 10, 1, 9),
        ("Hot", 10, 4, 6),
    ]
    shown = Board().compose(0, shop=shop)["laws"]
    assert [one["law"] for one in shown] == [f"L{number}" for number in range(1, len(LAWS) + 1)]
    assert [one["holds"] for one in shown[:4]] == [True, None, None, False]


def test_the_rate_is_that_of_the_last_ten_seconds_and_says_when_nothing_is_left():
    board = Board()
    assert board.compose(0, goods=goods_of(100))["campaigns"][0]["rate"] is None
    for second in range(1, 6):
        board.compose(second, goods=goods_of(100))
    for second in range(6, 16):
        figures = board.compose(second, goods=goods_of(100 - 3 * (second - 5)))
    [spring] = figures["campaigns"]
    assert (spring["left"], spring["rate"], spring["ends_in_seconds"]) == (70, 3.0, pytest.approx(70 / 3))
    assert figures["point"]["campaign.1"] == 70

    # A raised quantity is no negative sale.
    assert board.compose(16, goods=goods_of(500))["campaigns"][0]["rate"] == pytest.approx(2.7)
    for second in range(17, 28):
        figures = board.compose(second, goods=goods_of(0))
    assert figures["campaigns"][0]["ends_in_seconds"] is None


def test_the_rate_of_a_campaign_for_everybody_is_that_of_its_coupons_and_it_has_no_end():
    board = Board()
    for second in range(12):
        [campaign] = goods_of(0)["campaigns"]
        endless = campaign | {"quantity": None, "left": None, "issued": 5 * second}
        figures = board.compose(second, goods={"campaigns": [endless], "sales": [], "products": []})

    [spring] = figures["campaigns"]
    assert (spring["left"], spring["rate"], spring["ends_in_seconds"]) == (None, 5.0, None)
    assert (figures["point"]["issued.1"], "campaign.1" in figures["point"]) == (55, False)


def times(**numbers: int) -> Mapping[tuple[str, ...], int]:
    """Requests of an app by response time: those that took up to 50 ms, to 100 ms, and longer."""
    counts: dict[tuple[str, ...], int] = {}
    for name, number in numbers.items():
        app, bound = name.split("_")
        above = {"50": ["0.05", "0.075", "0.1", "+Inf"], "100": ["0.1", "+Inf"], "more": ["+Inf"]}[bound]
        for le in above:
            counts["seconds", app, le] = counts.get(("seconds", app, le), 0) + number
    return counts


def test_after_the_clock_was_set_back_rates_go_on_with_the_points_of_now():
    """They stood still until the clock had come to the last point again."""
    board = Board()
    for second, left in ((3600, 10), (3601, 9), (1, 8), (2, 5)):
        figures = board.compose(second, goods=goods_of(left))
    assert figures["campaigns"][0]["rate"] == 3

    for second, waits in ((3600, 100), (0, 101), (2, 105)):
        figures = board.compose(second, shop=shop_of(locks={"row_lock_waits_total": waits}))
    assert figures["point"]["lock_waits"] == 2


def test_requests_are_those_of_all_processes_by_code_campaign_and_response_time():
    counted = times(coupons_50=8, orders_100=2) | {
        ("processes",): 2,
        ("refusals", "sold_out"): 6,
        ("refusals", "conflict"): 1,
        ("campaign", "1", "sold_out"): 6,
        ("campaign", "1", "issued"): 9,
        ("campaign", "2", "closed"): 1,
        ("product", "1", "insufficient_stock"): 4,
        ("product", "2", "product_paused"): 2,
        ("orders", "placed"): 3,
        ("orders", "cancelled"): 1,
    }
    counts = {SECOND + second: counted for second in range(3)}
    figures = Board().compose(2, goods=goods_of(1), counts=counts)
    assert figures["refusals"] == [{"code": "sold_out", "rate": 6.0}, {"code": "conflict", "rate": 1.0}]
    assert figures["campaigns"][0]["refusals"] == [{"code": "sold_out", "rate": 6.0}]
    assert figures["products"][0]["refusals"] == [{"code": "insufficient_stock", "rate": 4.0}]
    requests = figures["requests"]
    assert requests["rate"] == 10
    assert requests["p95"] == pytest.approx(0.075 + 0.025 * 0.75)
    point = figures["point"]
    assert (point["requests"], point["refusals"]) == (10, 7)
    assert requests["p50"] == pytest.approx(0.025 + 0.025 * 15 / 24)
    assert (point["p95.coupons"], point["p95.orders"]) == (pytest.approx(0.04875, abs=1e-4), 0.0988)
    orders = {name: point[f"orders_a_second.{name}"] for name in ("placed", "paid", "payment_failed")}
    assert orders == {"placed": 3, "paid": 0, "payment_failed": 0}
    assert sum(name.startswith("orders_a_second.") for name in point) == 3


def test_points_are_kept_for_15_minutes_in_redis_for_all_processes(redis_server):
    for second in (SECOND + 61, SECOND, SECOND + 1):
        snapshots.save(second, {"left": second - SECOND})
    snapshots.save(SECOND, {"left": 99})  # another process's figures of a second that is kept

    assert list(snapshots.load(after=0, until=SECOND + 70).items()) == [
        (SECOND, {"left": 0}),
        (SECOND + 1, {"left": 1}),
        (SECOND + 61, {"left": 61}),
    ]
    assert list(snapshots.load(after=SECOND, until=SECOND + 60)) == [SECOND + 1]
    assert all(0 < redis_server.ttl(key) <= 960 for key in redis_server.keys("firstcome:board:*"))
    assert list(snapshots.load(after=0, until=SECOND + 900)) == [SECOND + 1, SECOND + 61]
    assert snapshots.load(after=0, until=SECOND + 3600) == {}


STORE = places.PROJECT / "backoffice" / "static" / "backoffice" / "board" / "store.js"


def columns_after(script: str):
    """What `store.columns(["left"], 900)` is after these lines of JavaScript."""
    shown = 'console.log(JSON.stringify(store.columns(["left"], 900)));'
    code = "\n".join([STORE.read_text(), "const store = new Store(15);", script, shown])
    return json.loads(programs.run(["node", "--input-type=module", "--eval", code]))


@pytest.mark.boots("Node.js")
def test_a_point_replaces_that_of_its_second_and_after_the_clock_was_set_back_the_plots_go_on():
    """They stood still until the server's clock had come to the last point again."""
    added = "for (const at of [{}]) store.add(at, {{ left: at }});"
    assert columns_after(added.format("1, 2, 3, 2, 4")) == [[1, 2, 3, 4]] * 2
    assert columns_after(added.format("8001, 8002, 8001, 5000, 5001")) == [[5000, 5001]] * 2
