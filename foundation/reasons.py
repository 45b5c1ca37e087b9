"""The reason that an operator gives for what they do; the journal records it."""

from foundation.errors import invalid_field
from foundation.lazy_texts import mark

LONGEST_REASON = 500


def check_reason(reason: str) -> str:
    """The operator's reason without surrounding whitespace. Raises `Invalid` if it is empty or too long."""
    given = reason.strip()
    if not given:
        raise invalid_field("reason", "required", mark("Give the reason: it is recorded in the journal."))
    if len(given) > LONGEST_REASON:
        detail = mark(
            "A reason may have {most} characters; this one has {count}.",
            most=LONGEST_REASON,
            count=len(given),
        )
        raise invalid_field("reason", "too_long", detail)
    return given
