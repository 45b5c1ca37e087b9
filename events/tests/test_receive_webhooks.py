"""The code of docs/howto/receive-webhooks.md, as it stands there, on what the shop has sent to a receiver."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from events.tests.following import record
from events.tests.receivers import Received, receiving
from events.tests.test_webhook_deliveries import _any_address, deliver, endpoint_for
from scripts.tests import documented

__all__ = ["_any_address"]
pytestmark = pytest.mark.django_db(transaction=True)
Verify = Callable[[str, Mapping[str, str], bytes], dict[str, Any]]


@pytest.fixture(scope="module")
def verify() -> Verify:
    [block] = [
        block
        for block in documented.blocks(documented.page("howto/receive-webhooks.md"))
        if block.title == "verify.py"
    ]
    names: dict[str, Any] = {}
    exec(compile(block.text, block.title, "exec"), names)  # noqa: S102 - the page's own code
    found: Verify = names["verify"]
    return found


@pytest.fixture
def sent() -> tuple[str, Received]:
    with receiving() as receiver:
        endpoint = endpoint_for(receiver)
        record("a")
        deliver(endpoint)
        return endpoint.secret, receiver.requests[0]


def test_the_code_takes_what_the_shop_sends(verify: Verify, sent: tuple[str, Received]) -> None:
    secret, request = sent
    assert verify(secret, request.headers, request.body) == request.event


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "another"},
        {"webhook-timestamp": "1000000000"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
    ],
)
def test_the_code_refuses_what_was_changed(
    verify: Verify, sent: tuple[str, Received], change: dict[str, str]
) -> None:
    secret, request = sent
    with pytest.raises(ValueError, match=r"signature|too old"):
        verify(secret, request.headers | change, request.body)
    with pytest.raises(ValueError, match="signature"):
        verify(secret, request.headers, request.body + b" ")
