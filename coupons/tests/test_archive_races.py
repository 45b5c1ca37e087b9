"""Archiving beside other archiving, restoring, requests and changes of the campaign, and killed meanwhile."""

import threading
import time
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.utils import timezone

from coupons import audit, campaigns
from coupons.archive import coupon_lists, months, moving
from coupons.issuing import issuing
from coupons.models import ArchivedCoupon, Campaign, Coupon
from coupons.tests.archives import archive, closed_campaign, codes, month_of
from coupons.tests.laws import broken
from shop.db import bulk_sql, pacing
from shop.errors import Rejected
from shop.tests.racing import race, wait_until
from shop.tests.second_process import another_process

pytestmark = pytest.mark.django_db(transaction=True)
QUICK = pacing.Pace(size=7, share=1)
ARCHIVE_SLOWLY = """
from django.core.management import call_command

print("ready", flush=True)
call_command("archive_coupons", "--month", sys.argv[1], "--batch", "1", "--share", "0.3")
"""


def archive_all(campaign: Campaign) -> int:
    return sum(moved.coupons for moved in months.archive(month_of(campaign), pace=QUICK))


def restore_all(campaign: Campaign) -> int:
    return sum(moved.coupons for moved in months.restore(month_of(campaign), pace=QUICK))


def open_again(campaign: Campaign) -> None:
    campaigns.change(campaign_id=campaign.pk, closes_at=timezone.now() + timedelta(days=1))


def test_four_that_archive_at_once_move_each_coupon_once():
    campaign = closed_campaign(coupons=60)
    moved = race([lambda: archive_all(campaign)] * 4)
    assert sum(moved) == 60
    assert codes(campaign)[0] == set()
    assert broken() == {}


def test_archiving_against_restoring_leaves_each_coupon_in_one_place_and_every_law_holds_meanwhile():
    campaign = closed_campaign(coupons=60)
    every = codes(campaign)[0]

    def check() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for _ in range(15):
            for report in (audit.issued_is_counted(), audit.one_each_in_order()):
                found |= {} if report.holds else {report.law: report.offenders}
        return found

    outcomes = race([lambda: archive_all(campaign), lambda: restore_all(campaign)] * 3 + [check])
    assert outcomes[-1] == {}
    assert all(isinstance(moved, int) for moved in outcomes[:-1])
    there, archived = codes(campaign)
    assert there | archived == every
    assert not there & archived
    assert broken() == {}


def test_each_account_gets_its_one_coupon_while_it_moves():
    campaign = closed_campaign(coupons=40)
    owners = dict(Coupon.objects.values_list("account_id", "code"))

    def ask() -> list[str]:
        return [issuing.issue(campaign_id=campaign.pk, user_id=id).coupon.code for id in owners]

    *_, first, second = race([lambda: archive_all(campaign), lambda: restore_all(campaign), ask, ask])
    assert first == second == list(owners.values())
    assert broken() == {}


def test_each_coupon_is_listed_once_while_it_moves():
    campaign = closed_campaign(coupons=40)
    ids = list(Coupon.objects.order_by("-pk").values_list("pk", flat=True))
    rows = coupon_lists.find().order_by("-id")

    def read_lists() -> list[list[int]]:
        return [[coupon.pk for coupon in rows[0:50]] for _ in range(60)]

    moves = [lambda: archive_all(campaign), lambda: restore_all(campaign)]
    *_, first, second = race([*moves * 2, read_lists, read_lists])
    assert [listed for listed in first + second if listed != ids] == []
    assert broken() == {}


def test_a_campaign_is_archived_or_opened_again_and_never_both():
    outcomes = set()
    for _ in range(8):
        campaign = closed_campaign(coupons=3)
        archived, opened = race([partial(archive, campaign), partial(open_again, campaign)])
        there, moved = codes(campaign)
        if isinstance(opened, Rejected):
            assert (opened.code, len(moved)) == ("campaign_has_coupons", 3)
        else:
            assert (archived.moved, len(there)) == (0, 3)
        outcomes.add(type(opened).__name__)
        assert broken() == {}
    assert outcomes


@pytest.mark.boots("another process of the shop")
@pytest.mark.first_circle
def test_a_process_killed_at_any_moment_leaves_each_coupon_in_one_place_and_the_next_one_ends_it():
    campaign = closed_campaign(coupons=120)
    every = codes(campaign)[0]
    for kill in range(3):
        least = ArchivedCoupon.objects.count() + 5 + 7 * kill
        with another_process(ARCHIVE_SLOWLY, month_of(campaign)) as process:
            wait_until(lambda most=least: ArchivedCoupon.objects.count() >= most, seconds=60)
            process.kill()
            process.wait()
        there, archived = codes(campaign)
        assert there | archived == every
        assert not there & archived
        assert there
        assert broken() == {}
    archive_all(campaign)
    assert codes(campaign) == (set(), every)
    assert broken() == {}


def test_copied_and_deleted_by_two_transactions_a_crash_leaves_coupons_in_both_places():
    campaign = closed_campaign(coupons=3)
    ids = list(Coupon.objects.values_list("pk", flat=True))
    Campaign.objects.update(archived_at=timezone.now())
    columns = ", ".join(field.column for field in ArchivedCoupon._meta.concrete_fields)
    copy = moving.MOVE.format(
        source="coupons_coupon",
        target="coupons_archivedcoupon",
        columns=columns,
        ids=bulk_sql.integer_list(ids),
    )
    with connection.cursor() as cursor:
        cursor.execute(copy)
    assert str(campaign.pk) in broken()["L1"]
    assert str(campaign.pk) in broken()["L2"]


def test_a_batch_gives_up_while_an_order_has_its_coupon_and_the_next_attempt_moves_it(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(pacing, "PAUSE_SECONDS", 0.1)
    campaign = closed_campaign(coupons=3)
    attempts: list[float] = []
    wait_briefly = pacing._wait_briefly_for_locks

    def count_attempt() -> None:
        attempts.append(time.monotonic())
        wait_briefly()

    monkeypatch.setattr(pacing, "_wait_briefly_for_locks", count_attempt)
    is_held = threading.Event()

    def hold_the_row() -> None:
        with transaction.atomic():
            Coupon.objects.select_for_update().get(campaign=campaign, position=2)
            is_held.set()
            wait_until(lambda: len(attempts) > 1, seconds=30)

    def archive_then() -> int:
        assert is_held.wait(30)
        return archive_all(campaign)

    assert race([hold_the_row, archive_then]) == [None, 3]
    assert broken() == {}
