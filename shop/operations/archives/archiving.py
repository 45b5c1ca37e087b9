"""Archiving a month of a table: written to a file, read back from the disk, and only then deleted.

It may be killed at any moment: the next run goes on by the `ArchivedMonth`. ADR 046 has the reasons.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Max
from uuid_utils.compat import uuid7

from shop import clock
from shop.db import pacing, transactions
from shop.db.pacing import Pace
from shop.journal import journal
from shop.models import ArchivedMonth
from shop.operations.archives import archive_files, archive_tables
from shop.operations.archives.archive_files import ArchiveFailed, Header, Opened
from shop.operations.archives.archive_tables import ArchiveTable

State = ArchivedMonth.State
DEFAULT_DAYS, MIN_DAYS = 90, 30
MOST_KEPT = 10_000
"""Rows that changed after they were written: their keys stand in one row."""
Progress = Callable[[str, int], None]
"""Called with what is done to rows, and how many are done so far."""


@dataclass(frozen=True, kw_only=True)
class Archived:
    """What an archiving did. `kept` rows changed meanwhile, and are in the database still."""

    table: str
    month: str
    part: int
    file: str
    rows: int
    removed: int
    kept: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an archiving or a restore is done. The failpoint is a test's."""

    reason: str
    pace: Pace = field(default_factory=Pace)
    on_progress: Progress = lambda what, rows: None
    failpoint: Callable[[str], None] = lambda point: None


def count(table: ArchiveTable, month: str, *, days: int = DEFAULT_DAYS) -> int:
    """How many rows an archiving would write. Raises `ArchiveFailed` for a month that may not be archived."""
    _require_ended(month, days)
    return sum(len(rows) for rows in table.month_rows(*archive_tables.month_bounds(month)))


def archive(
    table: ArchiveTable, month: str, *, folder: Path, options: Options, days: int = DEFAULT_DAYS
) -> Archived | None:
    """Archive the month's rows whose work is done into a new file in the folder. None without such rows.

    An archiving that was interrupted is completed instead, with its file. Durable when it returns. Raises
    `ArchiveFailed`, `OSError`, and `Unavailable` where the database or a secondary doesn't follow.
    """
    _require_ended(month, days)
    parts = ArchivedMonth.objects.filter(table=table.name, month=month)
    # Decided before all else is read: of two runs that read the same rows one is refused by the constraint.
    part = (parts.aggregate(last=Max("part"))["last"] or 0) + 1
    record = parts.exclude(state=State.ARCHIVED).order_by("part").first()
    if record and record.state == State.RESTORING:
        raise ArchiveFailed(f"A restore of {record.file} has not ended: complete it by restore_month.")
    record = record or _write(table, month, part, folder, options)
    if record is None:
        return None
    path, partial_path = folder / record.file, folder / (record.file + archive_files.PARTIAL)
    there = path if path.exists() else partial_path
    if not there.exists():
        otherwise = " If it is lost, --forget-lost-file begins anew: no row is deleted yet."
        raise ArchiveFailed(
            f"{month} is being archived into {record.file}, which is not in {folder}: name the folder in"
            f" which it is.{'' if record.removed else otherwise}"
        )
    with archive_files.open_file(there) as (opened, rows):
        opened.require_same(size=record.size, sha256=record.sha256)
        names = ("table", "month", "part", "file", "sha256", "rows", "first_key", "last_key", "columns")
        described = {name: getattr(record, name) for name in names}
        described |= {"archive": record.archive_id.hex, "bytes": record.size}
        described["created_at"] = record.created_at.isoformat()
        archive_files.publish(there, path, described)
        options.failpoint("file complete")
        delete = partial(_delete_batch, table, record.archive_id, options)
        work_through(rows, delete, options, what="deleted", point="batch")
    return _end(record.archive_id, options)


def _require_ended(month: str, days: int) -> None:
    if days < MIN_DAYS:
        raise ArchiveFailed(f"A month is archived once it ended {MIN_DAYS} days ago or more, not {days}.")
    _, end = archive_tables.month_bounds(month)
    if end > clock.now() - timedelta(days=days):
        may = end + timedelta(days=days)
        raise ArchiveFailed(f"{month} can be archived from {may:%Y-%m-%d} on, {days} days after its end.")


def _write(
    table: ArchiveTable, month: str, part: int, folder: Path, options: Options
) -> ArchivedMonth | None:
    """Write and verify a partial file, and record it; None if the month has no rows to archive."""
    archive_files.delete_abandoned(
        folder, table=table.name, month=month, is_kept=partial(_is_recorded, table.name, month)
    )
    id = uuid7()
    header = Header(archive=id.hex, table=table.name, month=month, part=part, columns=table.columns)
    partial_path, may_be_recorded = folder / (header.file_name + archive_files.PARTIAL), False
    with archive_files.new_file(folder, header) as file:
        try:
            trailer = archive_files.write(file, header, _pages(table, month, options))
            options.failpoint("file written")
            if not trailer["rows"]:
                return None
            # From the disk: it raises `ArchiveFailed` unless the file is whole.
            with archive_files.open_file(partial_path) as (opened, lines):
                began_at = time.monotonic()
                while list(islice(lines, archive_tables.PAGE)):
                    options.pace.sleep(time.monotonic() - began_at)
                    began_at = time.monotonic()
            options.failpoint("file verified")
            # The COMMIT's answer may be lost, or an interrupt may come first: then a later run asks the
            # database.
            may_be_recorded = True
            record = _record(id, opened, trailer, options.reason)
            options.failpoint("recorded")
            return record
        except IntegrityError as error:
            may_be_recorded = False
            raise ArchiveFailed("Another run archives this month: this one has changed nothing.") from error
        finally:
            if not may_be_recorded:
                partial_path.unlink(missing_ok=True)


def _pages(table: ArchiveTable, month: str, options: Options) -> Iterator[list[bytes]]:
    """The lines of the month's rows, with rests: reading and packing take a processor from the requests.

    Nothing is written, so a secondary isn't waited for: its lag would discard the whole file.
    """
    options.failpoint("file begun")
    written, began_at = 0, time.monotonic()
    for rows in table.month_rows(*archive_tables.month_bounds(month)):
        yield [table.line(row) for row in rows]
        written += len(rows)
        options.on_progress("written", written)
        options.pace.sleep(time.monotonic() - began_at)
        began_at = time.monotonic()


def _is_recorded(table: str, month: str, file: str) -> bool:
    """Whether a record names the file. Waits for a transaction that has written it, and may yet commit."""
    months = ArchivedMonth.objects.select_for_update().filter(table=table, month=month)
    files = months.values_list("file", flat=True)
    return file in transactions.run(lambda: set(files), transactions.REPEATABLE)


def _record(id: Any, opened: Opened, trailer: Mapping[str, Any], reason: str) -> ArchivedMonth:
    """Record the verified file: from now on its rows may be deleted. Raises `IntegrityError`."""
    header = opened.header

    def create() -> ArchivedMonth:
        record = ArchivedMonth.objects.create(
            archive_id=id,
            table=header.table,
            month=header.month,
            part=header.part,
            state=State.DELETING,
            file=header.file_name,
            size=opened.size,
            sha256=opened.sha256,
            columns=header.columns,
            created_at=clock.now(),
            **trailer,
        )
        note("archive.started", record, reason)
        return record

    return transactions.run(create, transactions.ONCE)


def note(what: str, record: ArchivedMonth, reason: str, **more: Any) -> None:
    journal.note(
        what=what,
        subject=subject(record.table, record.month),
        after={"file": record.file, "sha256": record.sha256, "rows": record.rows, "part": record.part} | more,
        detail=reason,
        reference=record.archive_id.hex,
        is_internal=True,
    )


def subject(table: str, month: str) -> str:
    return f"archive {table} {month}"


def forget_lost_file(table: ArchiveTable, month: str, *, folder: Path, reason: str) -> str:
    """Forget an interrupted archiving whose file is lost, and of which no row is deleted; returns the file.

    All rows are in the database, so nothing is lost even if the file turns up: it is then of no archive. A
    run that is under way ends with an error before it deletes a row. Durable when it returns. Raises
    `ArchiveFailed` where the file is in the folder, or rows are deleted.
    """

    def forget() -> str:
        found = ArchivedMonth.objects.select_for_update().filter(table=table.name, month=month)
        record = found.filter(state=State.DELETING).order_by("part").first()
        if record is None:
            raise ArchiveFailed(f"No archiving of {table.name} {month} was interrupted: nothing was done.")
        if record.removed:
            raise ArchiveFailed(
                f"{record.removed:,} rows are deleted that {record.file} alone has: look for a copy of it."
            )
        if any((folder / name).exists() for name in (record.file, record.file + archive_files.PARTIAL)):
            raise ArchiveFailed(f"{record.file} is in {folder}: run this again without --forget-lost-file.")
        note("archive.forgotten", record, reason)
        record.delete()
        return record.file

    return transactions.run(forget, transactions.ONCE)


def work_through(
    lines: Iterator[bytes], work: Callable[[list[bytes]], None], options: Options, *, what: str, point: str
) -> None:
    """Do the work for a batch of lines at a time, each in a transaction of its own, with rests."""
    done = 0
    while batch := list(islice(lines, options.pace.size)):
        began_at = time.monotonic()
        options.failpoint(f"{point} begins")
        pacing.run_patiently(partial(transactions.run, partial(work, batch), transactions.REPEATABLE))
        options.failpoint(f"{point} committed")
        done += len(batch)
        options.on_progress(what, done)
        options.pace.rest(time.monotonic() - began_at)


def _delete_batch(table: ArchiveTable, archive_id: UUID, options: Options, lines: list[bytes]) -> None:
    """Delete those of the lines' rows that are as they were written, and carry what the laws sum up.

    The record is locked first: of several runs, and a restore, one has the batch at a time.
    """
    record = lock(archive_id, State.DELETING)
    written = {json.loads(line)[0]: line for line in lines}
    there = table.rows_of(written, is_locked=True)
    same = {key: row for key, row in there.items() if table.line(row) == written[key]}
    changed = [key for key in there if key not in same and key not in record.kept]
    if not same and not changed:
        return
    if len(record.kept) + len(changed) > MOST_KEPT:
        raise ArchiveFailed(
            f"More than {MOST_KEPT:,} rows have changed since {record.file} was written: restore it by"
            " restore_month, and archive the month anew."
        )
    if same:
        grown = table.carry(record, [*same.values()])
        record.sums = {name: record.sums.get(name, 0) + grown.get(name, 0) for name in {*record.sums, *grown}}
        options.failpoint("carried")
        deleted, _ = table.model._default_manager.filter(pk__in=same).delete()
        if deleted != len(same):
            raise RuntimeError(f"{len(same)} rows were locked, and {deleted} deleted: rolled back.")
        options.failpoint("deleted")
    record.removed += len(same)
    record.kept = [*record.kept, *changed]
    record.save(update_fields=["removed", "kept", "sums"])


def lock(archive_id: UUID, *states: ArchivedMonth.State) -> ArchivedMonth:
    """The record, locked in the caller's transaction. Raises `ArchiveFailed` if it has another state."""
    record = ArchivedMonth.objects.select_for_update().filter(archive_id=archive_id, state__in=states).first()
    if record is None:
        raise ArchiveFailed("Another run has archived or restored this month meanwhile: this one stops.")
    return record


def _end(archive_id: UUID, options: Options) -> Archived:
    def end() -> ArchivedMonth:
        ended = lock(archive_id, State.DELETING, State.ARCHIVED)
        if ended.state == State.DELETING:
            ended.state, ended.archived_at = State.ARCHIVED, clock.now()
            ended.save(update_fields=["state", "archived_at"])
            note("archive.ended", ended, options.reason, removed=ended.removed)
        return ended

    ended = transactions.run(end, transactions.ONCE)
    names = ("table", "month", "part", "file", "rows", "removed", "sha256")
    values = {name: getattr(ended, name) for name in names}
    return Archived(**values, kept=len(ended.kept), bytes=ended.size)
