"""The address of a charge's page in the gateway's dashboard."""

import pytest
from django.conf import LazySettings

from payments import gateways


def test_the_setting_names_the_page_of_a_charge(settings: LazySettings) -> None:
    settings.GATEWAY_CHARGE_URL = "https://pay.example.com/charges/{reference}?from=shop"
    assert gateways.charge_page("ch_1") == "https://pay.example.com/charges/ch_1?from=shop"


def test_a_reference_is_quoted(settings: LazySettings) -> None:
    settings.GATEWAY_CHARGE_URL = "https://pay.example.com/{reference}"
    assert gateways.charge_page('a/b?"<') == "https://pay.example.com/a%2Fb%3F%22%3C"


def test_without_a_setting_the_simulator_has_no_page() -> None:
    assert gateways.charge_page("ch_1") == ""


@pytest.mark.parametrize(
    ("api_key", "page"),
    [
        ("sk_live_1", "https://dashboard.stripe.com/payments/pi_1"),
        ("rk_test_1", "https://dashboard.stripe.com/test/payments/pi_1"),
    ],
)
def test_stripes_own_page_is_known(settings: LazySettings, api_key: str, page: str) -> None:
    settings.PAYMENT_GATEWAY, settings.STRIPE_API_KEY = "stripe", api_key
    assert gateways.charge_page("pi_1") == page
    assert gateways.charge_page("") == ""
