"""Amounts as people read them: integers in the currency's minor unit become text with its digits."""

from django.conf import settings
from django.utils.translation import get_language, gettext

# The digits after the point of ISO 4217, list one (https://www.six-group.com/en/products-services/
# financial-information/market-reference-data/data-standards.html); all other currencies have two.
_WITHOUT_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_WITH_THREE_DIGITS = "BHD IQD JOD KWD LYD OMR TND"
_WITH_FOUR_DIGITS = "CLF UYW"
DIGITS = (
    dict.fromkeys(_WITHOUT_DIGITS.split(), 0)
    | dict.fromkeys(_WITH_THREE_DIGITS.split(), 3)
    | dict.fromkeys(_WITH_FOUR_DIGITS.split(), 4)
)
USUAL_DIGITS = 2
WON = "원"


def digits_of(currency: str) -> int:
    return DIGITS.get(currency, USUAL_DIGITS)


def format_amount(amount: int, currency: str = "") -> str:
    """Such as `12,500 KRW` or `-3.20 EUR`; without a currency it is that of the shop."""
    unit = unit_of(currency or settings.CURRENCY)
    return f"{format_number(amount, currency)}{'' if unit == WON else ' '}{unit}"


def unit_of(currency: str) -> str:
    """The currency as the language of the page writes it behind amounts."""
    return WON if currency == "KRW" and get_language() == "ko" else currency


def parse_amount(text: str) -> int:
    """The amount that was typed as people write it in the shop's currency, in its minor unit. Raises
    `ValueError`.
    """
    whole, point, part = text.replace(",", "").partition(".")
    digits = digits_of(settings.CURRENCY)
    if not (whole + part).isascii() or not whole.isdigit() or len(part) > digits or (point and not part):
        raise ValueError(text)
    return int(whole + part.ljust(digits, "0"))


def minor_unit_help() -> str:
    """The unit in which amounts of the shop's currency are entered."""
    if not digits_of(settings.CURRENCY):
        return gettext("In %(currency)s.") % {"currency": unit_of(settings.CURRENCY)}
    return gettext("In the currency's smallest unit: 1000 is %(amount)s.") % {"amount": format_amount(1000)}


def format_number(amount: int, currency: str = "") -> str:
    """The same without the currency's name, for tables that say it once."""
    digits = digits_of(currency or settings.CURRENCY)
    whole, part = divmod(abs(amount), 10**digits)
    sign = "-" if amount < 0 else ""
    fraction = f".{part:0{digits}d}" if digits else ""
    return f"{sign}{whole:,}{fraction}"
