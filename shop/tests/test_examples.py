"""The programs of docs/examples/, each copied into an empty folder and run as its README says."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import amqp
import pytest

from accounts.tests import api_keys
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from events.feed import runs
from foundation.tests.factories import PASSWORD, AccountFactory, SuperuserFactory, reloaded, set_columns
from foundation.tests.racing import wait_until
from inventory.tests.factories import ProductFactory
from lab.stack.rabbitmq import RunningNode
from orders.models import Order
from orders.tests import observed_stack
from orders.tests.buying import order_of
from orders.tests.observed_stack import ObservedStack
from orders.tests.rabbitmq import channel_of
from sales.tests.factories import create_sale
from scripts.stack import children, places, ports
from scripts.tests import own_client, programs
from scripts.tests.circles import boots
from shop.tests.browser import accessibility
from shop.tests.browser.browser_thread import expect
from shop.tests.browser.conftest import browser_thread, faults, mina, open_page
from shop.tests.browser.stack import Stack
from shop.tests.browser.storefront import keep_first_answer_back
from shop.tests.browser.test_storefront import STORED, deliver_webhook
from shop.tests.test_event_feed import lose_by_a_restore

__all__ = ["browser_thread", "faults", "mina", "open_page"]
pytestmark = pytest.mark.django_db(transaction=True)
EXAMPLES = places.PROJECT / "docs" / "examples"
SECONDS = 40
WON = "\N{WON SIGN}"
KEEP_OLD_PURCHASE = """
    sessionStorage.setItem("purchase", JSON.stringify({ name: "Mug", body: {} }));
    sessionStorage.setItem("purchase.key", `${Math.floor(Date.now() / 1000) - 2 * 86_400}.key`);
"""


@pytest.fixture(scope="module")
def origin():
    """Where the storefront's page is."""
    return f"http://{ports.HOST}:{ports.free()}"


@pytest.fixture(scope="module")
@boots("a shop")
def processes(django_db_setup, gateway_process, data_platform_process, origin, tmp_path_factory):
    simulators = gateway_process[0], data_platform_process[0]
    own = {"CORS_ALLOWED_ORIGINS": origin, "PAYMENT_RETURN_URL": f"{origin}/"}
    with observed_stack.running(tmp_path_factory.mktemp("shop"), *simulators, **own) as stack:
        yield stack


@pytest.fixture
def shop(transactional_db, own_gateway, own_data_platform, processes):
    return processes


@pytest.fixture(scope="module")
@boots("the build of the client")
def installed(tmp_path_factory):
    """The environment with the Python client."""
    return own_client.install_wheel(tmp_path_factory.mktemp("client"))


@contextmanager
def running(
    name: str,
    folder: Path,
    shop: ObservedStack,
    installed: dict[str, str],
    *words: str,
    scopes: str,
    **more: str,
) -> Iterator[Path]:
    """The Python program, in a folder of its own, until it is killed at the end of the block; its output."""
    folder.mkdir(exist_ok=True)
    shutil.copy(EXAMPLES / name / f"{name}.py", folder)
    key = api_keys.make(*scopes.split()).secret
    own = {"SHOP": shop.address, "KEY": key} | installed | more
    with (folder / "out").open("w") as out:
        command = [sys.executable, f"{name}.py", *words]
        process = subprocess.Popen(command, cwd=folder, env=os.environ | own, stdout=out, stderr=out)
        try:
            yield folder / "out"
        finally:
            process.kill()
            process.wait()


def buy(shop: ObservedStack, *, quantity=1) -> Order:
    wanted = order_of(ProductFactory(on_hand=quantity), "tok_ok", quantity=quantity)
    placed = shop.post(AccountFactory(), "/orders", wanted, Prefer="wait=20")
    assert placed.status == 201, placed.data
    return Order.objects.get(id=placed.json()["id"])


def refund_one(shop: ObservedStack, order):
    [line] = order.lines.all()
    wanted = {"reason": "It came late.", "items": [{"product": line.product_id, "quantity": 1}]}
    assert shop.post(SuperuserFactory(), f"/orders/{order.pk}/refunds", wanted).status == 202
    wait_until(lambda: reloaded(order).refunded_amount > 0, seconds=SECONDS)


def test_a_warehouse_ships_what_refunds_left_of_each_paid_order_once_wherever_it_was_stopped(
    shop, installed, tmp_path
):
    folder, orders = tmp_path / "warehouse", [buy(shop, quantity=3), buy(shop)]
    refund_one(shop, orders[0])
    cursor, scopes = folder / "state" / "cursor.txt", "events:read orders:read orders:write"

    def is_shipped(order):
        return "shipped_at" in (reloaded(order).metadata or {})

    def labels():
        return {path.stem: path.stat().st_mtime_ns for path in folder.glob("state/labels/*.txt")}

    with running("warehouse", folder, shop, installed, "state", scopes=scopes):
        wait_until(cursor.exists, seconds=SECONDS)
        orders.append(buy(shop))
        wait_until(lambda: is_shipped(orders[-1]), seconds=SECONDS)
    first, *others = map(reloaded, orders)
    sent = labels()
    assert (folder / "state" / "labels" / f"{first.pk}.txt").read_text().splitlines()[1].startswith("2 x ")
    assert sent.keys() == {str(order.pk) for order in orders} and all(map(is_shipped, orders))

    # As it was left by a crash after the parcel, with a cursor that the shop didn't give.
    set_columns(first, metadata={"by": "another program"})
    cursor.write_text("x")
    with running("warehouse", folder, shop, installed, "state", scopes=scopes) as output:
        wait_until(lambda: cursor.exists() and cursor.read_text() != "x", seconds=SECONDS)
    assert output.read_text().splitlines() == [
        "The cursor is not one that the shop knows. Going through all paid orders.",
        f"shipped {first.number}",
    ]
    assert is_shipped(first) and reloaded(first).metadata["by"] == "another program"
    assert [reloaded(order).metadata for order in others] == [order.metadata for order in others]
    assert labels() == sent

    lose_by_a_restore(after=1)
    with running("warehouse", folder, shop, installed, "state", scopes=scopes) as output:
        wait_until(
            lambda: "The cursor has expired: the shop was restored" in output.read_text(), seconds=SECONDS
        )
        late = buy(shop)
        wait_until(lambda: is_shipped(late), seconds=SECONDS)
    assert labels() == sent | {str(late.pk): labels()[str(late.pk)]}


@pytest.fixture
@boots("RabbitMQ")
def node(tmp_path):
    node = RunningNode(tmp_path / "rabbitmq")
    try:
        yield node
    finally:
        node.end()


def test_a_bridge_that_is_killed_or_loses_its_broker_loses_no_event(shop, installed, node, tmp_path):
    folder, seen = tmp_path / "bridge", list[Any]()
    folder.mkdir()

    def bridge():
        return running(
            "bridge", folder, shop, installed, "cursor.sqlite3", scopes="events:read", BROKER=node.url
        )

    def written():
        events = runs.with_positions().order_by("feed_position")
        return [str(id) for id in events.values_list("event_id", flat=True)]

    def has_all():
        # There is no queue before the bridge has made it, and none answers while the broker starts.
        with suppress(amqp.NotFound, amqp.InternalError), channel_of(node.url) as channel:
            seen.extend(iter(lambda: channel.basic_get("firstcome.events", no_ack=True), None))
        return {message.message_id for message in seen} == set(written())

    with closing(sqlite3.connect(folder / "cursor.sqlite3", isolation_level=None)) as database, bridge():
        buy(shop)
        wait_until(has_all, seconds=SECONDS)
        # The broker confirms the next messages, and the cursor can't be written.
        database.execute("BEGIN IMMEDIATE")
        buy(shop)
        wait_until(has_all, seconds=SECONDS)
    with bridge():
        # What the cursor didn't know comes again.
        wait_until(lambda: has_all() and len(seen) > len(written()), seconds=SECONDS)
        node.kill()
        buy(shop)
        node.start()
        wait_until(has_all, seconds=SECONDS)
    assert list(dict.fromkeys(message.message_id for message in seen)) == written()
    assert {message.delivery_mode for message in seen} == {2}
    [paid, *_] = [json.loads(message.body) for message in seen if message.type == "order.paid"]
    assert paid["data"]["status"] == "paid"


@pytest.fixture
def stack(shop, origin):
    """Where the browser opens pages."""
    return Stack(origin, {})


@pytest.fixture
@boots("a static server and the compiler of TypeScript")
def page(open_page, origin, shop, tmp_path):
    folder = Path(shutil.copytree(EXAMPLES / "storefront", tmp_path / "storefront"))
    own_client.install_npm(folder)
    index = folder / "index.html"
    index.write_text(index.read_text().replace("http://127.0.0.1:8000", shop.address))
    programs.run(["npx", "tsc"], folder)
    port = urlsplit(origin).port
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        ports.HOST,
        "--directory",
        str(folder),
    ]
    with children.running(command, name="http.server", log=tmp_path / "log", is_ready=(ports.HOST, port)):
        yield open_page("/")


def test_a_storefront_on_another_origin_buys_once_and_says_how_it_goes(page, shop, faults, mina, own_gateway):
    faults.expect(r"^409: POST .*/orders$")
    mug, lamp = ProductFactory(name="Mug", price=12_000, on_hand=5), ProductFactory(name="Lamp", on_hand=1)
    create_sale(mug)
    campaign = CampaignFactory(name="Spring", discount_value=2_000)
    status = page.locator("#status")

    page.get_by_label("Name").fill("mina")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    press(page, "Claim: Spring")
    expect(status).to_contain_text("is yours")
    press(page, "Wait for my turn: Mug")
    expect(status).to_contain_text("It is your turn in Drop")
    assert accessibility.findings_in_both_themes_and_on_a_phone(page) == []

    # The shop has the order, and the page is loaded again before it knows.
    keys = keep_first_answer_back(page)
    press(page, "Buy: Mug")
    # Routes are handled while the browser's thread is called.
    wait_until(lambda: page.title() and Order.objects.count() == 1)
    page.reload()
    link = page.get_by_role("link", name="Confirm at your bank")
    link.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("h1")).to_have_text("The payment is confirmed.")
    deliver_webhook()
    page.get_by_role("link", name="Back to the shop").click()
    expect(status).to_contain_text("Paid: order")
    order, coupon = Order.objects.get(), Coupon.objects.get()
    [charge] = own_gateway.get("/charges", order=str(order.pk))[1]["results"]
    assert (order.status, charge["status"], charge["amount"]) == ("paid", "succeeded", 10_000)
    assert (coupon.account_id, coupon.campaign_id, coupon.status) == (mina.pk, campaign.pk, "redeemed")
    assert len(keys) > 1 and len(set(keys)) == 1

    expect(page.get_by_role("button", name="Buy: Lamp")).to_be_enabled()
    assert shop.post(AccountFactory(), "/orders", order_of(lamp, "tok_ok"), Prefer="wait=20").status == 201
    press(page, "Buy: Lamp")
    expect(status).to_have_text("Sold out: somebody else was faster. Nothing was charged.")
    assert Order.objects.filter(account=mina).get() == order
    assert len(own_gateway.get("/charges")[1]["results"]) == 2
    assert page.evaluate(STORED) == ["tokens", "username"]

    # An order of two days ago whose end the page was not told.
    page.evaluate(KEEP_OLD_PURCHASE)
    page.reload()
    expect(status).to_contain_text("Your order of Mug may have been placed")
    expect(status).to_contain_text(f"Mug, {WON}10,000, paid.")
    press(page, "I have looked: choose anew")
    expect(status).to_have_text("Choose what you like.")
    refresh = page.evaluate("JSON.parse(sessionStorage.tokens).refresh")
    press(page, "Sign out")
    expect(status).to_have_text("Sign in to see what there is.")
    assert page.evaluate(STORED) == ["username"]
    assert shop.post(mina, "/auth/refresh", {"refresh": refresh}).status == 401
    assert len(own_gateway.get("/charges")[1]["results"]) == 2


def press(page, name: str):
    """By the keyboard."""
    button = page.get_by_role("button", name=name)
    button.focus()
    page.keyboard.press("Enter")
