"""The laws that the audit checks: `shop.laws` registers what they say and which apps check them."""

from collections.abc import Callable, Sequence

from django.db import Error
from structlog import get_logger

from foundation.operations.audits.checks import LawReport, Subject, WholeCheck, merge_reports

log = get_logger(__name__)

Audit = Callable[[], list[LawReport]]
LAWS: dict[str, str] = {}
"""What each law says, in English: it is translated where it is shown."""
AUDITS: list[tuple[Audit, Sequence[str]]] = []
"""Each app's audit, with the laws that it reports on."""
# Of the scheduled audit.
SUBJECTS: list[Subject] = []
WHOLE_CHECKS: list[WholeCheck] = []


def audit() -> list[LawReport]:
    """One report per law, in order. A law that could not be checked is reported as broken."""
    return merge_reports(report for check, laws in AUDITS for report in _run_check(check, laws))


def _run_check(check: Audit, laws: Sequence[str]) -> list[LawReport]:
    try:
        reports = check()
    except Exception as error:
        log.warning("audit failed", laws=laws, exc_info=not isinstance(error, Error))
        return [_unchecked_report(law, f"{type(error).__name__}: {error}") for law in laws]
    missing = set(laws) - {report.law for report in reports}
    return [*reports, *(_unchecked_report(law, "its app reported nothing") for law in missing)]


def _unchecked_report(law: str, reason: str) -> LawReport:
    return LawReport(law=law, holds=False, checked=0, offenders=[f"not checked: {reason}"])
