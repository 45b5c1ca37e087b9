"""Archives a month of a table into a compressed file, or lists what is archived."""

import json as to_json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import F

from shop.management import archive_options, arguments
from shop.management.archives import TABLES, WITHOUT_MONTHS
from shop.models import ArchivedMonth
from shop.operations.archives import archiving
from shop.operations.archives.archive_tables import ArchiveTable
from shop.operations.archives.archiving import Options


class Command(BaseCommand):
    help = (
        "Write a finished month of a table into a compressed file, read that back, and delete its rows a"
        " batch at a time while the shop sells. It may be killed at any moment: run it again to go on."
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

    def handle(self, *, table: str | None, month: str | None, json: bool, yes: bool, **more: Any) -> None:
        if table is None:
            self._list(json)
            return
        if table in WITHOUT_MONTHS:
            raise CommandError(f"{table} are not archived: {WITHOUT_MONTHS[table]}.")
        if table not in TABLES:
            raise CommandError(f"There is no table {table} for archives: name one of {', '.join(TABLES)}.")
        chosen = TABLES[table]
        if month is None:
            raise CommandError("Name a month, such as 2026-07.")
        options = archive_options.read_options(yes=yes, **more)
        with archive_options.working("What is deleted is in the file: run it again to go on."):
            result, text = _run(chosen, month, options, **more) if yes else _count(chosen, month, **more)
        self.stdout.write(to_json.dumps(result) if json else text)

    def _list(self, json: bool) -> None:
        names = ("table", "month", "state", "rows", "removed", "file", "sha256")
        months = ArchivedMonth.objects.order_by("table", "month", "part").values(*names, bytes=F("size"))
        for one in months:
            text = "{table} {month}: {state}, {removed:,} of {rows:,} rows in {file}".format(**one)
            self.stdout.write(to_json.dumps(one) if json else text)
        if not months and not json:
            self.stdout.write("No month is archived.")


def _count(table: ArchiveTable, month: str, *, days: int, **_: Any) -> tuple[Any, str]:
    rows = archiving.count(table, month, days=days)
    text = f"{month}: {rows:,} rows of {table.name} would be archived. Of the month stays: {table.stays}."
    return {"table": table.name, "month": month, "rows": rows}, text


def _run(
    table: ArchiveTable,
    month: str,
    options: Options,
    *,
    folder: Path | None,
    forget_lost_file: bool,
    days: int,
    **_: Any,
) -> tuple[Any, str]:
    """Archive the month, or forget its lost file: the result for programs, and for people."""
    if folder is None or not folder.is_dir():
        raise CommandError("--folder names an existing folder for the file: nothing was done.")
    if forget_lost_file:
        file = archiving.forget_lost_file(table, month, folder=folder, reason=options.reason)
        text = f"{month}: {file} is forgotten; all rows of {table.name} are in the database. Archive it anew."
        return {"table": table.name, "month": month, "forgotten": file}, text
    done = archiving.archive(table, month, folder=folder, options=options, days=days)
    if done is None:
        return None, f"{month}: {table.name} has no rows to archive. Of the month stays: {table.stays}."
    kept = f" {done.kept:,} rows had changed meanwhile, and stay." if done.kept else ""
    size = f"{done.bytes / 2**20:,.1f} MiB"
    text = f"{month}: {done.removed:,} rows of {table.name} are archived in {done.file}, {size}.{kept}"
    return asdict(done), text
