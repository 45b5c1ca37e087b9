"""Wallets, grants, payments and the gateway's events over HTTP."""

from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from accounts.tests.approving import as_operator, keyed
from accounts.tests.clients import client_of, new_customer, problem_of, signed_in
from foundation import clock
from foundation.approval_models import Approval
from foundation.idempotency.recorded_answers import Replay
from foundation.models import IdempotencyKey, JournalLine
from foundation.observability import gauges
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import AccountFactory, SuperuserFactory, reloaded, set_columns, staff_member
from foundation.tests.racing import race, race_each
from payments import ledger, points_grants, webhooks
from payments.models import Dispute, Entry, GrantsOfDay, Payment, Transfer, WebhookEvent
from payments.tests import events, factories, sales
from payments.tests.factories import PaymentFactory

pytestmark = pytest.mark.django_db


def granting_staff() -> User:
    return staff_member("payments.add_transfer")


def reading_staff() -> User:
    return staff_member("payments.view_payment")


def assert_refused(response, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    body: dict[str, Any] = response.json()
    assert body["code"] == code
    return body


ENTRY = {"id", "account", "amount", "balance_after_amount", "currency", "kind", "order", "at"}


def test_an_account_without_a_wallet_has_no_points_and_staff_grant_it_some_and_get_the_entry():
    account, staff = AccountFactory(), granting_staff()

    assert client_of(account).read("/wallet") == {"balance_amount": 0, "currency": "KRW"}
    assert client_of(account).rows("/wallet/entries") == []
    assert post(staff, 20, to=account, key="one").status_code == 201
    assert client_of(account).read("/wallet")["balance_amount"] == 20
    granted = post(staff, 30, to=account, key="two")
    assert granted.status_code == 201
    body = granted.json()
    assert body.keys() == ENTRY
    assert (body["account"], body["currency"]) == (account.pk, "KRW")
    assert (body["amount"], body["balance_after_amount"], body["kind"]) == (30, 50, "grant")
    assert client_of(account).rows("/wallet/entries")[0] == body
    assert set(Transfer.objects.values_list("reason", "kind")) == {("for waiting", "grant")}


def test_the_callers_wallet_and_its_entries_newest_first(settings):
    settings.CURRENCY = "EUR"
    user_id, other_id = factories.wallet(1_000), factories.wallet(77)
    order_id = factories.order(user_id, points_amount=300)
    with transaction.atomic():
        sales.hold_points(order_id=order_id, user_id=user_id, amount=300)
    client = client_of(User.objects.get(id=user_id))

    assert client.read("/wallet") == {"balance_amount": 700, "currency": "EUR"}
    newest, oldest = client.rows("/wallet/entries")
    assert newest.keys() == ENTRY
    assert (newest["account"], newest["currency"]) == (user_id, "EUR")
    assert (newest["kind"], newest["amount"], newest["balance_after_amount"]) == ("hold", -300, 700)
    assert newest["order"] == str(order_id) and newest["at"].endswith("Z")
    assert (oldest["kind"], oldest["amount"], oldest["order"]) == ("grant", 1_000, None)
    assert ledger.balance_amount(other_id) == 77


def test_a_grant_to_an_unknown_or_disabled_account_is_not_found_and_earlier_grants_are_replayed():
    account, staff = AccountFactory(), client_of(granting_staff())
    body = {"user": account.id, "amount": 30, "reason": "x"}
    assert_refused(staff.post("/wallet/grants", body | {"user": 4711}, key="none"), 404, "not_found")
    assert not Transfer.objects.exists()
    granted = staff.post("/wallet/grants", body, key="one")
    set_columns(account, is_active=False)

    assert_refused(staff.post("/wallet/grants", body, key="two"), 404, "not_found")
    assert ledger.balance_amount(account.id) == 30
    again = staff.post("/wallet/grants", body, key="one")
    assert (again.status_code, again.content) == (201, granted.content)


@in_one_test(
    ("wrong", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -5}, "amount"),
        ({"amount": "5"}, "amount"),
        ({"amount": 10**12 + 1}, "amount"),
        ({"user": 0}, "user"),
        ({"user": "1"}, "user"),
        ({"reason": ""}, "reason"),
        ({"reason": "  "}, "reason"),
        ({"reason": "x" * 256}, "reason"),
        ({"order": str(uuid4())}, "order"),
        ({"balance_amount": 1}, "balance_amount"),
    ],
)
def test_a_grant_that_is_not_valid_names_its_field(wrong, field):
    account = AccountFactory()
    body = {"user": account.id, "amount": 30, "reason": "x"} | wrong

    problem = assert_refused(
        client_of(granting_staff()).post("/wallet/grants", body, key="one"), 400, "invalid"
    )

    assert [error["field"] for error in problem["errors"]] == [field]
    assert not Transfer.objects.exists()


def test_a_payment_has_the_contracts_fields_its_open_dispute_and_what_the_card_s_owner_must_do():
    payment, now = PaymentFactory(card_amount=500), clock.now()
    later, url = now + timedelta(days=7), "https://bank.example/3ds/1"

    def shown():
        return client_of(payment.account).read(f"/payments/{payment.id}")

    body = shown()
    assert body == {
        "id": str(payment.id),
        "order": str(payment.order_id),
        "account": payment.account_id,
        "gateway": "simulator",
        "currency": "KRW",
        "status": "pending",
        "points_amount": 0,
        "card_amount": 500,
        "failure": None,
        "dispute": None,
        "created_at": body["created_at"],
        "next_action": None,
    }
    assert body["created_at"].endswith("Z")

    dispute = {"payment": payment, "due_at": later, "opened_at": now}
    Dispute.objects.create(**dispute, reference="dp_1", status="open", amount=300)
    Dispute.objects.create(**dispute, reference="dp_2", status="won", amount=200, closed_at=now)
    told = shown()["dispute"]
    assert (told["status"], told["amount"]) == ("open", 300)
    assert datetime.fromisoformat(told["due_at"]) == later

    Payment.objects.update(action_url=url, action_expires_at=later)
    asked = shown()
    assert (asked["status"], asked["next_action"]["type"]) == ("requires_action", "redirect")
    assert asked["next_action"]["url"] == url
    assert datetime.fromisoformat(asked["next_action"]["expires_at"]) == later
    Payment.objects.update(action_expires_at=clock.now())
    over = shown()
    assert (over["status"], over["next_action"]) == ("pending", None)


def ids(account: User, query="") -> list[str]:
    response = client_of(account).get(f"/payments{query}")
    assert response.status_code == 200, response.content
    return [one["id"] for one in response.json()["results"]]


def test_an_account_lists_its_own_payments_newest_first_and_staff_those_of_all():
    first, theirs = PaymentFactory(), PaymentFactory()
    second = PaymentFactory(account=first.account)
    own = [str(second.id), str(first.id)]

    assert ids(first.account) == own
    assert ids(first.account, f"?order={first.order_id}") == [str(first.id)]
    assert ids(first.account, "?status=pending") == own and ids(first.account, "?status=failed") == []
    assert ids(first.account, f"?order={theirs.order_id}") == []
    assert ids(reading_staff()) == [str(second.id), str(theirs.id), str(first.id)]
    assert ids(reading_staff(), f"?user={first.account_id}") == own
    assert ids(reading_staff(), f"?order={theirs.order_id}") == [str(theirs.id)]


def test_an_invalid_query_is_refused_and_a_payment_that_does_not_exist_not_found():
    api = new_customer()
    for query in ("?order=1", "?limit=no", "?status=lost"):
        assert_refused(api.get(f"/payments{query}"), 400, "invalid")
    for query in ("?user=me", "?user=0", "?account=1e3"):
        assert_refused(client_of(reading_staff()).get(f"/payments{query}"), 400, "invalid")
    for id in ("69663b5c-9798-4baf-a1b4-2db7483c0e45", "1"):
        assert_refused(api.get(f"/payments/{id}"), 404, "not_found")


def test_no_answer_and_no_page_shows_the_cards_token():
    payment = PaymentFactory(token="tok_very_secret")
    admin = SuperuserFactory()

    answer = client_of(payment.account).get(f"/payments/{payment.id}")

    assert b"tok_" not in answer.content
    assert "tok_" not in repr(payment)
    assert UUID(answer.json()["id"]) == Payment.objects.get(token="tok_very_secret").id
    assert client_of(admin).get(f"/payments/{payment.id}").content == answer.content
    for page in (
        reverse("admin:payments_payment_changelist"),
        reverse("admin:payments_payment_change", args=[payment.id]),
    ):
        shown = signed_in(admin).get(page)
        assert (shown.status_code, b"tok_" in shown.content) == (200, False)


def row(event: WebhookEvent) -> WebhookEvent:
    return reloaded(event)


def test_an_event_is_stored_once_as_unhandled_and_one_that_is_handled_is_not_due():
    event = events.take(id="evt_1", key="payment-1")
    stored = WebhookEvent.objects.get()
    assert (stored.gateway, stored.event_id, stored.type) == ("simulator", "evt_1", "charge.succeeded")
    assert (stored.charge_key, stored.handled_at, stored.attempts) == ("payment-1", None, 0)
    assert webhooks.get_unhandled(event.id) == stored
    again = events.take(id="evt_1", key="payment-2")
    assert (again.id, again.charge_key) == (event.id, "payment-1"), "it is the one that was stored first"
    # The database alone refuses it too, without the read before the insert that `take` makes.
    now = timezone.now()
    twin = WebhookEvent(gateway="simulator", event_id="evt_1", received_at=now, next_attempt_at=now)
    rows = WebhookEvent.objects.filter(id=event.id)
    for law, write in (
        ("webhookevent", twin.save),
        ("unhandled_has_next_attempt", lambda: rows.update(handled_at=now)),
        ("unhandled_has_next_attempt", lambda: rows.update(next_attempt_at=None)),
    ):
        with pytest.raises(IntegrityError, match=law), transaction.atomic():
            write()
    assert WebhookEvent.objects.get() == event


def test_due_events_are_returned_at_intervals_until_they_are_handled():
    event = events.take()
    assert webhooks.dequeue_due(limit=10) == []
    rows = WebhookEvent.objects.filter(id=event.id)
    for _ in range(2):
        rows.update(next_attempt_at=timezone.now())
        assert webhooks.dequeue_due(limit=10) == [event.id]
        assert webhooks.dequeue_due(limit=10) == []
    webhooks.finish(event, "done")
    webhooks.postpone(event, "too late")
    assert webhooks.get_unhandled(event.id) is None
    assert (row(event).next_attempt_at, row(event).outcome) == (None, "done")


def test_pauses_grow_from_a_second_to_five_minutes():
    event = events.take()
    pauses = []
    for _ in range(14):
        before = timezone.now()
        webhooks.postpone(row(event), "the payment is pending")
        later = row(event).next_attempt_at
        pauses.append((later - before).total_seconds())
    assert 0.5 <= pauses[0] <= 1.5
    assert all(2**turn * 0.5 <= pause <= 2**turn + 1 for turn, pause in enumerate(pauses[:8]))
    assert all(150 <= pause <= 301 for pause in pauses[9:])
    assert row(event).attempts == 14


def test_only_events_that_were_handled_long_ago_are_deleted(monkeypatch):
    monkeypatch.setattr(webhooks, "SWEEP_BATCH", 2)
    old = [events.take() for _ in range(3)]
    for event in old:
        webhooks.finish(event, "done")
    unhandled, fresh = events.take(), events.take()
    webhooks.finish(fresh, "done")
    long_ago = timezone.now() - webhooks.RETENTION - timedelta(days=1)
    WebhookEvent.objects.exclude(id=fresh.id).update(received_at=long_ago)
    assert webhooks.sweep() == 3
    assert set(WebhookEvent.objects.values_list("id", flat=True)) == {unhandled.id, fresh.id}


def post(staff: User, amount: int, *, to: User, key: str):
    body = {"user": to.pk, "amount": amount, "reason": "for waiting"}
    return client_of(staff).post("/wallet/grants", body, key=key)


def test_a_grant_above_the_limit_needs_another_operator_and_nothing_is_recorded():
    """Finance granted itself 10^12 points 41 times."""
    staff, customer = granting_staff(), AccountFactory()

    assert post(staff, 100_000, to=customer, key="one").status_code == 201
    refused = post(staff, 100_001, to=customer, key="two")

    assert problem_of(refused) == (403, "approval_required")
    assert "100,000 KRW at once and 1,000,000 KRW in a day" in refused.json()["detail"]
    assert (ledger.balance_amount(customer.pk), Approval.objects.count()) == (100_000, 0)
    assert IdempotencyKey.objects.count() == 1
    assert JournalLine.objects.filter(actor_id=staff.pk).count() == 1


def test_the_grants_of_a_day_have_a_limit_and_the_next_day_begins_anew(settings):
    settings.GRANT_DAY_AMOUNT = 150
    staff, other, customer = granting_staff(), granting_staff(), AccountFactory()

    assert post(staff, 100, to=customer, key="one").status_code == 201
    assert post(staff, 51, to=customer, key="two").json()["code"] == "approval_required"
    assert post(staff, 50, to=AccountFactory(), key="three").status_code == 201
    assert post(staff, 1, to=customer, key="four").json()["code"] == "approval_required"
    assert post(other, 100, to=customer, key="one").status_code == 201
    # A replay never counts.
    assert post(staff, 100, to=customer, key="one").headers["Idempotency-Replayed"] == "true"
    with clock.shifted(by=timedelta(days=1)):
        wanted = {"user_id": customer.pk, "amount": 150, "reason": "the next day"}
        granted = as_operator(staff, lambda: points_grants.grant(**wanted, keyed=keyed(staff, "next")))
        assert granted.amount == 150


def test_a_day_of_grants_begins_at_midnight_of_the_shops_time_zone(settings):
    settings.GRANT_DAY_AMOUNT, settings.SHOP_TIME_ZONE = 100, "Pacific/Auckland"
    staff, customer = granting_staff(), AccountFactory()
    midnight = datetime.combine(clock.now().date() + timedelta(days=2), time(), ZoneInfo("Pacific/Auckland"))

    def grant(key, at):
        wanted = {"user_id": customer.pk, "amount": 100, "reason": "for waiting"}
        with clock.shifted(by=at - clock.now()):
            return as_operator(staff, lambda: points_grants.grant(**wanted, keyed=keyed(staff, key)))

    assert grant("last of the day", midnight - timedelta(minutes=5)).amount == 100
    assert grant("first of the next", midnight + timedelta(minutes=5)).amount == 100
    assert grant("at midnight of UTC", midnight + timedelta(hours=14)) == "approval_required"


def test_grants_of_one_operator_that_race_never_exceed_the_day(transactional_db, settings):
    settings.GRANT_DAY_AMOUNT = 1_000
    staff, customers = granting_staff(), AccountFactory.create_batch(4)

    def grant(number):
        wanted = {"user_id": customers[number % 4].pk, "amount": 150, "reason": "for waiting"}
        call = keyed(staff, f"grant {number}")
        return as_operator(staff, lambda: points_grants.grant(**wanted, keyed=call))

    outcomes = race_each(grant, range(16))  # type: ignore[misc]

    assert sum(isinstance(one, Entry) for one in outcomes) == 6
    assert outcomes.count("approval_required") == 10
    assert sum(ledger.balance_amount(one.pk) for one in customers) == 900
    assert GrantsOfDay.objects.get().amount == 900


def test_calls_with_one_key_that_race_at_the_limit_have_one_answer(transactional_db, settings):
    settings.GRANT_DAY_AMOUNT = 100
    staff, customer = granting_staff(), AccountFactory()
    wanted = {"user_id": customer.pk, "amount": 100, "reason": "once", "keyed": keyed(staff, "one")}

    outcomes = race([lambda: as_operator(staff, lambda: points_grants.grant(**wanted))] * 8)

    assert sum(isinstance(one, Entry) for one in outcomes) == 1
    assert sum(isinstance(one, Replay) for one in outcomes) == 7
    assert ledger.balance_amount(customer.pk) == 100


def test_the_gauge_has_what_each_operator_granted_today():
    staff, customer = granting_staff(), AccountFactory()
    post(staff, 70, to=customer, key="one")
    GrantsOfDay.objects.filter(operator_id=staff.pk).update(approved_amount=5_000_000)
    shown = f'firstcome_points_granted_today{{operator="{staff.pk}"}} 5.00007e+06'
    assert shown in gauges.exposition().decode()
