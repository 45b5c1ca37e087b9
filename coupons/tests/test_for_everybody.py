"""Campaigns for everybody: without a quantity, one coupon an account, and never sold out."""

from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from accounts.tests.clients import faults
from coupons import campaigns, issuing
from coupons.campaigns import STRATEGIES_FOR_EVERYBODY
from coupons.metrics import state
from coupons.models import Campaign, Coupon
from coupons.strategies import redis_gate
from coupons.tests.factories import CampaignFactory, accounts, campaign_with_strategy
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import count_outcomes, issue, issue_calls, outcome_of, refusal, refused
from coupons.tests.test_campaigns_api import NEW
from coupons.tests.test_sold_out import (
    ISSUE_ON_INPUT,
    SOON,
    asked,
    full_campaign,
    issue_elsewhere,
    seen_sold_out,
)
from foundation.tests.journal_lines import journal_line
from foundation.tests.racing import race_each, wait_until
from foundation.tests.second_process import another_process, starts_another_process

pytestmark = pytest.mark.django_db(transaction=True)
UNSUITED = [name for name in issuing.STRATEGIES if name not in {*STRATEGIES_FOR_EVERYBODY, "unsafe"}]
LOCKS_IN_REDIS = ["spin_lock", "fair_lock"]
"""They take ten seconds: `make verify` runs them."""
by_each_strategy = pytest.mark.parametrize("strategy", STRATEGIES_FOR_EVERYBODY)
by_each_unsuited = pytest.mark.parametrize("strategy", UNSUITED)


def for_everybody(**columns) -> Campaign:
    return CampaignFactory(quantity=None, **columns)


def source_of(strategy: str) -> str:
    return "pool" if strategy == "code_pool" else "generated"


def asked_in_turn(campaign, user_ids: list[int]) -> list[Any]:
    return [outcome_of(call) for call in issue_calls(campaign.pk, user_ids)]


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in LOCKS_IN_REDIS else [])
        for name in STRATEGIES_FOR_EVERYBODY
    ],
)
def test_500_accounts_that_ask_twice_at_once_get_500_coupons(strategy):
    """From 100 threads, because each has a connection to the database."""
    campaign, everyone = for_everybody(strategy=strategy), accounts(500)
    parts = [everyone[first::50] for first in range(50)]

    answers = race_each(partial(asked_in_turn, campaign), parts * 2)

    outcomes = [outcome for answer in answers for outcome in answer]
    assert count_outcomes(outcomes) == {"new": 500, "again": 500}
    assert len({outcome.coupon.code for outcome in outcomes}) == 500
    assert positions(campaign) == list(range(1, 501))


@pytest.mark.usefixtures("in_the_lab", "unlawful")
def test_the_control_issues_it_too():
    campaign = for_everybody(strategy="unsafe")
    assert [issue(campaign, one).is_new for one in accounts(2)] == [True, True]


def test_the_api_creates_and_shows_one(staff, anon):
    made = staff.post("/campaigns", NEW | {"quantity": None})

    assert made.status_code == 201
    shown = anon.read(f"/campaigns/{made.json()['id']}")
    assert [shown[name] for name in ("quantity", "remaining", "issued", "status")] == [None, None, 0, "open"]
    created = journal_line("campaign.created")
    assert (created.after or {})["quantity"] is None


def test_the_quantity_has_to_be_given(staff):
    without = {name: value for name, value in NEW.items() if name != "quantity"}

    assert faults(staff.post("/campaigns", without)) == [("quantity", "required")]
    assert not Campaign.objects.exists()


@by_each_unsuited
def test_a_strategy_that_needs_a_number_refuses_a_new_one_at_the_quantity(strategy, staff):
    asked_for = NEW | {"quantity": None, "strategy": strategy, "code_source": source_of(strategy)}

    assert faults(staff.post("/campaigns", asked_for)) == [("quantity", "number_required")]
    assert not Campaign.objects.exists()


@by_each_strategy
def test_a_pool_is_refused_at_the_quantity_with_every_strategy_and_a_shared_code_goes_with_some(
    strategy, staff
):
    asked_for = NEW | {"quantity": None, "strategy": strategy}

    pooled = staff.post("/campaigns", asked_for | {"code_source": "pool"})
    shared = staff.post("/campaigns", asked_for | {"code_source": "shared", "shared_code": "AUTUMN-2026"})

    assert faults(pooled) == [("quantity", "number_required")]
    assert shared.status_code == (201 if strategy in campaigns.STRATEGIES_OF_SHARED_CODES else 400)


@by_each_unsuited
def test_a_campaign_that_needs_a_number_keeps_it(strategy, staff):
    campaign = campaign_with_strategy(strategy)

    change = staff.patch(f"/campaigns/{campaign.pk}", {"quantity": None})

    assert faults(change) == [("quantity", "number_required")]
    campaign.refresh_from_db()
    assert (campaign.quantity, campaign.strategy) == (100, strategy)


@by_each_unsuited
def test_a_campaign_for_everybody_refuses_its_strategy_at_the_strategy(strategy, staff):
    campaign = for_everybody()

    change = staff.patch(f"/campaigns/{campaign.pk}", {"strategy": strategy})

    assert ("strategy", "not_for_everybody") in faults(change)
    campaign.refresh_from_db()
    assert (campaign.quantity, campaign.strategy) == (None, "group_commit")


def test_a_campaign_for_everybody_refuses_a_pool_at_the_quantity(staff):
    campaign = for_everybody()

    change = staff.patch(f"/campaigns/{campaign.pk}", {"code_source": "pool"})

    assert faults(change) == [("quantity", "number_required")]


def test_strategy_and_quantity_change_together(staff):
    campaign = campaign_with_strategy("queue")
    path = f"/campaigns/{campaign.pk}"

    opened = staff.patch(path, {"quantity": None, "strategy": "fair_lock"})
    bounded = staff.patch(path, {"quantity": 7, "strategy": "redis_gate"})

    assert (opened.status_code, opened.json()["quantity"]) == (200, None)
    assert (bounded.status_code, bounded.json()["remaining"]) == (200, 7)


@starts_another_process
def test_a_sold_out_campaign_opens_for_everybody_and_ends_again_in_all_processes():
    first, *others = accounts(6)
    campaign = full_campaign(first)
    change = partial(campaigns.change, campaign_id=campaign.pk)
    with another_process(ISSUE_ON_INPUT) as process:
        assert issue_elsewhere(process, campaign, others[0])[0] == "sold_out"
        seen_sold_out(campaign, others[0])

        change(quantity=None)

        assert asked(campaign.pk, others[0])[0] == "new"
        wait_until(lambda: issue_elsewhere(process, campaign, others[1])[0] == "new", seconds=SOON)
        assert refusal(partial(change, quantity=2)) == "quantity_below_issued"

        change(quantity=3)

        assert asked(campaign.pk, others[2])[0] == "sold_out"
        wait_until(lambda: issue_elsewhere(process, campaign, others[2])[0] == "sold_out", seconds=SOON)

        change(quantity=None)

        assert asked(campaign.pk, others[2])[0] == "new"
        wait_until(lambda: issue_elsewhere(process, campaign, others[3])[0] == "new", seconds=SOON)
    assert positions(campaign) == [1, 2, 3, 4, 5]


def test_a_process_that_still_asks_the_gate_of_one_that_is_for_everybody_by_now_issues():
    """For a second it remembers the strategy of before."""
    campaign, [owner, late, later] = CampaignFactory(strategy="redis_gate", quantity=1), accounts(3)
    issue(campaign, owner)
    assert refused(campaign, late) == "sold_out"

    campaigns.change(campaign_id=campaign.pk, quantity=None, strategy="group_commit")

    with capture_logs() as logged:
        for account in (late, later):
            assert redis_gate.issue(campaign_id=campaign.pk, user_id=account).is_new
    assert "redis refused a call" not in [line["event"] for line in logged]
    campaigns.change(campaign_id=campaign.pk, quantity=3, strategy="redis_gate")
    assert refused(campaign, accounts(1)[0]) == "sold_out"
    assert positions(campaign) == [1, 2, 3]


def test_it_is_running_and_has_no_quantity_in_the_metrics():
    campaign = for_everybody()
    issue(campaign, accounts(1)[0])

    shown = state.read_running()

    assert (shown[state.QUANTITY], shown[state.ISSUED]) == ({}, {str(campaign.pk): 1})
    assert (campaigns.running().count(), state.duplicates()) == (1, 0)


def test_l1_names_one_whose_count_is_wrong(unlawful):
    campaign, sound = for_everybody(), for_everybody()
    for account in accounts(3):
        issue(campaign, account)
        issue(sound, account)
    assert broken() == {}

    Coupon.objects.filter(campaign=campaign, position=3).delete()

    assert broken()["L1"] == [str(campaign.pk)]


@pytest.mark.parametrize(("position", "moved_to"), [(3, 4), (1, 0), (2, None)])
def test_l2_names_one_with_a_gap(position, moved_to, unlawful):
    campaign = for_everybody()
    for account in accounts(3):
        issue(campaign, account)

    Coupon.objects.filter(campaign=campaign, position=position).update(position=moved_to)

    assert broken() == {"L2": [str(campaign.pk)]}
