"""Buyers of a running shop: threads that call its API, at a steady pace, beside a browser that watches."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from django.contrib.auth.models import User

from coupons.models import Campaign
from coupons.tests.factories import accounts
from inventory.models import Product
from shop.tests.browser.stack import call

PAUSE_SECONDS = 0.1
THREADS = 2


@dataclass
class Answers:
    """How many answers of each status came."""

    by_status: Counter[int] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def coming_for(address: str, campaign: Campaign, product: Product, *, number: int = 400) -> Iterator[Answers]:
    """That many accounts take a coupon and order one unit each, one after the other, until the block ends."""
    waiting = list(User.objects.filter(pk__in=accounts(number)))
    answers, is_over = Answers(), threading.Event()

    def buy() -> None:
        while waiting and not is_over.wait(PAUSE_SECONDS):
            buyer = waiting.pop()
            for status in (take_coupon(address, buyer, campaign), order(address, buyer, product)):
                with answers.lock:
                    answers.by_status[status] += 1

    with _threads([buy] * THREADS):
        try:
            yield answers
        finally:
            is_over.set()


def take_coupon(address: str, buyer: User, campaign: Campaign) -> int:
    return call(address, buyer, "POST", "/coupons", {"campaign": campaign.pk}).status


def order(address: str, buyer: User, product: Product) -> int:
    """The status of the answer to an order of one unit, which is not paid."""
    items = {"items": [{"product": product.pk, "quantity": 1}]}
    return call(address, buyer, "POST", "/orders", items, **{"Idempotency-Key": str(uuid4())}).status


@contextmanager
def _threads(functions: list[Callable[[], None]]) -> Iterator[None]:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
