"""The doctor: checks whether the environment keeps the shop's promises, and says what to do if not."""

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings

from shop import clock
from shop.models import AuditState, LawStatus
from shop.operations.audits.checks import is_ahead
from shop.operations.doctor import databases, start, stores
from shop.operations.doctor.findings import Finding, judge

SHORTEST_LATENESS = timedelta(minutes=10)


def examine() -> Iterator[Finding]:
    """All findings, good and bad; a system that can't be reached is a finding too. May end with `Error`."""
    for system in (start, databases, stores):
        yield from system.examine()
    yield from audits()


def audits() -> Iterator[Finding]:
    """Whether the laws hold, and whether their audits run."""
    statuses = list(LawStatus.objects.order_by("law"))
    broken = [status.law for status in statuses if not status.holds]
    unchecked = [f"{status.law} ({status.not_checked})" for status in statuses if status.not_checked]
    if broken:
        yield judge("laws", f"broken: {', '.join(broken)}", is_wrong=True)
    elif unchecked:
        yield judge("laws", f"not checked: {', '.join(unchecked)}", is_wrong=True, problem="unchecked laws")
    else:
        yield judge("laws", f"{len(statuses)} hold" if statuses else "not audited yet", is_wrong=False)
    yield _schedule(AuditState.objects.first() or AuditState())


def _schedule(state: AuditState) -> Finding:
    check, interval, now = "scheduled audit", settings.AUDIT_SECONDS, clock.now()
    if not interval:
        return judge(check, "off", is_wrong=True, problem="no schedule")
    for name, at, longest in (
        # It may be late by a few intervals: the audit before it, or a worker that was replaced.
        ("audit", state.audited_at, max(SHORTEST_LATENESS, timedelta(seconds=3 * interval))),
        ("full audit", state.full_at, timedelta(hours=36)),
    ):
        if at is None or now - at > longest or is_ahead(at, now=now):
            found = "none has ended yet" if at is None else f"the last one began at {at:%Y-%m-%d %H:%M} UTC"
            return judge(check, f"{name}: {found}", is_wrong=True)
    return judge(check, f"every {interval:g} s", is_wrong=False)
