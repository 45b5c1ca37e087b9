"""Text as it is stored: in NFC, whichever way it comes in, and the spellings by which it is searched.

Macs write 한 as three letters (NFD), and Asian keyboards write Latin letters in full width.
"""

from itertools import repeat
from typing import Any, Literal
from unicodedata import combining, decomposition, normalize

MOST_MARKS = 30
"""In a row, once decomposed, as UAX #15's stream-safe text has. Ordering more takes quadratic time, and stops
all threads."""
LONGEST_TEXT = 4_096
"""In characters: no field takes a longer one. Characters that become several take 500 ns each."""
PLANES_WITH_MARKS = range(2 << 16)
MOST_WORDS = 5
"""Of a search for parts of words, which no index finds: each word is compared with every row."""
FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


def _count_marks(decomposed: str) -> int:
    """The marks in a character's decomposition; negative if it begins with a letter."""
    marks = sum(combining(part) > 0 for part in decomposed)
    return marks if combining(decomposed[0]) else -marks


ENDING_IN_MARKS = {
    char: _count_marks(decomposed)
    for char in map(chr, PLANES_WITH_MARKS)
    if (decomposition(char) or combining(char)) and combining((decomposed := normalize("NFKD", char))[-1])
}


def normalized(value: Any) -> Any:
    """The text in NFC; of a JSON value, a list or an object, every text in it.

    Text with more than `MOST_MARKS` in a row, which no language has, stays as it is, and so does longer text
    than `LONGEST_TEXT`.
    """
    if isinstance(value, str):
        return normalize("NFC", value) if is_quick(value) else value
    if isinstance(value, list):
        return [normalized(one) for one in value]
    return {name: normalized(one) for name, one in value.items()} if isinstance(value, dict) else value


def spellings(word: str) -> list[str]:
    """The word as it may be stored: old text is in any form, and full-width letters stay as they are."""
    return list(dict.fromkeys(normalize(form, word) for form in FORMS)) if is_quick(word) else [word]


def is_quick(text: str) -> bool:
    """Whether the text is normalised in a few milliseconds."""
    if text.isascii():
        return True
    if len(text) > LONGEST_TEXT:
        return False
    marks = 0
    for count in map(ENDING_IN_MARKS.get, text, repeat(0)):
        marks = marks + count if count > 0 else -count
        if marks > MOST_MARKS:
            return False
    return True
