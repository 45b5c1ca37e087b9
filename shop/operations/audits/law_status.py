"""The status of each law by the scheduled audit: written by audits, read by metrics, doctor and admin."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from structlog import get_logger

from shop import clock
from shop.events import journal
from shop.models import LawStatus
from shop.operations.audits.audit_report import OFFENDERS_REPORTED, LawReport
from shop.operations.audits.audit_scope import Rows, is_ahead

log = get_logger(__name__)
Item = TypeVar("Item")
# Chunks in which a law is broken, of each law: more are left to the next full audit.
SUSPECTS_KEPT = 100
MORE_OFFENDERS = "more than were listed: the next full audit names them"


@dataclass(slots=True)
class Findings:
    """What an audit has found out about one law so far. A suspect is a check's name and its rows."""

    checked: int = 0
    offenders: list[str] = field(default_factory=list)
    suspects: list[list[Any]] = field(default_factory=list)
    seconds: float = 0.0
    not_checked: str = ""

    def add(self, report: LawReport, *, name: str, rows: Rows | None, seconds: float) -> None:
        """Count the report of a check of these rows."""
        self.checked += report.checked
        self.seconds += seconds
        if not report.holds:
            self.offenders += report.offenders
            self.suspects.append([name, rows_as_json(rows)])


def rows_as_json(rows: Rows | None) -> Any:
    """A chunk as JSON can keep it."""
    return {"first": rows[0], "last": rows[-1]} if isinstance(rows, range) else rows


def rows_from_json(kept: Any) -> Rows | None:
    """The chunk that `rows_as_json` wrote."""
    return range(kept["first"], kept["last"] + 1) if isinstance(kept, dict) else kept


def record_incremental(found: Mapping[str, Findings], *, at: datetime) -> None:
    """Record what an audit of changed rows and of all suspects found, in the caller's transaction.

    A law that no full audit has covered yet is only recorded when it is broken.
    """
    statuses = LawStatus.objects.in_bulk(list(found))
    for law, findings in found.items():
        status = statuses.get(law)
        if status is None:
            if not findings.offenders:
                continue
            status = LawStatus(law=law, holds=True, since=at)
        if findings.not_checked:
            _add_broken(status, findings, at=at)
            status.not_checked = findings.not_checked[:255]
        else:
            _replace(status, findings, at=at)
        status.save()


def record_broken(found: Mapping[str, Findings], *, at: datetime) -> list[str]:
    """Record the broken chunks that a part of a full audit found. Returns the laws with too many of them."""
    overflowed = []
    broken = {law: findings for law, findings in found.items() if findings.offenders}
    statuses = LawStatus.objects.in_bulk(list(broken))
    for law, findings in broken.items():
        status = statuses.setdefault(law, LawStatus(law=law, holds=True, since=at))
        if _add_broken(status, findings, at=at):
            overflowed.append(law)
        status.save()
    return overflowed


def bound_instants(*, at: datetime) -> None:
    """Set what was recorded before the clock was set back to this instant, from which its age counts."""
    for name in ("checked_at", "full_at"):
        LawStatus.objects.filter(**{f"{name}__gt": at}).update(**{name: at})


def record_full(
    checked: Mapping[str, int], *, at: datetime, partly: Collection[str], overflowed: Collection[str]
) -> None:
    """Record that a full audit, which began then, has covered these laws, and some only `partly`.

    What it found is recorded already, and stays until the next audit checks it again.
    """
    statuses = LawStatus.objects.in_bulk(list(checked))
    for law, number in checked.items():
        status = statuses.get(law) or LawStatus(law=law, holds=True, since=at, checked=number)
        status.full_at, status.is_incomplete = at, law in overflowed
        if law not in partly:
            status.checked_at = max(status.checked_at or at, at)
        status.save()


def is_full_needed() -> bool:
    """Whether a law is only known to be broken in rows that are not listed."""
    return any(not status.suspects for status in LawStatus.objects.filter(is_incomplete=True))


def _replace(status: LawStatus, findings: Findings, *, at: datetime) -> None:
    status.checked, status.took = findings.checked, timedelta(seconds=findings.seconds)
    status.checked_at, status.not_checked = at, ""
    suspects = _without_repeats(findings.suspects)
    status.is_incomplete = status.is_incomplete or len(suspects) > SUSPECTS_KEPT
    status.suspects = suspects[:SUSPECTS_KEPT]
    offenders = _without_repeats(findings.offenders)
    if status.is_incomplete and not offenders:
        offenders = [MORE_OFFENDERS]
    status.offenders = offenders[:OFFENDERS_REPORTED]
    _set_holds(status, not offenders, at=at)


def _add_broken(status: LawStatus, findings: Findings, *, at: datetime) -> bool:
    """Add what is broken to what is known. Returns whether there are more chunks than are kept."""
    if not findings.offenders:
        return False
    suspects = _without_repeats([*status.suspects, *findings.suspects])
    is_overflow = len(suspects) > SUSPECTS_KEPT
    status.is_incomplete = status.is_incomplete or is_overflow
    status.suspects = suspects[:SUSPECTS_KEPT]
    status.offenders = _without_repeats([*status.offenders, *findings.offenders])[:OFFENDERS_REPORTED]
    _set_holds(status, False, at=at)
    return is_overflow


def _set_holds(status: LawStatus, holds: bool, *, at: datetime) -> None:
    """Change the answer; a change is logged, and noted in the journal, once."""
    if holds == status.holds:
        return
    status.holds, status.since = holds, at
    if holds:
        log.warning("law holds again", law=status.law)
    else:
        log.error("law broken: see `audit`", law=status.law, offenders=status.offenders[:10])
    journal.note(
        what="law.holds_again" if holds else "law.broken",
        subject=f"law {status.law}",
        detail=", ".join(map(str, status.offenders[:10])),
        is_internal=True,
    )


def _without_repeats(items: list[Item]) -> list[Item]:
    kept: dict[str, Item] = {}
    for item in items:
        kept.setdefault(repr(item), item)
    return list(kept.values())


def read_holds() -> dict[str, float]:
    """1 for each law that holds, and 0 for each that is broken, by the last answer."""
    return _of_each(lambda status: None if status.holds and not status.checked_at else float(status.holds))


def count_offenders() -> dict[str, float]:
    """How many offenders of each law are known, at most 100."""
    return _of_each(lambda status: len(status.offenders))


def read_checked_ages() -> dict[str, float]:
    """How many seconds ago the latest audit began that could check the law."""
    now = clock.now()
    return _of_each(lambda status: _age(status.checked_at, now))


def read_full_ages() -> dict[str, float]:
    """How many seconds ago the latest full audit began that could check the law."""
    now = clock.now()
    return _of_each(lambda status: _age(status.full_at, now))


def _of_each(read: Callable[[LawStatus], float | None]) -> dict[str, float]:
    values = ((status.law, read(status)) for status in LawStatus.objects.defer("suspects"))
    return {law: value for law, value in values if value is not None}


def _age(at: datetime | None, now: datetime) -> float | None:
    """None if it was never; infinite if the clock was set back since, until the next audit: not known."""
    if is_ahead(at, now=now):
        return math.inf
    return None if at is None else max(0.0, (now - at).total_seconds())
