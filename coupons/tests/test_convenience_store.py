"""The convenience store's protocol: partners that are unreachable, break off or reply invalidly.

What the HTTP client itself makes of slow, cut and malformed replies: `shop/tests/test_outbound_calls.py`.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest
from django.conf import LazySettings
from django.db import transaction

from coupons.partners import confirmation
from coupons.partners.contract import NoAnswer, NotReached, Partner, PartnerReply
from coupons.partners.convenience_store import ConvenienceStore
from coupons.tests.own_partner import NAME, address, partner_that
from scripts.stack import ports
from scripts.tests import canned_shop
from scripts.tests.canned_shop import Answer
from shop.concurrency import thread_pool

KEY = UUID("00000000-0000-7000-8000-000000000001")
CODE = "CODE"
REGISTRATION = {"id": "reg_1", "key": str(KEY), "code": CODE, "status": "registered", "asked": 1}
CALLS: dict[str, Callable[[Partner], PartnerReply]] = {
    "register": lambda partner: partner.register(KEY, CODE),
    "find": lambda partner: partner.find(KEY),
    "cancel": lambda partner: partner.cancel(KEY),
}
INVALID: list[tuple[int, bytes]] = [
    (500, orjson.dumps(REGISTRATION)),
    (503, b""),
    (201, b"not json"),
    (200, b"[]"),
    (200, b"{}"),
    (404, orjson.dumps({"code": "not_found"})),
    (422, orjson.dumps({"code": "key_reused"})),
    (200, orjson.dumps(REGISTRATION | {"status": "perhaps"})),
    (201, orjson.dumps(REGISTRATION | {"key": str(uuid4())})),
    (201, orjson.dumps(REGISTRATION | {"code": "ANOTHER"})),
    (409, orjson.dumps(REGISTRATION)),
    (200, orjson.dumps({"results": [REGISTRATION | {"key": "another"}]})),
    (200, orjson.dumps({"results": [REGISTRATION, REGISTRATION]})),
    (302, b""),
]


@contextmanager
def saying(reply: Callable[[], tuple[int, bytes]]) -> Iterator[Partner]:
    """A partner that sends this reply to every request."""
    with canned_shop.running() as server:
        server.answer = lambda sent: Answer(*reply())
        yield ConvenienceStore(server.address, 2.0)


def test_it_returns_the_state_of_a_key(settings: LazySettings, tmp_path: Path) -> None:
    with partner_that(folder=tmp_path, settings=settings) as simulator:
        partner = ConvenienceStore(address(simulator), 2.0)
        key, other = uuid4(), uuid4()
        assert partner.find(key) is PartnerReply.UNKNOWN
        assert [partner.register(key, "A"), partner.find(key)] == [PartnerReply.REGISTERED] * 2
        assert [partner.register(other, "A"), partner.find(other)] == [PartnerReply.REFUSED] * 2
        assert partner.cancel(other) is PartnerReply.REFUSED
        assert [partner.cancel(key), partner.find(key), partner.register(key, "A")] == [
            PartnerReply.CANCELLED
        ] * 3
        late = uuid4()
        assert [partner.cancel(late), partner.register(late, "B")] == [PartnerReply.CANCELLED] * 2


def test_a_refused_connection_is_not_reached() -> None:
    partner = ConvenienceStore(f"http://{ports.HOST}:{ports.free()}", 2.0)
    for call in CALLS.values():
        with pytest.raises(NotReached):
            call(partner)


def test_a_time_out_is_no_answer() -> None:
    with socket.create_server((ports.HOST, 0)) as server:
        partner = ConvenienceStore(f"http://{ports.HOST}:{server.getsockname()[1]}", 0.2)
        for call in CALLS.values():
            with pytest.raises(NoAnswer):
                call(partner)


def test_an_invalid_reply_is_no_answer() -> None:
    believed: list[tuple[str, int, bytes, PartnerReply]] = []
    status, body = 0, b""
    with saying(lambda: (status, body)) as partner:
        for status, body in INVALID:
            for name, call in CALLS.items():
                with suppress(NoAnswer):
                    believed.append((name, status, body, call(partner)))
    assert believed == []


@pytest.mark.django_db
def test_no_partner_is_called_inside_a_transaction() -> None:
    with transaction.atomic(), pytest.raises(transaction.TransactionManagementError):
        ConvenienceStore("http://127.0.0.1:1", 1.0).find(KEY)


def test_a_partner_that_fails_ten_times_in_a_row_is_not_called_for_a_while(settings: LazySettings) -> None:
    settings.PARTNER_URL = f"http://{ports.HOST}:{ports.free()}"

    def ask() -> None:
        assert isinstance(confirmation.call_partner(NAME, lambda partner: partner.find(KEY)), NotReached)

    for _ in range(confirmation.FAILURES):
        assert not confirmation.is_unavailable(NAME)
        ask()
    assert confirmation.is_unavailable(NAME)
    ask()


@pytest.mark.parametrize("web_threads", [4, 8, 16, 64])
def test_partners_leave_half_of_the_threads_that_run_calls(web_threads: int, settings: LazySettings) -> None:
    settings.WEB_THREADS = web_threads
    confirmation.reset()
    assert 1 <= confirmation._permits()._initial_value <= thread_pool.split_threads(web_threads).calling / 2
    confirmation.reset()
