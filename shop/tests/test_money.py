"""Amounts in the currency's minor unit, as people read them."""

import pytest

from shop.money import format_amount, format_number


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (12_500, "KRW", "12,500 KRW"),
        (-7, "JPY", "-7 JPY"),
        (320, "EUR", "3.20 EUR"),
        (-5, "USD", "-0.05 USD"),
        (1_234_567, "KWD", "1,234.567 KWD"),
        (0, "USD", "0.00 USD"),
        (10**18 + 1, "USD", "10,000,000,000,000,000.01 USD"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(amount: int, currency: str, text: str) -> None:
    assert format_amount(amount, currency) == text
    assert format_number(amount, currency) == text.removesuffix(f" {currency}")


def test_without_a_currency_it_is_that_of_the_shop(settings) -> None:
    settings.CURRENCY = "EUR"
    assert format_amount(1_999) == "19.99 EUR"
