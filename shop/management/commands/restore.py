"""Restore a backup into an empty database, and replay binary logs up to a moment."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connection

from shop.db.mysql.patience import long_read_timeout
from shop.http.json_format import dump
from shop.management import arguments
from shop.operations.backups import restoring
from shop.operations.backups.programs import BackupFailed

NEXT = "Now: migrate, rebuild_redis, reconcile, reconcile --fix, audit. Only then start the processes."


class Command(BaseCommand):
    help = (
        "Restore a backup into the database that DATABASE_URL names, which has to be empty; with the server's"
        " binary logs, up to a moment or to their end. For MariaDB and MySQL."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="the backup, as `backup` made it")
        parser.add_argument("--logs", type=Path, help="a folder with copies of the binary logs to replay")
        parser.add_argument(
            "--until",
            type=arguments.instant,
            help="replay what came before this instant: 2026-11-21T14:30:05, UTC unless it has an offset",
        )
        parser.add_argument(
            "--accept-early-end",
            action="store_true",
            help="with --until: restore up to the logs' end, where they end before that instant",
        )
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(
        self,
        *,
        folder: Path,
        logs: Path | None,
        until: datetime | None,
        accept_early_end: bool,
        json: bool,
        **_: Any,
    ) -> None:
        try:
            with long_read_timeout(connection):
                done = restoring.restore(
                    connection, folder, logs=logs, until=until, accepts_early_end=accept_early_end
                )
        except (BackupFailed, OSError, Error) as error:
            raise CommandError(f"The backup is not restored. {error}") from error
        name = connection.settings_dict["NAME"]
        lines = [f"{name} has the backup of {done.backup.begun_at}, read in {done.dump_seconds} s."]
        if done.logs:
            lines.append(
                f"{len(done.logs)} binary logs are replayed in {done.log_seconds} s; the last event is of"
                f" {done.last_event_at or 'before the backup'}, and these logs reach {done.logs_end_at}."
            )
        if until and done.logs_end_at and done.logs_end_at < until.replace(microsecond=0):
            lines.append(f"What was written from then on, up to {until}, is not restored.")
        self.stdout.write(dump(asdict(done)).decode() if json else "\n".join([*lines, NEXT]))
