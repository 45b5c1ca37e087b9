"""The programs of docs/examples/, each copied into an empty folder and run as its README says."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import amqp
import pytest

from accounts.tests import api_keys
from events.feed import runs
from foundation.tests.factories import AccountFactory, reloaded, set_columns
from foundation.tests.racing import wait_until
from inventory.tests.factories import ProductFactory
from lab.stack.rabbitmq import RunningNode
from orders.models import Order
from orders.tests import observed_stack
from orders.tests.buying import order_of
from orders.tests.observed_stack import ObservedStack
from orders.tests.rabbitmq import channel_of
from scripts.stack import places
from scripts.tests.circles import boots
from shop.tests.test_event_feed import lose_by_a_restore

pytestmark = pytest.mark.django_db(transaction=True)
EXAMPLES = places.PROJECT / "docs" / "examples"
SECONDS = 40


@pytest.fixture
@boots("a shop")
def shop(transactional_db, own_gateway, own_data_platform, tmp_path) -> Iterator[ObservedStack]:
    (tmp_path / "logs").mkdir()
    with observed_stack.running(tmp_path / "logs", own_gateway, own_data_platform) as stack:
        yield stack


@contextmanager
def running(
    name: str, folder: Path, shop: ObservedStack, *words: str, scopes: str, **more: str
) -> Iterator[Path]:
    """The Python program, in a folder of its own, until it is killed at the end of the block; its output."""
    folder.mkdir(exist_ok=True)
    shutil.copy(EXAMPLES / name / f"{name}.py", folder)
    key = api_keys.make(*scopes.split()).secret
    own = {"SHOP": shop.address, "KEY": key, "PYTHONPATH": str(places.PROJECT / "clients" / "python")} | more
    with (folder / "out").open("w") as out:
        command = [sys.executable, f"{name}.py", *words]
        process = subprocess.Popen(command, cwd=folder, env=os.environ | own, stdout=out, stderr=out)
        try:
            yield folder / "out"
        finally:
            process.kill()
            process.wait()


def buy(shop: ObservedStack) -> Order:
    placed = shop.post(
        AccountFactory(), "/orders", order_of(ProductFactory(on_hand=1), "tok_ok"), Prefer="wait=20"
    )
    assert placed.status == 201, placed.data
    return Order.objects.get(id=placed.json()["id"])


def test_a_warehouse_ships_each_paid_order_once_wherever_it_was_stopped(shop, tmp_path):
    folder, orders = tmp_path / "warehouse", [buy(shop), buy(shop)]
    cursor, scopes = folder / "state" / "cursor.txt", "events:read orders:read orders:write"

    def is_shipped(order):
        return "shipped_at" in (reloaded(order).metadata or {})

    def labels():
        return {path.stem: path.stat().st_mtime_ns for path in folder.glob("state/labels/*.txt")}

    with running("warehouse", folder, shop, "state", scopes=scopes):
        wait_until(cursor.exists, seconds=SECONDS)
        orders.append(buy(shop))
        wait_until(lambda: is_shipped(orders[-1]), seconds=SECONDS)
    first, *others = map(reloaded, orders)
    sent = labels()
    assert sent.keys() == {str(order.pk) for order in orders} and all(map(is_shipped, orders))

    # As it was left by a crash after the parcel, and by one before all cursors.
    set_columns(first, metadata={"by": "another program"})
    cursor.unlink()
    with running("warehouse", folder, shop, "state", scopes=scopes) as output:
        wait_until(cursor.exists, seconds=SECONDS)
    assert output.read_text() == f"shipped {first.number}\n"
    assert is_shipped(first) and reloaded(first).metadata["by"] == "another program"
    assert [reloaded(order).metadata for order in others] == [order.metadata for order in others]
    assert labels() == sent

    lose_by_a_restore(after=1)
    with running("warehouse", folder, shop, "state", scopes=scopes) as output:
        wait_until(
            lambda: "The cursor has expired: the shop was restored" in output.read_text(), seconds=SECONDS
        )
        late = buy(shop)
        wait_until(lambda: is_shipped(late), seconds=SECONDS)
    assert labels() == sent | {str(late.pk): labels()[str(late.pk)]}


@pytest.fixture
@boots("RabbitMQ")
def node(tmp_path) -> Iterator[RunningNode]:
    node = RunningNode(tmp_path / "rabbitmq")
    try:
        yield node
    finally:
        node.end()


def test_a_bridge_that_is_killed_between_broker_and_cursor_loses_no_event(shop, node, tmp_path):
    folder, seen = tmp_path / "bridge", list[Any]()
    folder.mkdir()

    def bridge():
        return running("bridge", folder, shop, "cursor.sqlite3", scopes="events:read", BROKER=node.url)

    def written():
        events = runs.with_positions().order_by("feed_position")
        return [str(id) for id in events.values_list("event_id", flat=True)]

    def has_all():
        with suppress(amqp.NotFound), channel_of(node.url) as channel:
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
        buy(shop)
        wait_until(has_all, seconds=SECONDS)
    arrived = Counter(message.message_id for message in seen)
    assert list(arrived) == written()
    assert max(arrived.values()) == 2
    assert {message.delivery_mode for message in seen} == {2}
    [paid, *_] = [json.loads(message.body) for message in seen if message.type == "order.paid"]
    assert paid["data"]["status"] == "paid"
