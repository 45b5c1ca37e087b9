"""Helpers for tests of the scheduled audit: its two kinds of audits, and the fixtures of the apps' damage.

A test module imports the fixtures by name.
"""

import pytest

from coupons.tests import test_audit as coupon_damage
from orders.tests import test_audit as order_damage
from orders.tests.conftest import _empty_books, _stepped_executor
from payments.reconciliation import reconciling
from payments.tests.own_gateway import gateway_process, own_gateway
from shop import clock
from shop.management import laws, scheduled_audit
from shop.models import AuditState, LawStatus
from shop.operations import audit_state
from shop.operations.audit_scope import UUID_SLACK, place_mark
from shop.tests.own_data_platform import data_platform_process, own_data_platform

campaign, with_pool = coupon_damage.campaign, coupon_damage.with_pool
paid, cancelled = order_damage.paid, order_damage.cancelled
__all__ = [
    "_empty_books",
    "_stepped_executor",
    "audited",
    "campaign",
    "cancelled",
    "data_platform_process",
    "gateway_process",
    "own_data_platform",
    "own_gateway",
    "paid",
    "with_pool",
]


def audit_changes() -> dict[str, list[str]]:
    """Audit what has changed, and return the laws that are broken then, with their offenders."""
    with audit_state.leased() as lease:
        assert lease is not None
        scheduled_audit.audit_changes(lease, now=clock.now())
    return broken()


def audit_all() -> dict[str, list[str]]:
    """A full audit, and then one of what has changed: only that mends a law."""
    AuditState.objects.update(full_at=None)
    while AuditState.objects.filter(full_at=None).exists():
        with audit_state.leased() as lease:
            assert lease is not None
            scheduled_audit.continue_full(lease, now=clock.now())
    return audit_changes()


def broken() -> dict[str, list[str]]:
    return {status.law: status.offenders for status in LawStatus.objects.filter(holds=False)}


@pytest.fixture
def audited() -> None:
    """A shop whose first audits are done before the test's rows are there."""
    reconciling.reconcile()
    assert audit_changes() == {}
    assert audit_all() == {}


def forget_changes() -> None:
    """As if the overlap had passed: the next audit begins at a mark of now."""
    mark = place_mark(laws.COUNTED_TABLES, at=clock.now() + UUID_SLACK)
    AuditState.objects.update(marks=[{"at": mark.at.isoformat(), "keys": mark.keys}])
