"""Text as it is stored: in NFC, whichever way it comes in, and the spellings by which it is searched.

Macs write 한 as three letters (NFD), and Asian keyboards write Latin letters in full width.
"""

from typing import Any, Literal
from unicodedata import combining, normalize

MOST_MARKS = 30
"""In a row, as UAX #15's stream-safe text has. Ordering more takes quadratic time, and stops all threads."""
FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


def normalized(value: Any) -> Any:
    """The text in NFC; of a JSON value, a list or an object, every text in it.

    Text with more than `MOST_MARKS` in a row, which no language has, stays as it is.
    """
    if isinstance(value, str):
        return normalize("NFC", value) if _has_few_marks(value) else value
    if isinstance(value, list):
        return [normalized(one) for one in value]
    return {name: normalized(one) for name, one in value.items()} if isinstance(value, dict) else value


def spellings(word: str) -> list[str]:
    """The word as it may be stored: old text is in any form, and full-width letters stay as they are."""
    return list(dict.fromkeys(normalize(form, word) for form in FORMS)) if _has_few_marks(word) else [word]


def _has_few_marks(text: str) -> bool:
    if text.isascii():
        return True
    marks = 0
    for is_mark in map(combining, text):
        marks = marks + 1 if is_mark else 0
        if marks > MOST_MARKS:
            return False
    return True
