"""Payments end once: the transitions of the table are possible, and no others."""

from itertools import product

import pytest
from django.apps import apps
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import AccountFactory
from foundation.tests.racing import race
from payments import rows
from payments.models import Payment
from payments.tests import factories, sales
from payments.tests.factories import PaymentFactory
from payments.transitions import TRANSITIONS

pytestmark = pytest.mark.django_db

STATUSES = list(TRANSITIONS)
LONG = "No answer. " * 30
WHY = {"code": "gave_up", "detail": LONG}
MARKS = {
    "in_doubt": lambda id: rows.mark_in_doubt(id),
    "succeeded": lambda id: sales.mark_succeeded(id, charge_reference="ch_new", at=timezone.now()),
    "failed": lambda id: rows.end_unpaid(id, to="failed", **WHY, at=timezone.now()),
    "reversed": lambda id: rows.end_unpaid(id, to="reversed", **WHY, at=timezone.now()),
}


def standing_at(status: str) -> Payment:
    is_settled = status in ("succeeded", "failed", "reversed")
    payment: Payment = PaymentFactory(status=status, settled=is_settled)
    return payment


@in_one_test(("status", "target"), list(product(STATUSES, MARKS)))
def test_each_change_is_in_the_table_or_does_nothing_and_an_end_deletes_the_token(status, target):
    payment = standing_at(status)
    before = Payment.objects.filter(id=payment.id).values().get()

    stands = MARKS[target](payment.id)

    after = Payment.objects.filter(id=payment.id).values().get()
    if target in TRANSITIONS[status]:
        assert stands and after["status"] == target
        assert (after["token"], after["settled_at"] is None) == (
            ("tok_ok", True) if target == "in_doubt" else ("", False)
        )
        assert after["failure_detail"] == (LONG[:255] if target in ("failed", "reversed") else "")
    else:
        assert stands == (status == target)
        assert after == before


def test_a_payment_of_an_order_has_a_charge_key_of_its_own():
    account = AccountFactory()
    order_id = factories.order(account.id, card_amount=300, points_amount=50)
    order = apps.get_model("orders", "Order").objects.get(id=order_id)

    payment = rows.new_payment(order=order, token="tok_ok", at=timezone.now())
    payment.save(force_insert=True)

    payment.refresh_from_db()
    assert (payment.order_id, payment.account_id, payment.status) == (order_id, account.id, "pending")
    assert (payment.card_amount, payment.points_amount, payment.currency) == (300, 50, "KRW")
    assert payment.charge_key == f"payment-{payment.id}"
    with (
        pytest.raises(IntegrityError, match="payments_payment_one_not_failed_per_order"),
        transaction.atomic(),
    ):
        rows.new_payment(order=order, token="tok_ok", at=timezone.now()).save(force_insert=True)


@in_one_test(
    ("name", "wrong"),
    [
        ("payments_payment_topup_is_by_card", {"order_id": None, "card_amount": 0}),
        ("payments_payment_topup_is_by_card", {"order_id": None, "points_amount": 5}),
        ("payments_payment_settled_has_time_and_no_token", {"status": "failed"}),
        (
            "payments_payment_settled_has_time_and_no_token",
            {"status": "failed", "settled": True, "token": "tok_ok"},
        ),
        ("payments_payment_settled_has_time_and_no_token", {"settled": True}),
        (
            "payments_payment_success_names_its_charge",
            {"status": "succeeded", "settled": True, "charge_reference": ""},
        ),
    ],
)
def test_the_database_itself_refuses_payments_that_make_no_sense(name, wrong):
    with pytest.raises(DatabaseError, match=name), transaction.atomic():
        PaymentFactory(**wrong)


def test_one_of_many_concurrent_endings_of_a_payment_wins(transactional_db):
    """Thirty times, success against failure; the loser gets False."""
    for _ in range(30):
        payment = standing_at("in_doubt")

        def end(how, payment=payment):
            with transaction.atomic():
                return MARKS[how](payment.id)

        succeeded, failed = race([lambda: end("succeeded"), lambda: end("failed")])
        payment.refresh_from_db()
        assert {succeeded, failed} == {True, False}
        assert payment.status == ("succeeded" if succeeded else "failed")


def test_payments_change_only_inside_a_transaction(transactional_db):
    payment = standing_at("pending")

    for mark in MARKS.values():
        with pytest.raises(transaction.TransactionManagementError):
            mark(payment.id)
    payment.refresh_from_db()
    assert payment.status == "pending"
