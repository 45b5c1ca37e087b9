"""Two processes that sell the same stock, with every strategy; and one that is killed."""

import json
import time
from collections import Counter
from contextlib import ExitStack

import pytest
from django.conf import LazySettings

from inventory.mirror import healing, mirror
from inventory.mirror.healing import IN_FLIGHT_SECONDS
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.placement import checkout
from orders.placement.strategies import redis_gate
from orders.tests import buying
from shop.errors import Rejected
from shop.redis import redis_client
from shop.tests.second_process import another_process

pytestmark = pytest.mark.django_db(transaction=True)

# Places concurrent orders of one unit, one per account, and prints the counts of the outcomes.
BUYING = """
import json
from collections import Counter
from functools import partial
from inventory.models import Product
from orders.placement import checkout
from orders.tests import buying
from shop.tests.racing import race

product = Product.objects.get(id=sys.argv[1])
order_requests = [buying.order_request(int(account_id), {product: 1}) for account_id in sys.argv[2:]]
print("ready", flush=True)
sys.stdin.readline()
outcomes = race([partial(checkout.place, order_request) for order_request in order_requests])
print(json.dumps(Counter(getattr(one, "code", type(one).__name__) for one in outcomes)))
"""


@pytest.mark.parametrize("strategy", checkout.STRATEGIES)
def test_two_processes_sell_stock_of_60_to_exactly_60(strategy: str) -> None:
    product = ProductFactory.create(on_hand=60)
    accounts = [str(buying.account().id) for _ in range(100)]
    with ExitStack() as stack:
        sellers = [
            stack.enter_context(another_process(BUYING, str(product.id), *some, INVENTORY_STRATEGY=strategy))
            for some in (accounts[:50], accounts[50:])
        ]
        for seller in sellers:
            assert seller.stdin
            seller.stdin.write("go\n")
            seller.stdin.flush()
        outcomes = [json.loads(seller.communicate(timeout=60)[0].splitlines()[-1]) for seller in sellers]
    assert sum(map(Counter, outcomes), Counter()) == {"PlacedOrder": 60, "insufficient_stock": 40}
    assert levels_of(product) == (60, 60)
    assert buying.broken_laws() == []


def test_units_that_a_killed_process_took_from_the_gate_are_released(settings: LazySettings) -> None:
    settings.INVENTORY_STRATEGY = "redis_gate"
    product, buyer = ProductFactory.create(on_hand=1), buying.account()
    # It was admitted, and had committed nothing.
    assert mirror.admit(redis_gate._gate_reservation(buying.order_request(buyer.id, {product: 1}))) == []
    assert redis_client.client().hlen(mirror.IN_FLIGHT) == 1
    with pytest.raises(Rejected):
        buying.place(buying.account().id, {product: 1})
    healing.heal(now=time.time() + IN_FLIGHT_SECONDS + 1)
    buying.place(buying.account().id, {product: 1})
    assert Order.objects.count() == 1
    assert buying.broken_laws() == []


def levels_of(product: Product) -> tuple[int, int]:
    product.refresh_from_db()
    return product.on_hand, product.reserved
