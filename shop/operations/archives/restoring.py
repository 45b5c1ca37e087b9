"""Restoring an archived month: its rows come back with their keys, and the laws count them as before."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from shop.db import transactions
from shop.models import ArchivedMonth, JournalLine
from shop.operations.archives import archive_files, archiving
from shop.operations.archives.archive_files import ArchiveFailed, Header
from shop.operations.archives.archive_tables import ArchiveTable
from shop.operations.archives.archiving import Options

State = ArchivedMonth.State


@dataclass(frozen=True)
class Restored:
    """What a restore did; nothing if the file `was_restored` before."""

    table: str
    month: str
    file: str
    rows: int
    was_restored: bool


def restore(path: Path, tables: Mapping[str, ArchiveTable], *, options: Options | None) -> Restored:
    """Insert the file's rows that are not there, and forget the archive. Durable when it returns.

    Without options the file is only read, and compared with what the shop keeps of it. An interrupted restore
    is completed by the next one. The file stays where it is. Raises `ArchiveFailed`.
    """
    with archive_files.open_file(path) as (opened, rows):
        header, archive_id = opened.header, UUID(opened.header.archive)
        record = ArchivedMonth.objects.filter(archive_id=archive_id).first()
        number = record.rows if record else 0
        found = Restored(header.table, header.month, path.name, number, was_restored=record is None)
        if record is None:
            subject, what = archiving.subject(header.table, header.month), "archive.restored"
            if not JournalLine.objects.filter(subject=subject, what=what, reference=header.archive).exists():
                raise ArchiveFailed(
                    f"{path} was not archived by this shop, or the database is older than the file: nothing"
                    " was done."
                )
            return found
        opened.require_same(size=record.size, sha256=record.sha256)
        table = _table_of(header, tables)
        if options is None:
            return found
        _begin(archive_id, options)
        options.failpoint("restore begun")
        insert = partial(_insert_batch, table, archive_id, header.columns, options)
        archiving.work_through(rows, insert, options, what="restored", point="restored batch")
    _end(archive_id, options)
    return found


def _table_of(header: Header, tables: Mapping[str, ArchiveTable]) -> ArchiveTable:
    """The table that the file's rows fit. Raises `ArchiveFailed`."""
    table = tables.get(header.table)
    if table is None:
        raise ArchiveFailed(f"This release archives no table {header.table}.")
    needed = {
        name
        for name, column in table.fields.items()
        if not (column.null or column.has_default() or (column.blank and column.empty_strings_allowed))
    }
    given = set(header.columns)
    if differing := sorted((given - table.fields.keys()) | (needed - given)):
        raise ArchiveFailed(
            f"The file and the table differ in {', '.join(differing)}: restore it by the release that wrote"
            " it."
        )
    return table


def _begin(archive_id: UUID, options: Options) -> None:
    def begin() -> None:
        record = archiving.lock(archive_id, *State)
        if record.state != State.RESTORING:
            record.state = State.RESTORING
            record.save(update_fields=["state"])
            archiving.note("archive.restore_started", record, options.reason)

    transactions.run(begin, transactions.ONCE)


def _insert_batch(
    table: ArchiveTable, archive_id: UUID, columns: Sequence[str], options: Options, lines: list[bytes]
) -> None:
    """Insert the rows of those lines that are not there, and take them from what the laws carry."""
    record = archiving.lock(archive_id, State.RESTORING)
    kept = set(record.kept)
    wanted = {key: line for line in lines if (key := json.loads(line)[0]) not in kept}
    there = table.rows_of(wanted)
    missing = [table.read(columns, line) for key, line in wanted.items() if key not in there]
    if not missing:
        return
    shrunk = table.uncarry(record, missing)
    options.failpoint("uncarried")
    table.complete(missing)
    # Columns that the file lacks get the model's defaults.
    table.model._default_manager.bulk_create([table.model(**row) for row in missing])
    record.sums = {name: amount - shrunk.get(name, 0) for name, amount in record.sums.items()}
    record.removed -= len(missing)
    record.save(update_fields=["removed", "sums"])
    options.failpoint("inserted")


def _end(archive_id: UUID, options: Options) -> None:
    """Forget the archive: all of its rows are in the database."""

    def end() -> None:
        ended = ArchivedMonth.objects.select_for_update().filter(archive_id=archive_id).first()
        if ended is None:
            return
        if ended.removed:
            raise ArchiveFailed(f"{ended.removed} rows of {ended.file} are still missing: run this again.")
        archiving.note("archive.restored", ended, options.reason)
        ended.delete()

    transactions.run(end, transactions.ONCE)
