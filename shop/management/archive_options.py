"""What the commands of archives share: options, progress, and refusals as errors of a command."""

import json as to_json
import sys
import time
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connection

from shop.db import pacing
from shop.db.mysql.patience import long_read_timeout
from shop.db.pacing import Pace
from shop.errors import FirstcomeError
from shop.journal import journal
from shop.management import arguments, shell
from shop.normalization import normalized
from shop.operations.archives.archive_files import ArchiveFailed
from shop.operations.archives.archiving import Options, Progress


class ArchiveCommand(BaseCommand):
    """A command of which `work` does all; `continued` says how to go on with what was broken off."""

    continued: str

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--reason", type=normalized, default="", help="for the journal; required with --yes"
        )
        parser.add_argument("--yes", action="store_true", help="do it; without this nothing is changed")
        parser.add_argument(
            "--batch",
            type=arguments.whole_number,
            default=pacing.BATCH,
            help="rows in a transaction (%(default)s)",
        )
        parser.add_argument(
            "--share",
            type=arguments.decimal_number,
            default=pacing.SHARE,
            help="share of the time in which the command works; rests take the others (%(default)s)",
        )
        parser.add_argument("--json", action="store_true", help="the result as a line of JSON")

    def work(self, options: Options | None, *words: Any, **more: Any) -> Iterable[tuple[Any, str]]:
        """Do it, or only look without options: each result for programs, and for people."""
        raise NotImplementedError

    def handle(self, *, batch: int, share: float, yes: bool, reason: str, json: bool, **more: Any) -> None:
        if not 1 <= batch <= 10_000 or not 0.01 <= share <= 1:
            raise CommandError("--batch is 1 to 10000, and --share 0.01 to 1.")
        if yes and not reason.strip():
            raise CommandError("--yes needs a --reason for the journal: nothing was done.")
        options = Options(reason=reason, pace=Pace(size=batch, share=share), on_progress=_progress())
        try:
            # Where the journal's month begins and ends is read from millions of rows.
            with long_read_timeout(connection), journal.acting(shell.operator()):
                for result, text in self.work(options if yes else None, json=json, **more):
                    self.stdout.write(to_json.dumps(result) if json else text)
        except ArchiveFailed as error:
            raise CommandError(str(error)) from error
        except (FirstcomeError, OSError, Error) as error:
            text = getattr(error, "detail", "") or f"{type(error).__name__}: {error}"
            raise CommandError(f"{text} {self.continued}") from error


def _progress() -> Progress:
    started = last = time.monotonic()

    def report(what: str, rows: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 2.0:
            last = now
            print(f"{rows:,} rows {what}, {now - started:.0f} s", file=sys.stderr, flush=True)

    return report
