"""An update migrates while the old processes serve: their code has to work on the new schema."""

import json
import os
import sys
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

from foundation.tests.outages import OwnRedis
from lab import stage
from scripts.stack import children, places, ports
from scripts.tests import own_client, previous_release, programs
from scripts.tests.circles import boots
from scripts.tests.simulator import wait_until
from shop.tests.test_migrate import ask, connected, new_database

DATABASE = f"firstcome_previous_release_{os.getpid()}"
STARTS_WITHIN, CALL_SECONDS = 60, 40
WEB = ("gunicorn", "--config", "python:shop.web_server", "--workers", "1", "--graceful-timeout", "4")
WORKER = ("celery", "-A", "shop", "worker", "--pool", "threads", "--concurrency", "4")
WORKER += ("--without-gossip", "--without-mingle", "--without-heartbeat")


@dataclass(frozen=True)
class OldStack:
    """Where the old code is, its settings, where its web server answers, and who may call it."""

    code: Path
    settings: Mapping[str, str]
    port: int
    tokens: Mapping[str, Any]
    http: urllib3.PoolManager

    def call(self, status: int, method: str, path: str, body=None, *, as_staff=False, wait=20):
        """The answer, which has to have this status."""
        token = self.tokens["staff"] if as_staff else self.tokens["users"][0]["access"]
        headers = {"Authorization": f"Bearer {token}", "Prefer": f"wait={wait}"}
        headers["Idempotency-Key"] = uuid.uuid4().hex
        url = f"http://{ports.HOST}:{self.port}{path}"
        answer = self.http.request(method, url, json=body, headers=headers)
        assert answer.status == status, answer.json()
        return answer.json()

    def manage(self, *words: str):
        """A management command of the old code, which has to succeed."""
        _manage(self.code, self.settings, *words)


@pytest.fixture(scope="module")
@boots("the release before")
def old(tmp_path_factory):
    """The old release's web server, worker and simulators, on a database of this release's schema."""
    folder = tmp_path_factory.mktemp("previous-release")
    code = previous_release.code(folder / "code")
    with ExitStack() as started:
        redis = OwnRedis(folder)
        redis.start()
        started.callback(redis.stop)
        started.enter_context(new_database(DATABASE))
        listening = {name: ports.free() for name in ("gateway", "data_platform", "web")}
        settings = os.environ | {
            "DATABASE_URL": urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{DATABASE}").geturl(),
            "REDIS_URL": redis.url,
            "BROKER_URL": f"{redis.url.removesuffix('0')}1",
            "GATEWAY_URL": f"http://{ports.HOST}:{listening['gateway']}",
            "DATA_PLATFORM_URL": f"http://{ports.HOST}:{listening['data_platform']}",
        }
        _manage(places.PROJECT, settings, "migrate", "--no-input")
        tokens = folder / "tokens.json"
        seed = ("seed_demo", "--users", "2", "--products", "2", "--tokens", str(tokens))
        _manage(code, settings | {"DEMO": "1"}, *seed)
        start = partial(_start, started, code=code, settings=settings)
        start("worker", WORKER)
        for name in ("gateway", "data_platform"):
            book = str(folder / f"{name}.sqlite3")
            start(name, (f"scripts.simulators.{name}", "--port", str(listening[name]), "--book", book))
        start("web", (*WEB, "--bind", f"{ports.HOST}:{listening['web']}"))
        with urllib3.PoolManager(retries=False, timeout=CALL_SECONDS) as http:
            yield OldStack(code, settings, listening["web"], json.loads(tokens.read_text()), http)


@contextmanager
def added_column(table: str, definition: str):
    """The table with one more column, which the old code doesn't know."""
    with connected(DATABASE) as connection:
        ask(connection, f"ALTER TABLE {table} ADD COLUMN added_since {definition}")
        try:
            yield
        finally:
            ask(connection, f"ALTER TABLE {table} DROP COLUMN added_since")


def _start(started, name, words, *, code, settings):
    """Start a process of the old code; where it has a port, return once it listens there."""
    log = code.with_name(f"{name}.log")
    child = children.start([sys.executable, "-m", *words], log=log, environment=settings, folder=code)
    started.callback(children.stop, child)
    if options := {"--port", "--bind"}.intersection(words):
        address = (ports.HOST, int(words[words.index(options.pop()) + 1].rpartition(":")[2]))
        children.wait_until(address, name=name, child=child, log=log, within_seconds=STARTS_WITHIN)


def _manage(code, settings, *words):
    programs.run([sys.executable, "manage.py", *words], code, **settings)


def issue(old: OldStack):
    offer = {"name": "Drop", "quantity": 10, "discount": {"type": "amount", "value": 100}}
    campaign = old.call(201, "POST", "/api/v1/campaigns", offer, as_staff=True)
    assert old.call(201, "POST", "/api/v1/coupons", {"campaign": campaign["id"]})["position"] == 1


def place(old: OldStack):
    product = old.call(200, "GET", "/api/v1/products")["results"][0]["id"]
    wanted = {"items": [{"product": product, "quantity": 2}], "points_amount": 100}
    return old.call(201, "POST", "/api/v1/orders", wanted)


def pay(old: OldStack):
    order = place(old)
    payment = {"order": order["id"], "token": "tok_ok"}
    assert old.call(201, "POST", "/api/v1/payments", payment, wait=10)["status"] == "succeeded"
    return order


def refund(old: OldStack):
    refunds = f"/api/v1/orders/{pay(old)['id']}/refunds"
    old.call(202, "POST", refunds, {"reason": "broken"}, as_staff=True)
    wait_until(lambda: old.call(200, "GET", refunds)["results"][0]["status"] == "succeeded")


def receive_stock(old: OldStack):
    file = old.code / "delivery.csv"
    file.write_text("sku,name,price,quantity\nNEW,New,1000,5\nDEMO-0001,Mug,12000,5\n")
    old.manage("seed_stock", str(file))


@pytest.mark.boots("another process of the shop")
def test_the_old_processes_run_the_code_of_the_commit_that_the_file_names(old):
    assert len(stage.PREVIOUS) == 40
    old.manage("shell", "-c", f"import shop; assert shop.__file__.startswith({str(old.code)!r})")


def test_its_housekeeping_and_its_audit_work_on_the_schema_of_this_one(old):
    assert old.call(200, "GET", "/readyz") is not None
    old.manage("sweep")
    old.manage("audit")


def test_it_lists_a_range_of_deliveries_as_one_sends_none_of_it_again_and_deletes_it(old):
    """As a worker of this release writes them while old ones still run."""
    path = f"/api/v1/webhook-endpoints/{uuid.UUID(int=1)}"
    old.call(200, "GET", path, as_staff=True)
    # Of positions that the sweep has passed.
    of_range = {"first_position": 0, "position": 0, "attempts": 3, "response_status": 202}
    of_range |= {"patterns": '["*"]', "event_id": uuid.uuid4().hex, "endpoint_id": uuid.UUID(int=1).hex}
    of_range |= {"status": "delivered", "type": "", "error": ""}
    of_range |= {"created_at": "2020-01-01 00:00:00", "delivered_at": "2020-01-01 00:00:00"}
    names, values = ", ".join(of_range), ", ".join(map(repr, of_range.values()))
    with connected(DATABASE) as connection:
        ask(connection, f"INSERT INTO events_webhookdelivery ({names}) VALUES ({values})")  # noqa: S608 - ours
    rows = old.call(200, "GET", f"{path}/deliveries?status=delivered", as_staff=True)["results"]
    [row] = [row for row in rows if row["created_at"].startswith("2020")]
    assert (row["type"], row["attempts"]) == ("", 3)
    refused = old.call(409, "POST", f"{path}/deliveries/{row['id']}/resend", {}, as_staff=True)
    assert refused["code"] == "event_expired"
    old.manage("sweep")
    rows = old.call(200, "GET", f"{path}/deliveries", as_staff=True)["results"]
    assert not any(row["created_at"].startswith("2020") for row in rows)


@pytest.mark.boots("another process of the shop")
@pytest.mark.parametrize(
    ("run", "buyer"), [(own_client.run_python, "user-1"), (own_client.run_typescript, "user-2")]
)
def test_the_clients_of_this_release_run_the_programs_of_their_pages_with_it(old, tmp_path, run, buyer):
    run(tmp_path, BUYER=buyer, SHOP=f"http://{ports.HOST}:{old.port}")


@pytest.mark.parametrize(
    ("must_work", "table"),
    [
        (issue, "coupons_coupon"),
        (place, "orders_order"),
        (pay, "payments_transfer"),
        (refund, "orders_refund"),
        (receive_stock, "inventory_stockmovement"),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_a_new_column_without_a_default_in_the_database_breaks_it_and_one_with_it_does_not(
    old, must_work, table
):
    with added_column(table, "INT NOT NULL DEFAULT 0"):
        must_work(old)
    with added_column(table, "INT NOT NULL"), pytest.raises(AssertionError):
        must_work(old)
