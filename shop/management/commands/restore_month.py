"""Restores an archived month from its file, or checks the file."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from shop.management.archive_options import ArchiveCommand
from shop.management.archives import TABLES
from shop.operations.archives import restoring
from shop.operations.archives.archiving import Options


class Command(ArchiveCommand):
    help = (
        "Insert the rows of an archived month again, with the keys they had, a batch at a time while the"
        " shop sells; the file stays. It may be killed at any moment: run it again to go on. Without --yes"
        " it reads all of the file, and compares it with what the shop keeps of it."
    )
    continued = "Run it again to go on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="as archive_month wrote it")
        super().add_arguments(parser)

    def work(self, options: Options | None, *, file: Path, **_: Any) -> Iterator[tuple[Any, str]]:
        done = restoring.restore(file, TABLES, options=options)
        rows = f"{done.rows:,} rows of {done.table}"
        text = f"{done.month}: {rows} are restored from {done.file}."
        if options is None:
            text = f"{done.file} is whole: {rows} of {done.month}. Nothing was changed."
        if done.was_restored:
            text = f"{done.file} was restored before: nothing was done."
        yield asdict(done) | {"is_restored": options is not None or done.was_restored}, text
