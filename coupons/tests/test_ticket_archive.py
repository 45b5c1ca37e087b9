"""Archives of queue tickets: settled ones of closed campaigns go, and the next number follows the last."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from coupons import audit
from coupons.models import Campaign, QueueTicket
from coupons.queue import tickets
from coupons.tests.factories import CampaignFactory, accounts, coupon_of
from shop import clock
from shop.db.pacing import Pace
from shop.management import archives
from shop.operations.archives import archiving, restoring
from shop.operations.archives.archiving import Options

pytestmark = pytest.mark.django_db(transaction=True)
TABLE = archives.TICKETS
TABLES = archives.TABLES
OPTIONS = Options(reason="The disk is full.", pace=Pace(size=2, share=1.0))


def long_ago() -> datetime:
    return (clock.now() - timedelta(days=200)).replace(day=15)


def month() -> str:
    return f"{long_ago():%Y-%m}"


def old_ticket(campaign: Campaign, account_id: int, number: int, **columns: Any) -> QueueTicket:
    """A ticket of the old month, whose key begins with its time."""
    at = long_ago() + timedelta(seconds=number)
    ticket: QueueTicket = QueueTicket.objects.create(
        id=UUID(int=(int(at.timestamp() * 1000) << 80 | 0x7 << 76 | 1 << 63) + campaign.pk * 1_000 + number),
        campaign=campaign,
        account_id=account_id,
        number=number,
        created_at=at,
        **{"status": "sold_out"} | columns,
    )
    return ticket


@pytest.fixture
def campaign() -> Campaign:
    """A campaign with a queue, which closed in the old month: one coupon, and four that came too late."""
    made: Campaign = CampaignFactory.create(strategy="group_commit", quantity=5)
    coupon = coupon_of(made)
    Campaign.objects.filter(pk=made.pk).update(
        strategy="queue", opens_at=long_ago() - timedelta(days=9), closes_at=long_ago() + timedelta(hours=1)
    )
    old_ticket(made, coupon.account_id, 1, status="issued", coupon=coupon)
    for number, account_id in enumerate(accounts(4), start=2):
        old_ticket(made, account_id, number)
    made.refresh_from_db()
    return made


def archive(folder: Path) -> archiving.Archived | None:
    return archiving.archive(TABLE, month(), folder=folder, options=OPTIONS)


def broken() -> dict[str, list[str]]:
    return {one.law: one.offenders for one in audit.audit() if not one.holds}


def test_settled_tickets_go_and_come_back_and_the_greatest_number_stays(
    tmp_path: Path, campaign: Campaign
) -> None:
    before = list(QueueTicket.objects.order_by("pk").values())
    done = archive(tmp_path)
    assert done is not None
    assert done.removed == 4
    assert list(QueueTicket.objects.values_list("number", flat=True)) == [5]
    assert tickets.last_number(campaign.pk) == 5
    assert broken() == {}
    restoring.restore(tmp_path / done.file, TABLES, options=OPTIONS)
    assert list(QueueTicket.objects.order_by("pk").values()) == before
    assert broken() == {}
    assert archive(tmp_path) is not None


def test_waiting_tickets_and_those_of_campaigns_that_go_on_stay(tmp_path: Path, campaign: Campaign) -> None:
    QueueTicket.objects.filter(number=2).update(status="waiting")
    running = CampaignFactory.create(strategy="queue")
    for number, account_id in enumerate(accounts(3), start=1):
        old_ticket(running, account_id, number)
    done = archive(tmp_path)
    assert done is not None
    assert done.removed == 3
    assert QueueTicket.objects.filter(campaign=running).count() == 3
    assert set(QueueTicket.objects.filter(campaign=campaign).values_list("number", flat=True)) == {2, 5}
