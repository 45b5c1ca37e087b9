"""What an audit of the laws says, one report a law."""

from collections.abc import Iterable
from dataclasses import dataclass

OFFENDERS_REPORTED = 100
"""By each check: a law that a million rows break is as broken, and the report stays readable."""


@dataclass(frozen=True)
class LawReport:
    """Whether a law holds over the `checked` things, and the ids of those that break it."""

    law: str
    holds: bool
    checked: int
    offenders: list[str]


def report(law: str, checked: int, offenders: Iterable[object]) -> LawReport:
    """The report of one law; it holds when nothing offends."""
    named = [str(offender) for offender in offenders]
    return LawReport(law=law, holds=not named, checked=checked, offenders=named)


def merge_reports(reports: Iterable[LawReport]) -> list[LawReport]:
    """One report a law, in the laws' order: several apps may each check their side of one."""
    by_law: dict[str, list[LawReport]] = {}
    for one in reports:
        by_law.setdefault(one.law, []).append(one)
    return [_merge_one_law(law, by_law[law]) for law in sorted(by_law, key=_law_number)]


def _merge_one_law(law: str, reports: list[LawReport]) -> LawReport:
    return LawReport(
        law=law,
        holds=all(one.holds for one in reports),
        checked=sum(one.checked for one in reports),
        offenders=[offender for one in reports for offender in one.offenders],
    )


def _law_number(law: str) -> int:
    return int(law.removeprefix("L"))
