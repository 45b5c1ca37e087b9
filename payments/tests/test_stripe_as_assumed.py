"""What docs/stripe.md assumes of Stripe, asked of the proxy and, with `STRIPE_TEST_KEY`, of its test mode."""

import os
from typing import Any

import pytest
import stripe
from uuid_utils.compat import uuid7

from foundation.tests.racing import wait_until
from payments.gateways import gateway, stripe_calls
from payments.gateways.contract import GatewayResult

TEST_KEY = os.environ.get("STRIPE_TEST_KEY", "")
AMOUNT = 5_000


@pytest.fixture(autouse=True, params=["proxy", "test mode"])
def is_stripe(request, settings):
    """Whether Stripe itself is asked, in its test mode alone."""
    if request.param == "proxy":
        request.getfixturevalue("own_stripe")
        return False
    if not TEST_KEY:
        pytest.skip("STRIPE_TEST_KEY is not set")
    assert TEST_KEY.startswith(("sk_test_", "rk_test_"))
    settings.PAYMENT_GATEWAY, settings.STRIPE_API_KEY = "stripe", TEST_KEY
    settings.STRIPE_API_BASE, settings.GATEWAY_TIMEOUT_SECONDS = "https://api.stripe.com", 10
    return True


@pytest.fixture
def key():
    return f"test-{uuid7()}"


def create(key: str, *, amount: int = AMOUNT, token="pm_card_visa", sent_as=""):
    return stripe_calls._client().payment_intents.create(
        {
            "amount": amount,
            "currency": "krw",
            "allowed_payment_method_types": ["card"],
            "payment_method": token,
            "metadata": {"firstcome_key": key},
        },
        {"idempotency_key": sent_as or key},
    )


def confirm(intent_id: str, own_key=""):
    options: Any = {"idempotency_key": own_key} if own_key else {}
    return stripe_calls._client().payment_intents.confirm(intent_id, {}, options)


def charge(key: str, token="pm_card_visa") -> GatewayResult:
    return gateway().charge(key=key, token=token, amount=AMOUNT, currency="KRW", order_id=None)


def test_a_key_brings_its_first_answer_again_and_a_header_says_so(key):
    first, again = create(key), create(key)
    assert first.id == again.id
    headers = [one.last_response.headers.get("Idempotent-Replayed") for one in (first, again)]
    assert headers == [None, "true"]


def test_an_error_is_kept_as_well(key):
    intent = create(key, token="pm_card_visa_chargeDeclined")
    replayed = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as refused:
            confirm(intent.id, f"{key}:confirm")
        replayed.append(refused.value.headers.get("Idempotent-Replayed"))
    assert replayed == [None, "true"]


def test_another_body_or_path_under_a_key_is_refused(key):
    """The path: what blocks a confirmation is the creation of another intent under its key."""
    intent = create(key)
    with pytest.raises(stripe.IdempotencyError):
        create(key, amount=AMOUNT + 1)
    create(key, sent_as=f"{key}:confirm")
    with pytest.raises(stripe.IdempotencyError):
        confirm(intent.id, f"{key}:confirm")


def test_an_intent_is_charged_once_and_never_once_it_is_cancelled(key):
    charged, cancelled = create(key), create(f"{key}-2")
    assert confirm(charged.id).status == "succeeded"
    assert stripe_calls.cancel(cancelled.id).status == "canceled"
    for intent in (charged, cancelled):
        with pytest.raises(stripe.InvalidRequestError):
            confirm(intent.id)
    assert stripe_calls.cancel(charged.id).status == "succeeded"


def test_a_new_intent_is_listed_at_once_and_found_by_the_search_within_minutes(key, is_stripe):
    intent = create(key)
    newest = stripe_calls._client().payment_intents.list({"limit": 100}).data
    assert intent.id in [one.id for one in newest]
    query = {"query": f"metadata['firstcome_key']:'{key}'"}
    found = stripe_calls._client().payment_intents.search
    wait_until(lambda: found(query).data, seconds=300 if is_stripe else 5)


def test_a_refund_is_listed_at_once_is_made_once_a_key_and_not_beyond_the_charge(key):
    reference = charge(key).reference
    refund = [gateway().refund(key=f"{key}-r", charge_reference=reference, amount=3_000) for _ in range(2)]
    assert refund[0] == refund[1]
    assert refund[0].status in ("succeeded", "pending")
    assert gateway().find_refund(key=f"{key}-r", charge_reference=reference) == refund[0]
    beyond = gateway().refund(key=f"{key}-b", charge_reference=reference, amount=2_001)
    assert (beyond.status, beyond.failure_code) == ("declined", "refund_exceeds_charge")


def test_a_card_is_charged_once_or_declined_and_a_key_that_is_cancelled_never_charges(key):
    assert charge(key) == charge(key)
    assert gateway().find(key=key).status == gateway().cancel(key=key).status == "succeeded"
    declined = charge(f"{key}-d", "pm_card_visa_chargeDeclined")
    assert (declined.status, declined.failure_code) == ("declined", "card_declined")
    assert gateway().cancel(key=f"{key}-c").status == "cancelled"
    assert charge(f"{key}-c").status == "cancelled"


def test_a_key_whose_intent_was_never_confirmed_is_blocked_by_that_of_its_confirmation(key):
    create(key, sent_as=f"{key}:confirm")
    assert charge(key).status == "unknown"
    assert gateway().cancel(key=key).status == "cancelled"
    assert charge(key).status == "cancelled"
