"""Top-ups are charged by workers: no web thread waits for a gateway."""

from typing import Any

import pytest

from orders.tests import buying
from payments.gateways import gateway
from shop.tests.clients import client_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_top_up_calls_the_gateway_in_no_web_thread(settings: Any) -> None:
    """Four of them blocked a process with four threads."""
    settings.GATEWAY_TIMEOUT_SECONDS, api = 0.1, client_of(buying.account())
    # No worker runs that could call it.
    answer = api.post("/wallet/top-ups", {"amount": 700, "token": "tok_ok"}, key="a")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert list(gateway().charges()) == []
    buying.settle_everything()
    again = api.post("/wallet/top-ups", {"amount": 700, "token": "tok_ok"}, key="a")
    assert (again.status_code, again.json()["status"]) == (201, "succeeded")
