"""The journal: each line with its content and its actor, and only if its effect is committed."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from shop.db import open_transaction, transactions
from shop.journal import journal
from shop.journal.journal import Actor, ActorContext
from shop.models import JournalLine

pytestmark = pytest.mark.django_db(transaction=True)

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
AWKWARD = 'it\'s 100 %s \\ "quoted"; 커피, 😀'


def noted() -> list[str]:
    return list(JournalLine.objects.order_by("id").values_list("what", flat=True))


def note(what: str = "test.noted", **more: Any) -> None:
    journal.note(what=what, subject="test", **more)


def test_a_line_is_kept_as_it_was_noted() -> None:
    order_id = uuid4()
    transactions.run(
        lambda: journal.note(
            what="test.noted",
            subject=AWKWARD,
            order_id=order_id,
            before={"count": 1, "text": AWKWARD, "nothing": None},
            after={"list": [1, {"deep": True}], "amount": 2**62},
            detail=AWKWARD + "x" * 300,
            reference="ch_1",
            is_internal=True,
            at=AT,
            by=ActorContext(actor=Actor.STAFF, id=7, name=AWKWARD, request_id="r-1"),
        ),
        transactions.KEYED,
    )
    line = JournalLine.objects.get()
    assert (line.at, line.what, line.subject, line.order_id) == (AT, "test.noted", AWKWARD, order_id)
    assert line.before == {"count": 1, "text": AWKWARD, "nothing": None}
    assert line.after == {"list": [1, {"deep": True}], "amount": 2**62}
    assert line.detail == (AWKWARD + "x" * 300)[:255]
    assert (line.actor, line.actor_id, line.actor_name) == ("staff", 7, AWKWARD)
    assert (line.request_id, line.reference, line.is_internal) == ("r-1", "ch_1", True)
    assert line.event_id is None


@pytest.mark.parametrize(("count", "statements"), [(1, 1), (1_000, 1), (2_500, 3)])
def test_lines_are_inserted_in_order_by_a_statement_per_thousand(count: int, statements: int) -> None:
    with CaptureQueriesContext(connection) as captured:
        transactions.run(lambda: [note(f"test.{number}") for number in range(count)], transactions.KEYED)

    assert len([query for query in captured if "shop_journalline" in query["sql"]]) == statements
    assert noted() == [f"test.{number}" for number in range(count)]


def test_a_line_of_a_rolled_back_transaction_is_not_written() -> None:
    def work() -> None:
        note("test.lost")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        transactions.run(work, transactions.KEYED)
    with pytest.raises(RuntimeError), transaction.atomic():
        work()
    transactions.run(lambda: note("test.kept"), transactions.KEYED)
    assert noted() == ["test.kept"]


def test_a_line_of_a_rolled_back_savepoint_is_not_written() -> None:
    def work() -> None:
        note("test.before")
        with pytest.raises(RuntimeError), open_transaction.savepoint():
            note("test.lost")
            raise RuntimeError
        note("test.after")

    transactions.run(work, transactions.KEYED)
    assert noted() == ["test.before", "test.after"]


def test_work_that_is_retried_is_noted_once() -> None:
    attempts = []

    def work() -> None:
        attempts.append(1)
        note(f"test.attempt.{len(attempts)}")
        if len(attempts) < 3:
            raise OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")

    transactions.run(work, transactions.KEYED)
    assert noted() == ["test.attempt.3"]


def test_a_line_that_can_not_be_written_rolls_back_its_effect() -> None:
    """Neither exists without the other."""

    def work() -> None:
        JournalLine.objects.create(at=AT, actor="system", what="test.effect", subject="test")
        note("x" * 65)

    with pytest.raises(Exception, match="what"):
        transactions.run(work, transactions.KEYED)
    assert noted() == []


def test_the_actor_is_the_innermost_one_that_was_set() -> None:
    assert journal.current_actor() == journal.SYSTEM
    with journal.acting(ActorContext(request_id="r-1")):
        journal.identify_actor(account_id=7, is_staff=False)
        assert journal.current_actor() == ActorContext(Actor.ACCOUNT, 7, "", "r-1")
        with journal.acting(ActorContext(Actor.STAFF, 1)):
            assert journal.current_actor() == ActorContext(Actor.STAFF, 1)
        assert journal.current_actor() == ActorContext(Actor.ACCOUNT, 7, "", "r-1")
        transactions.run(note, transactions.KEYED)
    assert journal.current_actor() == journal.SYSTEM
    assert JournalLine.objects.filter(actor="account", actor_id=7, request_id="r-1").count() == 1


def test_nothing_is_noted_outside_a_transaction() -> None:
    with pytest.raises(transaction.TransactionManagementError):
        note()
