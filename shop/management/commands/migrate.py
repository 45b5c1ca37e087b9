"""Django's `migrate`, which waits long for a statement and briefly for a table that another connection uses.

An ALTER that waits for a table makes every later statement on it wait: so it is given up soon, and retried
after a pause. One `migrate` changes a database at a time, by a named lock of the server.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import Error, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from foundation.db import transactions
from foundation.db.mysql.patience import long_read_timeout
from foundation.management import arguments

LOCK_WAIT_SECONDS = 5
PAUSE_SECONDS = 5
ATTEMPTS = 4
NAMED_LOCK_WAIT_SECONDS = 60
"""For another `migrate`, between two lines that say so; it is waited for until it ends."""
LONGEST_LOCK_NAME = 64
"""By the servers."""
OF_RELEASE_1 = ("shop", "0003_journal")
"""A migration that every release 1.x applied, and this one doesn't have: its migrations begin anew."""


class OldDatabase(CommandError):
    """The database was made by a release whose rows this one doesn't read."""


class Command(migrate.Command):
    help = f"{migrate.Command.help} May run while the shop sells, but not during an audit or a dump."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--attempts",
            type=arguments.whole_number,
            choices=range(1, 1_001),
            metavar="N",
            default=ATTEMPTS,
            help=f"How often to try when a table is in use for {LOCK_WAIT_SECONDS} s (default: {ATTEMPTS}).",
        )

    def handle(self, *arguments: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        with long_read_timeout(connection):
            if OF_RELEASE_1 in MigrationRecorder(connection).applied_migrations():
                raise OldDatabase(
                    f"The database {connection.settings_dict['NAME']} was made by release 1.x, from which no "
                    "migration leads to this release: start with an empty database."
                )
            if connection.vendor == "mysql":
                with connection.cursor() as cursor:
                    # The wait for metadata locks; the servers' default is a day, or a year.
                    cursor.execute("SET SESSION lock_wait_timeout = %s", [LOCK_WAIT_SECONDS])
            if options["check_unapplied"] or options["plan"]:
                # They change nothing, and pods that start call the former every few seconds.
                self._migrate(*arguments, **options)
            else:
                with self._alone(connection):
                    self._migrate(*arguments, **options)

    @contextmanager
    def _alone(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        """Wait until no other `migrate` changes this database, and have others wait for this one.

        SQLite has no named locks; its writers exclude one another.
        """
        if connection.vendor != "mysql":
            yield
            return
        name = lock_name(connection.settings_dict["NAME"])
        wait_seconds = 0
        while True:
            with connection.cursor() as cursor:
                cursor.execute("SELECT GET_LOCK(%s, %s), IS_USED_LOCK(%s)", [name, wait_seconds, name])
                is_granted, holder = cursor.fetchone()
            if is_granted == 1:
                break
            wait_seconds = NAMED_LOCK_WAIT_SECONDS
            self.stderr.write(
                "Another migrate is changing this database; this one goes on once it has ended. "
                f"Its lock is held by connection {holder} (SHOW FULL PROCESSLIST)."
            )
        try:
            yield
        finally:
            # A connection that is lost has released it.
            with suppress(Error), connection.cursor() as cursor:
                cursor.execute("SELECT RELEASE_LOCK(%s)", [name])

    def _migrate(self, *arguments: Any, attempts: int, **options: Any) -> None:
        for left in reversed(range(attempts)):
            try:
                super().handle(*arguments, **options)
                return
            except OperationalError as error:
                # The sales that it runs beside take locks in another order than a change of a table.
                if error.args[0] not in (transactions.LOCK_WAIT, transactions.DEADLOCK):
                    raise
                if not left:
                    raise CommandError(
                        f"A table was in use by a long transaction for {LOCK_WAIT_SECONDS} s, {attempts} "
                        "times: by an audit, a dump, or another one (SHOW FULL PROCESSLIST). The "
                        "statement that needed the table was not applied; earlier migrations were. No "
                        "statement waits for it any more, and the old processes may go on. Run migrate "
                        "again when that transaction has ended: it resumes where it stopped."
                    ) from error
            self.stderr.write(
                f"\nA table is in use by a long transaction; next attempt in {PAUSE_SECONDS} s."
            )
            time.sleep(PAUSE_SECONDS)


def lock_name(database: str) -> str:
    """The named lock of a `migrate` of this database; names are the server's, across databases."""
    return f"migrate {database}"[:LONGEST_LOCK_NAME]
