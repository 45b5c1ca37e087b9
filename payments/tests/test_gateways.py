"""The gateways that there are, the pages of their charges, and how long their calls take."""

from uuid import uuid4

import pytest

from foundation.tests.samples import Increases
from payments import gateways

PAGES = "https://pay.example.com/{reference}?from=shop"
STRIPE = {"PAYMENT_GATEWAY": "stripe"}


@pytest.mark.parametrize(
    ("changed", "reference", "page"),
    [
        ({}, "ch_1", ""),
        ({"GATEWAY_CHARGE_URL": PAGES}, "ch_1", "https://pay.example.com/ch_1?from=shop"),
        ({"GATEWAY_CHARGE_URL": PAGES}, 'a/b?"<', "https://pay.example.com/a%2Fb%3F%22%3C?from=shop"),
        (STRIPE | {"STRIPE_API_KEY": "sk_live_1"}, "pi_1", "https://dashboard.stripe.com/payments/pi_1"),
        (STRIPE | {"STRIPE_API_KEY": "rk_test_1"}, "pi_1", "https://dashboard.stripe.com/test/payments/pi_1"),
        (STRIPE | {"STRIPE_API_KEY": "sk_live_1"}, "", ""),
    ],
)
def test_a_charge_has_the_page_that_the_setting_names_or_stripes_own(settings, changed, reference, page):
    for name, value in changed.items():
        setattr(settings, name, value)
    assert gateways.charge_page(gateways.current_books().gateway, reference) == page


@pytest.mark.usefixtures("own_gateway")
def test_each_call_is_measured_by_its_result():
    increases, gateway = Increases("firstcome_gateway_call_seconds_count"), gateways.gateway()
    wanted = {"amount": 700, "currency": "KRW", "order_id": uuid4()}
    charged = gateway.charge(key="one", token="tok_ok", **wanted)
    gateway.charge(key="two", token="tok_declined", **wanted)
    gateway.find(key="nothing")
    gateway.cancel(key="three")
    gateway.refund(key="refund", charge_reference=charged.reference, amount=700)

    measured = {tuple(name.split('"')[1::2]): number for name, number in increases().items()}
    results = {"find": "absent", "cancel": "cancelled", "refund": "succeeded"}
    made = [("charge", "succeeded"), ("charge", "declined"), *results.items()]
    assert measured == {(call, "simulator", result): 1 for call, result in made}
