"""With `PAYMENT_GATEWAY=stripe` the shop checks at its start that its settings fit Stripe."""

import subprocess

import pytest
from django.core.exceptions import ImproperlyConfigured

from payments.gateways import stripe_settings
from shop.tests.test_configuration import run_process

boots = pytest.mark.boots("a Python process")
GOOD = {"PAYMENT_GATEWAY": "stripe", "STRIPE_API_KEY": "sk_test_1", "CURRENCY": "KRW"}

CHECKED: dict[str, object] = GOOD | {"PAYMENT_GIVE_UP_SECONDS": 900}


def started(settings: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return run_process(["-c", "from shop import settings; print(settings.PAYMENT_GATEWAY)"], settings)


@boots
def test_the_shop_starts_with_stripe() -> None:
    assert started(GOOD).stdout == "stripe\n"
    assert started(GOOD | {"STRIPE_API_KEY": "rk_live_1"}).returncode == 0


@boots
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"STRIPE_API_KEY": ""}, "STRIPE_API_KEY must be a secret key"),
        ({"STRIPE_API_KEY": "pk_live_1"}, "STRIPE_API_KEY must be a secret key"),
        (
            {"STRIPE_API_BASE": "api.stripe.com"},
            "STRIPE_API_BASE must be a URL that begins with http://, https://.",
        ),
        ({"CURRENCY": "ISK"}, "CURRENCY is 'ISK'"),
        ({"PAYMENT_GIVE_UP_SECONDS": "86400"}, "PAYMENT_GIVE_UP_SECONDS is 86400"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_in_the_last_line(wrong: dict[str, str], message: str) -> None:
    failed = started(GOOD | wrong)

    assert failed.returncode == 1
    assert message in failed.stderr.splitlines()[-1]
    assert "live_1" not in failed.stderr.splitlines()[-1]


@boots
def test_without_stripe_its_settings_are_not_checked() -> None:
    assert started({"PAYMENT_GATEWAY": "simulator", "STRIPE_API_KEY": ""}).returncode == 0


@pytest.mark.parametrize("currency", ["KRW", "JPY", "USD", "EUR", "HUF", "TWD"])
def test_a_currency_that_stripe_counts_as_the_shop_does_is_taken(currency: str) -> None:
    stripe_settings.check(CHECKED | {"CURRENCY": currency})


@pytest.mark.parametrize("currency", ["BHD", "JOD", "KWD", "OMR", "TND", "ISK", "UGX", "MGA"])
def test_a_currency_that_stripe_counts_otherwise_is_refused(currency: str) -> None:
    """Of three digits Stripe wants the last one to be 0; the others would be charged a hundred times or a
    hundredth.
    """
    with pytest.raises(ImproperlyConfigured, match=f"^CURRENCY is '{currency}': Stripe .* choose another"):
        stripe_settings.check(CHECKED | {"CURRENCY": currency})
