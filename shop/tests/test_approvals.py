"""Acts that need two operators: who may ask and approve, what is done once, and what the page shows."""

from functools import partial
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.operating import approvals
from accounts.tests.approving import WHY, approve, refuse
from accounts.tests.clients import signed_in
from foundation import clock, journal
from foundation.approval_models import Approval
from foundation.errors import FirstcomeError
from foundation.idempotency.recorded_answers import Replay
from foundation.journal import Actor, ActorContext
from foundation.tests.confirming import confirmed, message_of, said
from foundation.tests.factories import AccountFactory, reloaded, set_columns
from foundation.tests.instants import from_now
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.racing import race, race_each
from payments import ledger, points_grants
from payments.models import GrantsOfDay, Transfer
from payments.tests.granting import asked_for, granter

pytestmark = pytest.mark.django_db
LIST = reverse("admin:shop_approval_changelist")


def press(client, approval, button: str, reason: str = WHY) -> tuple[int, list[str]]:
    address = reverse(f"admin:shop_approval_{button}", args=[approval.pk])
    sent = client.post(address, {"form_id": str(uuid7()), "reason": reason})
    return sent.status_code, [] if sent.status_code == 403 else said(client, sent)


def points(account: User) -> int:
    return ledger.balance_amount(account.pk)


def test_what_another_operator_approves_is_done_and_the_journal_has_both_names():
    ada, bob, customer = granter(username="ada"), granter(username="bob"), AccountFactory()
    asked = asked_for(ada, customer)
    assert (points(customer), asked.status) == (0, "waiting")

    decided = approve(bob, asked)

    assert (points(customer), decided.status, decided.answer) == (5_000_000, "approved", WHY)
    assert decided.outcome == "5000000 points granted; the balance is 5000000"
    line = journal_line("approval.approved")
    assert (line.subject, line.actor_name, line.detail) == (f"approval {asked.pk}", "bob", WHY)
    assert line.after and line.after["asked_by"] == {"id": ada.pk, "username": "ada"}
    assert line.after["approved_by"] == {"id": bob.pk, "username": "bob"}
    assert (line.after["of"], line.after["arguments"]["amount"]) == (f"wallet {customer.pk}", 5_000_000)
    asked_line = journal_line("approval.asked")
    assert (asked_line.actor_name, asked_line.detail) == ("ada", "late delivery")
    assert Transfer.objects.get().reason == "late delivery"
    assert journal_line("points.grant").actor_name == "bob"
    of_day = GrantsOfDay.objects.get(operator_id=ada.pk)
    assert (of_day.amount, of_day.approved_amount) == (0, 5_000_000)


@pytest.mark.parametrize("hour", [1, 23])
def test_an_approved_grant_counts_on_a_day_of_the_shops_time_zone(settings, hour):
    settings.SHOP_TIME_ZONE = "Pacific/Auckland"
    asked = asked_for(ada := granter(username="ada"), AccountFactory())
    at = (from_now(days=1)).replace(hour=hour)
    with clock.shifted(by=at - clock.now()):
        approve(granter(username="bob"), asked)
        assert points_grants.granted_today() == {str(ada.pk): 5_000_000}
    [of_day] = GrantsOfDay.objects.all()
    assert of_day.day == at.astimezone(ZoneInfo("Pacific/Auckland")).date()


def test_nobody_approves_what_they_asked_for_or_benefit_from_nor_without_an_account():
    ada, bob = granter(), granter()
    assert asked_for(ada, ada) == "own_account"
    assert not Approval.objects.exists()
    asked = asked_for(ada, bob)

    assert approve(ada, asked) == "own_approval"
    assert approve(bob, asked) == "own_account"
    with journal.acting(ActorContext(actor=Actor.STAFF, name="root")), pytest.raises(FirstcomeError):
        approvals.approve(approval_id=asked.pk, reason=WHY)
    assert (points(bob), Approval.objects.get().status) == (0, "waiting")


@pytest.mark.parametrize("lost", ["right", "staff", "active"])
def test_what_an_operator_asked_for_who_may_not_do_it_any_more_is_not_approved(lost):
    ada, customer = granter(username="ada"), AccountFactory()
    asked = asked_for(ada, customer)
    if lost == "right":
        ada.user_permissions.clear()
    else:
        set_columns(ada, **{f"is_{lost}": False})

    assert approve(granter(), asked) == "asker_not_allowed"
    assert points(customer) == 0
    assert refuse(granter(), asked).status == "refused"


def test_a_grant_to_an_account_that_was_disabled_meanwhile_is_not_done():
    customer = AccountFactory()
    asked = asked_for(granter(), customer)
    set_columns(customer, is_active=False)

    assert approve(granter(), asked) == "not_found"
    assert (points(customer), Approval.objects.get().status) == (0, "waiting")


def test_what_was_decided_stays_so():
    ada, customer = granter(), AccountFactory()
    asked = asked_for(ada, customer)
    withdrawn = refuse(ada, asked)
    assert (withdrawn.status, withdrawn.answer, withdrawn.decider_id) == ("refused", "No.", ada.pk)
    assert approve(granter(), asked) == "approval_decided"
    assert refuse(granter(), asked) == "approval_decided"
    assert points(customer) == 0
    assert journal_line("approval.refused").detail == "No."


def test_equal_grants_of_two_forms_are_two_and_a_form_that_is_sent_twice_at_once_is_one(transactional_db):
    """The second grant of an amount, for another reason, was taken for the first."""
    ada, customer = granter(), AccountFactory()
    forms = [{"reason": reason, "key": reason} for reason in ("late", "broken")] * 2

    outcomes = race_each(lambda form: asked_for(ada, customer, **form), forms)

    assert sum(isinstance(one, Replay) for one in outcomes) == 2
    asked = Approval.objects.order_by("reason")
    assert [one.reason for one in asked] == ["broken", "late"]
    assert [approve(granter(), one).status for one in asked] == ["approved"] * 2
    assert (points(customer), approve(granter(), asked[0])) == (10_000_000, "approval_decided")


def test_of_two_operators_who_approve_at_once_one_does_it(transactional_db):
    customer = AccountFactory()
    asked = asked_for(granter(), customer)
    operators = [granter() for _ in range(6)]

    outcomes = race_each(lambda by: approve(by, asked), operators)

    assert [one for one in outcomes if one != "approval_decided"] == [Approval.objects.get()]
    assert outcomes.count("approval_decided") == 5
    assert (points(customer), Transfer.objects.count()) == (5_000_000, 1)
    assert times_noted("approval.approved") == 1


def test_of_one_who_approves_and_one_who_refuses_at_once_one_decides(transactional_db):
    customer, bob, eve = AccountFactory(), granter(), granter()
    for number in range(5):
        asked = asked_for(granter(), customer, amount=10**6)
        before = points(customer)

        outcomes = race([partial(approve, bob, asked), partial(refuse, eve, asked)])

        decided = reloaded(asked)
        assert sorted(outcomes, key=str).count("approval_decided") == 1, number
        assert points(customer) - before == (10**6 if decided.status == "approved" else 0)


def test_above_the_limit_the_account_page_asks_instead_of_granting(settings):
    settings.GRANT_LIMIT_AMOUNT = 1_000
    ada, customer = granter(username="ada"), AccountFactory()
    client, address = signed_in(ada), reverse("account-grant-points", args=[customer.pk])

    sent = confirmed(client, address, amount=1_001, reason="late delivery")

    assert sent.status_code == 302
    waits = f"another member of staff has to approve 1,001 KRW for {customer.username}."
    assert message_of(client, LIST) == f"Nothing is granted yet: {waits}"
    [asked] = Approval.objects.all()
    assert (asked.asker_name, asked.reason, points(customer)) == ("ada", "late delivery", 0)
    confirmed(client, address, amount=1_000, reason="late delivery")
    assert (points(customer), Approval.objects.count()) == (1_000, 1)


def test_the_list_opens_with_what_waits_and_the_page_decides_it():
    ada, bob, customer = granter(username="ada"), granter(), AccountFactory(username="carl")
    done = asked_for(ada, AccountFactory())
    refuse(bob, done)
    asked, client = asked_for(ada, customer, 700_000, key="another"), signed_in(bob)

    listed = client.get(LIST)
    assert [row.pk for row in listed.context["cl"].result_list] == [asked.pk]
    for shown in ("Grant points", f"carl ({customer.pk})", "700,000 KRW", "ada", "late delivery"):
        assert shown in listed.text
    everything = client.get(LIST, {"decision": "everything"}).context["cl"].result_list
    assert {row.pk for row in everything} == {asked.pk, done.pk}
    granted = "Approved and done: 700000 points granted; the balance is 700000."
    assert press(client, asked, "approve") == (302, [granted])
    assert press(client, asked, "approve") == (200, ["It is approved already."])
    assert points(customer) == 700_000
    page = client.get(reverse("admin:shop_approval_change", args=[asked.pk])).text
    assert WHY in page and bob.username in page
    assert reverse("admin:shop_approval_approve", args=[asked.pk]) not in page


def test_the_asker_has_no_button_to_approve_and_a_refusal_by_the_page_does_nothing():
    ada, customer = granter(), AccountFactory()
    asked = asked_for(ada, customer)
    client = signed_in(ada)
    page = client.get(reverse("admin:shop_approval_change", args=[asked.pk])).text
    assert reverse("admin:shop_approval_approve", args=[asked.pk]) not in page
    assert reverse("admin:shop_approval_refuse", args=[asked.pk]) in page
    _, [message] = press(client, asked, "approve")
    assert message == "You have asked for it yourself: another operator has to approve it."
    assert press(signed_in(granter()), asked, "refuse", "Too much.") == (302, ["Refused: nothing was done."])
    assert (points(customer), Approval.objects.get().answer) == (0, "Too much.")
