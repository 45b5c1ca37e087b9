"""Archiving and restoring killed at every point: no row is lost, and the next run completes it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connections

from orders.tests import archived
from orders.tests.archived import JOURNAL, MOVEMENTS, archive, broken, restore, rows_of
from shop.models import ArchivedMonth
from shop.operations.archives import archive_files
from shop.operations.archives.archive_files import ArchiveFailed

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.boots("a forked process", in_first_circle=True),
]
ARCHIVING = (
    *("file begun", "file written", "file verified", "recorded", "file complete"),
    *("batch begins", "carried", "deleted", "batch committed"),
)
RESTORING = ("restore begun", "uncarried", "inserted", "restored batch committed")
# One code archives both tables, and only the journal's rows are carried elsewhere: of movements, the points
# at which a part of the rows is gone, or back.
ARCHIVED = [*((JOURNAL, point) for point in ARCHIVING), (MOVEMENTS, "batch committed")]
RESTORED = [*((JOURNAL, point) for point in RESTORING), (MOVEMENTS, "restored batch committed")]


def kill_at(point: str, *, visit: int = 1) -> Callable[[str], None]:
    """A failpoint at which the process kills itself, at its first or a later visit."""
    visits = 0

    def strike(reached: str) -> None:
        nonlocal visits
        visits += reached == point
        if reached == point and visits == visit:
            os.kill(os.getpid(), signal.SIGKILL)

    return strike


def run_and_die(work: Callable[[], object]) -> None:
    """Do the work in a process of its own, which has to be killed by it."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the failpoint was not reached"
    assert os.WTERMSIG(status) == signal.SIGKILL


def in_files(folder: Path) -> set[object]:
    """The keys of all rows in whole files that the shop knows."""
    keys: set[object] = set()
    for record in ArchivedMonth.objects.all():
        for name in (record.file, record.file + archive_files.PARTIAL):
            if (folder / name).exists():
                with archive_files.open_file(folder / name) as (_, rows):
                    keys |= {int(line[1:].split(b",")[0]) for line in rows}
    return keys


@pytest.mark.parametrize(("table", "point"), ARCHIVED, ids=lambda one: getattr(one, "name", one))
def test_an_archiving_killed_at_any_point_loses_nothing_and_the_next_one_completes_it(tmp_path, point, table):
    archived.sell(3)
    archived.age()
    before, ready = rows_of(table), archived.ready_keys(table)
    is_later = point in ("carried", "deleted", "batch committed") and len(ready) > archived.QUICK.size
    run_and_die(lambda: archive(tmp_path, table, kill_at(point, visit=2 if is_later else 1)))
    assert {row[0] for row in rows_of(table)} | in_files(tmp_path) >= {row[0] for row in before}
    assert broken() == {}
    done = archive(tmp_path, table)
    assert done.removed == len(ready)
    assert {path.name for path in tmp_path.iterdir()} == {done.file, f"{done.file}.json"}
    assert broken() == {}
    restore(tmp_path / done.file)
    assert rows_of(table) == before


@pytest.mark.parametrize(("table", "point"), RESTORED, ids=lambda one: getattr(one, "name", one))
def test_a_restore_killed_at_any_point_is_completed_by_the_next_one(tmp_path, point, table):
    archived.sell(3)
    archived.age()
    before = rows_of(table)
    path = tmp_path / archive(tmp_path, table).file
    run_and_die(lambda: restore(path, kill_at(point)))
    assert broken() == {}
    with pytest.raises(ArchiveFailed, match="has not ended"):
        archive(tmp_path, table)
    restore(path)
    assert rows_of(table) == before


def test_an_interrupted_archiving_names_its_file_where_another_folder_is_given(tmp_path):
    archived.sell(1)
    archived.age()
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    run_and_die(lambda: archive(one, JOURNAL, kill_at("batch committed")))
    with pytest.raises(ArchiveFailed, match=archived.file_of(one).name):
        archive(other)
    assert archive(one).kept == 0


def test_a_file_damaged_while_its_rows_are_deleted_ends_the_archiving(tmp_path):
    archived.sell(1)
    archived.age()
    run_and_die(lambda: archive(tmp_path, JOURNAL, kill_at("batch committed")))
    left = rows_of()
    archived.damage(archived.file_of(tmp_path))
    with pytest.raises(ArchiveFailed, match="damaged"):
        archive(tmp_path)
    assert rows_of() == left
