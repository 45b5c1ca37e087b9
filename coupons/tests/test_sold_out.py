"""Sold out: a refusal without a transaction, in every process, that is at most a second out of date."""

import json
import time
from functools import partial

import pytest
from django.db.models import F
from django.utils import timezone

from coupons import issuing, remembered
from coupons.models import Campaign
from coupons.tests.factories import accounts, add_codes, campaign_with_codes, change
from coupons.tests.laws import positions
from coupons.tests.outcomes import count_outcomes, issue, issue_calls, outcome_of
from foundation.tests.factories import set_columns
from foundation.tests.instants import from_now
from foundation.tests.racing import race_each, wait_until
from foundation.tests.second_connection import ask, holding
from foundation.tests.second_process import another_process, read_line, send, starts_another_process
from foundation.tests.statements import captured_statements
from foundation.tests.waiting import in_background, waiting_at, within

pytestmark = pytest.mark.django_db(transaction=True)
from_each_source = pytest.mark.parametrize("code_source", ["generated", "pool"])

# Longer than the second for which a process remembers; and that second on a busy machine.
OVER_A_SECOND, SOON = 1.1, 6.0
# The campaign and the account's coupon by one statement, without a lock and with it.
OWN_COUPON = "SELECT own coupon"
LOCKED = "SELECT campaign FOR UPDATE"

# Requests a coupon for each pair of numbers on its input, and prints the outcome and the statements.
ISSUE_ON_INPUT = """
import json
from coupons.tests.test_sold_out import asked
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(asked(*json.loads(line))), flush=True)
"""


@pytest.fixture
def requests():
    return accounts(5)


def full_campaign(owner: int, code_source="generated") -> Campaign:
    campaign = campaign_with_codes(code_source, codes=1, quantity=10 if code_source == "pool" else 1)
    issue(campaign, owner)
    return campaign


def asked(campaign_id: int, user_id: int) -> tuple[str, list[str]]:
    """The outcome of one request, and its statements, each shortened to its verb and its table."""
    with captured_statements() as captured:
        word = outcome_name(campaign_id, user_id)
    return word, [_in_short(statement) for statement in captured]


def outcome_name(campaign_id: int, user_id: int) -> str:
    [word] = count_outcomes([outcome_of(*issue_calls(campaign_id, [user_id]))])
    return word


def _in_short(statement):
    """`SELECT coupon` and the like."""
    if "(SELECT * FROM coupons_campaign" in statement:
        return LOCKED if "FOR UPDATE" in statement else OWN_COUPON
    for name in ("coupon", "poolcode", "campaign"):
        if f"FROM `coupons_{name}`" in statement:
            return f"SELECT {name}"
    return statement


def seen_sold_out(campaign, user_id: int):
    """It is refused, and the process remembers that."""
    assert asked(campaign.pk, user_id)[0] == "sold_out"
    assert remembered.campaign(campaign.pk).get().remaining <= 0


def forgotten_after(seconds: float):
    over = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > over)


def issue_elsewhere(process, campaign, user_id: int) -> tuple[str, list[str]]:
    send(process, json.dumps([campaign.pk, user_id]))
    return tuple(json.loads(read_line(process)))


@from_each_source
def test_a_refusal_from_memory_reads_only_the_accounts_coupon(code_source, requests, monkeypatch):
    monkeypatch.setattr(remembered, "SECONDS", 60.0)
    campaign = full_campaign(requests[0], code_source=code_source)

    _, first = asked(campaign.pk, requests[1])

    assert {"COMMIT", LOCKED} <= {*first}
    assert asked(campaign.pk, requests[1]) == ("sold_out", [OWN_COUPON])
    assert asked(campaign.pk, requests[2]) == ("sold_out", [OWN_COUPON])


def test_after_a_second_one_request_reads_for_all_concurrent_ones(monkeypatch):
    first, *everyone = accounts(41)
    campaign = full_campaign(first)
    seen_sold_out(campaign, everyone[0])
    forgotten_after(OVER_A_SECOND)
    monkeypatch.setattr(remembered.campaign(campaign.pk), "_seconds", 60.0)

    with captured_statements() as captured:
        words = race_each(partial(outcome_name, campaign.pk), everyone)

    statements = [_in_short(statement) for statement in captured]
    assert set(words) == {"sold_out"}
    assert statements.count("SELECT campaign") == 1
    assert set(statements) == {"SELECT campaign", OWN_COUPON}


@starts_another_process
def test_a_coupon_issued_by_another_process_is_returned_at_once_although_sold_out(requests, monkeypatch):
    """The process's memory may be a second old; an account's coupon is read for each request."""
    monkeypatch.setattr(remembered, "SECONDS", 60.0)
    campaign = full_campaign(requests[0])
    seen_sold_out(campaign, requests[1])
    with another_process(ISSUE_ON_INPUT) as process:
        Campaign.objects.update(quantity=2, version=F("version") + 1)
        assert issue_elsewhere(process, campaign, requests[1])[0] == "new"

    assert remembered.campaign(campaign.pk).get().remaining <= 0
    assert asked(campaign.pk, requests[1])[0] == "again"
    assert asked(campaign.pk, requests[2])[0] == "sold_out"


def test_concurrent_requests_are_refused_by_few_reads(monkeypatch):
    monkeypatch.setattr(remembered, "SECONDS", 60.0)
    owner, *everyone = accounts(65)
    campaign = full_campaign(owner)
    seen_sold_out(campaign, everyone[0])
    with (
        captured_statements() as captured,
        holding("LOCK TABLES coupons_coupon WRITE, coupons_campaign WRITE") as other,
    ):
        first = in_background(partial(outcome_name, campaign.pk, everyone[0]))
        wait_until(lambda: waiting_at("%coupons_campaign%") == 1)
        crowd = [in_background(partial(outcome_name, campaign.pk, user_id)) for user_id in everyone[1:]]
        wait_until(lambda: len(issuing.lookup_batcher(campaign.pk)._queue) == len(crowd))
        ask(other, "UNLOCK TABLES")
        words = [one.result(SOON) for one in (first, *crowd)]

    assert set(words) == {"sold_out"}
    assert [_in_short(statement) for statement in captured].count(OWN_COUPON) == 2


def test_a_sold_out_campaign_that_closes_is_refused_as_closed(requests, monkeypatch):
    campaign = full_campaign(requests[0])
    Campaign.objects.update(closes_at=from_now(seconds=3))
    seen_sold_out(campaign, requests[1])

    wait_until(lambda: asked(campaign.pk, requests[1])[0] == "campaign_closed", seconds=SOON)

    assert asked(campaign.pk, requests[0])[0] == "again"


@starts_another_process
@from_each_source
def test_more_coupons_or_codes_open_it_at_once_here_and_within_a_second_elsewhere(code_source, requests):
    campaign = full_campaign(requests[0], code_source=code_source)
    with another_process(ISSUE_ON_INPUT) as process:
        assert issue_elsewhere(process, campaign, requests[1])[0] == "sold_out"
        seen_sold_out(campaign, requests[1])
        assert issue_elsewhere(process, campaign, requests[1])[0] == "sold_out"

        if code_source == "pool":
            add_codes(campaign, "TWO", "THREE")
        else:
            change(campaign, quantity=3)

        assert asked(campaign.pk, requests[2])[0] == "new"
        wait_until(lambda: issue_elsewhere(process, campaign, requests[3])[0] == "new", seconds=SOON)
    assert positions(campaign) == [1, 2, 3]


@starts_another_process
def test_another_process_that_knows_older_terms_reads_the_database(requests):
    campaign = full_campaign(requests[0])
    with another_process(ISSUE_ON_INPUT) as process:
        assert issue_elsewhere(process, campaign, requests[1])[0] == "sold_out"
        forgotten_after(OVER_A_SECOND)
        change(campaign, closes_at=timezone.now())

        assert issue_elsewhere(process, campaign, requests[1])[0] == "campaign_closed"


def test_a_change_that_was_not_published_is_visible_within_a_second_of_the_read(requests):
    """A process killed after its commit publishes nothing, nor does a read from before that commit."""
    campaign = full_campaign(requests[0])
    seen_sold_out(campaign, requests[1])

    Campaign.objects.update(quantity=2)

    assert asked(campaign.pk, requests[1])[0] == "sold_out"
    wait_until(lambda: asked(campaign.pk, requests[1])[0] == "new", seconds=SOON)


def test_without_redis_it_all_holds_as_well(requests, own_redis):
    campaign = full_campaign(requests[0])
    own_redis.stop()

    seen_sold_out(campaign, requests[1])
    assert asked(campaign.pk, requests[1])[0] == "sold_out"
    assert asked(campaign.pk, requests[0])[0] == "again"
    change(campaign, quantity=2)
    assert asked(campaign.pk, requests[1])[0] == "new"
    assert asked(campaign.pk, requests[2])[0] == "sold_out"
    Campaign.objects.update(quantity=3)
    wait_until(lambda: asked(campaign.pk, requests[2])[0] == "new", seconds=SOON)


def test_a_pool_that_ran_out_first_refuses_all_while_the_campaign_can_hardly_be_read(monkeypatch, unlawful):
    """One request reads the campaign again, and no other waits for that."""
    first, *everyone = accounts(31)
    campaign = full_campaign(first, code_source="pool")
    set_columns(campaign, codes_added=5)
    shared, readings = remembered.campaign(campaign.pk), []
    read = shared._read

    def read_slowly():
        readings.append(time.monotonic())
        time.sleep(0.5)
        return read()

    monkeypatch.setattr(shared, "_read", read_slowly)
    monkeypatch.setattr(shared, "_seconds", 60.0)
    shared.forget()
    shared.get()
    with within(5):
        assert set(race_each(partial(outcome_name, campaign.pk), everyone)) == {"sold_out"}
    assert len(readings) < 10
