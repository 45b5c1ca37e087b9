"""Codes of statuses as words in the operator's language: `sold_out` is "sold out"."""

import re

from django.utils.functional import lazy
from django.utils.translation import gettext, gettext_noop

UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{4}([0-9a-f]{8})", re.IGNORECASE)
CODE = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b")
WORDS = {"requires_action": "waits for the customer"}
"""Of codes whose word is another one."""
NO_CHOICES = [
    gettext_noop("inactive"),
    gettext_noop("low"),
    gettext_noop("active"),
    gettext_noop("delivered"),
    gettext_noop("dead"),
    gettext_noop("valid"),
    gettext_noop("revoked"),
    gettext_noop("available"),
    gettext_noop("disabled"),
    gettext_noop("broken"),
]
"""The words that no model has as the label of a choice, and so are marked here."""


def status_word(code: str) -> str:
    """The word for the code; of an unknown one, its own text with spaces."""
    return code and gettext(WORDS.get(code, code.replace("_", " ")))


status_word_lazy = lazy(status_word, str)


def plain_text(text: str) -> str:
    """A text of programs for people: codes as words, and of a long id its end."""
    return CODE.sub(lambda found: found[0].replace("_", " "), UUID.sub(r"…\1", text))
