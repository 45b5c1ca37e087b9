"""The limits of what one operator grants: at once and in a day, also where grants race."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User

from payments import ledger, points_grants
from payments.models import Entry, GrantsOfDay
from payments.tests.test_api import granting_staff
from shop import clock
from shop.approval_models import Approval
from shop.idempotency.recorded_answers import Replay
from shop.models import IdempotencyKey, JournalLine
from shop.observability import gauges
from shop.tests.clients import client_of
from shop.tests.factories import AccountFactory
from shop.tests.racing import race
from shop.tests.test_approvals import as_operator, keyed

pytestmark = pytest.mark.django_db


def post(staff: User, amount: int, *, to: User, key: str) -> Any:
    body = {"user": to.pk, "amount": amount, "reason": "for waiting"}
    return client_of(staff).post("/wallet/grants", body, key=key)


def test_a_grant_above_the_limit_needs_another_operator_and_nothing_is_recorded() -> None:
    """Finance granted itself 10^12 points 41 times."""
    staff, customer = granting_staff(), AccountFactory.create()

    assert post(staff, 100_000, to=customer, key="one").status_code == 201
    refused = post(staff, 100_001, to=customer, key="two")

    assert (refused.status_code, refused.json()["code"]) == (403, "approval_required")
    assert "100,000 KRW at once and 1,000,000 KRW in a day" in refused.json()["detail"]
    assert (ledger.balance_amount(customer.pk), Approval.objects.count()) == (100_000, 0)
    assert IdempotencyKey.objects.count() == 1
    assert JournalLine.objects.filter(actor_id=staff.pk).count() == 1


def test_the_grants_of_a_day_have_a_limit_and_the_next_day_begins_anew(settings: LazySettings) -> None:
    settings.GRANT_DAY_AMOUNT = 150
    staff, other, customer = granting_staff(), granting_staff(), AccountFactory.create()

    assert post(staff, 100, to=customer, key="one").status_code == 201
    assert post(staff, 51, to=customer, key="two").json()["code"] == "approval_required"
    assert post(staff, 50, to=AccountFactory.create(), key="three").status_code == 201
    assert post(staff, 1, to=customer, key="four").json()["code"] == "approval_required"
    assert post(other, 100, to=customer, key="one").status_code == 201
    # A replay never counts.
    assert post(staff, 100, to=customer, key="one").headers["Idempotency-Replayed"] == "true"
    with clock.shifted(by=timedelta(days=1)):
        assert (
            as_operator(
                staff,
                lambda: points_grants.grant(
                    user_id=customer.pk, amount=150, reason="the next day", keyed=keyed(staff, "next")
                ),
            ).amount
            == 150
        )


@pytest.mark.django_db(transaction=True)
def test_grants_of_one_operator_that_race_never_exceed_the_day(settings: LazySettings) -> None:
    settings.GRANT_DAY_AMOUNT = 1_000
    staff, customers = granting_staff(), [AccountFactory.create() for _ in range(4)]

    def grant(number: int) -> Any:
        wanted = {"user_id": customers[number % 4].pk, "amount": 150, "reason": "for waiting"}
        call = keyed(staff, f"grant {number}")
        return as_operator(staff, lambda: points_grants.grant(**wanted, keyed=call))

    outcomes = race([lambda number=number: grant(number) for number in range(16)])  # type: ignore[misc]

    assert sum(isinstance(one, Entry) for one in outcomes) == 6
    assert outcomes.count("approval_required") == 10
    assert sum(ledger.balance_amount(one.pk) for one in customers) == 900
    assert GrantsOfDay.objects.get().amount == 900


@pytest.mark.django_db(transaction=True)
def test_calls_with_one_key_that_race_at_the_limit_have_one_answer(settings: LazySettings) -> None:
    settings.GRANT_DAY_AMOUNT = 100
    staff, customer = granting_staff(), AccountFactory.create()
    wanted = {"user_id": customer.pk, "amount": 100, "reason": "once", "keyed": keyed(staff, "one")}

    outcomes = race([lambda: as_operator(staff, lambda: points_grants.grant(**wanted))] * 8)

    assert sum(isinstance(one, Entry) for one in outcomes) == 1
    assert sum(isinstance(one, Replay) for one in outcomes) == 7
    assert ledger.balance_amount(customer.pk) == 100


def test_the_gauge_has_what_each_operator_granted_today() -> None:
    staff, customer = granting_staff(), AccountFactory.create()
    post(staff, 70, to=customer, key="one")
    GrantsOfDay.objects.filter(operator_id=staff.pk).update(approved_amount=5_000_000)
    shown = f'firstcome_points_granted_today{{operator="{staff.pk}"}} 5.00007e+06'
    assert shown in gauges.exposition().decode()
