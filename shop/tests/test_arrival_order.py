"""First come, first served within a process: after a rest too, when what it remembers is due or too old."""

import asyncio
from typing import Any

import pytest

from accounts.tokens import token_pairs
from coupons.tests.factories import CampaignFactory
from foundation.concurrency import shared_read
from foundation.tests import process_state
from foundation.tests.asgi_client import send_request
from foundation.tests.factories import AccountFactory
from inventory.tests.factories import ProductFactory
from orders.saga import backlog
from orders.tests.buying import order_of

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_gateway", "own_data_platform"),
]
CALLERS, WINNERS = 12, 3
COLD = float("inf")


def coupons() -> tuple[str, Any]:
    return "/coupons", {"campaign": CampaignFactory(quantity=1 + WINNERS).pk}


def last_units() -> tuple[str, Any]:
    return "/orders", order_of(ProductFactory(on_hand=1 + WINNERS))


def paid_orders() -> tuple[str, Any]:
    return "/orders", order_of(ProductFactory(on_hand=1 + WINNERS), "tok_ok")


def rest(seconds: float):
    """As if no request had come for so long; `COLD`, as if the caches had been read by none."""
    for shared in list(shared_read._all):
        if seconds == COLD:
            shared.forget()
        elif shared._last:
            process_state.age(shared, seconds)
    backlog.back_pressure._read_at -= min(seconds, 60.0)
    backlog.back_pressure._measured_at -= min(seconds, 60.0)


async def _ask_in_order(path, body, callers, *, rest_seconds, apart_seconds):
    """The status of each caller's answer, the first one's before the rest."""

    async def ask(caller):
        key = {"Idempotency-Key": f"order-{caller.pk}"}
        access = token_pairs.create_access_token(caller)
        answer = await send_request("POST", f"/api/v1{path}", body, access=access, headers=key)
        return answer.status

    warm = await ask(callers[0])
    rest(rest_seconds)
    asked = []
    for caller in callers[1:]:
        asked.append(asyncio.create_task(ask(caller)))
        await asyncio.sleep(apart_seconds)
    return [warm, *await asyncio.gather(*asked)]


@pytest.mark.parametrize("apart_seconds", [0.0, 0.001])
@pytest.mark.parametrize("rest_seconds", [0.7, 2.5, 8.0, COLD])
@pytest.mark.parametrize("goods", [coupons, last_units, paid_orders])
def test_the_first_ones_get_what_is_left_after_a_rest(goods, rest_seconds, apart_seconds):
    path, body = goods()
    callers = AccountFactory.create_batch(1 + CALLERS)
    statuses = asyncio.run(
        _ask_in_order(path, body, callers, rest_seconds=rest_seconds, apart_seconds=apart_seconds)
    )
    assert {*statuses[: 1 + WINNERS]} <= {201, 202}
    assert statuses[1 + WINNERS :] == [409] * (CALLERS - WINNERS)
