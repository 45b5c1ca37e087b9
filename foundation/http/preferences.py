"""What a caller prefers, by the headers of its request: how long it waits for a result, and in which language
it is answered. A header that can't be read is ignored.
"""

import re
from functools import lru_cache

from django.utils.translation import trans_real

from foundation.lazy_texts import ENGLISH

MAX_WAIT_SECONDS = 30
MAX_PREFER_LENGTH = 8_192
# Commas separate preferences, except inside a quoted string; semicolons precede a preference's parameters.
PREFERENCE = r'(?:[^,"]|"(?:[^"\\]|\\.)*+")*+'
PREFERENCES = re.compile(rf"{PREFERENCE}(?:,{PREFERENCE})*+")
WAIT = re.compile(r'\s*wait\s*=\s*(?:([0-9]++)|"([0-9]++)")\s*(?:;.*)?', re.IGNORECASE)
# Browsers send some dozens of bytes; any client may send more.
MAX_LANGUAGES_LENGTH = 200


def wait_seconds(prefer: str | None) -> int | None:
    """The wait that the caller asks for by `wait=N`: the first valid one, at most 30 s.

    None without a valid one: then a call may choose its own wait.
    """
    if not prefer or len(prefer) > MAX_PREFER_LENGTH or not PREFERENCES.fullmatch(prefer):
        return None
    for match in map(WAIT.fullmatch, re.findall(PREFERENCE, prefer)):
        if match:
            digits = (match[1] or match[2]).lstrip("0")
            return min(int(digits or 0), MAX_WAIT_SECONDS) if len(digits) < 3 else MAX_WAIT_SECONDS
    return None


def choose_language(header: str | None) -> str:
    """The language for the value of an `Accept-Language` header; English for one that can't be read."""
    return _choose(header) if header and len(header) <= MAX_LANGUAGES_LENGTH else ENGLISH


@lru_cache(maxsize=256)
def _choose(header: str) -> str:
    for wanted, quality in trans_real.parse_accept_lang_header(header.lower()):
        if wanted == "*" or not quality:
            break
        try:
            return trans_real.get_supported_language_variant(wanted)
        except LookupError:
            continue
    return ENGLISH
