"""Pausing: an operator stops at once what is issued or sold, and resumes it later; for all apps.

A paused row has a `paused_at`, which is written under the row's lock. Every transaction that issues or sells
reads it under the same lock, has it as a condition of its UPDATE, or requires the row's version, which a
pause increments. So no such transaction commits after the pause has. Nothing in Redis or in a process's
memory is asked about it.
"""

from datetime import datetime

from shop.errors import invalid_field
from shop.events import journal
from shop.lazy_texts import mark as _

LONGEST_REASON = 500


def check_reason(reason: str) -> str:
    """The operator's reason without surrounding whitespace. Raises `Invalid` if it is empty or too long."""
    given = reason.strip()
    if not given:
        raise invalid_field("reason", "required", _("Give the reason: it is recorded in the journal."))
    if len(given) > LONGEST_REASON:
        detail = _(
            "A reason may have {most} characters; this one has {count}.",
            most=LONGEST_REASON,
            count=len(given),
        )
        raise invalid_field("reason", "too_long", detail)
    return given


def note(*, what: str, subject: str, before: datetime | None, after: datetime | None, reason: str) -> None:
    """Note a pause or its end in the journal, in the transaction that makes it.

    `before` and `after` are its `paused_at`. `detail` has the reason as far as it fits there, `after` all.
    """
    journal.note(
        what=what,
        subject=subject,
        before={"paused_at": before},
        after={"paused_at": after, "reason": reason},
        detail=reason,
    )
