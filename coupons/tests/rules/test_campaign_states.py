"""A campaign's state and limits, by values alone."""

from datetime import timedelta

import pytest

from coupons import eligibility
from coupons.tests.rules.states import MOMENT, NOW, campaign

pytestmark = pytest.mark.rules
EARLIER = NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("quantity", "codes_added", "capacity"),
    [
        pytest.param(None, None, None, id="for everybody"),
        pytest.param(100, None, 100, id="codes are made for it"),
        pytest.param(100, 40, 40, id="its pool has fewer codes"),
        pytest.param(40, 100, 40, id="its pool has more codes"),
        pytest.param(100, 0, 0, id="its pool is empty"),
    ],
)
def test_a_campaign_can_issue_its_quantity_as_far_as_it_has_codes(quantity, codes_added, capacity):
    assert eligibility.capacity(quantity, codes_added) == capacity


@pytest.mark.parametrize(
    ("capacity", "taken", "remaining"),
    [
        pytest.param(None, 7, None, id="for everybody"),
        pytest.param(10, 0, 10, id="none is taken"),
        pytest.param(10, 7, 3, id="some are taken"),
        pytest.param(10, 10, 0, id="all are taken"),
    ],
)
def test_what_is_not_taken_is_left(capacity, taken, remaining):
    assert eligibility.remaining(capacity, taken) == remaining


@pytest.mark.parametrize(
    ("capacity", "taken", "number", "has_left"),
    [
        pytest.param(None, 10**9, 1, True, id="for everybody"),
        pytest.param(10, 8, 2, True, id="as many as are asked for"),
        pytest.param(10, 8, 1, True, id="more than are asked for"),
        pytest.param(10, 8, 3, False, id="fewer than are asked for"),
        pytest.param(10, 10, 1, False, id="none"),
    ],
)
def test_a_number_is_left_if_so_many_are_not_taken(capacity, taken, number, has_left):
    assert eligibility.has_left(capacity, taken, number) is has_left


@pytest.mark.parametrize(
    ("state", "status"),
    [
        pytest.param({}, "open", id="within its times, with slots left"),
        pytest.param({"opens_at": NOW}, "open", id="from its opening on"),
        pytest.param({"opens_at": NOW + MOMENT}, "scheduled", id="before its opening"),
        pytest.param({"closes_at": NOW + MOMENT}, "open", id="until its closing"),
        pytest.param({"closes_at": NOW}, "closed", id="from its closing on"),
        pytest.param({"paused_at": EARLIER}, "paused", id="paused"),
        pytest.param({"capacity": None}, "open", id="for everybody"),
        pytest.param({"taken": 9}, "open", id="one slot left"),
        pytest.param({"taken": 10}, "sold_out", id="no slot left"),
        pytest.param({"capacity": 0, "taken": 0}, "awaiting_codes", id="without a code so far"),
        # Of two states the one that ends last is told.
        pytest.param({"closes_at": NOW, "paused_at": EARLIER}, "closed", id="closed before paused"),
        pytest.param(
            {"paused_at": EARLIER, "opens_at": NOW + MOMENT}, "paused", id="paused before scheduled"
        ),
        pytest.param({"opens_at": NOW + MOMENT, "capacity": 0}, "scheduled", id="scheduled before no codes"),
        pytest.param({"paused_at": EARLIER, "taken": 10}, "paused", id="paused before sold out"),
    ],
)
def test_the_status_of_a_campaign(state, status):
    assert eligibility.status_at(campaign(**state), NOW) == status


@pytest.mark.parametrize(
    ("state", "code", "text"),
    [
        pytest.param({"closes_at": NOW}, "campaign_closed", "Autumn is closed.", id="closed"),
        pytest.param({"taken": 10}, "sold_out", "Autumn is sold out.", id="sold out"),
        pytest.param(
            {"capacity": 0, "taken": 0},
            "campaign_not_open",
            "Autumn has no codes yet. Try again later.",
            id="without codes",
        ),
        pytest.param(
            {"paused_at": EARLIER},
            "campaign_paused",
            "Autumn is paused: no coupons are issued for now. Try again later.",
            id="paused",
        ),
    ],
)
def test_a_campaign_that_issues_nothing_says_why(state, code, text):
    refused = eligibility.refusal_of_campaign(campaign(**state), NOW)

    assert refused is not None
    assert (refused.code, str(refused), refused.retry_after) == (code, text, None)


@pytest.mark.parametrize(
    ("before_opening", "seconds"),
    [
        pytest.param(timedelta(minutes=1), 60, id="whole seconds"),
        pytest.param(timedelta(seconds=1, microseconds=1), 2, id="a part of a second counts as one"),
    ],
)
def test_a_scheduled_campaign_says_when_it_opens(before_opening, seconds):
    opens_at = NOW + before_opening

    refused = eligibility.refusal_of_campaign(campaign(opens_at=opens_at), NOW)

    assert refused is not None
    assert (refused.code, refused.retry_after) == ("campaign_not_open", seconds)
    assert str(refused) == f"Autumn opens at {opens_at.isoformat()}."


def test_an_open_campaign_refuses_nothing():
    assert eligibility.refusal_of_campaign(campaign(), NOW) is None
