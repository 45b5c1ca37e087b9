"""The journal and counts: only if the effect is committed, with its actor; and the search of the journal."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.tests.clients import signed_in
from foundation import journal
from foundation.db import open_transaction, transactions
from foundation.journal import Actor, ActorContext
from foundation.models import JournalLine
from foundation.tests import open_transactions
from foundation.tests.factories import AccountFactory, SuperuserFactory
from foundation.tests.instants import ago
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
AWKWARD = 'it\'s 100 %s \\ "quoted"; 커피, 😀'


counted: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_counted():
    counted.clear()


def noted() -> list[str]:
    return list(JournalLine.objects.order_by("id").values_list("what", flat=True))


def note(what="test.noted", **more):
    journal.note(what=what, subject="test", **more)


def change(what: str):
    """Change something: a line of the journal, and a count."""
    note(what)
    open_transaction.count_after_commit(counted.extend, [what])


def fail(items: Sequence[str]):
    raise RuntimeError("a defect")


def test_a_line_is_kept_as_it_was_noted():
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
def test_lines_are_inserted_in_order_by_a_statement_per_thousand(count, statements):
    with CaptureQueriesContext(connection) as captured:
        transactions.run(lambda: [note(f"test.{number}") for number in range(count)], transactions.KEYED)

    assert len([query for query in captured if "shop_journalline" in query["sql"]]) == statements
    assert noted() == [f"test.{number}" for number in range(count)]


def test_what_is_done_is_noted_and_counted_once_it_is_committed():
    def work():
        change("a")
        change("b")
        assert counted == []

    transactions.run(work, transactions.REPEATABLE)
    assert counted == noted() == ["a", "b"]


def test_a_transaction_that_is_rolled_back_leaves_no_line_and_no_count():
    def work():
        change("test.lost")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        transactions.run(work, transactions.KEYED)
    with pytest.raises(RuntimeError), transaction.atomic():
        work()
    transactions.run(lambda: change("test.kept"), transactions.KEYED)
    assert counted == noted() == ["test.kept"]


def test_a_savepoint_that_is_rolled_back_leaves_no_line_and_no_count():
    def work():
        change("test.before")
        with pytest.raises(RuntimeError), open_transaction.savepoint():
            change("test.lost")
            raise RuntimeError
        change("test.after")

    transactions.run(work, transactions.KEYED)
    assert counted == noted() == ["test.before", "test.after"]


@pytest.mark.parametrize("effect", [transactions.KEYED, transactions.REPEATABLE])
def test_work_that_is_retried_is_noted_and_counted_once(effect):
    attempts = []

    def work():
        attempts.append(1)
        change(f"test.attempt.{len(attempts)}")
        if len(attempts) < 3:
            raise OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")

    transactions.run(work, effect)
    assert counted == noted() == ["test.attempt.3"]


def test_inside_a_transaction_of_django_it_counts_with_its_commit():
    with transaction.atomic():
        transactions.run_or_savepoint(lambda: change("a"), transactions.REPEATABLE)
        change("b")
        assert counted == []
    assert sorted(counted) == ["a", "b"]


def test_a_count_that_raises_disturbs_neither_the_work_nor_other_counts():
    def work():
        open_transaction.count_after_commit(fail, ["a"])
        change("b")
        return JournalLine.objects.count()

    assert transactions.run(work, transactions.REPEATABLE) == 0
    assert counted == noted() == ["b"]
    with transaction.atomic():
        open_transaction.count_after_commit(fail, ["a"])
        open_transaction.count_after_commit(counted.extend, ["c"])
    assert counted == ["b", "c"]


@pytest.mark.parametrize("effect", [transactions.KEYED, transactions.ONCE])
def test_a_commit_whose_reply_is_lost_is_done_once_and_not_counted(effect, tmp_path):
    def work():
        if not JournalLine.objects.exists():
            change("a")

    with losing_reply_to_commit(tmp_path) as is_lost:
        transactions.run(work, effect)
        assert is_lost.is_set()
    assert (counted, noted()) == ([], ["a"])


def test_a_commit_that_never_arrived_counts_once(tmp_path):
    """The work is done anew."""
    attempts = []

    def work():
        attempts.append(1)
        change("a")

    def break_before_the_server():
        raise BrokenPipeError

    with losing_reply_to_commit(tmp_path, before_commit=break_before_the_server) as is_lost:
        transactions.run(work, transactions.KEYED)
        assert is_lost.is_set()
    assert (len(attempts), counted, noted()) == (2, ["a"], ["a"])
    wait_until(lambda: not open_transactions.of_others())


def test_a_line_that_can_not_be_written_rolls_back_its_effect():
    """Neither exists without the other."""

    def work():
        JournalLine.objects.create(at=AT, actor="system", what="test.effect", subject="test")
        note("x" * 65)

    with pytest.raises(Exception, match="what"):
        transactions.run(work, transactions.KEYED)
    assert noted() == []


def test_the_actor_is_the_innermost_one_that_was_set():
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


def test_nothing_is_noted_or_counted_outside_a_transaction():
    with pytest.raises(transaction.TransactionManagementError):
        note()
    with pytest.raises(transaction.TransactionManagementError):
        open_transaction.count_after_commit(counted.extend, ["a"])


# Operators search it


@pytest.fixture
def operator(db):
    """The operator, with lines to search."""
    operator = SuperuserFactory(username="olga")
    ada = AccountFactory(username="ada")
    now = timezone.now()
    columns = ("actor", "actor_id", "actor_name", "what", "subject")
    for number, (days, *values) in enumerate(
        [
            (1, "staff", operator.pk, "", "product.changed", "product 7"),
            (10, "staff", operator.pk, "olga", "campaign.changed", "campaign 3"),
            (1, "account", ada.pk, "ada", "account.signed_in", f"account {ada.pk}"),
            (10, "staff", None, "root", "product.changed", "product 8"),
        ]
    ):
        line = dict(zip(columns, values, strict=True)) | {"detail": f"line {number}"}
        JournalLine.objects.create(at=now - timedelta(days=days), **line)
    return operator


def found(operator: User, **filters) -> list[str]:
    page = reverse("admin:shop_journalline_changelist")
    answer = signed_in(operator).get(f"{page}?{urlencode(filters)}")
    assert answer.status_code == 200
    return sorted(line.detail for line in answer.context["cl"].result_list)


def test_the_journal_is_searched_by_actor_what_happened_and_date(operator):
    day = (ago(days=5)).date()
    for filters, numbers in (
        *(
            ({"by": "olga"}, [0, 1]),
            ({"by": operator.pk}, [0, 1]),
            ({"by": "ADA"}, [2]),
            ({"by": "root"}, [3]),
        ),
        *(({"by": "9" * 30}, []), ({"happened": "product.changed"}, [0, 3]), ({"happened": "account."}, [2])),
        *(({"happened": "%"}, []), ({"at_from": day}, [0, 2]), ({"at_to": day}, [1, 3])),
        ({"at_from": day, "by": "olga"}, [0]),
    ):
        assert found(operator, **filters) == [f"line {number}" for number in numbers], filters


def test_each_search_has_an_index():
    JournalLine.objects.bulk_create(
        JournalLine(at=timezone.now(), actor="system", actor_id=number, what=f"a.{number}", subject="x")
        for number in range(1_000)
    )
    lines = JournalLine.objects.order_by("-id")
    assert "shop_journalline_of_actor" in lines.filter(actor_id=7)[:100].explain()
    begun = JournalLine.objects.filter(what__istartswith="a.77").order_by("what", "id")
    assert "shop_journalline_of_what" in begun[:100].explain()
    recent = lines.filter(at__lt=ago(days=5))
    assert "shop_journalline_by_instant" in recent[:100].explain()
