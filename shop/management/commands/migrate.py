"""Django's `migrate`, which waits long for a statement and briefly for a table that another connection uses.

An ALTER that waits for a table makes every later statement on that table wait behind it. So it waits only as
long as a request waits for a row; then the shop continues, and the migration is retried after a pause.
"""

import time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError, connections

from shop.db import transactions
from shop.db.mysql.patience import long_read_timeout

LOCK_WAIT_SECONDS = 5
PAUSE_SECONDS = 5
ATTEMPTS = 4


class Command(migrate.Command):
    help = f"{migrate.Command.help} May run while the shop sells, but not during an audit or a dump."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--attempts",
            type=int,
            choices=range(1, 1_001),
            metavar="N",
            default=ATTEMPTS,
            help=f"How often to try when a table is in use for {LOCK_WAIT_SECONDS} s (default: {ATTEMPTS}).",
        )

    def handle(self, *arguments: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        with long_read_timeout(connection):
            if connection.vendor == "mysql":
                with connection.cursor() as cursor:
                    # The wait for metadata locks; the servers' default is a day, or a year.
                    cursor.execute("SET SESSION lock_wait_timeout = %s", [LOCK_WAIT_SECONDS])
            self._migrate(*arguments, **options)

    def _migrate(self, *arguments: Any, attempts: int, **options: Any) -> None:
        for left in reversed(range(attempts)):
            try:
                super().handle(*arguments, **options)
                return
            except OperationalError as error:
                if error.args[0] != transactions.LOCK_WAIT:
                    raise
                if not left:
                    raise CommandError(_blocked_message(attempts)) from error
            self.stderr.write(
                f"\nA table is in use by a long transaction; next attempt in {PAUSE_SECONDS} s."
            )
            time.sleep(PAUSE_SECONDS)


def _blocked_message(attempts: int) -> str:
    return (
        f"A table was in use by a long transaction for {LOCK_WAIT_SECONDS} s, {attempts} times: by an audit, "
        "a dump, or another one (SHOW FULL PROCESSLIST). The statement that needed the table was not "
        "applied; earlier migrations were. No statement waits for it any more, and the old processes may go "
        "on. Run migrate again when that transaction has ended: it resumes where it stopped."
    )
