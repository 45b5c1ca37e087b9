"""Helpers for tests of the scheduled audit: its two kinds of audits, and a mark of now."""

from shop import clock
from shop.management import laws, scheduled_audit
from shop.models import AuditState, LawStatus
from shop.operations.audits import audit_state
from shop.operations.audits.audit_scope import UUID_SLACK, place_mark


def audit_changes() -> dict[str, list[str]]:
    """Audit what has changed, and return the laws that are broken then, with their offenders."""
    with audit_state.leased() as lease:
        assert lease is not None
        scheduled_audit.audit_changes(lease, now=clock.now())
    return broken()


def audit_all() -> dict[str, list[str]]:
    """A full audit, and then one of what has changed: only that clears a law."""
    AuditState.objects.update(full_at=None)
    while AuditState.objects.filter(full_at=None).exists():
        with audit_state.leased() as lease:
            assert lease is not None
            scheduled_audit.continue_full(lease, now=clock.now())
    return audit_changes()


def broken() -> dict[str, list[str]]:
    return {status.law: status.offenders for status in LawStatus.objects.filter(holds=False)}


def forget_changes() -> None:
    """As if the overlap had passed: the next audit begins at a mark of now."""
    mark = place_mark(laws.COUNTED_TABLES, at=clock.now() + UUID_SLACK)
    AuditState.objects.update(marks=[{"at": mark.at.isoformat(), "keys": mark.keys}])
