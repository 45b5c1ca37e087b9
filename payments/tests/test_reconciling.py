"""Reconciling with a real gateway: differences are recorded, and orphans are refunded once on request."""

from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest
from django.core.management import CommandError
from django.urls import reverse
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.tests.clients import signed_in
from foundation.tests import commands
from foundation.tests.case_tables import in_one_test
from foundation.tests.confirming import said
from foundation.tests.factories import AccountFactory, set_columns, staff_member
from foundation.tests.instants import ago
from foundation.tests.journal_lines import journal_line, times_noted
from foundation.tests.racing import race, wait_until
from foundation.tests.samples import exposed
from payments import audit, tasks
from payments.gateways import gateway
from payments.models import Payment, Reconciliation
from payments.reconciliation import comparison, reconciling
from payments.reconciliation.comparison import Kind
from payments.reconciliation.reconciling import Fix
from payments.tests.factories import PaymentFactory
from payments.tests.own_gateway import nobody_there
from payments.tests.sales import charge, settle

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_book(own_gateway):
    """A book with the charges of this test only."""


def orphan(token="tok_ok") -> str:
    """Make a charge without a payment of ours; returns its key."""
    key = f"orphan-{uuid4()}"
    charged = gateway().charge(key=key, token=token, amount=700, currency="KRW", order_id=None)
    assert charged.status == "succeeded"
    return key


def late() -> Payment:
    """A payment that was given up, and whose charge landed later."""
    payment = PaymentFactory(card_amount=500)
    settle(payment, "failed")
    charge(payment)
    return payment


def refunded_amount(key: str) -> int:
    return gateway().find(key=key).refunded_amount


run = partial(commands.run, "reconcile")
run_json = partial(commands.run_json, "reconcile")


def test_an_orphaned_charge_is_reported_and_fixing_refunds_it_once_and_notes_it():
    key = orphan()
    declined = {"token": "tok_declined", "amount": 70, "currency": "KRW", "order_id": None}
    assert gateway().charge(key="declined", **declined).status == "declined"
    found = reconciling.reconcile()
    cause = "700 is charged, and no payment knows of it"
    [finding] = found.findings
    assert (finding["key"], finding["kind"], finding["done"]) == (key, "unknown_charge", "")
    assert finding["cause"] == finding["text"] % finding["values"] == cause
    assert (found.checked, found.differences, found.refunded) == (2, 1, 0)
    assert not reconciling.is_clean(found)
    assert refunded_amount(key) == 0
    assert reconciling.is_clean(reconciling.reconcile(fix=Fix.EVERYTHING))
    assert reconciling.reconcile(fix=Fix.EVERYTHING).findings == []
    assert refunded_amount(key) == 700
    line = journal_line("charge.late_refunded")
    assert line.subject == f"charge {gateway().find(key=key).reference}"


def test_concurrent_fixes_refund_once():
    payment = late()
    race([lambda: reconciling.reconcile(fix=Fix.OURS)] * 6)
    assert [one.kept_amount for one in gateway().charges()] == [0]
    assert refunded_amount(payment.charge_key) == 500
    line = journal_line("charge.late_refunded")
    assert (line.subject, line.order_id) == (f"payment {payment.id}", payment.order_id)
    assert line.after == {"amount": 500}


@pytest.mark.usefixtures("own_stripe")
@pytest.mark.parametrize("period", [{}, {"since": timezone.now() - timedelta(days=3)}])
def test_stripes_book_is_compared_as_well(period):
    paid, refunded, failed = PaymentFactory.create_batch(3, card_amount=500, currency="USD")
    for payment, status in ((paid, "succeeded"), (refunded, "succeeded"), (failed, "failed")):
        reference = charge(payment, token="pm_card_visa")
        settle(payment, status, reference)
        if payment is refunded:
            given_back = gateway().refund(key="refund-1", charge_reference=reference, amount=200)
            assert given_back.status == "succeeded"
    set_columns(refunded, refunded_amount=200)

    found = reconciling.reconcile(**period)
    assert [one["key"] for one in found.findings] == [failed.charge_key]
    assert found.checked == 3
    assert reconciling.is_clean(reconciling.reconcile(**period, fix=Fix.OURS))
    assert [one.kept_amount for one in gateway().charges(key=failed.charge_key)] == [0]
    assert reconciling.reconcile(**period).differences == 0


def test_a_refund_that_fails_is_reported_and_repeated_the_next_time():
    key = orphan("tok_refund_fails")
    runs = [reconciling.reconcile(fix=Fix.EVERYTHING) for _ in range(3)]
    assert [one.findings[0]["done"] for one in runs] == ["refund failed", "refund failed", "refunded"]
    assert [reconciling.is_clean(one) for one in runs] == [False, False, True]
    assert refunded_amount(key) == 700


def test_a_missing_charge_of_a_successful_payment_is_left_to_an_operator():
    payment = PaymentFactory(card_amount=500, status="succeeded", settled=True)
    found = reconciling.reconcile(fix=Fix.EVERYTHING)
    assert [(one["key"], one["done"]) for one in found.findings] == [(payment.charge_key, "")]


def test_all_are_counted_and_refunded_but_only_some_are_recorded(monkeypatch):
    monkeypatch.setattr(reconciling, "MAX_WRITTEN", 2)
    keys = [orphan() for _ in range(5)]
    found = reconciling.reconcile(fix=Fix.EVERYTHING)
    assert (found.differences, found.refunded, len(found.findings)) == (5, 5, 2)
    assert [refunded_amount(key) for key in keys] == [700] * 5


def test_each_comparison_is_kept_and_the_old_ones_swept():
    reconciling.reconcile(since=ago(hours=1))
    reconciling.reconcile()
    Reconciliation.objects.filter(since_at=None).update(started_at=ago(days=31))
    assert tasks.sweep() == 1
    assert Reconciliation.objects.get().since_at is not None


def test_by_schedule_our_orphans_are_refunded_and_unknown_charges_reported(monkeypatch):
    monkeypatch.setattr(reconciling, "SETTLING", timedelta(0))
    payment, key = late(), orphan()
    assert tasks.reconcile() == 1
    assert (refunded_amount(payment.charge_key), refunded_amount(key)) == (500, 0)


def test_by_schedule_the_whole_is_compared_once_a_day_and_the_last_hour_at_least_in_between():
    assert [reconciling.reconcile_by_schedule().since_at is None for _ in range(3)] == [True, False, False]
    lately = Reconciliation.objects.latest("id")
    assert lately.until_at - lately.since_at >= timedelta(hours=1)
    assert lately.started_at - lately.until_at >= timedelta(minutes=1)
    Reconciliation.objects.update(started_at=ago(hours=25))
    assert reconciling.reconcile_by_schedule().since_at is None


def test_the_period_is_longer_than_the_shop_s_patience(settings):
    settings.PAYMENT_GIVE_UP_SECONDS, settings.PAYMENT_ACTION_SECONDS = 3_000, 600
    reconciling.reconcile_by_schedule()
    lately = reconciling.reconcile_by_schedule()
    assert lately.until_at - lately.since_at == timedelta(hours=4)


def test_a_running_comparison_is_not_started_again_but_a_crashed_one_is():
    now = timezone.now()
    under_way = Reconciliation.objects.create(
        started_at=now, ended_at=now, checked=0, differences=0, refunded=0, unread=reconciling.UNDER_WAY
    )
    assert reconciling.reconcile_by_schedule().since_at is not None
    set_columns(under_way, started_at=now - timedelta(minutes=61))
    assert reconciling.reconcile_by_schedule().since_at is None


def test_the_metrics_have_what_is_left_and_its_age(monkeypatch):
    monkeypatch.setattr(reconciling, "SETTLING", timedelta(0))
    names = [f'firstcome_reconciliation_differences{{of="{of}"}}' for of in ("whole", "lately")]
    assert not exposed().keys() & {*names, "firstcome_reconciliation_age_seconds"}
    orphan()
    reconciling.reconcile_by_schedule()
    assert [exposed().get(name) for name in names] == [1, None]
    reconciling.reconcile(fix=Fix.EVERYTHING)
    reconciling.reconcile_by_schedule()
    assert [exposed().get(name) for name in names] == [0, 0]
    age = exposed().get("firstcome_reconciliation_age_seconds")
    assert age is not None and 0 <= age < 60


def test_an_unreachable_gateway_is_reported_with_exit_code_1(settings):
    with nobody_there(settings):
        code, said = run()
    assert code == 1
    assert "can't be read" in said
    assert "can't be read" in Reconciliation.objects.get().unread
    assert exposed().get("firstcome_reconciliation_age_seconds") is None


def test_the_command_lists_what_differs_and_why():
    payment = late()
    code, said = run()
    assert code == 1
    assert said.splitlines() == [
        "1 charges compared, 1 differ.",
        f"  {payment.charge_key}: the payment is failed, and 500 is charged and kept",
    ]
    code, said = run("--fix")
    assert (code, said.endswith("is charged and kept: refunded\n")) == (0, True)
    assert run() == (0, "1 charges compared, 0 differ.\n")


def test_the_command_for_programs_and_of_a_period():
    key = orphan()
    code, report = run_json("--since", "2026-01-01", "--until", "2026-01-02T09:00:00+09:00")
    assert (code, report["checked"], report["differences"]) == (0, 0, [])
    assert (report["since"], report["until"]) == ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
    code, report = run_json("--since", "2026-01-01")
    assert (code, [one["key"] for one in report["differences"]]) == (1, [key])
    assert Reconciliation.objects.latest("id").since_at == datetime(2026, 1, 1, tzinfo=UTC)


@in_one_test("text", ["yesterday", "2026-13-01", "", "0001-01-01T00:00:00+09:00"])
def test_an_invalid_instant_is_refused_with_an_example(text):
    with pytest.raises(CommandError, match=r"--since: .* (must be an instant such as 2026|is out of range)"):
        run("--since", text)


@in_one_test("until", ["2026-01-01", "2026-01-01T09:00:00+09:00", "2025-12-31"])
def test_a_period_that_ends_before_it_begins_is_refused_and_nothing_compared(until):
    with pytest.raises(CommandError, match="--until must come after --since; nothing was compared"):
        run("--since", "2026-01-01", "--until", until)
    assert not Reconciliation.objects.exists()


def test_a_slow_gateway_is_asked_for_a_while_and_then_the_recorded_differences_count(monkeypatch):
    """A hundred look-ups once outlasted the audit's lease: the next audit began beside it, and none ended."""
    keys = [orphan(), orphan()]
    reconciling.reconcile()
    monkeypatch.setattr(audit, "RECHECK_SECONDS", 0.0)
    monkeypatch.setattr(comparison, "recheck", None)
    report = audit.books_agree()
    assert {offender.partition(":")[0] for offender in report.offenders} == set(keys)


def test_differences_past_those_that_are_written_down_keep_the_law_from_holding(own_gateway):
    now = timezone.now()
    resolved = {"key": "a", "kind": "orphan", "cause": "nothing of ours", "done": "refunded"}
    run = Reconciliation.objects.create(
        started_at=now, ended_at=now, checked=9, differences=3, refunded=1, findings=[resolved]
    )
    report = audit.books_agree()
    assert not report.holds
    assert report.offenders == [
        "2 differences that are not written down: resolve the others, and compare again"
    ]

    set_columns(run, differences=1)
    assert audit.books_agree().holds


VIEW, FIX = "payments.view_reconciliation", "payments.change_reconciliation"


@pytest.fixture
def ada():
    return staff_member(VIEW, FIX, "payments.view_payment", username="ada")


@pytest.fixture
def reported():
    """The key of an orphaned charge, and the reconciliation that found it."""
    return orphan(), reconciling.reconcile()


def page_of(run: Reconciliation, action="change") -> str:
    return reverse(f"admin:payments_reconciliation_{action}", args=[run.pk])


def fix(client, run: Reconciliation, key: str) -> list[str]:
    fields = {"key": key, "reason": "it is ours", "form_id": str(uuid7())}
    return said(client, client.post(page_of(run, "fix"), fields))


def test_every_kind_of_difference_has_an_advice():
    assert set(reconciling.ADVICE) == set(Kind)


@pytest.mark.parametrize("make", [orphan, lambda: late().charge_key], ids=["no payment", "payment ended"])
def test_an_orphaned_charge_is_refunded_after_a_question(ada, make):
    key, client = make(), signed_in(ada)
    run = reconciling.reconcile()
    question = client.get(page_of(run, "fix"), {"key": key}).text
    assert key in question and "This can't be undone" in question.replace("&#x27;", "'")
    assert refunded_amount(key) == 0

    assert fix(client, run, key) == [f"The charge of {key} is refunded."]

    assert refunded_amount(key) in (500, 700)
    run.refresh_from_db()
    assert (run.findings[0]["done"], reconciling.is_clean(run)) == ("refunded", True)
    line = journal_line("reconciliation.fixed")
    assert (line.actor_name, line.detail, line.is_internal) == ("ada", "it is ours", True)
    assert journal_line("charge.late_refunded").actor_name == "ada"
    assert page_of(run, "fix") not in client.get(page_of(run)).text


def test_a_fix_that_is_sent_often_refunds_once(ada, reported):
    key, run = reported
    fields = {"key": key, "reason": "it is ours", "form_id": str(uuid7())}
    answers = race([partial(signed_in(ada).post, page_of(run, "fix"), fields) for _ in range(5)])
    assert {answer.status_code for answer in answers} == {302}
    assert fix(signed_in(ada), run, key) == [f"The charge of {key} is refunded."]
    assert refunded_amount(key) == 700
    run.refresh_from_db()
    assert run.refunded == 1
    assert times_noted("charge.late_refunded") == 1


def test_a_difference_that_is_gone_is_not_refunded(ada, reported):
    key, run = reported
    reference = gateway().find(key=key).reference
    gateway().refund(key="by hand", charge_reference=reference, amount=700)
    assert fix(signed_in(ada), run, key) == [f"The books agree about {key} now; nothing was refunded."]
    run.refresh_from_db()
    assert (run.findings[0]["done"], run.refunded) == ("agrees", 0)


def test_a_difference_of_another_kind_is_not_refunded(ada):
    payment = PaymentFactory(settled=True, status="succeeded", card_amount=400)
    charge(payment, amount=500)
    run = reconciling.reconcile()
    assert run.findings[0]["kind"] == "wrong_charge"
    client = signed_in(ada)
    assert "This charge can't be refunded here" in client.get(
        page_of(run, "fix"), {"key": payment.charge_key}
    ).text.replace("&#x27;", "'")
    [message] = fix(client, run, payment.charge_key)
    assert message.startswith("Nothing was done: 500")
    assert refunded_amount(payment.charge_key) == 0


def test_a_gateway_that_is_away_is_reported_and_nothing_is_recorded(ada, reported, settings):
    key, run = reported
    with nobody_there(settings):
        [message] = fix(signed_in(ada), run, key)
    assert message.startswith("The gateway's book can't be read")
    run.refresh_from_db()
    assert run.findings[0]["done"] == ""
    assert refunded_amount(key) == 0


def test_a_fix_needs_a_key_that_was_found_and_its_permission(ada, reported):
    key, run = reported
    client = signed_in(ada)
    assert client.get(page_of(run, "fix"), {"key": "another"}).status_code == 404
    assert client.post(page_of(run, "fix"), {"key": "another", "reason": "x"}).status_code == 404
    assert client.get("/admin/payments/reconciliation/0/fix/", {"key": key}).status_code == 404
    reader = signed_in(staff_member(VIEW))
    assert page_of(run, "fix") not in reader.get(page_of(run)).text
    assert reader.get(page_of(run, "fix"), {"key": key}).status_code == 403
    assert reader.post(page_of(run, "fix"), {"key": key, "reason": "x"}).status_code == 403
    compare = reverse("admin:payments_reconciliation_compare")
    assert reader.get(compare).status_code == 403
    assert signed_in(AccountFactory()).get(page_of(run, "fix")).status_code == 302
    assert refunded_amount(key) == 0


def test_a_comparison_is_requested_once_for_a_form(ada, broker_server):
    client, page = signed_in(ada), reverse("admin:payments_reconciliation_compare")
    form = client.get(page).context["form"]
    fields = {"form_id": str(form["form_id"].value()), "reason": "after an outage"}
    for _ in range(2):
        client.post(page, fields)
    wait_until(lambda: broker_server.llen("celery") > 0)
    shown = client.get(reverse("admin:payments_reconciliation_changelist"))
    assert [str(message) for message in shown.context["messages"]] == [
        "The books are being compared. Load the page again to see what is found.",
        "This form was sent before; nothing was done again. "
        "The books are being compared. Load the page again to see what is found.",
    ]
    assert broker_server.llen("celery") == 1
    line = journal_line("reconciliation.requested")
    assert (line.actor_name, line.detail) == ("ada", "after an outage")
