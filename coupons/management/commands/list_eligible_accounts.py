"""Add the accounts of a CSV file to the list of a campaign, or remove them from it."""

import json as to_json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from coupons.codes import eligible_accounts, pool
from shop.errors import FirstcomeError
from shop.journal import journal
from shop.management import arguments, shell
from shop.management.progress import progress_bar
from shop.normalization import normalized

ERRORS_SHOWN = 50


class Command(BaseCommand):
    help = (
        "Add the accounts of a file, an id in each line, to a campaign's list, or remove them with --remove. "
        "A file with a bad line is refused, and a run that was interrupted may be repeated."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "campaign", type=arguments.whole_number, metavar="CAMPAIGN", help="the campaign's id"
        )
        parser.add_argument("file", type=Path, metavar="FILE", help="a CSV file with the column user")
        parser.add_argument("--remove", action="store_true", help="remove the accounts instead")
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *, campaign: int, file: Path, remove: bool, json: bool, **_: Any) -> None:
        done = dict.fromkeys(["removed"] if remove else ["added", "skipped"], 0)
        try:
            account_ids = _read(file)
            with journal.acting(shell.operator()), progress_bar("accounts", len(account_ids)) as show:
                for chunk in pool.chunks(account_ids):
                    change: Any = {
                        "campaign_id": campaign,
                        "account_ids": chunk,
                        "reason": normalized(f"list_eligible_accounts {file.name}")[:255],
                    }
                    if remove:
                        done["removed"] += eligible_accounts.remove(**change)
                    else:
                        listed = eligible_accounts.add(**change)
                        done["added"] += listed.added
                        done["skipped"] += len(listed.skipped)
                    show(len(chunk))
        except FirstcomeError as error:
            raise CommandError(error.detail) from None
        total = eligible_accounts.count(campaign)
        parts = ", ".join(f"{number:,} {name}" for name, number in done.items())
        text = f"{parts}; {total:,} accounts are in the list of campaign {campaign}."
        self.stdout.write(to_json.dumps({"campaign": campaign} | done | {"total": total}) if json else text)


def _read(file: Path) -> list[int]:
    """The accounts of the file. Raises `CommandError` with each bad line, and `Invalid` for a file of another
    kind.
    """
    try:
        with file.open("rb") as opened:
            pieces = list(eligible_accounts.pieces(opened))
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}.") from error
    lines = [f"line {bad.line}: {bad.detail}" for piece in pieces for bad in sorted(piece.errors)]
    if lines:
        more = [f"... and {len(lines) - ERRORS_SHOWN} more"] if len(lines) > ERRORS_SHOWN else []
        raise CommandError("\n".join([f"{file} was not used:", *lines[:ERRORS_SHOWN], *more]))
    account_ids = [id for piece in pieces for id in piece.account_ids]
    if not account_ids:
        raise CommandError(f"{file} has no account.")
    return account_ids
