"""All strategies that need no Redis, at once on one campaign: they use the same rows."""

from functools import partial
from typing import Any

import pytest

from coupons import campaigns
from coupons.issuing import issuing
from coupons.models import PoolCode
from coupons.tests.factories import accounts, campaign_with_codes
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import count_outcomes, issue_calls, issue_calls_by, outcome_of
from shop.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ["group_commit", "pessimistic", "optimistic", "conditional_update"]
from_each_source = pytest.mark.parametrize("code_source", ["generated", "pool"])


@from_each_source
def test_all_of_them_at_once_issue_exactly_the_quantity(code_source: str) -> None:
    campaign = campaign_with_codes(code_source, quantity=50)

    outcomes = race(issue_calls_by(NAMES, campaign.pk, accounts(90)))

    assert count_outcomes(outcomes) == {"new": 50, "sold_out": 40}
    assert positions(campaign) == list(range(1, 51))
    assert broken() == {}


@from_each_source
def test_one_account_gets_one_coupon_from_all_of_them_at_once(code_source: str) -> None:
    campaign = campaign_with_codes(code_source, quantity=10)

    outcomes = race(issue_calls_by(NAMES, campaign.pk, accounts(1) * 40))

    assert count_outcomes(outcomes) == {"new": 1, "again": 39}
    assert positions(campaign) == [1]
    assert PoolCode.objects.filter(status="issued").count() == (1 if code_source == "pool" else 0)
    assert broken() == {}


@from_each_source
def test_a_campaign_that_changes_its_strategy_under_load_stays_exact(code_source: str) -> None:
    """Each thread changes the strategy before each of its requests."""
    campaign = campaign_with_codes(code_source, quantity=50)
    everyone = accounts(120)

    def change_and_ask(first: int) -> list[Any]:
        outcomes = []
        for number, asks in enumerate(issue_calls(campaign.pk, everyone[first::20])):
            campaigns.change(campaign_id=campaign.pk, strategy=NAMES[(first + number) % len(NAMES)])
            issuing.forget()
            outcomes.append(outcome_of(asks))
        return outcomes

    outcomes = race([partial(change_and_ask, first) for first in range(20)])

    assert count_outcomes(one for part in outcomes for one in part) == {"new": 50, "sold_out": 70}
    assert positions(campaign) == list(range(1, 51))
    assert broken() == {}
