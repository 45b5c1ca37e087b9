"""Answers of Stripe, or of another server in its place, that don't match the request: none is relied on."""

from typing import Any

import pytest
from django.conf import LazySettings

from payments.gateways import calls, gateway
from payments.gateways.contract import GatewayResult
from payments.tests.talker import http, talking
from shop.errors import Unavailable

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
REFUND = {
    "id": "re_1",
    "object": "refund",
    "status": "succeeded",
    "amount": 500,
    "payment_intent": "pi_1",
    "metadata": {"firstcome_key": "one"},
}


@pytest.fixture(autouse=True)
def _stripe(settings: LazySettings) -> None:
    settings.PAYMENT_GATEWAY = "stripe"
    settings.STRIPE_API_KEY = "sk_test_only_for_tests"
    settings.GATEWAY_TIMEOUT_SECONDS = 0.5


def charge() -> GatewayResult:
    return gateway().charge(key="one", token="pm_card_visa", amount=500, currency="KRW", order_id=None)


def charged(intent: Any, settings: LazySettings) -> GatewayResult:
    """The result of a charge when every answer is this intent."""
    calls.forget()
    with talking(lambda write: write(http(200, intent)), settings):
        return charge()


def listing(*objects: Any, has_more: bool = False) -> bytes:
    page = {"object": "list", "url": "/v1/payment_intents", "data": objects, "has_more": has_more}
    return http(200, page)


LIES: dict[str, dict[str, Any]] = {
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


def test_a_charge_that_was_not_requested_is_unknown(settings: LazySettings) -> None:
    statuses = {name: charged(INTENT | lie, settings).status for name, lie in LIES.items()}
    assert {name: status for name, status in statuses.items() if status != "unknown"} == {}
    accepted = charged(INTENT | {"what we don't know of": 1}, settings)
    assert (accepted.status, accepted.reference) == ("succeeded", "pi_1")
    assert (accepted.amount, accepted.currency) == (500, "KRW")


def test_a_refund_that_was_not_requested_is_unknown(settings: LazySettings) -> None:
    lies = [{"payment_intent": "pi_2"}, {"amount": 1}, {"status": "maybe"}, {"id": ""}]

    def refunded(refund: dict[str, Any]) -> GatewayResult:
        with talking(lambda write: write(listing(refund)), settings):
            return gateway().refund(key="one", charge_reference="pi_1", amount=500)

    assert refunded(REFUND).status == "succeeded"
    assert [lie for lie in lies if refunded(REFUND | lie).status != "unknown"] == []


def test_a_refund_has_the_status_that_stripe_says(settings: LazySettings) -> None:
    """localstripe's refunds all succeed at once."""
    expected = {
        "pending": "pending",
        "requires_action": "pending",
        "failed": "declined",
        "canceled": "declined",
    }
    found = {}
    for status in expected:
        answer = listing(REFUND | {"status": status})
        with talking(lambda write, answer=answer: write(answer), settings):
            result = gateway().refund(key="one", charge_reference="pi_1", amount=500)
        found[status] = (result.status, result.refunded_amount)
    assert found == {status: (as_ours, 0) for status, as_ours in expected.items()}


def test_a_book_whose_pages_go_in_circles_is_given_up(settings: LazySettings) -> None:
    with talking(lambda write: write(listing(INTENT, has_more=True)), settings):
        with pytest.raises(Unavailable, match="go in circles"):
            list(gateway().charges())
        assert gateway().refund(key="two", charge_reference="pi_1", amount=1).status == "unknown"


def test_an_answer_of_another_server_declines_no_card(settings: LazySettings) -> None:
    answer = http(404, {"error": {"type": "invalid_request_error", "message": "Unrecognized request URL"}})

    with talking(lambda write: write(answer), settings):
        assert charge().status == "unknown"


def test_an_intent_that_stripe_refuses_is_a_declined_card(settings: LazySettings) -> None:
    refusals: dict[str, dict[str, str]] = {
        "amount_too_small": {"code": "amount_too_small", "param": "amount"},
        "unknown_token": {"code": "resource_missing", "param": "payment_method"},
        "card_refused": {},
    }
    for code, error in refusals.items():
        answer = http(400, {"error": {"type": "invalid_request_error", "message": "No."} | error})
        with talking(lambda write, answer=answer: write(answer), settings):
            result = charge()
        assert (result.status, result.failure_code) == ("declined", code)


def test_a_refusal_that_follows_the_intent_is_no_decline(settings: LazySettings) -> None:
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
def test_a_decline_is_reported_as_what_its_cancellation_leaves(
    cancellation: list[bytes], expected: tuple[str, str, str], settings: LazySettings
) -> None:
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


def test_an_error_that_is_not_about_the_card_is_unknown(settings: LazySettings) -> None:
    for status in (401, 403, 409, 429, 500, 503):
        calls.forget()
        answer = http(status, {"error": {"type": "api_error", "message": "pm_card_visa?"}})
        with talking(lambda write, answer=answer: write(answer), settings):
            results = [
                charge(),
                gateway().find(key="one"),
                gateway().cancel(key="one"),
                gateway().refund(key="one", charge_reference="pi_1", amount=1),
            ]
        assert {result.status for result in results} == {"unknown"}, status
        assert all(str(status) in result.failure_detail for result in results), status
        assert "pm_card_visa" not in str(results)
