"""A row of every model that the admin shows: a fixture, and functions that make further ones."""

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice
from uuid_utils.compat import uuid7

from accounts.models import ApiKey, SignOut
from coupons.models import Campaign, Confirmation, QueueTicket
from coupons.tests.factories import campaign_with_codes, coupon_of
from events.models import FeedEvent, WebhookDelivery, WebhookEndpoint
from foundation.approval_models import Approval
from foundation.models import AuditState, CommittedTransaction, IdempotencyKey, JournalLine, LawStatus
from foundation.tests.factories import AccountFactory
from inventory.models import Delivery
from inventory.tests.factories import ProductFactory
from orders.models import OrderLine, OrderNote, Refund, RefundLine, Saga, SagaLog
from payments.models import Reconciliation, WebhookEvent
from payments.tests.factories import PaymentFactory, wallet
from sales.models import SaleEntry
from sales.tests.factories import create_sale


@pytest.fixture
def _a_row_of_every_model():
    fill_all_models()


def fill_all_models(number=0):
    """A row of every model that the admin shows; another one for another number."""
    now, account = timezone.now(), AccountFactory()
    Group.objects.create(name=f"warehouse {number}")
    TOTPDevice.objects.create(user=account, name="authenticator")
    CommittedTransaction.objects.create(id=uuid7(), at=now)
    AuditState.objects.create(audited_at=now)
    SignOut.objects.create(account=account, at=now)
    key = ApiKey.objects.create(maker=account, prefix=f"fc_key_{number:09}", scopes=["act"], created_at=now)
    asked = {
        "kind": "points.grant",
        "arguments": {"user": account.pk, "amount": 5},
        "reason": "late delivery",
    }
    asked |= {"asker_id": account.pk, "asker_name": account.username, "asked_at": now}
    Approval.objects.create(subject=f"wallet {account.pk}", **asked)
    key.secrets.create(secret_hash=f"{number:064}", is_current=True, created_at=now)
    LawStatus.objects.create(law=f"L{number + 1}", holds=False, since=now, offenders=["7"])
    IdempotencyKey.objects.create(account=account, key_hash="a" * 64, status=201, created_at=now)
    FeedEvent.objects.create(event_id=uuid7(), type="order.paid", at=now, data={})
    endpoint = WebhookEndpoint.objects.create(
        url="https://receiver.example/", events=["*"], secret="whsec_AAAA", created_at=now
    )
    WebhookDelivery.objects.create(
        endpoint=endpoint, event_id=uuid7(), type="order.paid", status="failed", created_at=now
    )
    JournalLine.objects.create(at=now, actor="system", what="product.changed", subject="product 7")
    Delivery.objects.create(id=uuid7(), rows_total=2, rows_done=1)
    Reconciliation.objects.create(started_at=now, ended_at=now, checked=1, differences=0, refunded=0)
    WebhookEvent.objects.create(
        gateway="simulator", event_id=f"{number + 1}", received_at=now, handled_at=now
    )
    wallet(points=5)
    fill_coupons()
    fill_orders(PaymentFactory().order)
    SaleEntry.objects.create(sale=create_sale(), account=account, created_at=now)


def fill_coupons():
    now = timezone.now()
    campaign = campaign_with_codes(Campaign.CodeSource.POOL)
    coupon_of(campaign)
    taken = {"code": f"C-{campaign.pk}", "taken_at": now, "next_attempt_at": now}
    Confirmation.objects.create(campaign=campaign, account=AccountFactory(), **taken)
    QueueTicket.objects.create(campaign=campaign, account=AccountFactory(), number=1, created_at=now)


def fill_orders(order):
    now = timezone.now()
    tea = {"sku": "TEA", "name": "Tea", "quantity": 1, "unit_price": 500, "line_amount": 500}
    line = OrderLine.objects.create(order=order, product=ProductFactory(on_hand=1), **tea)
    OrderNote.objects.create(order=order, author_id=7, text="She calls back.", created_at=now)
    refund = Refund.objects.create(
        order=order, amount=500, points_amount=0, card_amount=500, reason="It came broken.", created_at=now
    )
    RefundLine.objects.create(refund=refund, line=line, quantity=1, amount=500)
    due = {"next_attempt_at": now, "deadline_at": now, "created_at": now}
    saga = Saga.objects.create(kind="refund", subject_id=refund.pk, about_id=order.pk, **due)
    SagaLog.objects.create(saga=saga, step="refund_card", direction="do", event="failed", attempt=1, at=now)
