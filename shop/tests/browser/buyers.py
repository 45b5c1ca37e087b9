"""Buyers of a running shop: threads that call its API, at a steady pace, beside a browser that watches."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

from django.contrib.auth.models import User

from coupons.models import Campaign
from coupons.tests.factories import accounts
from inventory.models import Product
from shop.tests.browser.stack import call

PAUSE_SECONDS = 0.1
THREADS = 2


@contextmanager
def coming_for(
    address: str, campaign: Campaign, product: Product, *, number: int = 400
) -> Iterator[list[int]]:
    """That many accounts take a coupon and order one unit each, one after the other, until the block ends.

    Gives the list of their answers' statuses, which grows.
    """
    waiting = list(User.objects.filter(pk__in=accounts(number)))
    statuses, is_over = list[int](), threading.Event()

    def buy() -> None:
        while waiting and not is_over.wait(PAUSE_SECONDS):
            buyer = waiting.pop()
            statuses.append(take_coupon(address, buyer, campaign))
            statuses.append(order(address, buyer, product))

    with ThreadPoolExecutor(THREADS) as threads:
        buying = [threads.submit(buy) for _ in range(THREADS)]
        try:
            yield statuses
        finally:
            is_over.set()
    assert [each.result() for each in buying] == [None] * THREADS


def take_coupon(address: str, buyer: User, campaign: Campaign) -> int:
    return call(address, buyer, "POST", "/coupons", {"campaign": campaign.pk}).status


def order(address: str, buyer: User, product: Product) -> int:
    """The status of the answer to an order of one unit, which is not paid."""
    items = {"items": [{"product": product.pk, "quantity": 1}]}
    return call(address, buyer, "POST", "/orders", items, **{"Idempotency-Key": str(uuid4())}).status
