"""The fixtures of the apps' damage, and a shop that was audited before it."""

import pytest

from coupons.tests import test_audit as coupon_damage
from orders.tests import test_audit as order_damage
from orders.tests.conftest import _empty_books, _stepped_executor
from payments.reconciliation import reconciling
from shop.tests.scheduled_audit.auditing import audit_all, audit_changes

campaign, with_pool = coupon_damage.campaign, coupon_damage.with_pool
paid, cancelled = order_damage.paid, order_damage.cancelled
__all__ = ["_empty_books", "_stepped_executor", "audited", "campaign", "cancelled", "paid", "with_pool"]


@pytest.fixture
def audited() -> None:
    """A shop whose first audits are done before the test's rows are there."""
    reconciling.reconcile()
    assert audit_changes() == {}
    assert audit_all() == {}
