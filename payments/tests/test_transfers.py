"""Transfers keep the laws of the ledger for any input and any number of repeats."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone
from hypothesis import given, settings, strategies as st
from hypothesis.extra.django import TestCase

from payments import ledger
from payments.ledger import Proposal
from payments.models import (
    GATEWAY_CLEARING,
    HOLDING,
    PROMOTIONS,
    SALES,
    Entry,
    LedgerAccount,
    Transfer,
)
from payments.tests import factories
from payments.tests.test_ledger import broken_laws
from shop.errors import Rejected
from shop.tests.case_tables import in_one_test

SHOP = [SALES, GATEWAY_CLEARING, PROMOTIONS]


@dataclass
class Model:
    """A model of the ledger, kept in dictionaries."""

    balances: dict[int, int]
    known: dict[tuple[str, str], str] = field(default_factory=dict)

    def decide(self, proposal: Proposal) -> str:
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
    def test_any_batches_of_transfers_do_what_a_plain_ledger_would(self, batches: list[list]) -> None:
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
    def test_only_what_sums_to_zero_and_moves_something_is_a_transfer(self, amounts: dict) -> None:
        def attempt() -> Transfer:
            return ledger.transfer(kind="sale", reference="one", amounts=amounts)

        if sum(amounts.values()) == 0 and any(amounts.values()):
            assert sum(attempt().entries.values_list("amount", flat=True)) == 0
        else:
            with pytest.raises(ValueError, match="sum to zero"):
                attempt()
            assert not Transfer.objects.exists()


@pytest.mark.django_db
def test_a_refused_transfer_of_a_batch_leaves_the_others_alone() -> None:
    rich, poor = factories.wallet(100), factories.wallet(10)

    first, refused, last = ledger.transfer_many(
        [
            Proposal(kind="hold", reference="a", amounts={rich: -60, HOLDING: 60}),
            Proposal(kind="hold", reference="b", amounts={poor: -60, HOLDING: 60}),
            Proposal(kind="hold", reference="c", amounts={rich: -40, HOLDING: 40}),
        ]
    )

    assert isinstance(refused, Rejected) and refused.code == "insufficient_points"
    assert isinstance(first, Transfer) and isinstance(last, Transfer)
    assert ledger.balances([rich, poor]) == {rich: 0, poor: 10}
    assert broken_laws() == []


@pytest.mark.django_db
def test_amounts_of_0_get_no_entry() -> None:
    made = ledger.transfer(kind="sale", reference="one", amounts={HOLDING: 0, GATEWAY_CLEARING: -7, SALES: 7})

    assert dict(made.entries.values_list("account_id", "amount")) == {GATEWAY_CLEARING: -7, SALES: 7}


@pytest.mark.django_db
def test_a_user_without_a_wallet_is_neither_credited_nor_debited() -> None:
    with pytest.raises(ValueError, match="isn't open"):
        ledger.transfer(kind="grant", reference="one", amounts={PROMOTIONS: -5, 4711: 5})
    with pytest.raises(Rejected) as refusal:
        ledger.transfer(kind="hold", reference="two", amounts={4711: -5, HOLDING: 5})
    assert refusal.value.code == "insufficient_points"
    assert not Transfer.objects.exists()


@pytest.mark.django_db
@in_one_test(
    ("name", "write"),
    [
        (
            "payments_ledgeraccount_balance_not_negative",
            lambda user: LedgerAccount.objects.filter(id=user).update(balance_amount=-1),
        ),
        (
            "payments_ledgeraccount_only_wallets_have_owner_and_balance",
            lambda user: LedgerAccount.objects.filter(id=SALES).update(balance_amount=1),
        ),
        (
            "payments_ledgeraccount_only_wallets_have_owner_and_balance",
            lambda user: LedgerAccount.objects.create(id=-9, kind="sales"),
        ),
        (
            "payments_transfer_once_per_kind_and_reference",
            lambda user: Transfer.objects.create(
                kind="grant", reference=f"opening {user}", at=timezone.now()
            ),
        ),
        (
            "payments_entry_one_per_transfer_and_account",
            lambda user: Entry.objects.create(transfer=Transfer.objects.get(), account_id=user, amount=1),
        ),
        (
            "payments_entry_moves_something",
            lambda user: Entry.objects.create(transfer=Transfer.objects.get(), account_id=SALES, amount=0),
        ),
        (
            "payments_entry_balance_not_negative",
            lambda user: Entry.objects.create(
                transfer=Transfer.objects.get(), account_id=SALES, amount=1, balance_after_amount=-1
            ),
        ),
    ],
)
def test_the_database_itself_refuses_what_would_break_the_books(name: str, write) -> None:
    user_id = factories.wallet(5)
    # A broken check is an OperationalError on MariaDB, and an IntegrityError elsewhere.
    with pytest.raises(DatabaseError, match=name), transaction.atomic():
        write(user_id)


@pytest.mark.django_db
def test_references_are_compared_exactly() -> None:
    for reference in ("a", "A"):
        ledger.transfer(kind="sale", reference=reference, amounts={SALES: 1, PROMOTIONS: -1})

    assert Transfer.objects.count() == 2
