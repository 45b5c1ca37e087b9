"""Gateways that are unreachable, break off or answer malformed: always a result, never an exception.

What the HTTP client itself makes of slow, cut and malformed replies: `shop/tests/test_outbound_calls.py`.
"""

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import LazySettings

from payments import gateways
from payments.gateways import calls, gateway
from payments.gateways.contract import GatewayResult
from payments.tests.talker import Write, http, talking
from scripts.stack import ports
from shop.errors import Unavailable
from shop.outbound import http_client

CHARGE = {
    "id": "ch_1",
    "key": "one",
    "order": None,
    "status": "succeeded",
    "amount": 500,
    "refunded_amount": 0,
    "currency": "KRW",
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
}


def charge() -> GatewayResult:
    return gateway().charge(key="one", token="tok_ok", amount=500, currency="KRW", order_id=None)


def result_of_every_call() -> list[GatewayResult]:
    return [
        charge(),
        gateway().find(key="one"),
        gateway().cancel(key="one"),
        gateway().refund(key="one", charge_reference="ch_1", amount=500),
    ]


@pytest.fixture(autouse=True)
def _impatient(settings: LazySettings) -> None:
    settings.GATEWAY_TIMEOUT_SECONDS = 0.5
    settings.STRIPE_API_KEY = "sk_test_only_for_tests"


every_gateway = pytest.mark.parametrize("name", gateways.GATEWAYS)


NONSENSE: dict[str, bytes] = {
    "HTML": http(200, b"<html>Welcome</html>"),
    "no body": http(201, b""),
    "broken JSON": http(201, b'{"id": "ch_1"'),
    "NaN": http(201, b'{"amount": NaN}'),
    "nested without end": http(201, b"[" * 100_000),
    "a list": http(201, []),
    "null": http(200, b"null"),
    "an empty object": http(201, {}),
    "a redirect": http(302, b"", b"Location: http://example.com/"),
    "a page that is missing": http(404, {"code": "not_found", "detail": "Nothing here."}),
    "too many requests": http(429, {"code": "throttled", "detail": "Later."}),
    "an error that says it worked": http(500, CHARGE),
    "an unavailable gateway that says it worked": http(503, CHARGE),
    "less than it promised": http(201, CHARGE)[:-20],
}


@every_gateway
def test_a_malformed_answer_is_unknown_for_every_call(name: str, settings: LazySettings) -> None:
    settings.PAYMENT_GATEWAY = name
    answer = b""

    def talk(write: Write) -> None:
        write(answer)
        raise OSError("hang up")

    believed: dict[str, Any] = {}
    with talking(talk, settings):
        for kind, answer in NONSENSE.items():  # noqa: B007 - what the server writes
            calls.forget()
            statuses = [verdict.status for verdict in result_of_every_call()]
            if set(statuses) != {"unknown"}:
                believed[kind] = statuses
            with suppress(Unavailable):
                believed[f"the book: {kind}"] = list(gateway().charges())
    assert believed == {}


LIES: dict[str, dict[str, Any]] = {
    "another key": {"key": "two"},
    "another amount": {"amount": 5_000},
    "another currency": {"currency": "USD"},
    "an amount in text": {"amount": "500"},
    "an amount with a fraction": {"amount": 500.0},
    "a negative amount": {"amount": -500},
    "an amount beyond all bounds": {"amount": 2**63},
    "more refunded than charged": {"refunded_amount": 501},
    "an unknown status": {"status": "maybe"},
    "another status than its HTTP one": {"status": "declined"},
    "an empty name": {"id": ""},
    "a name too long": {"id": "c" * 97},
    "a name on two lines": {"id": "ch_1\nSet-Cookie: x"},
    "no instant": {"created_at": "yesterday"},
    "an instant without a zone": {"created_at": "2026-01-01T00:00:00"},
    "a failure that is no word": {"failure": {"code": "<b>", "detail": ""}},
}


def test_a_charge_that_was_not_requested_is_unknown(settings: LazySettings) -> None:
    def charged(change: dict[str, Any]) -> GatewayResult:
        calls.forget()
        with talking(lambda write: write(http(201, CHARGE | change)), settings):
            return charge()

    assert [name for name, lie in LIES.items() if charged(lie).status != "unknown"] == []
    accepted = charged({"what we don't know of": 1})
    assert (accepted.status, accepted.reference) == ("succeeded", "ch_1")
    assert (accepted.amount, accepted.currency) == (500, "KRW")


def test_a_refund_that_was_not_requested_is_unknown(settings: LazySettings) -> None:
    lies = [{"key": "two"}, {"charge": "ch_2"}, {"amount": 1}, {"status": "pending"}, {"id": ""}]
    refund = {"id": "re_1", "key": "one", "charge": "ch_1", "amount": 500, "status": "succeeded"}

    def refunded(content: dict[str, Any]) -> GatewayResult:
        with talking(lambda write: write(http(201, content)), settings):
            return gateway().refund(key="one", charge_reference="ch_1", amount=500)

    assert refunded(refund).status == "succeeded"
    assert [lie for lie in lies if refunded(refund | lie).status != "unknown"] == []


def test_a_look_up_that_finds_other_charges_is_unknown(settings: LazySettings) -> None:
    two_of_one_key, of_another_key = [CHARGE, CHARGE], [CHARGE | {"key": "two"}]
    for results in (two_of_one_key, of_another_key):
        answer = http(200, {"results": results, "next": None})
        with talking(lambda write, answer=answer: write(answer), settings):
            assert gateway().find(key="one").status == "unknown", results


def test_a_book_whose_pages_go_in_circles_is_given_up(settings: LazySettings) -> None:
    for page in ({"results": [], "next": "ch_1"}, {"results": [CHARGE], "next": "ch_1"}):
        answer = http(200, page)
        with talking(lambda write, answer=answer: write(answer), settings), pytest.raises(Unavailable):
            list(gateway().charges())


def test_a_long_explanation_of_a_decline_is_shortened_and_accepted(settings: LazySettings) -> None:
    failure = {"code": "card_declined", "detail": "no " * 1_000}
    answer = http(402, CHARGE | {"status": "declined", "failure": failure})

    with talking(lambda write: write(answer), settings):
        verdict = charge()
    assert (verdict.status, verdict.failure_code) == ("declined", "card_declined")
    assert len(verdict.failure_detail) == 255


@every_gateway
def test_an_unreachable_gateway_is_unknown_at_once(name: str, settings: LazySettings) -> None:
    settings.PAYMENT_GATEWAY = name
    settings.GATEWAY_URL = settings.STRIPE_API_BASE = f"http://{ports.HOST}:{ports.free()}"
    settings.GATEWAY_TIMEOUT_SECONDS = 30
    started_at = time.monotonic()

    assert {(one.status, one.failure_detail) for one in result_of_every_call()} == {
        ("unknown", "no connection")
    }
    with pytest.raises(Unavailable, match="no connection"):
        list(gateway().charges())
    assert time.monotonic() - started_at < 5


@every_gateway
def test_a_gateway_that_never_answers_costs_the_time_out_and_no_more(
    name: str, settings: LazySettings
) -> None:
    settings.PAYMENT_GATEWAY = name
    the_test_is_over = threading.Event()

    with talking(lambda write: the_test_is_over.wait(20), settings):
        started_at = time.monotonic()
        assert charge().failure_detail == "no reply in time"
        assert time.monotonic() - started_at < 2
        the_test_is_over.set()


def test_an_endless_answer_is_given_up(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.GATEWAY_TIMEOUT_SECONDS = 20
    monkeypatch.setattr(http_client, "LARGEST_RESPONSE_BYTES", 2**18)

    def pour(write: Write) -> None:
        write(b"HTTP/1.1 201 Created\r\n\r\n")
        while True:
            write(b" " * 2**16)

    with talking(pour, settings):
        assert charge().failure_detail == "the reply is too large"


def test_calls_in_a_row_share_a_connection_and_one_that_broke_is_not_used_again(
    settings: LazySettings,
) -> None:
    good, broken = http(201, CHARGE), http(201, CHARGE)[:-20]
    answers = [good] * 5 + [broken] + [good] * 2

    def talk(write: Write) -> None:
        answer = answers.pop(0)
        write(answer)
        if answer == broken:
            raise OSError("hang up")

    with talking(talk, settings) as server:
        statuses = [charge().status for _ in range(8)]
        assert statuses == ["succeeded"] * 5 + ["unknown"] + ["succeeded"] * 2
        assert server.connections == 2
