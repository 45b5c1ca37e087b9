"""Erase accounts: replace what names a person by a pseudonym, and keep the books."""

import time
from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.management import named_accounts
from accounts.personal_data import erasure
from foundation import clock, journal
from foundation.errors import FirstcomeError
from foundation.http.json_format import dump
from foundation.management import shell
from foundation.normalization import normalized


class Command(BaseCommand):
    help = (
        "Erase accounts: disable them, wait half a minute, and replace names and addresses by a pseudonym. "
        "Orders and the ledger stay. Refuses an account of which something is open, and says what."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("accounts", nargs="*", metavar="account", help=named_accounts.HELP)
        parser.add_argument(
            "--reason", type=normalized, default="", help="for the journal; required to erase"
        )
        parser.add_argument(
            "--forfeit-balance", action="store_true", help="book the points in the wallet back to the shop"
        )
        parser.add_argument("--list", action="store_true", help="list all erasures as JSON and end")

    def handle(
        self, *, accounts: Sequence[str], reason: str, forfeit_balance: bool, list: bool, **_: Any
    ) -> None:
        if list:
            self.stdout.write(dump(erasure.past_erasures()).decode())
            return
        if not (accounts and reason.strip()):
            raise CommandError("Name an account and a --reason, or --list: nothing was done.")
        chosen = [named_accounts.find(name) for name in accounts]
        with journal.acting(shell.operator()):
            refused = self._erase(chosen, reason, forfeit_balance)
        if refused:
            raise CommandError("\n".join(refused))

    def _erase(self, chosen: Sequence[User], reason: str, forfeit_balance: bool) -> list[str]:
        """Start all, wait once, and erase each. Returns why the others are not erased."""
        refused = list[str]()
        ready = list[int]()
        ready_at = clock.now()
        for account in chosen:
            try:
                at = erasure.start(account_id=account.pk, reason=reason, forfeit_balance=forfeit_balance)
            except FirstcomeError as error:
                refused.append(f"account {account.pk}: {error}")
            else:
                ready.append(account.pk)
                ready_at = max(ready_at, at)
        if (seconds := (ready_at - clock.now()).total_seconds()) > 0:
            self.stdout.write(f"{len(ready)} disabled; erasing in {seconds:.0f} s.")
            time.sleep(seconds)
        for account_id in ready:
            try:
                done = erasure.erase(account_id=account_id, reason=reason, forfeit_balance=forfeit_balance)
            except FirstcomeError as error:
                refused.append(f"account {account_id}: {error}")
            else:
                text = f"Account {account_id} was erased before: nothing was done."
                if done.is_new:
                    points = done.forfeited_amount
                    text = f"Account {account_id} is erased: its name is {erasure.pseudonym(account_id)}."
                    text += f" Its {points:,} points are forfeited." if points else ""
                self.stdout.write(text)
        return refused
