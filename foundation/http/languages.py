"""The language of a response: English, or another of `LANGUAGES` that `Accept-Language` prefers."""

from functools import lru_cache

from django.utils.translation import trans_real

from foundation.lazy_texts import ENGLISH

# Browsers send some dozens of bytes; any client may send more.
MAX_HEADER_LENGTH = 200


def choose(header: str | None) -> str:
    """The language for the value of an `Accept-Language` header; English for one that can't be read."""
    return _choose(header) if header and len(header) <= MAX_HEADER_LENGTH else ENGLISH


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
