"""Other processes that place orders at once: each round by the strategy and for the accounts it is sent."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from subprocess import Popen

from foundation.tests.second_process import another_process, read_line, send

SELLING = """
import json
from collections import Counter
from functools import partial
from django.conf import settings
from inventory.models import Product
from orders.placement import checkout
from orders.tests import buying
from foundation.tests.racing import race

settings.OPTIMISTIC_RETRIES = 500
print("ready", flush=True)
while line := sys.stdin.readline():
    settings.INVENTORY_STRATEGY, product_id, quantity, account_ids = json.loads(line)
    product = Product.objects.get(id=product_id)
    order_requests = [buying.order_request(account_id, {product: quantity}) for account_id in account_ids]
    print("ready", flush=True)
    sys.stdin.readline()
    outcomes = race([partial(checkout.place, order_request) for order_request in order_requests])
    print(json.dumps(Counter(getattr(one, "code", type(one).__name__) for one in outcomes)), flush=True)
"""


@contextmanager
def two_sellers(**settings: str) -> Iterator[list["Popen[str]"]]:
    """Two processes that wait for `sell_at_once`."""
    with ExitStack() as stack:
        yield [stack.enter_context(another_process(SELLING, **settings)) for _ in range(2)]


def sell_at_once(
    sellers: Sequence["Popen[str]"], product, parts: Sequence[Sequence[int]], *, strategy: str, quantity=1
) -> Counter[str]:
    """Count the outcomes when each process orders so many units for each account of its part."""
    for seller, part in zip(sellers, parts, strict=True):
        send(seller, json.dumps([strategy, product.pk, quantity, [*part]]))
    for seller in sellers:
        assert read_line(seller) == "ready"
    for seller in sellers:
        send(seller, "go")
    return sum((Counter(json.loads(read_line(seller))) for seller in sellers), Counter())
