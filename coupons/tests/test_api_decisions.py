"""What the API answers about campaigns and coupons where the contract leaves it open."""

import pytest

from accounts.tests.clients import client_of, new_customer, problem_of
from coupons import issuing
from coupons.models import Coupon, QueueTicket
from coupons.queue import worker
from coupons.tests.factories import TWO_STRATEGIES, CampaignFactory, campaign_with_strategy, change
from coupons.tests.own_partner import NAME, partner_that
from foundation.tests.factories import AccountFactory
from foundation.tests.instants import ago, from_now

pytestmark = pytest.mark.django_db(transaction=True)
BY_A_COUPON_OR_A_TICKET = pytest.mark.parametrize("strategy", [*TWO_STRATEGIES, "code_pool", "queue"])


def ask(api, campaign, **more: int):
    return api.post("/coupons", {"campaign": campaign.pk} | more)


def shown(campaign) -> tuple[str, int, int]:
    body = client_of().read(f"/campaigns/{campaign.pk}")
    return body["status"], body["issued"], body["remaining"]


@BY_A_COUPON_OR_A_TICKET
def test_a_pool_that_sold_out_before_its_quantity_opens_again_with_more_codes(strategy, user, staff):
    campaign = CampaignFactory(strategy=strategy, code_source="pool", quantity=3, codes=1)
    ask(new_customer(), campaign)
    worker.serve_once()
    assert problem_of(ask(user, campaign)) == (409, "sold_out")
    assert shown(campaign) == ("sold_out", 1, 0)

    assert staff.post(f"/campaigns/{campaign.pk}/codes", {"count": 9}).status_code == 201

    assert shown(campaign) == ("open", 1, 2)
    assert ask(user, campaign).status_code == (202 if strategy == "queue" else 201)
    worker.serve_once()
    assert shown(campaign) == ("open", 2, 1)


EACH_STRATEGY = pytest.mark.parametrize(
    "strategy", [name for name in issuing.STRATEGIES if name not in issuing.LAB_ONLY]
)


@EACH_STRATEGY
def test_a_pool_that_never_had_a_code_is_not_sold_out_but_awaits_codes(strategy, user, staff):
    campaign = CampaignFactory(strategy=strategy, code_source="pool", quantity=70_000)
    for _ in range(2):
        assert problem_of(ask(user, campaign)) == (409, "campaign_not_open")
    assert shown(campaign) == ("awaiting_codes", 0, 0)
    listed = client_of().rows("/campaigns")
    assert [(one["status"], one["remaining"]) for one in listed] == [("awaiting_codes", 0)]

    assert staff.post(f"/campaigns/{campaign.pk}/codes", {"codes": ["SPRING-1"]}).status_code == 201

    assert shown(campaign) == ("open", 0, 1)
    assert ask(user, campaign).status_code == (202 if strategy == "queue" else 201)
    worker.serve_once()
    assert shown(campaign) == ("sold_out", 1, 0)


def test_a_void_code_of_a_pool_is_not_issued_again_and_does_not_count_as_remaining(user, staff):
    campaign = CampaignFactory(code_source="pool", quantity=5, codes=2)
    code = ask(user, campaign).json()["code"]

    assert staff.post(f"/coupons/{code}/void", {"reason": "stolen"}).status_code == 200

    assert shown(campaign) == ("open", 1, 1)
    assert ask(staff, campaign).status_code == 201
    assert shown(campaign) == ("sold_out", 2, 0)


def test_issuing_to_an_account_that_does_not_exist_is_404_and_takes_no_coupon(staff):
    campaign = CampaignFactory()
    disabled = AccountFactory(is_active=False)

    for user_id in (10**9, disabled.pk):
        answer = ask(staff, campaign, user=user_id)
        assert problem_of(answer) == (404, "not_found")
        assert answer.json()["detail"] == f"There is no active account {user_id}."
    assert problem_of(staff.post("/coupons", {"campaign": 10**9, "user": 10**9})) == (404, "not_found")
    assert shown(campaign) == ("open", 0, 100)


@BY_A_COUPON_OR_A_TICKET
def test_a_request_before_the_campaign_opens_is_409_with_the_seconds_until_then_and_gets_no_ticket(
    strategy, user
):
    answer = ask(user, campaign_with_strategy(strategy, opens_at=from_now(hours=1)))

    assert problem_of(answer) == (409, "campaign_not_open")
    assert 3_500 < int(answer["Retry-After"]) <= 3_600
    assert not QueueTicket.objects.exists()
    assert not Coupon.objects.exists()


def test_a_request_after_a_failed_ticket_draws_a_new_one_at_the_end_of_the_queue(
    user, account, tmp_path, settings
):
    campaign = CampaignFactory(strategy="queue", partner=NAME)
    with partner_that("--failure-rate", "1", folder=tmp_path, settings=settings):
        failed = ask(user, campaign)
        worker.serve_once()
    assert user.read(failed["Location"]) == failed.json() | {"status": "failed"}
    with partner_that(folder=tmp_path, settings=settings):
        assert ask(new_customer(), campaign).json()["ahead"] == 0

        again = ask(user, campaign)

        assert (again.status_code, again.json()["status"], again.json()["ahead"]) == (202, "waiting", 1)
        assert again["Location"] != failed["Location"]
        worker.serve_once()
    assert user.read(again["Location"])["status"] == "issued"
    assert user.read(failed["Location"])["status"] == "failed"
    assert ask(user, campaign).status_code == 200


def test_a_request_after_a_failed_ticket_is_refused_while_the_campaign_issues_nothing(user):
    campaign = CampaignFactory(strategy="queue")
    failed = ask(user, campaign)
    change(campaign, closes_at=ago(seconds=1))
    worker.serve_once()

    assert user.read(failed["Location"])["status"] == "failed"
    assert problem_of(ask(user, campaign)) == (409, "campaign_closed")
    assert QueueTicket.objects.count() == 1
