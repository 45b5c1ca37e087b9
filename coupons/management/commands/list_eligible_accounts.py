"""Add the accounts of a CSV file to the list of a campaign, or remove them from it."""

import json as to_json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from coupons import eligible_accounts, line_files
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
        account_ids = _read(file)
        reason = normalized(f"list_eligible_accounts {file.name}")[:255]
        change: Any = {"campaign_id": campaign, "account_ids": account_ids, "reason": reason}
        try:
            with journal.acting(shell.operator()), progress_bar("accounts", len(account_ids)) as show:
                if remove:
                    done = {"removed": eligible_accounts.remove(**change)}
                else:
                    listed = eligible_accounts.add(**change, progress=show)
                    done = {"added": listed.added, "skipped": len(listed.skipped)}
        except FirstcomeError as error:
            raise CommandError(error.detail) from None
        total = eligible_accounts.count(campaign)
        parts = ", ".join(f"{number:,} {name}" for name, number in done.items())
        text = f"{parts}; {total:,} accounts are in the list of campaign {campaign}."
        self.stdout.write(to_json.dumps({"campaign": campaign} | done | {"total": total}) if json else text)


def _read(file: Path) -> list[int]:
    """The accounts of the file. Raises `CommandError` with each bad line."""
    try:
        piece = line_files.read(file.read_bytes(), kind=line_files.ACCOUNTS)
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}.") from error
    errors = [(bad.line, bad.detail) for bad in piece.errors]
    missing = eligible_accounts.unknown([int(text) for text in piece.texts])
    unknown = (line for line in piece.lines if int(line.text) in missing)
    errors += [(line.number, f"there is no account {line.text}") for line in unknown]
    if errors:
        lines = [f"line {line}: {detail}" for line, detail in sorted(errors)]
        more = [f"... and {len(lines) - ERRORS_SHOWN} more"] if len(lines) > ERRORS_SHOWN else []
        raise CommandError("\n".join([f"{file} was not used:", *lines[:ERRORS_SHOWN], *more]))
    if not piece.lines:
        raise CommandError(f"{file} has no account.")
    return [int(text) for text in piece.texts]
