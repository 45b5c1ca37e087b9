"""One function decides whether an account may get a new coupon, and every strategy follows it.

The tests add a made-up rule to that function alone, `Applicants.refusal`: an account is barred from all
campaigns. Each strategy must refuse it with the rule's own code, also where the process remembers that the
campaign is sold out.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from coupons import remembered
from coupons.allocation import eligibility
from coupons.allocation.eligibility import Applicants
from coupons.allocation.writes import Issued, IssueRequest
from coupons.issuing import issuing
from coupons.models import Campaign, Coupon, EligibleAccount, QueueTicket
from coupons.queue import worker
from coupons.tests.factories import TWO_STRATEGIES, accounts, campaign_with_strategy
from coupons.tests.laws import broken
from coupons.tests.outcomes import issue, refused
from shop.db import transactions
from shop.errors import Rejected
from shop.tests.case_tables import in_one_test
from shop.tests.clients import client_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("in_the_lab")]
PAUSED_AT = datetime(2026, 11, 20, tzinfo=UTC)
by_each_strategy = pytest.mark.parametrize("strategy", list(issuing.STRATEGIES))
by_two_strategies = pytest.mark.parametrize("strategy", TWO_STRATEGIES)


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Adds a rule to the decision: this account is refused, before anything else is."""
    decide = Applicants.refusal
    barred: set[int] = set()

    def refusal(applicants: Applicants, user_id: int) -> Rejected | None:
        if user_id in barred:
            return Rejected("This account is barred.", code="account_barred")
        return decide(applicants, user_id)

    monkeypatch.setattr(Applicants, "refusal", refusal)
    return barred.add


@by_each_strategy
def test_a_refused_account_gets_neither_coupon_nor_slot_nor_code(strategy, bar):
    campaign, [barred, other] = campaign_with_strategy(strategy, quantity=1), accounts(2)
    bar(barred)

    assert refused(campaign, barred) == "account_barred"

    assert issue(campaign, other).coupon.account_id == other
    assert list(Coupon.objects.values_list("account_id", flat=True)) == [other]
    assert not QueueTicket.objects.filter(account_id=barred).exists()
    assert broken() == {}


@by_two_strategies
def test_a_refused_account_gets_its_own_refusal_from_a_sold_out_campaign(strategy, bar):
    campaign, [barred, owner, late] = campaign_with_strategy(strategy, quantity=1), accounts(3)
    issue(campaign, owner)
    bar(barred)

    assert refused(campaign, barred) == "account_barred"
    assert refused(campaign, late) == "sold_out"
    # From here on the process remembers that the campaign is sold out.
    assert refused(campaign, barred) == "account_barred"
    assert refused(campaign, late) == "sold_out"


@by_two_strategies
def test_a_repeat_returns_the_existing_coupon_of_an_account_that_is_refused_by_now(strategy, bar):
    campaign, [owner, late] = campaign_with_strategy(strategy, quantity=1), accounts(2)
    first = issue(campaign, owner)
    bar(owner)

    before = issuing.issue(campaign_id=campaign.pk, user_id=owner)
    assert refused(campaign, late) == "sold_out"
    from_memory = issuing.issue(campaign_id=campaign.pk, user_id=owner)

    for repeat in (before, from_memory):
        assert isinstance(repeat, Issued)
        assert (repeat.coupon.code, repeat.is_new) == (first.coupon.code, False)


def test_a_refused_request_takes_no_slot_from_the_others_of_its_batch(bar):
    campaign, [barred, first, second] = campaign_with_strategy("group_commit", quantity=2), accounts(3)
    bar(barred)
    requests = [IssueRequest(user_id) for user_id in (barred, first, barred, second)]

    results = transactions.run(
        lambda: eligibility.lock_and_allocate(campaign_id=campaign.pk, requests=requests), transactions.KEYED
    )

    codes = [result.code if isinstance(result, Rejected) else "new" for result in results]
    assert codes == ["account_barred", "new", "account_barred", "new"]


def test_a_ticket_whose_account_is_refused_before_its_turn_fails(bar):
    campaign, [barred, other] = campaign_with_strategy("queue", quantity=5), accounts(2)
    for user_id in (barred, other):
        issuing.issue(campaign_id=campaign.pk, user_id=user_id)
    bar(barred)

    worker.serve_once()

    statuses = dict(QueueTicket.objects.values_list("account_id", "status"))
    assert statuses == {barred: "failed", other: "issued"}
    assert broken() == {}


@in_one_test(
    "terms",
    [
        {},
        {"scheduled": True},
        {"closed": True},
        {"quantity": 1, "issued": 1},
        {"paused_at": PAUSED_AT},
        {"paused_at": PAUSED_AT, "closed": True},
        {"eligible": "listed"},
        {"eligible": "listed", "quantity": 1, "issued": 1},
    ],
)
def test_the_conditions_on_the_row_match_where_nothing_is_refused(terms):
    now = timezone.now()
    campaign, [listed, other] = campaign_with_strategy("conditional_update", **terms), accounts(2)
    EligibleAccount.objects.create(campaign=campaign, account_id=listed)

    for user_id in (listed, other):
        rules = eligibility.issues_at(now), eligibility.lets_in(user_id)
        is_matched = Campaign.objects.filter(*rules, pk=campaign.pk).exists()
        assert is_matched is (Applicants(campaign, [user_id], now=now).refusal(user_id) is None)
    is_paused = Campaign.objects.filter(eligibility.is_paused(now), pk=campaign.pk).exists()
    assert is_paused is (campaign.status_at(now) == Campaign.Status.PAUSED)


def test_the_api_refuses_by_the_same_decision_in_a_batch_and_once_it_is_sold_out(bar):
    campaign, [barred, owner, late] = campaign_with_strategy("group_commit", quantity=1), accounts(3)
    bar(barred)

    def answer(user_id: int) -> Any:
        response = client_of(User.objects.get(pk=user_id)).post("/coupons", {"campaign": campaign.pk})
        return response.json().get("code") if response.status_code == 409 else response.status_code

    assert answer(barred) == "account_barred"
    assert [answer(owner), answer(late), answer(barred)] == [201, "sold_out", "account_barred"]
    assert remembered.campaign(campaign.pk).recent().remaining == 0
    assert [answer(late), answer(barred)] == ["sold_out", "account_barred"]
    bar(owner)
    assert answer(owner) == 200
