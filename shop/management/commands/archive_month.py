"""Archives a month of a table into a compressed file, or lists what is archived."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import F

from shop.management import arguments
from shop.management.archive_options import ArchiveCommand
from shop.management.archives import TABLES, WITHOUT_MONTHS
from shop.models import ArchivedMonth
from shop.operations.archives import archiving
from shop.operations.archives.archiving import Options

LISTED = "{table} {month}: {state}, {removed:,} of {rows:,} rows in {file}"


class Command(ArchiveCommand):
    help = (
        "Write a finished month of a table into a compressed file, read that back, and delete its rows a"
        " batch at a time while the shop sells. It may be killed at any moment: run it again to go on."
        " Without --yes it says how many rows that would be; without arguments it lists what is archived."
    )
    continued = "What is deleted is in the file: run it again to go on."

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
        super().add_arguments(parser)

    def work(
        self,
        options: Options | None,
        *,
        table: str | None,
        month: str | None,
        folder: Path | None,
        days: int,
        forget_lost_file: bool,
        json: bool,
        **_: Any,
    ) -> Iterator[tuple[Any, str]]:
        if table is None:
            names = ("table", "month", "state", "rows", "removed", "file", "sha256")
            months = ArchivedMonth.objects.order_by("table", "month", "part").values(*names, bytes=F("size"))
            yield from ((one, LISTED.format(**one)) for one in months)
            if not months and not json:
                self.stdout.write("No month is archived.")
            return
        if table in WITHOUT_MONTHS:
            raise CommandError(f"{table} are not archived: {WITHOUT_MONTHS[table]}.")
        if table not in TABLES:
            raise CommandError(f"There is no table {table} for archives: name one of {', '.join(TABLES)}.")
        if month is None:
            raise CommandError("Name a month, such as 2026-07.")
        chosen = TABLES[table]
        stays = f"Of the month stays: {chosen.stays}."
        if options is None:
            rows = archiving.count(chosen, month, days=days)
            text = f"{month}: {rows:,} rows of {table} would be archived. {stays}"
            yield {"table": table, "month": month, "rows": rows}, text
        elif folder is None or not folder.is_dir():
            raise CommandError("--folder names an existing folder for the file: nothing was done.")
        elif forget_lost_file:
            file = archiving.forget_lost_file(chosen, month, folder=folder, reason=options.reason)
            text = f"{month}: {file} is forgotten; all rows of {table} are in the database. Archive it anew."
            yield {"table": table, "month": month, "forgotten": file}, text
        elif (done := archiving.archive(chosen, month, folder=folder, options=options, days=days)) is None:
            yield None, f"{month}: {table} has no rows to archive. {stays}"
        else:
            kept = f" {done.kept:,} rows had changed meanwhile, and stay." if done.kept else ""
            size = f"{done.bytes / 2**20:,.1f} MiB"
            text = f"{month}: {done.removed:,} rows of {table} are archived in {done.file}, {size}.{kept}"
            yield asdict(done), text
