"""Races for wallets on the real database: the law holds, and a naive version shows that it could break."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone

from accounts.tests.clients import client_of, problem_of
from foundation.db import transactions
from foundation.errors import Rejected
from foundation.idempotency.recorded_answers import Answer, KeyedCall, key_hash
from foundation.tests.factories import AccountFactory, staff_member
from foundation.tests.racing import race
from payments import ledger, points_grants
from payments.models import HOLDING, PROMOTIONS, SALES, Entry, LedgerAccount, Transfer
from payments.tests import factories, sales
from payments.tests.sales import broken_laws

pytestmark = pytest.mark.django_db(transaction=True)


def kinds(outcomes: Iterable[Any]) -> Counter[str]:
    return Counter(type(outcome).__name__ for outcome in outcomes)


def keyed(work: Callable[..., Any], **asked) -> Callable[[], Any]:
    return lambda: transactions.run(lambda: work(**asked), transactions.KEYED)


def hold_naively(
    order_id: UUID, user_id: int, amount: int, all_have_read: threading.Barrier
) -> Callable[[], None]:
    """Read, decide, write: the same rows and constraints, without the lock."""

    def work():
        balance_amount = ledger.balance_amount(user_id)
        all_have_read.wait()
        if balance_amount < amount:
            raise Rejected("The wallet holds fewer points than that.", code="insufficient_points")
        left = balance_amount - amount
        with transaction.atomic():
            LedgerAccount.objects.filter(id=user_id).update(balance_amount=left)
            made = Transfer.objects.create(kind="hold", reference=str(order_id), at=timezone.now())
            Entry.objects.create(transfer=made, account_id=HOLDING, amount=amount)
            spent = {"account_id": user_id, "amount": -amount, "balance_after_amount": left}
            Entry.objects.create(transfer=made, **spent)

    return work


def test_one_wallet_spent_by_50_at_once_pays_for_exactly_what_it_holds():
    user_id = factories.wallet(1_000)
    orders = [factories.order(user_id) for _ in range(50)]

    holds = [keyed(sales.hold_points, order_id=id, user_id=user_id, amount=70) for id in orders]
    outcomes = race(holds)

    assert kinds(outcomes) == {"Transfer": 14, "Rejected": 36}
    assert {one.code for one in outcomes if isinstance(one, Rejected)} == {"insufficient_points"}
    assert ledger.balance_amount(user_id) == 1_000 - 14 * 70
    entries = Entry.objects.filter(account_id=user_id).order_by("id")
    steps = list(entries.values_list("balance_after_amount", flat=True))
    assert steps == [1_000 - 70 * spent for spent in range(15)]
    assert broken_laws() == []


def test_the_same_wallet_read_and_written_back_without_its_lock_is_spent_too_often():
    user_id = factories.wallet(1_000)
    orders = [factories.order(user_id) for _ in range(50)]
    all_have_read = threading.Barrier(50, timeout=30)

    outcomes = race([hold_naively(order_id, user_id, 70, all_have_read) for order_id in orders])

    assert kinds(outcomes)["NoneType"] > 14
    assert broken_laws() == [f"wallet {user_id}"]


def test_transfers_in_opposite_order_do_not_deadlock():
    """No transfer is retried here, so a deadlock would fail the test."""
    first, second = factories.wallet(1_000), factories.wallet(1_000)

    def pay(number, payer, payee):
        def work():
            with transaction.atomic():
                amounts = {payer: -10, payee: 10}
                return ledger.transfer(kind="grant", reference=str(number), amounts=amounts)

        return work

    there = [pay(number, first, second) for number in range(30)]
    back = [pay(30 + number, second, first) for number in range(30)]

    assert kinds(race(there + back)) == {"Transfer": 60}
    assert ledger.balances([first, second]) == {first: 1_000, second: 1_000}
    assert broken_laws() == []


def test_wallets_locked_in_the_order_they_come_deadlock():
    wallets = [factories.wallet(1_000), factories.wallet(1_000)]
    both_have_one = threading.Barrier(2, timeout=30)

    def lock(ids):
        def work():
            with transaction.atomic():
                LedgerAccount.objects.select_for_update().get(id=ids[0])
                both_have_one.wait()
                LedgerAccount.objects.select_for_update().get(id=ids[1])

        return work

    outcomes = race([lock(wallets), lock(wallets[::-1])])

    assert kinds(outcomes) == {"OperationalError": 1, "NoneType": 1}
    deadlock = next(one for one in outcomes if isinstance(one, OperationalError))
    assert deadlock.args[0] == transactions.DEADLOCK


def test_50_grants_by_one_reference_are_one():
    user_id = factories.wallet(5)

    outcomes = race([keyed(ledger.grant, user_id=user_id, amount=100, reason="once", reference="one")] * 50)

    assert kinds(outcomes) == {"Entry": 50}
    assert len({entry.id for entry in outcomes}) == 1
    assert ledger.balance_amount(user_id) == 105
    assert broken_laws() == []


def test_a_sale_that_touches_no_wallet_is_settled_once_by_30():
    """No lock of an existing row serializes these: the unique key alone decides."""
    order_id = factories.order(card_amount=500)

    settles = keyed(sales.settle_sale, order_id=order_id, points_amount=0, card_amount=500)
    outcomes = race([settles] * 30)

    assert kinds(outcomes) == {"Transfer": 30}
    assert len({sale.id for sale in outcomes}) == 1
    assert Entry.objects.filter(account_id=SALES).count() == 1
    assert broken_laws() == []


def test_a_read_before_the_write_without_the_unique_key_allows_two_transfers():
    user_id = factories.wallet()
    all_have_read = threading.Barrier(2, timeout=30)

    def grant(number):
        def work():
            with transaction.atomic():
                known = Transfer.objects.filter(reason="once").exists()
                all_have_read.wait()
                if not known:
                    ledger.grant(user_id=user_id, amount=100, reason="once", reference=f"naive {number}")

        return work

    race([grant(1), grant(2)])

    assert ledger.balance_amount(user_id) == 200


def test_30_concurrent_calls_open_one_wallet():
    user_id = AccountFactory().id

    assert race([lambda: ledger.open_wallet(user_id)] * 30) == [user_id] * 30
    assert LedgerAccount.objects.filter(kind="wallet").count() == 1


def test_50_calls_with_one_key_grant_once():
    staff = staff_member("payments.add_transfer")
    user_id = AccountFactory().id
    body = {"user": user_id, "amount": 100, "reason": "for waiting"}

    answers = race([lambda: client_of(staff).post("/wallet/grants", body, key="only-once")] * 50)

    assert {answer.status_code for answer in answers} <= {201, 409}
    granted = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.content for answer in granted}) == 1
    assert sum("Idempotency-Replayed" not in answer for answer in granted) == 1
    in_flight = [answer.json()["code"] for answer in answers if answer.status_code == 409]
    assert set(in_flight) <= {"idempotency_key_in_flight"}
    reused = client_of(staff).post("/wallet/grants", body | {"amount": 101}, key="only-once")
    assert problem_of(reused) == (422, "idempotency_key_reused")
    assert ledger.balance_amount(user_id) == 100
    assert broken_laws() == []


def test_the_database_alone_admits_one_of_20_keyed_grants():
    """As if each call came to another process, without Redis: only the database sees all of them."""
    staff_id, user_id = AccountFactory().id, factories.wallet()
    call = KeyedCall(staff_id, key_hash("one"), "f", lambda entry: Answer(status=201, body=b"{}"))

    outcomes = race(
        [lambda: points_grants.grant(user_id=user_id, amount=100, reason="once", keyed=call)] * 20
    )

    assert kinds(outcomes) == {"Entry": 1, "Replay": 19}
    assert ledger.balance_amount(user_id) == 100
    assert Entry.objects.filter(account_id=PROMOTIONS).count() == 1
