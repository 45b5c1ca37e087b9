"""Checks of the scheduled audit: whether it runs, and what it found out about the laws."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import Error

from shop import clock
from shop.models import AuditState, LawStatus
from shop.operations.audits import audit_state
from shop.operations.audits.audit_scope import is_ahead
from shop.operations.doctor.findings import Finding, danger, ok, warning

# An audit may be late by a few of its intervals: the one before it, or a worker that was replaced.
INTERVALS_LATE = 3
SHORTEST_LATENESS = timedelta(minutes=10)
FULL_LATENESS = timedelta(hours=36)


def examine() -> list[Finding]:
    """The findings; none while the database is unreachable, which has its own finding."""
    try:
        statuses = list(LawStatus.objects.order_by("law"))
        state = AuditState.objects.filter(pk=audit_state.ROW).first() or AuditState()
    except Error:
        return []
    return [laws(statuses), schedule(state, now=clock.now())]


def laws(statuses: list[LawStatus]) -> Finding:
    broken = [status.law for status in statuses if not status.holds]
    unchecked = [f"{status.law} ({status.not_checked})" for status in statuses if status.not_checked]
    if broken:
        return danger(
            "laws",
            f"broken: {', '.join(broken)}",
            "The admin lists the offenders (Law statuses), as does `manage.py audit`; docs/operations.md, "
            "'A law is broken', says what to do. The next audit finds out whether it is repaired.",
        )
    if unchecked:
        return warning(
            "laws",
            f"not checked: {', '.join(unchecked)}",
            "They held when they were last checked. See the reasons, and run `manage.py audit`.",
        )
    return ok("laws", f"{len(statuses)} hold" if statuses else "not audited yet")


def schedule(state: AuditState, *, now: datetime) -> Finding:
    if not settings.AUDIT_SECONDS:
        return warning(
            "scheduled audit",
            "off",
            "AUDIT_SECONDS is 0: run `manage.py audit` by a schedule of your own, and alarm when it fails.",
        )
    lateness = max(SHORTEST_LATENESS, timedelta(seconds=INTERVALS_LATE * settings.AUDIT_SECONDS))
    for name, at, longest in (
        ("audit", state.audited_at, lateness),
        ("full audit", state.full_at, FULL_LATENESS),
    ):
        if at is None or now - at > longest or is_ahead(at, now=now):
            found = "none has ended yet" if at is None else f"the last one began at {at:%Y-%m-%d %H:%M} UTC"
            return warning(
                "scheduled audit",
                f"{name}: {found}",
                "Check that beat and a worker run; their logs have errors of the task `shop.audit`.",
            )
    return ok("scheduled audit", f"every {settings.AUDIT_SECONDS:g} s")
