"""Archives a month of a table into a compressed file, or lists what is archived."""

import json as to_json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from shop.events import journal
from shop.management import archive_options, arguments, shell
from shop.management.archives import TABLES, WITHOUT_MONTHS
from shop.models import ArchivedMonth
from shop.operations.archives import archiving
from shop.operations.archives.archive_tables import ArchiveTable
from shop.operations.archives.archiving import Archived, Options


class Command(BaseCommand):
    help = (
        "Write a finished month of a table into a compressed file, compare the file with the rows, and delete"
        " them a batch at a time while the shop sells. It may be killed at any moment: run it again to go on."
        " Without --yes it says how many rows that would be; without arguments it lists what is archived."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        names = ", ".join(TABLES)
        parser.add_argument("table", nargs="?", help=f"{names}; and why not: {', '.join(WITHOUT_MONTHS)}")
        parser.add_argument("month", nargs="?", help="in UTC: 2026-07")
        parser.add_argument("--folder", type=Path, help="where the file goes: beside your backups")
        parser.add_argument(
            "--days",
            type=arguments.whole_number,
            default=archiving.DEFAULT_DAYS,
            help="how long ago the month ended at least (%(default)s)",
        )
        parser.add_argument(
            "--forget-lost-file",
            action="store_true",
            help="with --folder and --yes: forget an interrupted archiving whose file is lost, if no row is"
            " deleted yet; the next run begins anew",
        )
        archive_options.add_to(parser)

    def handle(
        self,
        *,
        table: str | None,
        month: str | None,
        folder: Path | None,
        days: int,
        forget_lost_file: bool,
        json: bool,
        yes: bool,
        reason: str,
        batch: int,
        share: float,
        **_: Any,
    ) -> None:
        if table is None:
            self._list(json)
            return
        chosen = _table(table)
        if month is None:
            raise CommandError("Name a month, such as 2026-07.")
        pace = archive_options.read_pace(batch=batch, share=share, yes=yes, reason=reason)
        with archive_options.refusals("What is deleted is in the file: run it again to go on."):
            if not yes:
                self._count(chosen, month, days, json)
                return
            if folder is None or not folder.is_dir():
                raise CommandError("--folder names an existing folder for the file: nothing was done.")
            if forget_lost_file:
                self._forget(chosen, month, folder, reason, json)
                return
            options = Options(reason=reason, pace=pace, on_progress=archive_options.progress())
            with journal.acting(shell.operator()):
                done = archiving.archive(chosen, month, folder=folder, options=options, days=days)
        self.stdout.write(
            to_json.dumps(asdict(done) if done else None) if json else _as_text(chosen, month, done)
        )

    def _forget(self, table: ArchiveTable, month: str, folder: Path, reason: str, json: bool) -> None:
        with journal.acting(shell.operator()):
            file = archiving.forget_lost_file(table, month, folder=folder, reason=reason)
        text = f"{month}: {file} is forgotten; all rows of {table.name} are in the database. Archive it anew."
        self.stdout.write(
            to_json.dumps({"table": table.name, "month": month, "forgotten": file}) if json else text
        )

    def _count(self, table: ArchiveTable, month: str, days: int, json: bool) -> None:
        rows = archiving.count(table, month, days=days)
        counted = {"table": table.name, "month": month, "rows": rows}
        text = f"{month}: {rows:,} rows of {table.name} would be archived. Of the month stays: {table.stays}."
        self.stdout.write(to_json.dumps(counted) if json else text)

    def _list(self, json: bool) -> None:
        months = ArchivedMonth.objects.order_by("table", "month", "part")
        for one in months:
            values = {
                "table": one.table,
                "month": one.month,
                "state": one.state,
                "rows": one.rows,
                "removed": one.removed,
                "bytes": one.size,
                "file": one.file,
                "sha256": one.sha256,
            }
            text = f"{one.table} {one.month}: {one.state}, {one.removed:,} of {one.rows:,} rows in {one.file}"
            self.stdout.write(to_json.dumps(values) if json else text)
        if not months and not json:
            self.stdout.write("No month is archived.")


def _table(name: str) -> ArchiveTable:
    if name in WITHOUT_MONTHS:
        raise CommandError(f"{name} are not archived: {WITHOUT_MONTHS[name]}.")
    if name not in TABLES:
        raise CommandError(f"There is no table {name} for archives: name one of {', '.join(TABLES)}.")
    return TABLES[name]


def _as_text(table: ArchiveTable, month: str, done: Archived | None) -> str:
    if done is None:
        return f"{month}: {table.name} has no rows to archive. Of the month stays: {table.stays}."
    kept = f" {done.kept:,} rows had changed meanwhile, and stay." if done.kept else ""
    size = f"{done.bytes / 2**20:,.1f} MiB"
    return f"{month}: {done.removed:,} rows of {table.name} are archived in {done.file}, {size}.{kept}"
