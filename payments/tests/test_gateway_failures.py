"""Gateways that are unreachable, break off, or answer what was not asked: always a result, and none believed.

What the HTTP client makes of slow, cut and malformed replies: `foundation/tests/test_outbound_calls.py`.
"""

import threading
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from foundation.errors import Unavailable
from foundation.outbound import http_client
from foundation.tests.outages import nowhere
from foundation.tests.waiting import within
from payments import gateways
from payments.gateways import calls, gateway
from payments.gateways.contract import GatewayResult
from payments.tests.talker import answering, http, talking

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
REFUND = {"id": "re_1", "key": "one", "charge": "ch_1", "amount": 500, "status": "succeeded"}
INTENT = {
    "id": "pi_1",
    "object": "payment_intent",
    "status": "succeeded",
    "amount": 500,
    "currency": "krw",
    "created": 1_795_176_000,
    "metadata": {"firstcome_key": "one"},
    "latest_charge": {"id": "ch_1", "object": "charge", "amount_refunded": 0},
    "last_payment_error": None,
}
STRIPES_REFUND = {
    "id": "re_1",
    "object": "refund",
    "status": "succeeded",
    "amount": 500,
    "payment_intent": "pi_1",
    "metadata": {"firstcome_key": "one"},
}


def listing(*objects, has_more=False) -> bytes:
    page = {"object": "list", "url": "/v1/payment_intents", "data": objects, "has_more": has_more}
    return http(200, page)


def charge(token="tok_ok") -> GatewayResult:
    return gateway().charge(key="one", token=token, amount=500, currency="KRW", order_id=None)


def result_of_every_call(token="tok_ok") -> list[GatewayResult]:
    return [
        charge(token),
        gateway().find(key="one"),
        gateway().cancel(key="one"),
        gateway().refund(key="one", charge_reference="ch_1", amount=500),
    ]


@pytest.fixture(autouse=True)
def _impatient(settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 0.5
    settings.STRIPE_API_KEY = "sk_test_only_for_tests"


every_gateway = pytest.mark.parametrize("name", gateways.GATEWAYS)


NONSENSE = {
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
def test_a_malformed_answer_is_unknown_for_every_call(name, settings):
    settings.PAYMENT_GATEWAY = name
    answer = b""

    def talk(write):
        write(answer)
        raise OSError("hang up")

    believed = {}
    with talking(talk, settings):
        for kind, answer in NONSENSE.items():  # noqa: B007 - what the server writes
            calls.forget()
            statuses = [verdict.status for verdict in result_of_every_call()]
            if set(statuses) != {"unknown"}:
                believed[kind] = statuses
            with suppress(Unavailable):
                believed[f"the book: {kind}"] = list(gateway().charges())
    assert believed == {}


LIES = {
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


STRIPES_LIES = {
    "another key": {"metadata": {"firstcome_key": "two"}},
    "no key": {"metadata": {}},
    "another amount": {"amount": 5_000},
    "another currency": {"currency": "usd"},
    "an amount in text": {"amount": "500"},
    "an amount with a fraction": {"amount": 500.5},
    "a negative amount": {"amount": -500},
    "more refunded than charged": {"latest_charge": {"amount_refunded": 501}},
    "a charge that is not expanded": {"latest_charge": "ch_1"},
    "an unknown status": {"status": "maybe"},
    "waiting to be captured": {"status": "requires_capture"},
    "an empty name": {"id": ""},
    "a name on two lines": {"id": "pi_1\nSet-Cookie: x"},
    "another kind of thing": {"object": "refund"},
    "no instant": {"created": "yesterday"},
}


@pytest.mark.parametrize(
    ("name", "status", "right", "lies"),
    [("simulator", 201, CHARGE, LIES), ("stripe", 200, INTENT, STRIPES_LIES)],
    ids=gateways.GATEWAYS,
)
def test_a_charge_that_was_not_requested_is_unknown(name, status, right, lies, settings):
    settings.PAYMENT_GATEWAY = name

    def charged(change):
        calls.forget()
        with answering(settings, http(status, right | change)):
            return charge()

    assert [name for name, lie in lies.items() if charged(lie).status != "unknown"] == []
    accepted = charged({"what we don't know of": 1})
    assert (accepted.status, accepted.reference) == ("succeeded", right["id"])
    assert (accepted.amount, accepted.currency) == (500, "KRW")


@pytest.mark.parametrize(
    ("name", "reference", "lies"),
    [
        (
            "simulator",
            "ch_1",
            [{"key": "two"}, {"charge": "ch_2"}, {"amount": 1}, {"status": "pending"}, {"id": ""}],
        ),
        ("stripe", "pi_1", [{"payment_intent": "pi_2"}, {"amount": 1}, {"status": "maybe"}, {"id": ""}]),
    ],
    ids=gateways.GATEWAYS,
)
def test_a_refund_that_was_not_requested_is_unknown(name, reference, lies, settings):
    settings.PAYMENT_GATEWAY = name

    def refunded(lie):
        answer = http(201, REFUND | lie) if name == "simulator" else listing(STRIPES_REFUND | lie)
        with answering(settings, answer):
            return gateway().refund(key="one", charge_reference=reference, amount=500)

    assert refunded({}).status == "succeeded"
    assert [lie for lie in lies if refunded(lie).status != "unknown"] == []


def test_a_look_up_that_finds_other_charges_is_unknown(settings):
    two_of_one_key, of_another_key = [CHARGE, CHARGE], [CHARGE | {"key": "two"}]
    for results in (two_of_one_key, of_another_key):
        with answering(settings, http(200, {"results": results, "next": None})):
            assert gateway().find(key="one").status == "unknown", results


def test_a_book_whose_pages_go_in_circles_is_given_up(settings):
    for page in ({"results": [], "next": "ch_1"}, {"results": [CHARGE], "next": "ch_1"}):
        with answering(settings, http(200, page)), pytest.raises(Unavailable):
            list(gateway().charges())
    settings.PAYMENT_GATEWAY = "stripe"
    with answering(settings, listing(INTENT, has_more=True)):
        with pytest.raises(Unavailable, match="go in circles"):
            list(gateway().charges())
        assert gateway().refund(key="two", charge_reference="pi_1", amount=1).status == "unknown"


def test_a_long_explanation_of_a_decline_is_shortened_and_accepted(settings):
    failure = {"code": "card_declined", "detail": "no " * 1_000}
    with answering(settings, http(402, CHARGE | {"status": "declined", "failure": failure})):
        verdict = charge()
    assert (verdict.status, verdict.failure_code) == ("declined", "card_declined")
    assert len(verdict.failure_detail) == 255


@every_gateway
def test_an_unreachable_gateway_is_unknown_at_once(name, settings):
    settings.PAYMENT_GATEWAY = name
    settings.GATEWAY_URL = settings.STRIPE_API_BASE = nowhere()
    settings.GATEWAY_TIMEOUT_SECONDS = 30
    with within(5):
        assert {(one.status, one.failure_detail) for one in result_of_every_call()} == {
            ("unknown", "no connection")
        }
        with pytest.raises(Unavailable, match="no connection"):
            list(gateway().charges())


@every_gateway
def test_a_gateway_that_never_answers_costs_the_time_out_and_no_more(name, settings):
    settings.PAYMENT_GATEWAY = name
    the_test_is_over = threading.Event()

    with talking(lambda write: the_test_is_over.wait(20), settings):
        with within(2):
            assert charge().failure_detail == "no reply in time"
        the_test_is_over.set()


def test_an_endless_answer_is_given_up(settings, monkeypatch):
    settings.GATEWAY_TIMEOUT_SECONDS = 20
    monkeypatch.setattr(http_client, "LARGEST_RESPONSE_BYTES", 2**18)

    def pour(write):
        write(b"HTTP/1.1 201 Created\r\n\r\n")
        while True:
            write(b" " * 2**16)

    with talking(pour, settings):
        assert charge().failure_detail == "the reply is too large"


def test_calls_in_a_row_share_a_connection_and_one_that_broke_is_not_used_again(settings):
    good, broken = http(201, CHARGE), http(201, CHARGE)[:-20]
    answers = [good] * 5 + [broken] + [good] * 2

    def talk(write):
        answer = answers.pop(0)
        write(answer)
        if answer == broken:
            raise OSError("hang up")

    with talking(talk, settings) as server:
        statuses = [charge().status for _ in range(8)]
        assert statuses == ["succeeded"] * 5 + ["unknown"] + ["succeeded"] * 2
        assert server.connections == 2


@pytest.fixture
def stripe(settings):
    settings.PAYMENT_GATEWAY = "stripe"
    # Its answers come at once, on a busy machine too.
    settings.GATEWAY_TIMEOUT_SECONDS = 20


def test_a_refund_has_the_status_that_stripe_says(stripe, settings):
    """localstripe's refunds all succeed at once."""
    found = []
    for status in ("pending", "requires_action", "failed", "canceled"):
        with answering(settings, listing(STRIPES_REFUND | {"status": status})):
            result = gateway().refund(key="one", charge_reference="pi_1", amount=500)
        found.append((result.status, result.refunded_amount))
    assert found == [("pending", 0), ("pending", 0), ("declined", 0), ("declined", 0)]


def test_an_answer_of_another_server_declines_no_card(stripe, settings):
    error = {"type": "invalid_request_error", "message": "Unrecognized request URL"}
    with answering(settings, http(404, {"error": error})):
        assert charge().status == "unknown"


def test_an_intent_that_stripe_refuses_is_a_declined_card(stripe, settings):
    refusals = {
        "amount_too_small": {"code": "amount_too_small", "param": "amount"},
        "unknown_token": {"code": "resource_missing", "param": "payment_method"},
        "card_refused": {},
    }
    for code, error in refusals.items():
        refusal = {"type": "invalid_request_error", "message": "No."} | error
        with answering(settings, http(400, {"error": refusal})):
            result = charge()
        assert (result.status, result.failure_code) == ("declined", code)


def test_a_refusal_that_follows_the_intent_is_no_decline(stripe, settings):
    """Once an intent exists, only its own status decides."""
    unconfirmed = http(200, INTENT | {"status": "requires_confirmation", "latest_charge": None})
    missing = http(404, {"error": {"type": "invalid_request_error", "code": "resource_missing"}})
    answers = [unconfirmed, missing, missing]

    with talking(lambda write: write(answers.pop(0)), settings):
        assert charge().status == "unknown"
    assert answers == []


DECLINED = INTENT | {
    "status": "requires_payment_method",
    "latest_charge": None,
    "last_payment_error": {"code": "card_declined", "decline_code": "insufficient_funds", "message": "No."},
}
TOO_LATE = http(400, {"error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state"}})


@pytest.mark.parametrize(
    ("cancellation", "expected"),
    [
        ([http(200, DECLINED | {"status": "canceled"})], ("declined", "insufficient_funds", "No.")),
        (
            [http(200, DECLINED | {"status": "canceled", "last_payment_error": None})],
            ("declined", "insufficient_funds", "No."),
        ),
        ([TOO_LATE, http(200, INTENT)], ("succeeded", "", "")),
        ([TOO_LATE, http(200, DECLINED | {"status": "processing"})], ("pending", "", "")),
        ([TOO_LATE, http(200, DECLINED)], ("unknown", "", "an intent that can't be cancelled yet")),
    ],
    ids=["cancelled", "cancelled without its error", "charged meanwhile", "being charged", "still open"],
)
def test_a_decline_is_reported_as_what_its_cancellation_leaves(cancellation, expected, stripe, settings):
    """With the client secret of a declined intent, a customer may confirm it again meanwhile."""
    unconfirmed = http(200, DECLINED | {"status": "requires_confirmation", "last_payment_error": None})
    declined = http(402, {"error": {"type": "card_error", "code": "card_declined"}})
    every_call = {
        "charge": (charge, [unconfirmed, declined, http(200, DECLINED)]),
        "find": (lambda: gateway().find(key="one"), [listing(DECLINED), listing(DECLINED)]),
        "cancel": (lambda: gateway().cancel(key="one"), [listing(DECLINED), listing(DECLINED)]),
    }
    for name, (call, first) in every_call.items():
        answers = [*first, *cancellation]
        with talking(lambda write, answers=answers: write(answers.pop(0)), settings):
            result = call()
        assert answers == []
        if name == "cancel" and expected[0] == "declined":
            assert result.status in ("declined", "cancelled")
        else:
            assert (result.status, result.failure_code, result.failure_detail) == expected


def test_an_error_that_is_not_about_the_card_is_unknown(stripe, settings):
    for status in (401, 403, 409, 429, 500, 503):
        calls.forget()
        with answering(settings, http(status, {"error": {"type": "api_error", "message": "pm_card_visa?"}})):
            results = result_of_every_call("pm_card_visa")
        assert {result.status for result in results} == {"unknown"}, status
        assert all(str(status) in result.failure_detail for result in results), status
        assert "pm_card_visa" not in str(results)
