"""The shop's transfers: where the money goes, once each; the laws hold for any input and any repeats."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from django.db import DatabaseError, transaction
from django.db.models import F, Sum
from django.utils import timezone
from hypothesis import given, settings, strategies as st
from hypothesis.extra.django import TestCase
from uuid_utils.compat import uuid7

from foundation.errors import NotFound, Rejected
from foundation.operations.audits import checks as audit_report
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import AccountFactory
from payments import audit, ledger
from payments.ledger import Proposal
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
from payments.tests.sales import broken_laws

pytestmark = pytest.mark.django_db


def total(account_id: int) -> int:
    return Entry.objects.filter(account_id=account_id).aggregate(total=Sum("amount"))["total"] or 0


def test_points_go_from_the_wallet_into_holding_and_on_to_sales():
    user_id = factories.wallet(1_000)
    order_id = factories.order(user_id, points_amount=300, card_amount=700)

    held = sales.hold_points(order_id=order_id, user_id=user_id, amount=300)
    assert ledger.balance_amount(user_id) == 700
    assert total(HOLDING) == 300
    sold = sales.settle_sale(order_id=order_id, points_amount=300, card_amount=700)

    books = {id: total(id) for id in SHOP_ACCOUNTS}
    assert books == {HOLDING: 0, SALES: 1_000, GATEWAY_CLEARING: -700, PROMOTIONS: -1_000}
    assert held and sold and held.order_id == sold.order_id == order_id
    assert broken_laws() == []


def test_a_transfer_of_nothing_writes_nothing():
    user_id = factories.wallet()
    order_id = factories.order(user_id)

    assert sales.hold_points(order_id=order_id, user_id=user_id, amount=0) is None
    assert sales.release_points(order_id=order_id, user_id=user_id, amount=0) is None
    assert sales.settle_sale(order_id=order_id, points_amount=0, card_amount=0) is None
    assert not Transfer.objects.exists()


def test_a_repeat_returns_what_was_done_and_does_nothing():
    user_id = factories.wallet(500)
    order_id = factories.order(user_id, points_amount=200, card_amount=100)
    payment_id = uuid7()

    def everything():
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


def test_a_wallet_is_opened_once_and_only_for_an_existing_user():
    user_id = AccountFactory().id

    assert ledger.balances([user_id, 4711]) == {user_id: 0, 4711: 0}
    assert [ledger.open_wallet(user_id), ledger.open_wallet(user_id)] == [user_id, user_id]
    assert LedgerAccount.objects.get(id=user_id).kind == "wallet"
    with pytest.raises(NotFound):
        ledger.open_wallet(4711)


def test_wallets_opened_in_bulk_have_a_grant_each_and_old_ones_keep_theirs():
    rich = factories.wallet(9_000)
    fresh = [account.id for account in AccountFactory.create_batch(20)]

    assert ledger.bulk_open_wallets([rich, *fresh], 500) == 20
    assert ledger.bulk_open_wallets([rich, *fresh], 500) == 0

    assert ledger.balances([rich, *fresh]) == {rich: 9_000} | dict.fromkeys(fresh, 500)
    assert Transfer.objects.filter(kind="grant").count() == 21
    assert broken_laws() == []


def test_the_shops_own_accounts_are_there_after_every_flush(transactional_db):
    """All tables are emptied at the end of this test, and of each transactional test before it."""
    assert dict(LedgerAccount.objects.values_list("id", "kind")) == SHOP_ACCOUNTS


def test_every_function_requires_a_transaction(transactional_db):
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
    def test_whatever_orders_come_to_each_point_is_in_one_place(self, steps, amounts):
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


SHOP = [SALES, GATEWAY_CLEARING, PROMOTIONS]


@dataclass
class Model:
    """A model of the ledger, kept in dictionaries."""

    balances: dict[int, int]
    known: dict[tuple[str, str], str] = field(default_factory=dict)

    def decide(self, proposal) -> str:
        name = (proposal.kind, proposal.reference)
        after = {id: self.balances.get(id, 0) + amount for id, amount in proposal.amounts.items()}
        if name in self.known:
            return self.known[name]
        if any(after[id] < 0 for id in after if id > 0):
            return "refused"
        self.balances |= after
        self.known[name] = f"made {len(self.known)}"
        return self.known[name]


# Three wallets and three of the shop's accounts; few references, so that many are repeated.
moves = st.tuples(
    st.sampled_from(["hold", "release", "grant"]),
    st.integers(0, 12).map(str),
    st.dictionaries(st.integers(0, 5), st.integers(-300, 300), min_size=1, max_size=4),
)


def proposal_of(move: tuple[str, str, dict[int, int]], accounts: Sequence[int]) -> Proposal | None:
    """The move between these accounts, balanced by promotions; None if it would move nothing."""
    kind, reference, wanted = move
    amounts = {accounts[index]: amount for index, amount in wanted.items()}
    amounts[PROMOTIONS] = amounts.get(PROMOTIONS, 0) - sum(amounts.values())
    return Proposal(kind=kind, reference=reference, amounts=amounts) if any(amounts.values()) else None


class TransfersKeepTheLaws(TestCase):
    @settings(max_examples=60, deadline=None)
    @given(batches=st.lists(st.lists(moves, min_size=1, max_size=8), min_size=1, max_size=6))
    def test_any_batches_of_transfers_do_what_a_plain_ledger_would(self, batches):
        wallets = [factories.wallet(200) for _ in range(3)]
        model = Model(dict.fromkeys(wallets, 200))
        # The id in the ledger of each transfer of the model.
        seen: dict[str, object] = {"refused": "insufficient_points"}
        for batch in batches:
            proposals = [one for move in batch if (one := proposal_of(move, [*wallets, *SHOP]))]
            expected = [model.decide(one) for one in proposals]
            outcomes = ledger.transfer_many(proposals)
            for wanted, outcome in zip(expected, outcomes, strict=True):
                name = outcome.id if isinstance(outcome, Transfer) else outcome.code
                assert name == seen.setdefault(wanted, name)
        assert ledger.balances(wallets) == {id: model.balances[id] for id in wallets}
        assert Transfer.objects.exclude(reference__startswith="opening").count() == len(model.known)
        assert broken_laws() == []

    @settings(max_examples=40, deadline=None)
    @given(amounts=st.dictionaries(st.sampled_from(SHOP), st.integers(-1, 1)))
    def test_only_what_sums_to_zero_and_moves_something_is_a_transfer(self, amounts):
        def attempt() -> Transfer:
            return ledger.transfer(kind="sale", reference="one", amounts=amounts)

        if sum(amounts.values()) == 0 and any(amounts.values()):
            assert sum(attempt().entries.values_list("amount", flat=True)) == 0
        else:
            with pytest.raises(ValueError, match="sum to zero"):
                attempt()
            assert not Transfer.objects.exists()


def test_amounts_of_0_get_no_entry_and_references_are_compared_exactly():
    for reference in ("a", "A"):
        ledger.transfer(kind="sale", reference=reference, amounts={SALES: 1, PROMOTIONS: -1})
    assert Transfer.objects.count() == 2
    made = ledger.transfer(kind="sale", reference="one", amounts={HOLDING: 0, GATEWAY_CLEARING: -7, SALES: 7})

    assert dict(made.entries.values_list("account_id", "amount")) == {GATEWAY_CLEARING: -7, SALES: 7}


def change(account_id: int, balance_amount: int):
    LedgerAccount.objects.filter(id=account_id).update(balance_amount=balance_amount)


def enter(account_id: int, amount=1, **more: int):
    """Add an entry to the only transfer."""
    Entry.objects.create(transfer=Transfer.objects.get(), account_id=account_id, amount=amount, **more)


def repeat_opening(user_id: int):
    Transfer.objects.create(kind="grant", reference=f"opening {user_id}", at=timezone.now())


ONLY_WALLETS = "payments_ledgeraccount_only_wallets_have_owner_and_balance"


@in_one_test(
    ("name", "write"),
    [
        ("payments_ledgeraccount_balance_not_negative", lambda user: change(user, -1)),
        (ONLY_WALLETS, lambda user: change(SALES, 1)),
        (ONLY_WALLETS, lambda user: LedgerAccount.objects.create(id=-9, kind="sales")),
        ("payments_transfer_once_per_kind_and_reference", repeat_opening),
        ("payments_entry_one_per_transfer_and_account", enter),
        ("payments_entry_moves_something", lambda user: enter(SALES, 0)),
        ("payments_entry_balance_not_negative", lambda user: enter(SALES, balance_after_amount=-1)),
    ],
)
def test_the_database_itself_refuses_what_would_break_the_books(name, write):
    user_id = factories.wallet(5)
    # A broken check is an OperationalError on MariaDB, and an IntegrityError elsewhere.
    with pytest.raises(DatabaseError, match=name), transaction.atomic():
        write(user_id)


def audit_ledger() -> audit_report.LawReport:
    [report] = audit_report.merge_reports(audit.audit())
    return report


def entry_of(user_id: int) -> Entry:
    return Entry.objects.get(account_id=user_id)


def damage_balance(user_id: int) -> str:
    change(user_id, 999)
    return f"wallet {user_id}"


def lose_entry(user_id: int) -> str:
    entry = entry_of(user_id)
    change(user_id, 0)
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
def test_planted_damage_is_found_and_named(damage):
    factories.wallet(70)
    user_id = factories.wallet()
    ledger.grant(user_id=user_id, amount=100, reason="", reference="one")
    assert audit_ledger().holds

    offender = damage(user_id)

    assert audit_ledger() == audit_report.LawReport(
        law="L7", holds=False, checked=audit_ledger().checked, offenders=[offender]
    )


def test_correct_books_are_clean_and_counted():
    user_id, empty_id = factories.wallet(100), factories.wallet()
    order_id = factories.order(user_id)
    sales.hold_points(order_id=order_id, user_id=user_id, amount=40)

    assert audit_ledger() == audit_report.LawReport(law="L7", holds=True, checked=2 + 2 + 1, offenders=[])
    assert ledger.balances([user_id, empty_id]) == {user_id: 60, empty_id: 0}


def test_each_check_costs_the_same_few_queries_for_any_number(transactional_db, django_assert_num_queries):
    with transaction.atomic():
        ledger.bulk_open_wallets([factories.wallet(10) for _ in range(30)], 10)
    with django_assert_num_queries(6):
        assert audit_ledger().holds
    assert Entry.objects.filter(account_id__in=[SALES, HOLDING]).count() == 0
