"""How many modules the three hot paths enter, so that following one stays short."""

import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from accounts.tokens import token_pairs
from coupons.tests.factories import CampaignFactory
from foundation.concurrency.event_loop import run_blocking
from foundation.http import json_format
from foundation.http.messages import BurstRequest, JSONResponse
from foundation.tests.factories import AccountFactory
from foundation.tests.instants import ago
from inventory.tests.factories import ProductFactory
from orders.models import Order, Saga
from orders.tests import stepping
from orders.tests.buying import order_of
from orders.tests.conftest import _empty_books, _laws_hold, _stepped_executor, numbers_at_hand  # noqa: F401
from scripts.stack import places
from shop.burst import lane, table

WATCHING = re.compile(r"foundation/observability/.*|.*/metrics\.py|.*/metrics/.*")
"""What counts, logs and traces: it decides nothing, and a reader passes over it and all that it calls."""
WRAPPER = "payments/gateways/measured.py"
"""Measures calls that it makes itself: a reader passes over it, and not over these."""
NO_STEPS = ("<module>", "run_blocking")
"""Importing, and what stands in a test for the event loop."""


class ReadingPath:
    """The modules that calls enter, and the calls that lead back into a module that has not returned yet.

    Calls below a module of `WATCHING` are its own: the log starts a thread for its first line.
    """

    def __init__(self):
        self.modules: dict[str, None] = {}
        self.back: set[tuple[str, str]] = set()
        self._stack: list[str | None] = []

    def __call__(self, frame, event, _):
        if event == "call":
            module = _module(frame)
            callers = [name for name in self._stack if name]
            if callers and WATCHING.fullmatch(callers[-1]):
                module = callers[-1]
            if module and (not callers or callers[-1] != module):
                self.modules.setdefault(module)
                if module in callers:
                    self.back.add((callers[-1], module))
            self._stack.append(module)
        elif event == "return" and self._stack:
            self._stack.pop()


def _module(frame):
    path = frame.f_code.co_filename
    project = f"{places.PROJECT}/"
    if not path.startswith(project) or "/tests/" in path or frame.f_code.co_name in NO_STEPS:
        return None
    name = path.removeprefix(project)
    return name if name.split("/")[0] in places.APPS else None


@contextmanager
def following() -> Iterator[ReadingPath]:
    """Follow the calls of the block, in this thread."""
    path = ReadingPath()
    sys.setprofile(path)
    try:
        yield path
    finally:
        sys.setprofile(None)


APPS = ("orders", "inventory", "payments", "coupons", "sales")
pytestmark = pytest.mark.django_db


def is_passed_over(module: str) -> bool:
    return module == WRAPPER or WATCHING.fullmatch(module) is not None


def check_length(
    path: ReadingPath, *, modules: int, back: int, apps: Collection[str] = ("shop", "foundation", *APPS)
):
    """At most so many modules of these apps are entered, with so many jumps back between them."""
    entered = {name for name in path.modules if name.split("/")[0] in apps and not is_passed_over(name)}
    assert len(entered) <= modules
    assert len([edge for edge in path.back if {*edge} <= entered]) <= back


class Burst:
    """Calls of an account in the burst lane, in this thread."""

    def __init__(self):
        self._access = token_pairs.create_access_token(AccountFactory())

    def post(self, path: str, body: dict[str, Any], *, key="") -> JSONResponse:
        fields = {
            b"authorization": f"Bearer {self._access}".encode(),
            b"content-type": b"application/json",
            b"host": b"localhost",
        }
        if key:
            fields[b"idempotency-key"] = key.encode()
        found = table.find("POST", path)
        assert found
        call = BurstRequest("POST", f"/api/v1/{path}", fields, json_format.dump(body))
        return run_blocking(lane.answer_call(call, found))


def test_issuing_a_coupon():
    campaign, api = CampaignFactory(), Burst()
    Burst().post("coupons", {"campaign": campaign.pk})
    with following() as path:
        assert api.post("coupons", {"campaign": campaign.pk}).status_code == 201
    check_length(path, modules=11, back=1, apps=("coupons",))
    check_length(path, modules=30, back=2)


def order_call() -> tuple[Burst, dict[str, Any]]:
    """An account's calls, and the body of an order that it pays by card."""
    product = ProductFactory(on_hand=10)
    body = order_of(product, "tok_ok")
    return Burst(), body


@pytest.mark.usefixtures("numbers_at_hand")
def test_a_paid_order():
    api, body = order_call()
    assert api.post("orders", body, key="before").status_code == 202
    with following() as path:
        placed = api.post("orders", body, key="first")
        assert placed.status_code == 202, placed.body
        stepping.advance(Saga.objects.latest("id").id)
    assert Order.objects.latest("placed_at").status == "paid"
    check_length(path, modules=34, back=4, apps=APPS)
    check_length(path, modules=63, back=12)


def test_recovering_a_saga():
    api, body = order_call()
    api.post("orders", body, key="first")
    past = ago(minutes=1)
    Saga.objects.update(next_attempt_at=past, leased_until=past, lease_token="lost")
    with following() as path:
        stepping.Delegate().wake()
    check_length(path, modules=9, back=0, apps=("orders",))
    check_length(path, modules=32, back=8)
