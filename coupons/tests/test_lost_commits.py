"""Changes by staff whose COMMIT's answer is lost: they are done once, and reported as done."""

import pytest

from coupons import campaigns, issuing
from coupons.codes import pool
from coupons.models import Campaign, PoolCode
from coupons.tests.factories import CampaignFactory, add_codes, change, coupon_of
from coupons.tests.test_admin import new_form
from foundation.tests.factories import reloaded
from foundation.tests.journal_lines import times_noted
from foundation.tests.lost_replies import losing_reply_to_commit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("_loss")]


@pytest.fixture
def campaign():
    return CampaignFactory(code_source="pool", codes=["ONE", "TWO"])


@pytest.fixture
def coupon(campaign):
    return coupon_of(campaign)


@pytest.fixture
def _loss(coupon, operator, tmp_path):
    """Lose the answer to the test's first COMMIT; the campaign and the coupon exist before."""
    with losing_reply_to_commit(tmp_path) as is_lost:
        yield
        assert is_lost.is_set()


def test_a_created_campaign_is_returned_and_exists_once():
    made = campaigns.create(name="Drop", quantity=10, discount_type="amount", discount_value=1_000)
    assert Campaign.objects.get(name="Drop").pk == made.pk


def test_a_campaign_that_was_changed_counts_one_change(campaign):
    before = reloaded(campaign).version
    assert change(campaign, name="Other").name == "Other"
    assert reloaded(campaign).version == before + 1


def test_a_voided_coupon_is_not_refused_as_unvoidable(coupon):
    assert issuing.void(code=coupon.code, reason="A mistake.").status == "void"
    assert times_noted("coupon.void") == 1


def test_a_renamed_code_is_not_refused_as_just_renamed(campaign):
    assert pool.rename(campaign_id=campaign.pk, code="TWO", to="THREE").code == "THREE"
    assert PoolCode.objects.filter(code="THREE").exists()


def test_added_codes_are_not_reported_as_skipped(campaign):
    added = add_codes(campaign, "FOUR", "FIVE")
    assert (added.added, added.skipped, added.total) == (2, [], 4)


def test_codes_that_were_generated_are_counted(campaign):
    made = pool.generate(campaign_id=campaign.pk, count=3)
    assert (made.added, made.total) == (3, 5)
    assert PoolCode.objects.filter(campaign=campaign).count() == 5


def test_a_campaign_created_on_the_admin_page_exists_once(operator):
    """In a transaction of Django the page would report an error, and a retry create a second campaign."""
    done = operator.post("/admin/coupons/campaign/add/", new_form())
    assert done.status_code == 302, done.context["adminform"].form.errors
    assert Campaign.objects.filter(name="Drop").count() == 1
