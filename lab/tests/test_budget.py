"""What hot operations cost stays within `lab/bench/budget.toml`, which says when a line is changed."""

import os
import posixpath
import re
import sys
import threading
import tomllib
import warnings
from collections.abc import Callable, Sequence
from math import floor
from typing import Any

import pytest
from celery.beat import ScheduleEntry
from django.contrib.auth.models import User
from django.db import connection, transaction

from accounts.tests.clients import signed_in
from accounts.tokens import token_pairs
from coupons import issuing
from coupons.queue import worker
from coupons.tests.factories import CampaignFactory, accounts
from events.tests import delivering
from events.webhooks.dispatcher import Dispatcher
from foundation.concurrency.batching import Batcher
from foundation.operations import beat, dispatch, shared_counts
from foundation.tests.asgi_client import send_request
from foundation.tests.factories import SuperuserFactory
from inventory.tests.factories import ProductFactory
from lab import urls
from lab.tests.metering import FIGURES, Cost, Step, at_once, metering
from orders.models import Order
from orders.saga import backlog, run
from orders.tests import buying, stepping
from payments import ledger
from sales.models import SaleEntry
from sales.tests.factories import create_sale, join_accounts
from sales.waiting_room import room_view, ticking
from scripts.stack import places
from shop.burst import lane
from shop.celery import app

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls(urls.__name__),
    pytest.mark.usefixtures("own_gateway", "own_data_platform"),
]
BUDGET = places.PROJECT / "lab/bench/budget.toml"
WARMING, REPEATS, AT_ONCE = 2, 4, 32
SLACK = {"python_calls": 0.02}
"""Threads that meet take a few calls more or less; nothing else varies."""
TOLD_BELOW = 0.95
"""The share of a line below which a figure is told."""
COUNTED_ON = (3, 11)
"""The Python of the lines. Newer ones call fewer functions."""
TO_DO = (
    "Make it cheaper; or raise its line of lab/bench/budget.toml in this commit and give the reason in its "
    'message: `make test ARGS="lab/tests/test_budget.py" BUDGET=write` writes what is measured.'
)
Operation = Callable[[], Sequence[Step]]
"""The steps of one more run, made ready for it."""


class Buyers:
    """New accounts: each call is of another one, as those of a crowd are."""

    def __init__(self, number):
        self.ids = accounts(number)
        users = User.objects.in_bulk(self.ids)
        self._access = {id: token_pairs.create_access_token(users[id]) for id in self.ids}
        self._turns = iter(self.ids)

    def next(self) -> int:
        return next(self._turns)

    async def call(self, method: str, path: str, body=None, *, expect: int, id=0):
        caller = id or self.next()
        # Coupons need no key, and a crowd sends none.
        headers = {} if path == "/coupons" else {"Idempotency-Key": f"key-{caller}"}
        access = self._access[caller]
        answer = await send_request(method, f"/api/v1{path}", body, access=access, headers=headers)
        assert answer.status == expect, answer.body


def null(buyers) -> Operation:
    return lambda: [buyers.call("POST", "/lab/null", {"campaign": 7}, expect=200)]


def coupon(buyers) -> Operation:
    body = {"campaign": CampaignFactory(quantity=1_000).pk}
    return lambda: [buyers.call("POST", "/coupons", body, expect=201)]


def refusal(buyers) -> Operation:
    body = {"campaign": CampaignFactory(quantity=1).pk}
    issuing.issue(campaign_id=body["campaign"], user_id=buyers.next())
    return lambda: [buyers.call("POST", "/coupons", body, expect=409)]


def order(buyers, *, expect=201, **more) -> Operation:
    products = ProductFactory.create_batch(3, on_hand=1_000, price=1_000)
    body = {"items": [{"product": product.pk, "quantity": 1} for product in products]} | more
    return lambda: [buyers.call("POST", "/orders", body, expect=expect)]


def order_with_coupon_and_points(buyers) -> Operation:
    products, campaign = ProductFactory.create_batch(3, on_hand=1_000, price=1_000), CampaignFactory()
    items = [{"product": product.pk, "quantity": 1} for product in products]
    with transaction.atomic():
        ledger.bulk_open_wallets(buyers.ids, 500)

    def prepare():
        id = buyers.next()
        code = issuing.issue(campaign_id=campaign.pk, user_id=id).coupon.code
        body = {"items": items, "coupon": code, "points_amount": 100}
        return [buyers.call("POST", "/orders", body, expect=201, id=id)]

    return prepare


def paid_order(buyers) -> Operation:
    place = order(buyers, expect=202, payment={"token": "tok_ok"})
    executor: Any = run.process_executor()

    def advance():
        while executor.pools.step():
            pass

    def prepare():
        assert not Order.objects.exclude(status="paid").exists()
        return [*place(), advance]

    return prepare


def room_poll(buyers) -> Operation:
    sale = create_sale(rate_per_minute=1)
    join_accounts(sale, buyers.ids)
    ticking.tick()
    entries = dict(SaleEntry.objects.filter(status="waiting").values_list("account_id", "id"))
    waiting = iter(entries)

    def prepare():
        room_view.refresh()
        id = next(waiting)
        return [buyers.call("GET", f"/sale-entries/{entries[id]}", expect=200, id=id)]

    return prepare


def cold_call(buyers) -> Operation:
    return lambda: [buyers.call("GET", "/wallet", expect=200)]


def event_delivery(_: Buyers) -> Operation:
    """A worker's pass over so many events, which the data platform takes by one request."""

    def prepare():
        delivering.note(*["coupon.issued"] * AT_ONCE)
        return [delivering.deliver_due]

    return prepare


def idle_second(_: Buyers) -> Operation:
    """What beat, worker (twice), web and issuer do again and again while nobody calls."""
    app.loader.import_default_modules()
    schedule = [ScheduleEntry(app=app, **entry) for entry in app.conf.beat_schedule.values()]
    looked_for = [task for task in (app.tasks[entry.task] for entry in schedule) if hasattr(task, "is_due")]
    assert looked_for

    def look():
        assert [beat.has_work(task) for task in looked_for] == [False] * len(looked_for)

    lease, issuer = beat.BeatLease("budget"), worker._Issuer(threading.Event())
    of_worker, of_web = [Dispatcher()._start_due] * 2, (ticking.tick, shared_counts._sample_and_share)
    return lambda: [look, lease.refresh, *of_worker, *of_web, lambda: worker._run_or_none(issuer.refresh)]


def staff_list(buyers) -> Operation:
    """The operators' page of orders, with one of each buyer."""
    product = ProductFactory(on_hand=1_000)
    for id in buyers.ids:
        buying.order(id, product)
    operator = signed_in(SuperuserFactory())
    return lambda: [lambda: operator.get("/admin/orders/order/")]


def staff_home(_: Buyers) -> Operation:
    operator = signed_in(SuperuserFactory())
    return lambda: [lambda: operator.get("/admin/")]


def burst_of(operation: Callable[[Buyers], Operation]) -> Callable[[Buyers], Operation]:
    """So many of these calls at once."""

    def burst(buyers):
        prepare = operation(buyers)
        return lambda: [at_once([call for _ in range(AT_ONCE) for call in prepare()])]

    return burst


OPERATIONS = {
    "null": null,
    "coupon": coupon,
    "coupon_burst": burst_of(coupon),
    "refusal": refusal,
    "order": order,
    "order_burst": burst_of(order),
    "order_with_coupon_and_points": order_with_coupon_and_points,
    "paid_order": paid_order,
    "room_poll": room_poll,
    "cold_call": cold_call,
    "event_delivery": event_delivery,
    "idle_second": idle_second,
    "staff_list": staff_list,
    "staff_home": staff_home,
}


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """This process advances the payments that it begins; no worker is told of one, and none is asked how far
    behind it is, as once in half a second.
    """
    executor = stepping.SteppedExecutor()
    executor.new_places = AT_ONCE
    monkeypatch.setattr(run, "process_executor", lambda: executor)
    monkeypatch.setattr(dispatch, "enqueue_shared", lambda task: None)
    monkeypatch.setattr(backlog, "READ_INTERVAL_SECONDS", float("inf"))


def measured(name: str) -> Cost:
    """The least of each figure of several runs: a run beside something else costs more, never less."""
    with metering() as meter:
        prepare = OPERATIONS[name](Buyers(30 + (WARMING + REPEATS) * (AT_ONCE if "burst" in name else 1)))
        costs = [meter.cost(*prepare()) for _ in range(WARMING + REPEATS)][WARMING:]
    return Cost({figure: min(cost[figure] for cost in costs) for figure in FIGURES})


def exceeded(name: str, cost) -> dict[str, str]:
    """What is to be said of each figure that is above the operation's line."""
    line = tomllib.loads(BUDGET.read_text()).get(name, dict.fromkeys(FIGURES, 0))
    return {
        figure: f"{name}: {figure} {cost[figure]:,}, its budget is {line[figure]:,}. {TO_DO}"
        for figure in FIGURES
        if cost[figure] > floor(line[figure] * (1 + SLACK.get(figure, 0)))
    }


def write(name: str, cost):
    """Replace the operation's line, or add it; comments stay."""
    figures = ", ".join(f"{figure} = {cost[figure]}" for figure in FIGURES)
    line, text = f"{name} = {{ {figures} }}\n", BUDGET.read_text()
    changed, number = re.subn(rf"^{name} = .*\n", line, text, flags=re.MULTILINE)
    BUDGET.write_text(changed if number else text + line)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_stays_within_its_budget(name):
    cost = measured(name)
    if os.environ.get("BUDGET") == "write":
        write(name, cost)
    assert not exceeded(name, cost)
    line = tomllib.loads(BUDGET.read_text())[name]
    for figure in FIGURES:
        if sys.version_info[:2] == COUNTED_ON and cost[figure] < TOLD_BELOW * line[figure]:
            cheaper = (
                f"{name}: {figure} {cost[figure]:,}, below its budget of {line[figure]:,}: lower the line"
            )
            warnings.warn(pytest.PytestWarning(cheaper), stacklevel=1)


def test_every_line_is_of_an_operation():
    assert tomllib.loads(BUDGET.read_text()).keys() == OPERATIONS.keys()


def test_an_extra_statement_is_caught(monkeypatch):
    decide_all = Batcher._decide_all

    def decide(batcher, requests):
        connection.cursor().execute("SELECT 1")
        return decide_all(batcher, requests)

    monkeypatch.setattr(Batcher, "_decide_all", decide)
    assert {"statements", "round_trips"} <= exceeded("coupon", measured("coupon")).keys()


def test_a_loop_of_extra_calls_is_caught(monkeypatch):
    answer_call = lane.answer_call

    async def answer(*given):
        for _ in range(3):
            posixpath.basename("/")
        return await answer_call(*given)

    monkeypatch.setattr(lane, "answer_call", answer)
    assert exceeded("null", measured("null")).keys() == {"python_calls"}
