"""Who may get a new coupon: one function decides, every strategy follows it, and campaigns list accounts.

The first tests add a made-up rule to that function alone, `Applicants.refusal`: an account is barred from all
campaigns. Each strategy must refuse it with the rule's own code, also where the process remembers that the
campaign is sold out.
"""

from concurrent.futures import wait
from datetime import UTC, datetime
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.tests.clients import client_of, faults, new_customer, new_superuser, problem_of
from coupons import gate, issuing, remembered, rows
from coupons.allocation.allocating import Applicants
from coupons.allocation.outcomes import Issued
from coupons.codes import eligible_accounts
from coupons.models import Campaign, Coupon, EligibleAccount, QueueTicket
from coupons.queue import worker
from coupons.tests.factories import TWO_STRATEGIES, accounts, campaign_with_strategy, change
from coupons.tests.laws import positions
from coupons.tests.outcomes import allocated, issue, refused
from foundation.errors import Rejected
from foundation.models import JournalLine
from foundation.tests.case_tables import in_one_test
from foundation.tests.instants import ago
from foundation.tests.racing import race
from foundation.tests.waiting import in_background

pytestmark = pytest.mark.django_db(transaction=True)
PAUSED_AT = datetime(2026, 11, 20, tzinfo=UTC)
by_each_strategy = pytest.mark.parametrize("strategy", list(issuing.STRATEGIES))
by_two_strategies = pytest.mark.parametrize("strategy", TWO_STRATEGIES)


@pytest.fixture
def bar(monkeypatch):
    """Adds a rule to the decision: this account is refused, before anything else is."""
    decide = Applicants.refusal
    barred: set[int] = set()

    def refusal(applicants, user_id):
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


@by_two_strategies
def test_a_repeat_returns_the_existing_coupon_of_an_account_that_is_refused_by_now(strategy, bar):
    campaign, [owner, late] = campaign_with_strategy(strategy, quantity=1), accounts(2)
    first = issue(campaign, owner)
    bar(owner)

    before = issue(campaign, owner)
    assert refused(campaign, late) == "sold_out"
    from_memory = issue(campaign, owner)
    Campaign.objects.update(closes_at=ago(seconds=1))
    once_closed = issue(campaign, owner)

    for repeat in (before, from_memory, once_closed):
        assert isinstance(repeat, Issued)
        assert (repeat.coupon.code, repeat.is_new) == (first.coupon.code, False)


def test_a_refused_request_takes_no_slot_from_the_others_of_its_batch(bar):
    campaign, [barred, first, second] = campaign_with_strategy("group_commit", quantity=2), accounts(3)
    bar(barred)

    results = allocated(campaign, barred, first, barred, second)

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


@in_one_test(
    "terms",
    [
        {},
        {"scheduled": True},
        {"closed": True},
        {"quantity": 1, "issued": 1},
        {"quantity": 1, "confirming": 1},
        {"quantity": None, "issued": 1},
        {"paused_at": PAUSED_AT},
        {"paused_at": PAUSED_AT, "closed": True},
        {"eligible": "listed"},
        {"eligible": "listed", "quantity": 1, "issued": 1},
    ],
)
def test_the_conditions_on_the_row_match_where_nothing_is_refused(terms, unlawful):
    now = timezone.now()
    campaign, [listed, other] = campaign_with_strategy("conditional_update", **terms), accounts(2)
    EligibleAccount.objects.create(campaign=campaign, account_id=listed)

    for user_id in (listed, other):
        conditions = rows.issues_at(now), rows.lets_in(user_id)
        is_matched = Campaign.objects.filter(*conditions, pk=campaign.pk).exists()
        assert is_matched is (Applicants(campaign, [user_id], now=now).refusal(user_id) is None)
    is_paused = Campaign.objects.filter(rows.is_paused(now), pk=campaign.pk).exists()
    assert is_paused is (campaign.status_at(now) == Campaign.Status.PAUSED)


@by_two_strategies
def test_the_api_refuses_by_the_same_decision_in_a_batch_and_once_it_is_sold_out(strategy, bar):
    campaign, [barred, owner, late] = campaign_with_strategy(strategy, quantity=1), accounts(3)
    bar(barred)

    def answer(user_id):
        response = client_of(User.objects.get(pk=user_id)).post("/coupons", {"campaign": campaign.pk})
        return response.json().get("code") if response.status_code == 409 else response.status_code

    assert answer(barred) == "account_barred"
    assert [answer(owner), answer(late), answer(barred)] == [201, "sold_out", "account_barred"]
    assert remembered.campaign(campaign.pk).recent().remaining == 0
    assert [answer(late), answer(barred)] == ["sold_out", "account_barred"]
    bar(owner)
    assert answer(owner) == 200


SAFE_STRATEGIES = [name for name in issuing.STRATEGIES if name not in issuing.LAB_ONLY]


@pytest.fixture(autouse=True)
def _in_the_lab(settings):
    settings.LAB = True
    settings.OPTIMISTIC_RETRIES = 100


def listed_campaign(strategy="group_commit", *, listed: list[int], **terms) -> Campaign:
    campaign = campaign_with_strategy(strategy, eligible="listed", **terms)
    eligible_accounts.add(campaign_id=campaign.pk, account_ids=listed)
    return campaign


def answer(campaign, user_id: int) -> str:
    """`coupon`, or the code of the refusal; of a queue once the worker has settled the ticket."""
    try:
        return "coupon" if issue(campaign, user_id) else ""
    except Rejected as error:
        return error.code


@by_two_strategies
def test_only_listed_accounts_get_a_coupon_and_those_that_have_one_keep_it(strategy):
    [listed, other, late] = accounts(3)
    campaign = listed_campaign(strategy, listed=[listed, late], quantity=2)

    assert answer(campaign, other) == "not_eligible"
    assert answer(campaign, listed) == "coupon"
    eligible_accounts.remove(campaign_id=campaign.pk, account_ids=[listed, late], reason="A mistake.")
    assert answer(campaign, listed) == "coupon"
    assert answer(campaign, late) == "not_eligible"
    eligible_accounts.add(campaign_id=campaign.pk, account_ids=[other])
    assert answer(campaign, other) == "coupon"

    assert answer(campaign, late) == "sold_out"
    assert Coupon.objects.filter(account_id=late).count() == 0


@by_two_strategies
def test_a_campaign_becomes_one_for_listed_accounts_and_one_for_all_again(strategy):
    [first, second, third] = accounts(3)
    campaign = campaign_with_strategy(strategy)
    assert answer(campaign, first) == "coupon"
    change(campaign, eligible="listed")
    assert answer(campaign, second) == "not_eligible"
    change(campaign, eligible="all")
    assert answer(campaign, third) == "coupon"


def test_a_gate_full_of_accounts_that_are_not_listed_refuses_no_listed_account():
    [listed, other] = accounts(2)
    campaign = listed_campaign("redis_gate", listed=[listed], quantity=1)
    assert answer(campaign, other) == "not_eligible"
    assert gate.admit(campaign_id=campaign.pk, user_id=other).says == "admitted"
    assert gate.admit(campaign_id=campaign.pk, user_id=listed).says == gate.FULL

    assert answer(campaign, listed) == "coupon"


@pytest.mark.parametrize("strategy", [name for name in SAFE_STRATEGIES if name != "queue"])
def test_no_coupon_is_issued_after_a_removal_was_answered(strategy):
    listed = accounts(12)
    campaign = listed_campaign(strategy, listed=listed)

    def remove_then_ask(user_id):
        eligible_accounts.remove(campaign_id=campaign.pk, account_ids=[user_id])
        had_coupon = Coupon.objects.filter(campaign=campaign, account_id=user_id).exists()
        assert answer(campaign, user_id) == ("coupon" if had_coupon else "not_eligible")
        return "right"

    calls = [(partial(answer, campaign, one), partial(remove_then_ask, one)) for one in listed]
    outcomes = race([call for both in calls for call in both])

    assert set(outcomes[1::2]) == {"right"}, outcomes
    assert set(outcomes[::2]) <= {"coupon", "not_eligible"}
    assert positions(campaign) == list(range(1, campaign.coupons.count() + 1))


@pytest.mark.parametrize("strategy", SAFE_STRATEGIES)
def test_a_removal_between_the_read_and_the_write_of_a_strategy_is_seen(strategy, monkeypatch):
    """The removal is answered, or waits for the lock: so the account has a coupon only if it came first."""
    [listed] = accounts(1)
    campaign, read = listed_campaign(strategy, listed=[listed]), rows.listed_accounts
    removing = partial(eligible_accounts.remove, campaign_id=campaign.pk, account_ids=[listed])
    outcomes = []
    removers = []

    def read_then_remove(campaign_id, user_ids):
        if listed in (found := read(campaign_id, user_ids)):
            removers.append(in_background(removing))
            outcomes.append("answered first" if wait(removers[-1:], 0.3).done else "waited")
        return found

    monkeypatch.setattr(rows, "listed_accounts", read_then_remove)
    got = answer(campaign, listed)
    for remover in removers:
        remover.result(20)

    assert outcomes, "the list was read"
    assert got in ("coupon", "not_eligible")
    assert got == "not_eligible" or "answered first" not in outcomes


def test_reading_the_list_before_the_campaigns_lock_issues_after_a_removal(monkeypatch):
    """The naive twin of the test above: the list is read first, and the campaign locked afterwards."""
    [listed] = accounts(1)
    campaign = listed_campaign(listed=[listed])
    early = rows.listed_accounts(campaign.pk, [listed])
    monkeypatch.setattr(rows, "listed_accounts", lambda campaign_id, user_ids: early)
    race([partial(eligible_accounts.remove, campaign_id=campaign.pk, account_ids=[listed])])

    assert answer(campaign, listed) == "coupon"
    assert not EligibleAccount.objects.exists()


def test_a_batch_reads_the_list_by_one_more_statement():
    everyone = accounts(30)
    listed = listed_campaign(listed=everyone)
    other = campaign_with_strategy("group_commit")

    def statements(campaign):
        with CaptureQueriesContext(connection) as captured:
            allocated(campaign, *everyone)
        return len(captured)

    assert statements(listed) == statements(other) + 1


def test_adding_skips_those_that_are_listed_and_twice_in_it_and_changes_the_campaigns_version():
    ids = accounts(3)
    campaign = campaign_with_strategy("group_commit")
    before = campaign.version

    first = eligible_accounts.add(campaign_id=campaign.pk, account_ids=ids[:2], reason="The members.")
    again = eligible_accounts.add(campaign_id=campaign.pk, account_ids=[*ids, ids[2]])
    removed = eligible_accounts.remove(campaign_id=campaign.pk, account_ids=[ids[0], 10**9])

    assert (first.added, first.skipped, first.total) == (2, [], 2)
    assert (again.added, again.skipped, again.total) == (1, [*ids[:2], ids[2]], 3)
    assert removed == 1
    campaign.refresh_from_db()
    assert campaign.version == before + 3
    lines = JournalLine.objects.filter(subject=f"campaign {campaign.pk}", what__contains="accounts_")
    assert [(line.what, line.after, line.detail) for line in lines.order_by("id")] == [
        ("campaign.accounts_listed", {"accounts": 2, "ids": ids[:2]}, "The members."),
        ("campaign.accounts_listed", {"accounts": 1, "ids": ids[2:]}, ""),
        ("campaign.accounts_unlisted", {"accounts": 1, "ids": ids[:1]}, ""),
    ]


def test_two_that_add_the_same_accounts_at_once_add_each_once():
    ids = accounts(50)
    campaign = campaign_with_strategy("group_commit")

    outcomes = race([partial(eligible_accounts.add, campaign_id=campaign.pk, account_ids=ids)] * 8)

    assert sorted(outcome.added for outcome in outcomes) == [0] * 7 + [50]
    assert EligibleAccount.objects.count() == 50


def test_the_api_lists_accounts_for_staff_alone():
    ids = accounts(2)
    campaign = campaign_with_strategy("group_commit", eligible="listed")
    address = f"/campaigns/{campaign.pk}/eligible-accounts"
    staff = new_superuser()

    added = staff.post(address, {"users": ids})
    again = staff.post(address, {"users": ids[:1]})

    assert (added.status_code, added.json()) == (201, {"added": 2, "skipped": [], "total": 2})
    assert again.json() == {"added": 0, "skipped": ids[:1], "total": 2}
    assert new_customer().post(address, {"users": ids}).status_code == 403
    assert staff.post("/campaigns/999999/eligible-accounts", {"users": ids}).status_code == 404
    unknown = staff.post(address, {"users": [*accounts(1), 10**9]})
    assert faults(unknown) == [("users.1", "unknown")]
    assert EligibleAccount.objects.count() == 2
    for body in ({}, {"users": []}, {"users": ["1"]}, {"users": [0]}):
        assert staff.post(address, body).status_code == 400
    refused = new_customer().post("/coupons", {"campaign": campaign.pk})
    assert problem_of(refused) == (409, "not_eligible")
