"""What localstripe can't do, by itself and openly: the proxy's reasons for being there.

Each of these is a promise of Stripe's that the other tests see kept by the proxy. When localstripe learns
one of them, its test fails here, and the proxy can do without.
"""

from typing import Any

import pytest
import stripe
from django.conf import LazySettings

from payments.gateways import stripe_calls
from payments.tests.stripe_proxy import StripeProxy

CARD = {"amount": 700, "currency": "krw", "payment_method": "pm_card_visa", "payment_method_types": ["card"]}


@pytest.fixture
def intents(localstripe: str, own_stripe: StripeProxy, settings: LazySettings) -> Any:
    """localstripe without the proxy, with an empty book."""
    settings.STRIPE_API_BASE = localstripe
    return stripe_calls._intents()


def test_it_charges_and_refunds_by_itself(intents: Any) -> None:
    intent = intents.create(CARD)

    assert intents.confirm(intent.id).status == "succeeded"
    assert stripe_calls.refund(intent.id, key="back", amount=300).status == "succeeded"
    assert stripe_calls.retrieve(intent.id).refunded_amount == 300


def test_it_makes_a_second_intent_of_the_same_idempotency_key(intents: Any) -> None:
    made = {intents.create(CARD, {"idempotency_key": "one"}).id for _ in range(2)}

    assert len(made) == 2


def test_it_can_not_search(intents: Any) -> None:
    intents.create(CARD | {"metadata": {"firstcome_key": "one"}})

    with pytest.raises(stripe.StripeError):
        intents.search({"query": "metadata['firstcome_key']:'one'"})


def test_it_lists_the_oldest_first_and_by_no_period(intents: Any) -> None:
    made = [intents.create(CARD).id for _ in range(2)]

    assert [one.id for one in intents.list({"limit": 10}).data] == made
    with pytest.raises(stripe.InvalidRequestError):
        intents.list({"created": {"gte": 0}})


@pytest.mark.parametrize(
    "card", ["pm_card_visa_chargeDeclined", "pm_card_visa_chargeDeclinedInsufficientFunds"]
)
def test_it_does_not_decline_as_stripes_test_cards_do(card: str, intents: Any) -> None:
    try:
        intent = intents.create(CARD | {"payment_method": card})
    except stripe.InvalidRequestError as error:
        assert error.http_status == 404
    else:
        assert intents.confirm(intent.id).status == "succeeded"


def test_it_declines_one_card_without_a_reason(intents: Any) -> None:
    intent = intents.create(CARD | {"payment_method": "pm_card_chargeCustomerFail"})

    with pytest.raises(stripe.CardError) as caught:
        intents.confirm(intent.id)
    assert "decline_code" not in caught.value.json_body["error"]


def test_it_knows_no_return_url(intents: Any) -> None:
    intent = intents.create(CARD)

    with pytest.raises(stripe.InvalidRequestError, match="Unexpected return_url"):
        intents.confirm(intent.id, {"return_url": "https://shop.example/"})


def test_it_refunds_more_than_was_charged(intents: Any) -> None:
    intent = intents.create(CARD | {"confirm": True})

    assert stripe_calls.refund(intent.id, key="back", amount=701).status == "succeeded"
