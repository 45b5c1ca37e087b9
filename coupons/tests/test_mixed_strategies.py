"""All strategies that need no Redis at once on one campaign: they stand on the same rows."""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

import pytest

from coupons import campaigns, issuing
from coupons.models import Coupon, PoolCode
from coupons.tests.factories import accounts, campaign_with_codes
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import asking, asking_by, told
from shop.errors import FirstcomeError
from shop.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ["group_commit", "pessimistic", "optimistic", "conditional_update"]
from_each_source = pytest.mark.parametrize("code_source", ["generated", "pool"])


@from_each_source
def test_all_of_them_at_once_issue_exactly_what_there_is(code_source: str) -> None:
    campaign = campaign_with_codes(code_source, quantity=50)

    outcomes = race(asking_by(NAMES, campaign.pk, accounts(90)))

    assert told(outcomes) == {"new": 50, "sold_out": 40}
    assert positions(campaign) == list(range(1, 51))
    assert broken() == {}


@from_each_source
def test_one_account_that_asks_by_all_of_them_at_once_gets_one_coupon(code_source: str) -> None:
    campaign = campaign_with_codes(code_source, quantity=10)

    outcomes = race(asking_by(NAMES, campaign.pk, accounts(1) * 40))

    assert told(outcomes) == {"new": 1, "again": 39}
    assert positions(campaign) == [1]
    assert PoolCode.objects.filter(status="issued").count() == (1 if code_source == "pool" else 0)
    assert broken() == {}


@from_each_source
def test_a_campaign_that_changes_its_strategy_under_load_stays_exact(code_source: str) -> None:
    campaign = campaign_with_codes(code_source, quantity=50)
    everyone = accounts(160)
    used: set[str] = set()

    def ask_one_after_the_other(part: list[int]) -> list[Any]:
        return [_outcome(one) for one in asking(campaign.pk, part)]

    def change_it() -> None:
        names = cycle(NAMES)
        while Coupon.objects.count() < 50:
            used.add(campaigns.change(campaign_id=campaign.pk, strategy=next(names)).strategy)
            issuing.forget()

    parts = [everyone[start::20] for start in range(20)]
    outcomes = race([*(partial(ask_one_after_the_other, part) for part in parts), change_it])

    assert told(one for part in outcomes[:-1] for one in part) == {"new": 50, "sold_out": 110}
    assert used == set(NAMES)
    assert positions(campaign) == list(range(1, 51))
    assert broken() == {}


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except FirstcomeError as error:
        return error
