"""Helpers for tests of the scheduled audit: its two kinds of audits."""

from shop import clock
from shop.management import scheduled_audit
from shop.models import AuditState, LawStatus


def audit_changes() -> dict[str, list[str]]:
    """Audit what is new, and return the laws that are broken then, with their offenders."""
    with scheduled_audit.leased() as lease:
        assert lease is not None
        scheduled_audit.audit_new(lease, now=clock.now())
    return broken()


def audit_all() -> dict[str, list[str]]:
    """A full audit, and then one of what has changed: only that clears a law."""
    AuditState.objects.update(full_at=None)
    while AuditState.objects.filter(full_at=None).exists():
        with scheduled_audit.leased() as lease:
            assert lease is not None
            scheduled_audit.continue_full(lease, now=clock.now())
    return audit_changes()


def broken() -> dict[str, list[str]]:
    return {status.law: status.offenders for status in LawStatus.objects.filter(holds=False)}


def forget_changes() -> None:
    """As if the next audit was the first: it places its marks at the end, so that no row is new."""
    AuditState.objects.update(marks={})
