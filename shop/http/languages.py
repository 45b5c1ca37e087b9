"""The language of a response: English, or another of `LANGUAGES` that `Accept-Language` prefers."""

from collections.abc import Iterable
from functools import lru_cache

from django.utils.translation import trans_real

from shop.lazy_texts import ENGLISH

# Browsers send some dozens of bytes; any client may send more.
MAX_HEADER_LENGTH = 200


def choose(header: str | None) -> str:
    """The language for the value of an `Accept-Language` header; English for one that can't be read."""
    return _choose(header) if header and len(header) <= MAX_HEADER_LENGTH else ENGLISH


def of_headers(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The language for a request with these headers, as ASGI has them."""
    given = [value for name, value in headers if name == b"accept-language"]
    return choose(b",".join(given).decode("latin-1"))


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
