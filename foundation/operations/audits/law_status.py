"""The status of each law by the scheduled audit: written by audits, read by metrics, doctor and admin."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from structlog import get_logger

from foundation import clock, journal
from foundation.models import LawStatus
from foundation.observability.gauges import Readings
from foundation.operations.audits.checks import OFFENDERS_REPORTED, Chosen, LawReport, is_ahead

log = get_logger(__name__)
# Chunks in which a law is broken, of each law: more are left to the next full audit.
SUSPECTS_KEPT = 100
HOLDS = "firstcome_law_holds"
OFFENDERS = "firstcome_law_offenders"
CHECKED_AGE = "firstcome_law_checked_age_seconds"
FULL_AGE = "firstcome_law_full_age_seconds"
HELPS = {
    HOLDS: "Whether the law holds, by the latest audit that could check it: 1 or 0.",
    OFFENDERS: "How many that break the law are known, 100 at most.",
    CHECKED_AGE: "How long ago the latest audit began that could check the law.",
    FULL_AGE: "How long ago the latest full audit began that could check the law.",
}
MORE_OFFENDERS = "more than were listed: the next full audit names them"


@dataclass(slots=True)
class Findings:
    """What an audit has found out about one law so far. A suspect is a check's name and its rows."""

    checked: int = 0
    offenders: list[str] = field(default_factory=list)
    suspects: list[list[Any]] = field(default_factory=list)
    seconds: float = 0.0
    not_checked: str = ""

    def add(self, report: LawReport, *, name: str, rows: Chosen, seconds: float) -> None:
        self.checked += report.checked
        self.seconds += seconds
        if not report.holds:
            self.offenders += report.offenders
            # As JSON can keep it; `check_suspects` reads it.
            kept = {"first": rows[0], "last": rows[-1]} if isinstance(rows, range) else rows
            self.suspects.append([name, kept])


def record(found: Mapping[str, Findings], *, at: datetime, replaces: bool) -> list[str]:
    """Record what an audit found, in the caller's transaction. Returns the laws with too many broken chunks.

    A frequent audit, which has checked all suspects, `replaces` what is known; a part of a full one adds to
    it. A law that no full audit has covered yet is only recorded when it is broken.
    """
    if replaces:
        # What was recorded before the clock was set back counts its age from now.
        LawStatus.objects.filter(checked_at__gt=at).update(checked_at=at)
        LawStatus.objects.filter(full_at__gt=at).update(full_at=at)
    overflowed = []
    statuses = LawStatus.objects.in_bulk(list(found))
    for law, findings in found.items():
        status = statuses.get(law)
        suspects = findings.suspects
        offenders = findings.offenders
        if not offenders and (status is None or not replaces):
            continue
        status = status or LawStatus(law=law, holds=True, since=at)
        if replaces:
            status.not_checked = findings.not_checked[:255]
        if replaces and not findings.not_checked:
            status.checked = findings.checked
            status.took = timedelta(seconds=findings.seconds)
            status.checked_at = at
        else:
            suspects = [*status.suspects, *suspects]
            offenders = [*status.offenders, *offenders]
        suspects = _without_repeats(suspects)
        offenders = _without_repeats(offenders)
        if len(suspects) > SUSPECTS_KEPT:
            status.is_incomplete = True
            overflowed.append(law)
        if status.is_incomplete and not offenders:
            offenders = [MORE_OFFENDERS]
        status.suspects = suspects[:SUSPECTS_KEPT]
        status.offenders = offenders[:OFFENDERS_REPORTED]
        if status.holds == bool(offenders):
            _note_change(status, at=at)
        status.save()
    return overflowed


def record_full(
    laws: Iterable[str], *, at: datetime, partly: Collection[str], overflowed: Collection[str]
) -> None:
    """Record that a full audit, which began then, has covered these laws, and some only `partly`.

    What it found is recorded already, and stays until the next audit checks it again.
    """
    statuses = LawStatus.objects.in_bulk()
    for law in laws:
        status = statuses.get(law) or LawStatus(law=law, holds=True, since=at)
        status.full_at = at
        status.is_incomplete = law in overflowed
        if law not in partly:
            status.checked_at = max(status.checked_at or at, at)
        status.save()


def is_full_needed() -> bool:
    """Whether a law is only known to be broken in rows that are not listed."""
    return any(not status.suspects for status in LawStatus.objects.filter(is_incomplete=True))


def _note_change(status: LawStatus, *, at: datetime) -> None:
    status.holds = not status.offenders
    status.since = at
    some = status.offenders[:10]
    if status.holds:
        log.warning("law holds again", law=status.law)
    else:
        log.error("law broken: see `audit`", law=status.law, offenders=some)
    what = "law.holds_again" if status.holds else "law.broken"
    journal.note(what=what, subject=f"law {status.law}", detail=", ".join(map(str, some)), is_internal=True)


def _without_repeats(items: list[Any]) -> list[Any]:
    return [*{repr(item): item for item in items}.values()]


def read_gauges() -> Readings:
    found: Readings = {name: {} for name in HELPS}
    now = clock.now()
    for status in LawStatus.objects.defer("suspects"):
        if status.checked_at or not status.holds:
            found[HOLDS][status.law] = float(status.holds)
        found[OFFENDERS][status.law] = len(status.offenders)
        for name, at in ((CHECKED_AGE, status.checked_at), (FULL_AGE, status.full_at)):
            if at is not None:
                # Infinite, not known, if the clock was set back since, until the next audit.
                age = math.inf if is_ahead(at, now=now) else max(0.0, (now - at).total_seconds())
                found[name][status.law] = age
    return found
