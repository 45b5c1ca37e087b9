"""The shop's transfers: where the money goes, once each, and nothing is lost."""

from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.db.models import Sum
from hypothesis import given, settings, strategies as st
from hypothesis.extra.django import TestCase
from uuid_utils.compat import uuid7

from payments import audit, ledger
from payments.models import (
    GATEWAY_CLEARING,
    HOLDING,
    PROMOTIONS,
    SALES,
    SHOP_ACCOUNTS,
    Entry,
    LedgerAccount,
    Transfer,
)
from payments.tests import factories, sales
from shop.errors import NotFound, Rejected
from shop.tests.factories import AccountFactory


def total(account_id: int) -> int:
    return Entry.objects.filter(account_id=account_id).aggregate(total=Sum("amount"))["total"] or 0


def books() -> dict[int, int]:
    return {id: total(id) for id in SHOP_ACCOUNTS}


def broken_laws() -> list[str]:
    return [offender for law in audit.audit() for offender in law.offenders]


@pytest.mark.django_db
def test_points_go_from_the_wallet_into_holding_and_on_to_sales() -> None:
    user_id = factories.wallet(1_000)
    order_id = factories.order(user_id, points_amount=300, card_amount=700)

    held = sales.hold_points(order_id=order_id, user_id=user_id, amount=300)
    assert ledger.balance_amount(user_id) == 700
    assert total(HOLDING) == 300
    sold = sales.settle_sale(order_id=order_id, points_amount=300, card_amount=700)

    assert books() == {HOLDING: 0, SALES: 1_000, GATEWAY_CLEARING: -700, PROMOTIONS: -1_000}
    assert held and sold and held.order_id == sold.order_id == order_id
    assert broken_laws() == []


@pytest.mark.django_db
def test_points_that_were_held_come_back_to_the_wallet() -> None:
    user_id = factories.wallet(1_000)
    order_id = factories.order(user_id, points_amount=300)

    sales.hold_points(order_id=order_id, user_id=user_id, amount=300)
    sales.release_points(order_id=order_id, user_id=user_id, amount=300)

    assert ledger.balance_amount(user_id) == 1_000
    assert total(HOLDING) == 0
    newest_first = Entry.objects.filter(account_id=user_id).order_by("-id")
    assert list(newest_first.values_list("transfer__kind", "amount", "balance_after_amount")) == [
        ("release", 300, 1_000),
        ("hold", -300, 700),
        ("grant", 1_000, 1_000),
    ]


@pytest.mark.django_db
def test_a_wallet_is_never_overdrawn_and_a_refusal_leaves_nothing_behind() -> None:
    user_id = factories.wallet(100)

    with pytest.raises(Rejected) as refusal:
        sales.hold_points(order_id=factories.order(user_id), user_id=user_id, amount=101)

    assert refusal.value.code == "insufficient_points"
    assert ledger.balance_amount(user_id) == 100
    assert Transfer.objects.count() == 1


@pytest.mark.django_db
def test_a_transfer_of_nothing_writes_nothing() -> None:
    user_id = factories.wallet()
    order_id = factories.order(user_id)

    assert sales.hold_points(order_id=order_id, user_id=user_id, amount=0) is None
    assert sales.release_points(order_id=order_id, user_id=user_id, amount=0) is None
    assert sales.settle_sale(order_id=order_id, points_amount=0, card_amount=0) is None
    assert not Transfer.objects.exists()


@pytest.mark.django_db
def test_a_repeat_returns_what_was_done_and_does_nothing() -> None:
    user_id = factories.wallet(500)
    order_id = factories.order(user_id, points_amount=200, card_amount=100)
    payment_id = uuid7()

    def everything() -> list[Any]:
        return [
            sales.hold_points(order_id=order_id, user_id=user_id, amount=200),
            sales.settle_sale(order_id=order_id, points_amount=200, card_amount=100),
            sales.credit_top_up(payment_id=payment_id, user_id=user_id, amount=50),
            ledger.grant(user_id=user_id, amount=7, reason="sorry", reference="one"),
        ]

    assert everything() == everything()
    assert ledger.balance_amount(user_id) == 357
    assert Transfer.objects.count() == 5
    assert broken_laws() == []


@pytest.mark.django_db
def test_a_wallet_is_opened_once_and_only_for_an_existing_user() -> None:
    user_id = AccountFactory.create().id

    assert ledger.balances([user_id, 4711]) == {user_id: 0, 4711: 0}
    assert [ledger.open_wallet(user_id), ledger.open_wallet(user_id)] == [user_id, user_id]
    assert LedgerAccount.objects.get(id=user_id).kind == "wallet"
    with pytest.raises(NotFound):
        ledger.open_wallet(4711)


@pytest.mark.django_db
def test_wallets_opened_in_bulk_have_a_grant_each_and_old_ones_keep_theirs() -> None:
    rich = factories.wallet(9_000)
    fresh = [account.id for account in AccountFactory.create_batch(20)]

    assert ledger.bulk_open_wallets([rich, *fresh], 500) == 20
    assert ledger.bulk_open_wallets([rich, *fresh], 500) == 0

    assert ledger.balances([rich, *fresh]) == {rich: 9_000} | dict.fromkeys(fresh, 500)
    assert Transfer.objects.filter(kind="grant").count() == 21
    assert broken_laws() == []


@pytest.mark.django_db(transaction=True)
def test_the_shops_own_accounts_are_there_after_every_flush() -> None:
    """All tables are emptied at the end of this test, and of each transactional test before it."""
    assert dict(LedgerAccount.objects.values_list("id", "kind")) == SHOP_ACCOUNTS


@pytest.mark.django_db(transaction=True)
def test_every_function_requires_a_transaction() -> None:
    user_id, order_id = factories.wallet(100), uuid7()
    sentences = [
        lambda: sales.hold_points(order_id=order_id, user_id=user_id, amount=0),
        lambda: sales.release_points(order_id=order_id, user_id=user_id, amount=5),
        lambda: sales.settle_sale(order_id=order_id, points_amount=0, card_amount=0),
        lambda: sales.credit_top_up(payment_id=uuid7(), user_id=user_id, amount=5),
        lambda: ledger.grant(user_id=user_id, amount=5, reason="", reference="one"),
        lambda: ledger.bulk_open_wallets([user_id], 5),
    ]
    for sentence in sentences:
        with pytest.raises(transaction.TransactionManagementError):
            sentence()
    assert ledger.balance_amount(user_id) == 100


steps = st.tuples(st.sampled_from(["hold", "release", "settle", "top_up"]), st.integers(0, 5))


class OrdersKeepTheLaws(TestCase):
    @settings(max_examples=40, deadline=None)
    @given(steps=st.lists(steps, max_size=30), amounts=st.lists(st.integers(0, 90), min_size=6, max_size=6))
    def test_whatever_orders_come_to_each_point_is_in_one_place(
        self, steps: list[tuple[str, int]], amounts: list[int]
    ) -> None:
        users = [factories.wallet(100), factories.wallet(100)]
        orders = [(factories.order(users[index % 2]), users[index % 2]) for index in range(6)]
        wallets = dict.fromkeys(users, 100)
        states = ["new"] * 6
        for step, index in steps:
            order_id, user_id = orders[index]
            states[index] = self.take(step, states[index], order_id, user_id, amounts[index], wallets)

        held = sum(amounts[index] for index in range(6) if states[index] == "held")
        assert ledger.balances(users) == wallets
        assert total(HOLDING) == held
        assert broken_laws() == []

    def take(
        self, step: str, state: str, order_id: UUID, user_id: int, amount: int, wallets: dict[int, int]
    ) -> str:
        """Take one step that is possible in the order's state, or repeat one; returns the state after it."""
        match step, state:
            case "hold", "new" if wallets[user_id] < amount:
                with pytest.raises(Rejected):
                    sales.hold_points(order_id=order_id, user_id=user_id, amount=amount)
                return "new"
            case "hold", _:
                sales.hold_points(order_id=order_id, user_id=user_id, amount=amount)
                wallets[user_id] -= amount if state == "new" else 0
                return "held" if state == "new" else state
            case "release", "held" | "released":
                sales.release_points(order_id=order_id, user_id=user_id, amount=amount)
                wallets[user_id] += amount if state == "held" else 0
                return "released"
            case "settle", "held" | "sold":
                sales.settle_sale(order_id=order_id, points_amount=amount, card_amount=3)
                return "sold"
            case "top_up", _:
                known = Transfer.objects.filter(kind="top_up", reference=str(order_id)).exists()
                sales.credit_top_up(payment_id=order_id, user_id=user_id, amount=11)
                wallets[user_id] += 0 if known else 11
        return state
