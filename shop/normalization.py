"""Text as it is stored: in NFC, whichever way it comes in, and the spellings by which it is searched.

Macs write 한 as three letters (NFD), and Asian keyboards write Latin letters in full width.
"""

from typing import Any, Literal
from unicodedata import normalize

FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


def normalized(value: Any) -> Any:
    """The text in NFC; of a JSON value, a list or an object, every text in it."""
    if isinstance(value, str):
        return value if value.isascii() else normalize("NFC", value)
    if isinstance(value, list):
        return [normalized(one) for one in value]
    return {name: normalized(one) for name, one in value.items()} if isinstance(value, dict) else value


def spellings(word: str) -> list[str]:
    """The word as it may be stored: old text is in any form, and full-width letters stay as they are."""
    return list(dict.fromkeys(normalize(form, word) for form in FORMS))
