"""The archive of coupons: what moves there, what stays, and what callers and operators see of it."""

from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from coupons import campaigns, issued_coupons, pool, redemption
from coupons.archive import moving
from coupons.issuing import issuing
from coupons.models import ArchivedCoupon, Campaign, Coupon, QueueTicket
from coupons.tests.archives import archive, closed_campaign, codes, month_of
from coupons.tests.factories import CampaignFactory, campaign_with_codes, coupon_of, order_ids
from coupons.tests.laws import broken
from shop.errors import NotFound, Rejected
from shop.tests.clients import client_of
from shop.tests.factories import SuperuserFactory

pytestmark = pytest.mark.django_db(transaction=True)


def run(*words: str) -> str:
    output = StringIO()
    call_command("archive_coupons", *words, "--share", "1", stdout=output)
    return output.getvalue()


def test_the_coupons_of_a_month_move_with_all_of_their_columns_and_back():
    campaign = closed_campaign(coupons=5)
    before = list(Coupon.objects.order_by("pk").values())
    printed = run("--month", month_of(campaign), "--batch", "2")
    assert "5 coupons of 1 campaigns archived" in printed
    assert list(ArchivedCoupon.objects.order_by("pk").values()) == before
    assert not Coupon.objects.exists()
    assert broken() == {}
    assert Campaign.objects.get().archived_at is not None
    assert "5 coupons of 1 campaigns restored" in run("--month", month_of(campaign), "--restore")
    assert list(Coupon.objects.order_by("pk").values()) == before
    assert not ArchivedCoupon.objects.exists()
    assert Campaign.objects.get().archived_at is None
    assert broken() == {}


def test_a_second_run_continues_where_the_first_one_ended():
    campaign = closed_campaign(coupons=5)
    batch = archive(campaign, size=2)
    assert (batch.moved, batch.last_position) == (2, 2)
    assert broken() == {}
    assert "3 coupons of 1 campaigns archived" in run("--month", month_of(campaign))
    assert "0 coupons of 1 campaigns archived" in run("--month", month_of(campaign))
    assert broken() == {}


def test_coupons_that_an_order_holds_or_that_can_still_be_used_stay():
    campaign = closed_campaign(coupons=4)
    held, redeemed, usable, _ = Coupon.objects.order_by("position")
    first, second = order_ids(2)
    Coupon.objects.filter(pk=held.pk).update(status="held", order=first)
    Coupon.objects.filter(pk=redeemed.pk).update(status="redeemed", order=second)
    Coupon.objects.filter(pk=usable.pk).update(expires_at=timezone.now() + timedelta(days=1))
    run("--month", month_of(campaign))
    there, archived = codes(campaign)
    assert there == {held.code, usable.code}
    assert redeemed.code in archived
    assert broken() == {}


def test_campaigns_with_a_pool_tickets_or_no_end_or_without_positions_are_not_archived():
    campaign, other, pooled, endless = (closed_campaign(coupons=1) for _ in range(4))
    Coupon.objects.filter(campaign=other).update(position=None)
    Campaign.objects.filter(pk=pooled.pk).update(code_source="pool", strategy="code_pool")
    Campaign.objects.filter(pk=endless.pk).update(closes_at=None)
    coupon = Coupon.objects.get(campaign=campaign)
    QueueTicket.objects.create(
        campaign=campaign,
        account_id=coupon.account_id,
        number=1,
        status="issued",
        coupon=coupon,
        created_at=timezone.now(),
    )
    assert run("--month", month_of(campaign)).endswith("0 coupons of 0 campaigns archived.\n")


def test_a_batch_of_a_campaign_that_was_opened_again_moves_nothing():
    campaign = closed_campaign(coupons=1)
    Campaign.objects.update(closes_at=timezone.now() + timedelta(days=1))
    assert archive(campaign) == moving.Batch(moved=0, last_position=None)
    assert Campaign.objects.get().archived_at is None
    assert broken() == {}


def test_an_archived_campaign_can_not_open_again_neither_by_the_shop_nor_in_the_database():
    campaign = closed_campaign()
    archive(campaign)
    with pytest.raises(Rejected) as refused:
        campaigns.change(campaign_id=campaign.pk, closes_at=timezone.now() + timedelta(days=1))
    assert refused.value.code == "campaign_has_coupons"
    with pytest.raises(IntegrityError):
        Campaign.objects.update(closes_at=None)
    with pytest.raises(IntegrityError):
        Campaign.objects.update(closes_at=timezone.now() + timedelta(days=1))


def test_a_restored_campaign_may_open_again_and_its_accounts_have_their_coupons():
    campaign = closed_campaign(coupons=2)
    owner = Coupon.objects.get(position=1)
    archive(campaign)
    run("--month", month_of(campaign), "--restore")
    campaigns.change(campaign_id=campaign.pk, closes_at=None)
    issued = issuing.issue(campaign_id=campaign.pk, user_id=owner.account_id)
    assert issued.coupon.code == owner.code
    assert coupon_of(campaign).position == 3
    assert broken() == {}


@pytest.mark.parametrize("strategy", sorted(issuing.STRATEGIES.keys() - {"unsafe", "queue", "code_pool"}))
def test_an_account_that_asks_again_gets_its_archived_coupon_by_every_strategy(strategy: str):
    campaign = closed_campaign(coupons=2, strategy=strategy)
    coupon = Coupon.objects.get(position=2)
    archive(campaign)
    issued = issuing.issue(campaign_id=campaign.pk, user_id=coupon.account_id)
    assert (issued.coupon.code, issued.is_new) == (coupon.code, False)
    stranger = User.objects.create(username="stranger")
    with pytest.raises(Rejected) as refused:
        issuing.issue(campaign_id=campaign.pk, user_id=stranger.pk)
    assert refused.value.code == "campaign_closed"


def test_an_archived_coupon_is_read_by_its_owner_alone_and_neither_used_nor_made_void():
    campaign = closed_campaign(coupons=1)
    coupon = Coupon.objects.get()
    archive(campaign)
    for owner_id in (None, coupon.account_id):
        found = issued_coupons.get(code=coupon.code, owner_id=owner_id)
        assert (found.pk, found.status_at(timezone.now())) == (coupon.pk, "expired")
    with pytest.raises(NotFound):
        issued_coupons.get(code=coupon.code, owner_id=coupon.account_id + 1)
    found = redemption.read_by_code([coupon.code])[coupon.code]
    with pytest.raises(Rejected) as refused:
        redemption.discount_amount(
            found, account_id=coupon.account_id, items_amount=5_000, now=timezone.now()
        )
    assert refused.value.extra["reason"] == "expired"
    with pytest.raises(Rejected) as refused:
        issued_coupons.void(code=coupon.code, reason="A mistake.")
    assert refused.value.code == "coupon_not_voidable"


def test_the_months_are_listed_with_what_is_archived_of_them():
    campaign = closed_campaign(coupons=2)
    CampaignFactory.create()
    archive(closed_campaign(coupons=3), size=1)
    assert run() == f"{month_of(campaign)}: 2 campaigns, 1 archived, 5 coupons\n"


def test_held_coupons_are_not_looked_for_in_the_archive():
    archive(closed_campaign(coupons=2))
    staff = client_of(SuperuserFactory.create())
    with CaptureQueriesContext(connection) as queries:
        assert staff.get("/coupons?status=held").json()["results"] == []
    assert not [query["sql"] for query in queries if "coupons_archivedcoupon" in query["sql"]]


def test_a_campaign_of_which_nothing_moves_is_not_marked_and_may_open_again():
    campaign = closed_campaign(coupons=2)
    Coupon.objects.update(expires_at=timezone.now() + timedelta(days=1))
    assert archive(campaign) == moving.Batch(0, 2)
    assert Campaign.objects.get().archived_at is None
    campaigns.change(campaign_id=campaign.pk, closes_at=timezone.now() + timedelta(days=1))


def test_codes_of_archived_coupons_are_not_added_to_a_pool():
    campaign = closed_campaign(coupons=2)
    archive(campaign)
    [code, other] = sorted(codes(campaign)[1])
    of_pool = CampaignFactory.create(code_source="pool")
    assert pool.add(campaign_id=of_pool.pk, codes=[code, "NEW"]).added == 1
    with pytest.raises(Rejected, match="exists already"):
        pool.rename(campaign_id=of_pool.pk, code="NEW", to=other)


def test_a_campaign_that_can_not_be_moved_is_left_and_the_others_are():
    broken_one, other = closed_campaign(coupons=2), closed_campaign(coupons=3)
    archive(broken_one, size=1)
    ArchivedCoupon.objects.update(code=Coupon.objects.get(campaign=broken_one).code)
    with pytest.raises(CommandError, match="1 campaigns were left"):
        run("--month", month_of(other))
    assert ArchivedCoupon.objects.filter(campaign=other).count() == 3
    assert Coupon.objects.filter(campaign=broken_one).count() == 1


@pytest.mark.parametrize("damage", ["code of a pool", "lost", "twice", "unmarked", "renumbered"])
def test_the_audit_names_the_campaign_of_a_coupon_that_is_lost_or_in_both_places(damage: str):
    campaign = closed_campaign(coupons=4)
    archive(campaign, size=2)
    assert broken() == {}
    one = ArchivedCoupon.objects.get(position=1)
    match damage:
        case "code of a pool":
            campaign = campaign_with_codes("pool")
            coupon_of(campaign)
            Coupon.objects.filter(campaign=campaign).update(code=one.code)
        case "lost":
            one.delete()
        case "twice":
            one.as_coupon().save(force_insert=True)
        case "unmarked":
            Campaign.objects.update(archived_at=None)
        case "renumbered":
            ArchivedCoupon.objects.filter(pk=one.pk).update(position=9)
    assert str(campaign.pk) in broken()["L2"]


def test_a_batch_that_would_leave_a_coupon_in_both_places_is_rolled_back(monkeypatch: pytest.MonkeyPatch):
    campaign = closed_campaign(coupons=3)
    monkeypatch.setattr(moving, "DELETE", moving.DELETE + " AND position > 1")
    with pytest.raises(moving.IncompleteMove):
        archive(campaign)
    assert (Coupon.objects.count(), ArchivedCoupon.objects.count()) == (3, 0)
