"""The lines of the journal that a test has caused."""

from foundation.models import JournalLine


def journal_line(what: str) -> JournalLine:
    """The only line about this."""
    return JournalLine.objects.get(what=what)


def journal_lines(what: str) -> list[JournalLine]:
    """All lines about this, the oldest first."""
    return list(JournalLine.objects.filter(what=what).order_by("id"))


def times_noted(what: str) -> int:
    return JournalLine.objects.filter(what=what).count()
