"""Remove the one-time codes of a staff account whose phone is lost."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.management import named_accounts
from accounts.signing_in import second_factor
from foundation import journal
from foundation.management import shell
from foundation.normalization import normalized


class Command(BaseCommand):
    help = "Remove an account's one-time codes: its sign-ins end, and the next one sets up new codes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help=named_accounts.HELP)
        parser.add_argument("--reason", type=normalized, default="by the command", help="for the journal")

    def handle(self, *, username: str, reason: str, **_: Any) -> None:
        account = named_accounts.find(username)
        with journal.acting(shell.operator()):
            was_enrolled = second_factor.reset(account_id=account.pk, reason=reason)
        if not was_enrolled:
            raise CommandError(f"{username} has not set up one-time codes: nothing was done.")
        self.stdout.write(
            f"The one-time codes of {username} are removed, and its sign-ins end. The next sign-in "
            "at /admin/ by its password sets up new ones: have that done at once, and set a new password "
            "too if it may be known."
        )
