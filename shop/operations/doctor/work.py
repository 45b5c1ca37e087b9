"""Checks of the laws' audits."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from django.conf import settings
from django.db import Error

from shop import clock
from shop.models import AuditState, LawStatus
from shop.operations.audits import audit_state
from shop.operations.audits.audit_scope import is_ahead
from shop.operations.doctor.findings import Finding, judge

# An audit may be late by a few of its intervals: the one before it, or a worker that was replaced.
INTERVALS_LATE = 3
SHORTEST_LATENESS = timedelta(minutes=10)


def examine() -> Iterator[Finding]:
    """The findings; none while the database is unreachable, which has its own finding."""
    with suppress(Error):
        yield from audits()


def audits() -> Iterator[Finding]:
    statuses = list(LawStatus.objects.order_by("law"))
    broken = [status.law for status in statuses if not status.holds]
    unchecked = [f"{status.law} ({status.not_checked})" for status in statuses if status.not_checked]
    if broken:
        yield judge("laws", f"broken: {', '.join(broken)}", is_wrong=True)
    elif unchecked:
        yield judge("laws", f"not checked: {', '.join(unchecked)}", is_wrong=True, problem="unchecked laws")
    else:
        yield judge("laws", f"{len(statuses)} hold" if statuses else "not audited yet", is_wrong=False)
    yield _schedule(AuditState.objects.filter(pk=audit_state.ROW).first() or AuditState(), now=clock.now())


def _schedule(state: AuditState, *, now: datetime) -> Finding:
    check, interval = "scheduled audit", settings.AUDIT_SECONDS
    if not interval:
        return judge(check, "off", is_wrong=True, problem="no schedule")
    for name, at, longest in (
        ("audit", state.audited_at, max(SHORTEST_LATENESS, timedelta(seconds=INTERVALS_LATE * interval))),
        ("full audit", state.full_at, timedelta(hours=36)),
    ):
        if at is None or now - at > longest or is_ahead(at, now=now):
            found = "none has ended yet" if at is None else f"the last one began at {at:%Y-%m-%d %H:%M} UTC"
            return judge(check, f"{name}: {found}", is_wrong=True)
    return judge(check, f"every {interval:g} s", is_wrong=False)
