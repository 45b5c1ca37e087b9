"""Archives beside lost answers, interrupted runs, files that are lost, swapped or made up, and replays."""

import fcntl
import gzip
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from events.models import WebhookDelivery
from events.tests.delivering import deliver_all, statuses
from events.webhooks import deliveries
from orders import selectors
from orders.models import Order
from orders.tests import archived, buying
from orders.tests.archived import JOURNAL, WHY, archive, broken, file_of, old_month, restore, rows_of, run
from orders.tests.stepping import at
from orders.tests.test_archiving import lines_of
from shop import clock
from shop.db import transactions
from shop.errors import Rejected
from shop.models import ArchivedMonth, JournalLine
from shop.operations.archives import archive_files, archiving
from shop.operations.archives.archive_files import ArchiveFailed, FileDamaged
from shop.tests.lost_replies import losing_reply_to_commit
from shop.tests.racing import race
from shop.tests.waiting import in_background

pytestmark = pytest.mark.django_db(transaction=True)


class Stopped(Exception):
    """The run ends here."""


stop_at = partial(at, act=Stopped)


@pytest.fixture
def paid() -> list[Order]:
    orders = archived.sell(2)
    archived.age()
    return orders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "archives"
    made.mkdir()
    return made


def test_a_file_whose_record_has_committed_without_an_answer_is_kept_and_the_month_completed(
    folder, tmp_path, paid
):
    """The file was deleted, and its record kept archive_month and restore_month from the month for ever."""
    before = rows_of()
    with (
        losing_reply_to_commit(tmp_path, is_the_end=True) as is_lost,
        pytest.raises(transactions.DatabaseUnavailable),
    ):
        archive(folder)
    assert is_lost.is_set()
    record = ArchivedMonth.objects.get()
    assert (record.state, record.removed) == ("deleting", 0)
    assert archive(folder).file == record.file
    assert broken() == {}
    restore(folder / record.file)
    assert rows_of() == before


def test_a_partial_file_is_kept_while_its_record_may_yet_commit(folder, paid):
    with pytest.raises(Stopped):
        archive(folder, failpoint=stop_at("file complete"))
    record = ArchivedMonth.objects.get()
    partial = folder / (record.file + archive_files.PARTIAL)
    (folder / record.file).rename(partial)
    record.delete()
    is_written, done = threading.Event(), threading.Event()

    def commit_late() -> None:
        with transaction.atomic():
            record.pk = None
            record.save(force_insert=True)
            is_written.set()
            assert not done.wait(1), "it did not wait for the transaction"

    def complete() -> str:
        assert is_written.wait(30)
        try:
            return archive(folder).file
        except ArchiveFailed as error:
            return str(error)
        finally:
            done.set()

    # This run has seen no record at its start, so another run's is in its way: that one's file stays.
    _, text = race([commit_late, complete])
    assert "Another run archives this month" in text
    assert partial.exists()
    assert archive(folder).file == record.file


def test_whether_a_partial_file_is_kept_is_asked_while_it_is_locked(folder):
    """Asked before, a run that recorded its file in between lost it."""
    path = folder / f"journal-2026-01-x.jsonl.gz{archive_files.PARTIAL}"
    path.touch()
    asked: list[str] = []

    def is_kept(name: str) -> bool:
        asked.append(name)
        with path.open("r+b") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return len(asked) == 1

    for is_there in (True, False):
        archive_files.delete_abandoned(folder, table="journal", month="2026-01", is_kept=is_kept)
        assert path.exists() == is_there
    assert asked == ["journal-2026-01-x.jsonl.gz"] * 2


def test_an_interrupted_archiving_whose_file_is_lost_is_forgotten_by_the_operator(folder, paid):
    before = rows_of()
    with pytest.raises(Stopped):
        archive(folder, failpoint=stop_at("file complete"))
    words = ["archive_month", "journal", old_month(), "--folder", str(folder), "--yes", "--reason", WHY]
    with pytest.raises(Exception, match="without --forget-lost-file"):
        run(*words, "--forget-lost-file")
    lost = file_of(folder)
    lost.unlink()
    with pytest.raises(Exception, match="--forget-lost-file begins anew"):
        run(*words)
    assert f"{lost.name} is forgotten" in run(*words, "--forget-lost-file")
    assert (ArchivedMonth.objects.count(), rows_of()) == (0, before)
    line = JournalLine.objects.get(what="archive.forgotten")
    assert (line.detail, line.actor) == (WHY, "staff")
    assert archive(folder).part == 1


def test_an_archiving_that_has_deleted_rows_is_never_forgotten(folder, paid):
    with pytest.raises(Stopped):
        archive(folder, failpoint=stop_at("batch committed"))
    file_of(folder).unlink()
    with pytest.raises(ArchiveFailed, match="look for a copy"):
        archiving.forget_lost_file(JOURNAL, old_month(), folder=folder, reason=WHY)
    with pytest.raises(ArchiveFailed, match="name the folder") as refused:
        archive(folder)
    assert "--forget-lost-file" not in str(refused.value)
    assert ArchivedMonth.objects.count() == 1


def test_a_month_has_one_spelling(folder):
    """Readers compare the names of months as texts: `2026-7` came after December."""
    for month in ("2026-7", "\uff12\uff10\uff12\uff16-07", "2026-07 ", "26-07"):
        with pytest.raises(ArchiveFailed, match="such as 2026-07"):
            archiving.archive(JOURNAL, month, folder=folder, options=archived.options())


def packed(path: Path, *lines: bytes) -> Path:
    path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines)))
    return path


WHOLE = {"archive": "01999999" * 4, "table": "journal", "month": "2026-01", "part": 1, "columns": ["id"]}


CHANGES: list[dict[str, Any]] = [{"archive": "x"}, {"archive": 5}, {"table": ["journal"]}, {"month": None}]
CHANGES += [{"columns": 5}, {"columns": [["id"]]}, {"mood": "good"}]
HEADERS = [json.dumps(WHOLE | change).encode() for change in CHANGES]
HEADERS += [b"[" * 100_000, b"[]", b"null", b"\xff"]
ENDS = [b"{", b"{}", b'{"rows": "1"}', b'{"a":' * 100_000]


def refusal(read: Callable[[], object]) -> str:
    """How the file that is read is refused."""
    try:
        read()
    except FileDamaged as refused:
        return str(refused)
    return "it is not refused"


def test_a_made_up_header_or_end_is_refused_in_one_line(folder):
    path = folder / "x.jsonl.gz"
    for header in HEADERS:
        text = refusal(partial(restore, packed(path, header, b'{"rows": 0}')))
        assert "no archive of this shop" in text, header[:80]
    for end in ENDS:
        with archive_files.open_file(packed(path, json.dumps(WHOLE).encode(), b"[1]", end)) as (_, rows):
            assert "don't agree" in refusal(partial(list, rows)), end[:80]


def test_a_file_that_gets_the_name_after_the_comparison_is_not_restored(folder, paid):
    """The rows of that file were inserted, though its SHA-256 was never compared."""
    before = rows_of()
    path = folder / archive(folder).file
    header, first, *others = lines_of(path)
    first[header["columns"].index("detail")] = "made up"
    made_up = packed(folder / "made-up", *(json.dumps(line).encode() for line in (header, first, *others)))

    restore(path, at("restore begun", partial(made_up.replace, path)))
    assert not made_up.exists()
    assert rows_of() == before


@pytest.fixture
def refunded() -> Order:
    """A paid and refunded order of now, whose events are delivered."""
    [order] = archived.sell(1)
    buying.execute_refund(buying.refund(order.id))
    deliver_all()
    return order


def archive_this_month(folder: Path, failpoint: Any = lambda point: None) -> str:
    """Archive the journal of this month in half a year; returns the file."""
    month = f"{clock.now():%Y-%m}"
    with clock.shifted(by=timedelta(days=200)):
        done = archiving.archive(JOURNAL, month, folder=folder, options=archived.options(failpoint))
    assert done is not None
    return done.file


def replay(order: Order) -> int:
    return deliveries.resend_order(
        order_id=order.pk, reason=WHY, settled_refunds=selectors.count_settled_refunds(order.pk)
    )


def test_events_are_not_replayed_in_part_where_a_refunds_month_is_archived(folder, refunded):
    """The first event was in the database, so a replay without the refund counted as a whole one."""
    WebhookDelivery.objects.filter(type="order.paid").update(status="failed", delivered_at=None)
    file = archive_this_month(folder)
    left = JournalLine.objects.filter(order_id=refunded.pk).values_list("what", flat=True)
    assert [*left] == ["order.paid"]
    with pytest.raises(Rejected, match=file) as refused:
        replay(refunded)
    assert refused.value.code == "events_archived"
    restore(folder / file)
    assert replay(refunded) == 2


def test_a_replay_during_an_archiving_of_its_events_sends_all_of_them(folder, refunded):
    """It had found their ids before, locked none of them, and reported that it had queued them."""
    replayed: list[int] = []

    def replay_meanwhile(point: str) -> None:
        is_paid_event_gone = not JournalLine.objects.filter(what="order.paid").exists()
        if point == "deleted" and is_paid_event_gone and not replayed:
            replayed.append(in_background(partial(replay, refunded)).result(30))

    file = archive_this_month(folder, replay_meanwhile)
    assert replayed == [2]
    assert statuses() == ["pending", "pending"]
    with pytest.raises(Rejected, match=file) as refused:
        replay(refunded)
    assert (refused.value.code, refused.value.extra["file"]) == ("events_archived", file)
