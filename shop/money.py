"""Amounts as people read them: integers in the currency's minor unit become text with its digits."""

from django.conf import settings

# The digits after the point that ISO 4217 gives currencies; all others have two.
DIGITS = dict.fromkeys(("CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND", "XAF", "XOF", "XPF"), 0)
DIGITS |= dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)
USUAL_DIGITS = 2


def format_amount(amount: int, currency: str = "") -> str:
    """Such as `12,500 KRW` or `-3.20 EUR`; without a currency it is that of the shop."""
    named = currency or settings.CURRENCY
    return f"{format_number(amount, named)} {named}"


def format_number(amount: int, currency: str = "") -> str:
    """The same without the currency's name, for tables that say it once."""
    digits = DIGITS.get(currency or settings.CURRENCY, USUAL_DIGITS)
    whole, part = divmod(abs(amount), 10**digits)
    sign = "-" if amount < 0 else ""
    fraction = f".{part:0{digits}d}" if digits else ""
    return f"{sign}{whole:,}{fraction}"
