"""The audit of the ledger finds each kind of damage, names it, and finds nothing else."""

from collections.abc import Callable

import pytest
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from payments import audit, ledger
from payments.models import HOLDING, PROMOTIONS, SALES, Entry, LedgerAccount, Transfer
from payments.tests import factories, sales
from shop.operations.audits import checks as audit_report
from shop.tests.case_tables import in_one_test

pytestmark = pytest.mark.django_db


def audit_ledger() -> audit_report.LawReport:
    [report] = audit_report.merge_reports(audit.audit())
    return report


def entry_of(user_id: int) -> Entry:
    return Entry.objects.get(account_id=user_id)


def damage_balance(user_id: int) -> str:
    LedgerAccount.objects.filter(id=user_id).update(balance_amount=999)
    return f"wallet {user_id}"


def lose_entry(user_id: int) -> str:
    entry = entry_of(user_id)
    LedgerAccount.objects.filter(id=user_id).update(balance_amount=0)
    entry.delete()
    return f"transfer {entry.transfer_id}"


def lose_balance_of_latest_entry(user_id: int) -> str:
    Entry.objects.filter(account_id=user_id).update(balance_after_amount=5)
    return f"wallet {user_id}"


def forge_entry(user_id: int) -> str:
    transfer_id = entry_of(user_id).transfer_id
    Entry.objects.filter(transfer=transfer_id, account_id=PROMOTIONS).update(amount=F("amount") + 1)
    return f"transfer {transfer_id}"


def empty_transfer(user_id: int) -> str:
    made = Transfer.objects.create(kind="sale", reference="empty", at=timezone.now())
    return f"transfer {made.id}"


def points_released_twice(user_id: int) -> str:
    order_id = factories.order(user_id)
    sales.hold_points(order_id=order_id, user_id=user_id, amount=40)
    sales.release_points(order_id=order_id, user_id=user_id, amount=40)
    sales.settle_sale(order_id=order_id, points_amount=40, card_amount=0)
    return f"points held for order {order_id}"


@in_one_test(
    "damage",
    [
        damage_balance,
        lose_entry,
        lose_balance_of_latest_entry,
        forge_entry,
        empty_transfer,
        points_released_twice,
    ],
)
def test_planted_damage_is_found_and_named(damage: Callable[[int], str]) -> None:
    factories.wallet(70)
    user_id = factories.wallet()
    ledger.grant(user_id=user_id, amount=100, reason="", reference="one")
    assert audit_ledger().holds

    offender = damage(user_id)

    assert audit_ledger() == audit_report.LawReport(
        law="L7", holds=False, checked=audit_ledger().checked, offenders=[offender]
    )


def test_correct_books_are_clean_and_counted() -> None:
    user_id, empty_id = factories.wallet(100), factories.wallet()
    order_id = factories.order(user_id)
    sales.hold_points(order_id=order_id, user_id=user_id, amount=40)

    assert audit_ledger() == audit_report.LawReport(law="L7", holds=True, checked=2 + 2 + 1, offenders=[])
    assert ledger.balances([user_id, empty_id]) == {user_id: 60, empty_id: 0}


@pytest.mark.django_db(transaction=True)
def test_each_check_costs_the_same_few_queries_for_any_number(django_assert_num_queries) -> None:
    with transaction.atomic():
        ledger.bulk_open_wallets([factories.wallet(10) for _ in range(30)], 10)
    with django_assert_num_queries(6):
        assert audit_ledger().holds
    assert Entry.objects.filter(account_id__in=[SALES, HOLDING]).count() == 0
