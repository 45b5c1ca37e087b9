"""The result of an audit of the laws, which are invariants: one report per law."""

from collections.abc import Iterable
from dataclasses import dataclass

OFFENDERS_REPORTED = 100
"""Per check, so that a report stays readable when a million rows break a law."""


class NotChecked(Exception):
    """A law can't be checked now; the text says why. It is neither held nor broken by that."""


@dataclass(frozen=True)
class LawReport:
    """Whether a law holds for all `checked` objects, and the ids of those that break it."""

    law: str
    holds: bool
    checked: int
    offenders: list[str]


def report(law: str, checked: int, offenders: Iterable[object]) -> LawReport:
    """The report of one law, which holds when there are no offenders."""
    named = [str(offender) for offender in offenders]
    return LawReport(law=law, holds=not named, checked=checked, offenders=named)


def merge_reports(reports: Iterable[LawReport]) -> list[LawReport]:
    """One report per law, in the laws' order: several apps may each check a part of a law."""
    by_law: dict[str, list[LawReport]] = {}
    for report in reports:
        by_law.setdefault(report.law, []).append(report)
    return [
        LawReport(
            law=law,
            holds=all(report.holds for report in parts),
            checked=sum(report.checked for report in parts),
            offenders=[offender for report in parts for offender in report.offenders],
        )
        for law, parts in sorted(by_law.items(), key=lambda item: int(item[0].removeprefix("L")))
    ]
