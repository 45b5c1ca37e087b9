"""Calls of the running shop for its tests: many buyers at once, and what both web processes answered."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import urllib3
from django.contrib.auth.models import User
from prometheus_client import mmap_dict

from accounts.tokens import token_pairs
from foundation import clock
from foundation.tests.factories import AccountFactory
from foundation.tests.racing import wait_until
from orders.models import Order, Saga
from orders.tests import buying
from payments.gateways import gateway
from payments.models import Payment
from scripts.tests.running_shop.stack import RunningShop

COUNTED = "django_http_responses_total_by_status_view_method_total"
SETTLE_SECONDS = 30
Response = urllib3.BaseHTTPResponse


def purchase(product, token="tok_ok", **more) -> dict[str, Any]:
    """The body of an order of one unit, paid by a card."""
    return {"items": [{"product": product.id, "quantity": 1}], "payment": {"token": token}} | more


def buy(shop: RunningShop, buyer: User, product, token="tok_ok", *, wait=10) -> Response:
    """A call with a key of its own, which waits for the end of the payment."""
    body, key = purchase(product, token), str(uuid4())
    return shop.call(buyer, "POST", "/orders", body, key=key, Prefer=f"wait={wait}")


class Connections(ThreadPoolExecutor):
    """Buyers with a thread and a new connection for each call, so that both web processes get some."""

    def __init__(self, shop, most):
        super().__init__(most)
        self._shop = shop

    def soon(
        self, account: User, method: str, path: str, body=None, *, key="", **headers: str
    ) -> "Future[Response]":
        """The future answer, whose client doesn't try again."""
        headers |= {"Authorization": f"Bearer {token_pairs.create_access_token(account)}"}
        headers |= {"Idempotency-Key": key} if key else {}
        address = f"{self._shop.address}/api/v1{path}"
        return self.submit(_request, method, address, body, headers)


def _request(method, address, body, headers):
    with urllib3.PoolManager(maxsize=1, retries=False, timeout=30) as pool:
        return pool.request(method, address, json=body, headers=headers)


def at_once(shop: RunningShop, buyers: Sequence[User], path: str, body, *, key="") -> list[Response]:
    """The answers to the same body from all buyers at once, each by a key of its own unless one is given."""
    with Connections(shop, len(buyers)) as calls:
        made = [calls.soon(buyer, "POST", path, body, key=key or str(uuid4())) for buyer in buyers]
        return [call.result(30) for call in made]


def others(answers: Iterable[Response], *expected: int) -> list[tuple[int, bytes]]:
    """What the answers with other statuses say, for the message of an assertion."""
    return [(answer.status, answer.data) for answer in answers if answer.status not in expected]


def answered_by_process(shop: RunningShop, view: str) -> Counter[str]:
    """How many calls of the view each web process has answered, from its own file of metrics."""
    found = Counter[str]()
    for path in shop.instance.metrics.glob("counter_[0-9]*.db"):
        values = mmap_dict.MmapedDict.read_all_values_from_file(str(path))
        found[path.stem] = sum(int(value) for key, value, *_ in values if COUNTED in key and view in key)
    return found


def begun_at_both(
    shop: RunningShop,
    begin: "Callable[[Sequence[User]], Sequence[Future[Response]]]",
    buyers: Sequence[User],
    product,
) -> "list[Future[Response]]":
    """Begin the orders of half of the buyers at each web process, while the other stands still; those of the
    second half are at the one with the greater id.
    """
    begun, half, (first, second) = list[Future[Response]](), len(buyers) // 2, sorted(shop.web_processes())
    for standing, some in ((second, buyers[:half]), (first, buyers[half:])):
        os.kill(standing, signal.SIGSTOP)
        try:
            begun.extend(begin(some))
            wait_until(lambda: orders_of(product).count() == len(begun))
        finally:
            os.kill(standing, signal.SIGCONT)
    return begun


@contextmanager
def both_processes_answer(shop: RunningShop, view: str):
    """Fails unless each of the two web processes answered calls of the view in the block."""
    for _ in until_both_answer(shop, view, attempts=1):
        yield


def until_both_answer(shop: RunningShop, view: str, *, attempts=10):
    """Another attempt until each of the two web processes has answered calls of the view; then it fails.

    Whichever process is awake takes a new connection, so one may take twenty in a row.
    """
    before = after = answered_by_process(shop, view)
    for _ in range(attempts):
        yield
        after = answered_by_process(shop, view)
        if len(after - before) == 2:
            return
    raise AssertionError((before, after))


def refusals_of_both(shop: RunningShop, view: str, path: str, body) -> set[tuple[int, str]]:
    """The statuses and codes that both web processes answer buyers with, who come until both have."""
    refused = set()
    for _ in until_both_answer(shop, view):
        answers = at_once(shop, AccountFactory.create_batch(20), path, body)
        refused |= {(answer.status, answer.json()["code"]) for answer in answers}
    return refused


@contextmanager
def buyers_going_on(shop: RunningShop, product, *, count: int) -> Iterator[list[Any]]:
    """Buyers order one after the other meanwhile; the list has each answer's status, or the error."""
    ended, answers = threading.Event(), list[Any]()

    def buy_until_ended(buyer):
        # Paced: they would take the processor from processes that start.
        while not ended.wait(0.05):
            try:
                answers.append(buy(shop, buyer, product).status)
            except urllib3.exceptions.HTTPError as error:
                answers.append(type(error).__name__)

    buyers = AccountFactory.create_batch(count)
    with ThreadPoolExecutor(count) as threads:
        running = [threads.submit(buy_until_ended, buyer) for buyer in buyers]
        try:
            yield answers
        finally:
            ended.set()
        for one in running:
            one.result()


def orders_of(product, **columns):
    return Order.objects.filter(lines__product=product, **columns)


def wait_until_settled(product):
    """Return once no saga of an order of the product is under way: the worker has ended all of them."""
    eventually(lambda: not _unfinished(product).exists())


def let_leases_end(product):
    """What a killed process was to do is due now, rather than once its lease lapses in some seconds."""
    _unfinished(product).update(leased_until=None, next_attempt_at=clock.now())


def _unfinished(product):
    orders = orders_of(product).values_list("id", flat=True)
    return Saga.objects.filter(about_id__in=list(orders), ended_at=None)


def charges_of(product) -> Counter[str]:
    """How many charges that succeeded the gateway has for each order of the product."""
    found = Counter[str]()
    for payment in Payment.objects.filter(order__lines__product=product):
        charges = gateway().charges(key=payment.charge_key)
        found[str(payment.order_id)] += sum(charge.kept_amount > 0 for charge in charges)
    return found


def count_paid_once(product) -> int:
    """How many orders of the product there are, which all end paid, each by one charge, and by every law."""
    wait_until_settled(product)
    paid = orders_of(product, status="paid").count()
    assert paid == orders_of(product).count()
    assert set(charges_of(product).values()) == {1}
    require_every_law()
    return paid


def eventually(condition: Callable[[], bool]):
    wait_until(condition, seconds=SETTLE_SECONDS)


def require_every_law():
    """Every law of every app, over all that the tests before have left as well."""
    assert buying.broken_laws() == []
