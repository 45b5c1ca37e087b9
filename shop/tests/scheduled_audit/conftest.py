"""The two kinds of audits, the fixtures of the apps' damage, and a shop that was audited before it."""

import pytest

from coupons.tests import test_audit as coupon_damage
from orders.tests import test_audit as order_damage
from orders.tests.conftest import _empty_books, _stepped_executor
from payments.reconciliation import reconciling
from shop import clock
from shop.management import scheduled_audit
from shop.models import AuditState, LawStatus

campaign, with_pool = coupon_damage.campaign, coupon_damage.with_pool
paid, cancelled = order_damage.paid, order_damage.cancelled
__all__ = ["_empty_books", "_stepped_executor", "audited", "campaign", "cancelled", "paid", "with_pool"]


@pytest.fixture
def audited() -> None:
    """A shop whose first audits are done before the test's rows are there."""
    reconciling.reconcile()
    assert audit_changes() == {}
    assert audit_all() == {}


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
