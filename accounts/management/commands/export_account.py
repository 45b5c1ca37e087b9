"""Export everything that the database has of an account."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.management import named_accounts
from accounts.personal_data import registry
from shop.journal import journal
from shop.management import shell
from shop.normalization import normalized

OWNER_ONLY = 0o600


class Command(BaseCommand):
    help = "Export an account's data as JSON: to the output, or to a file that its owner alone may read."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("account", help=named_accounts.HELP)
        parser.add_argument("--output", type=Path, metavar="FILE", help="a new file, of mode 0600")
        parser.add_argument("--reason", type=normalized, default="by the command", help="for the journal")

    def handle(self, *, account: str, output: Path | None, reason: str, **_: Any) -> None:
        account_id = named_accounts.find(account).pk
        with journal.acting(shell.operator()):
            if output is None:
                self.stdout.write(registry.export(account_id=account_id, reason=reason).decode())
                return
            size = _export_to(output, account_id, reason)
        self.stdout.write(f"{account}: {size:,} bytes are in {output}, which you alone may read.")


def _export_to(path: Path, account_id: int, reason: str) -> int:
    """Write the export into a new file, whose mode is set before its first byte. Returns its size."""
    try:
        path.touch(mode=OWNER_ONLY, exist_ok=False)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}. Nothing was exported.") from None
    try:
        return path.write_bytes(registry.export(account_id=account_id, reason=reason))
    except BaseException:
        path.unlink()
        raise
