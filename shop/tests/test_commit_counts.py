"""Counts of what a transaction did: made once, after its COMMIT; not made if that fails or has no reply."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
from django.db import transaction

from shop.db import open_transaction, transactions
from shop.journal import journal
from shop.models import JournalLine
from shop.tests import open_transactions
from shop.tests.lost_replies import losing_reply_to_commit
from shop.tests.racing import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
counted: list[str] = []


def count(items: Sequence[str]) -> None:
    counted.extend(items)


def change(*items: str) -> int:
    """Change something: a line of the journal, and a count for each item. Returns the lines so far."""
    journal.note(what="thing.changed", subject="thing 1")
    open_transaction.count_after_commit(count, items)
    return JournalLine.objects.count()


@pytest.fixture(autouse=True)
def _nothing_counted() -> Iterator[None]:
    counted.clear()
    yield
    counted.clear()


def test_what_is_done_is_counted_after_the_commit():
    def work() -> None:
        change("a")
        change("b")
        assert counted == []

    transactions.run(work, transactions.REPEATABLE)
    assert counted == ["a", "b"]


def test_an_attempt_that_is_rolled_back_is_not_counted():
    def refused() -> None:
        change("a")
        raise ValueError

    with suppress(ValueError):
        transactions.run(refused, transactions.REPEATABLE)
    assert counted == []


def test_a_retry_after_a_conflict_counts_once():
    attempts = []

    def work() -> None:
        change("a")
        attempts.append(1)
        if len(attempts) < 3:
            raise transactions.OperationalError(1213, "Deadlock found")

    transactions.run(work, transactions.REPEATABLE)
    assert (len(attempts), counted) == (3, ["a"])


def test_a_savepoint_that_is_rolled_back_counts_nothing():
    def work() -> None:
        change("a")
        with suppress(ValueError), open_transaction.savepoint():
            change("b")
            raise ValueError
        change("c")

    transactions.run(work, transactions.REPEATABLE)
    assert counted == ["a", "c"]


def test_inside_a_transaction_of_django_it_counts_with_its_commit():
    with transaction.atomic():
        transactions.run_or_savepoint(lambda: change("a"), transactions.REPEATABLE)
        change("b")
        assert counted == []
    assert sorted(counted) == ["a", "b"]


def test_a_count_that_raises_disturbs_neither_the_work_nor_other_counts():
    def fail(items: Sequence[str]) -> None:
        raise RuntimeError("a defect")

    def work() -> int:
        open_transaction.count_after_commit(fail, ["a"])
        return change("b")

    assert transactions.run(work, transactions.REPEATABLE) == 0
    assert (counted, JournalLine.objects.count()) == (["b"], 1)
    with transaction.atomic():
        open_transaction.count_after_commit(fail, ["a"])
        open_transaction.count_after_commit(count, ["c"])
    assert counted == ["b", "c"]


def test_outside_a_transaction_it_is_refused():
    with pytest.raises(transaction.TransactionManagementError):
        open_transaction.count_after_commit(count, ["a"])


@pytest.mark.parametrize("effect", [transactions.KEYED, transactions.ONCE])
def test_a_commit_whose_reply_is_lost_is_done_once_and_not_counted(effect, tmp_path):
    def work() -> None:
        if not JournalLine.objects.exists():
            change("a")

    with losing_reply_to_commit(tmp_path) as is_lost:
        transactions.run(work, effect)
        assert is_lost.is_set()
    assert (counted, JournalLine.objects.count()) == ([], 1)


def test_a_commit_that_never_arrived_counts_once(tmp_path):
    """The work is done anew."""
    attempts = []

    def work() -> None:
        attempts.append(1)
        change("a")

    def break_before_the_server() -> None:
        raise BrokenPipeError

    with losing_reply_to_commit(tmp_path, before_commit=break_before_the_server) as is_lost:
        transactions.run(work, transactions.KEYED)
        assert is_lost.is_set()
    assert (len(attempts), counted, JournalLine.objects.count()) == (2, ["a"], 1)
    wait_until(lambda: not open_transactions.of_others())
