"""Restores an archived month from its file, or checks the file."""

import json as to_json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from shop.management import archive_options
from shop.management.archives import TABLES
from shop.operations.archives import restoring


class Command(BaseCommand):
    help = (
        "Insert the rows of an archived month again, with the keys they had, a batch at a time while the"
        " shop sells; the file stays. It may be killed at any moment: run it again to go on. Without --yes"
        " it reads all of the file, and compares it with what the shop keeps of it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="as archive_month wrote it")
        archive_options.add_to(parser)

    def handle(self, *, file: Path, json: bool, yes: bool, **more: Any) -> None:
        options = archive_options.read_options(yes=yes, **more)
        with archive_options.working("Run it again to go on."):
            done = restoring.restore(file, TABLES, options=options if yes else None)
        result = asdict(done) | {"is_restored": yes or done.was_restored}
        text = (
            f"{done.file} is whole: {done.rows:,} rows of {done.table} of {done.month}. Nothing was changed."
        )
        if yes:
            text = f"{done.month}: {done.rows:,} rows of {done.table} are restored from {done.file}."
        if done.was_restored:
            text = f"{done.file} was restored before: nothing was done."
        self.stdout.write(to_json.dumps(result) if json else text)
