"""Back the database up into a folder, while the shop sells."""

import json as to_json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connection

from shop.management.commands import migrate
from shop.operations.backups import dumping
from shop.operations.backups.programs import BackupFailed


class Command(BaseCommand):
    help = (
        "Dump the database into a new folder, as one consistent state, by the server's own program; the shop"
        " may sell meanwhile, and `migrate` waits. For MariaDB and MySQL."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="where the backup goes: new or empty")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, folder: Path, json: bool, **_: Any) -> None:
        lock = migrate.lock_name(connection.settings_dict["NAME"])
        try:
            made = dumping.dump(connection, folder, migrate_lock=lock)
        except (BackupFailed, OSError, Error) as error:
            raise CommandError(f"No backup was made. {error}") from error
        log = f"{made.no_log_because}. What comes after this state can't be restored from this backup."
        if made.log_file:
            log = f"The binary log goes on from {made.log_file}, position {made.log_position}."
        text = (
            f"{made.database} is backed up in {folder}: {len(made.tables)} tables,"
            f" {made.bytes / 2**20:,.1f} MiB, {made.seconds} s.\n"
            f"Its state is that of {made.begun_at}.\n{log}"
        )
        self.stdout.write(to_json.dumps(asdict(made)) if json else text)
